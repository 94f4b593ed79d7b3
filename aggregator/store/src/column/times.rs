//! Columns of ascending times: runs of equal steps, or a lane of steps where a clock wavers.

use super::decode::Lane;
use super::{COLUMN_LEN_MAX, Shape, v1};
use crate::varint::{Malformed, Reader, push, push_signed, unzigzag, zigzag};

/// Instead of a lane's shape: there is none, but runs.
const RUNS: u8 = 0;

/// A run takes some four bytes, a word of a lane mostly one.
const RUN_LEN_MIN: usize = 4;

/// Appends a column of ascending times.
pub(crate) fn push_times(out: &mut Vec<u8>, times: &[i64]) {
    let Some((&first, rest)) = times.split_first() else { return };
    let steps = || {
        times.windows(2).map(|pair| match pair {
            [a, b] => b.wrapping_sub(*a),
            _ => 0,
        })
    };
    let changes = steps().zip(steps().skip(1)).filter(|(a, b)| a != b).count();
    if (changes + 1) * RUN_LEN_MIN > rest.len() + RUN_LEN_MIN {
        push_lane(out, first, steps());
        return;
    }
    out.push(RUNS);
    push_signed(out, first);
    let mut run = (0_i64, 0_u64);
    for step in steps() {
        if step == run.0 {
            run.1 += 1;
            continue;
        }
        push_run(out, run);
        run = (step, 1);
    }
    push_run(out, run);
}

fn push_run(out: &mut Vec<u8>, (step, count): (i64, u64)) {
    if count > 0 {
        push_signed(out, step);
        push(out, count);
    }
}

fn push_lane(out: &mut Vec<u8>, first: i64, steps: impl Iterator<Item = i64> + Clone) {
    let mut sorted: Vec<i64> = steps.clone().collect();
    let middle = sorted.len() / 2;
    let usual = match sorted.get(middle) {
        Some(_) => *sorted.select_nth_unstable(middle).1,
        None => 0,
    };
    let words: Vec<u64> = steps.map(|step| zigzag(step.wrapping_sub(usual))).collect();
    let shape = Shape::of(words.iter().fold(0, |all, word| all | word), false);
    out.push(shape.byte());
    push_signed(out, first);
    push_signed(out, usual);
    shape.push_words(&words, out);
}

/// Reads `count` times.
pub(crate) fn times(bytes: &[u8], count: usize) -> Result<Vec<i64>, Malformed> {
    let Some((&shape, rest)) = bytes.split_first() else {
        return if count == 0 { Ok(Vec::new()) } else { Err(Malformed("times")) };
    };
    if shape == RUNS || count == 0 {
        return v1::times(rest, count);
    }
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("times"));
    }
    let shape = Shape::of_byte(shape)?;
    let mut reader = Reader::new(rest);
    let mut time = reader.signed()?;
    let usual = reader.signed()?;
    let stride = shape.plane_len(count - 1);
    if shape.has_two_lanes() || reader.rest().len() != stride * shape.planes() {
        return Err(Malformed("times"));
    }
    let mut words = vec![0; count - 1];
    Lane { bytes: reader.rest(), start: 0, stride, shape }.words(0, &mut words)?;
    let mut times = Vec::with_capacity(count);
    times.push(time);
    for word in words {
        let step = usual.wrapping_add(unzigzag(word));
        if step <= 0 {
            return Err(Malformed("times"));
        }
        time = time.checked_add(step).ok_or(Malformed("times"))?;
        times.push(time);
    }
    Ok(times)
}
