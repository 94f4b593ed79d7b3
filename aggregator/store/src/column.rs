//! Columns of times and of values as bytes, each value column by the codec that suits it.
//!
//! Bit-exact for every float: stale markers and other NaNs, -0, denormals, infinities. Pure; the
//! layouts are in `docs/formats/store.md`. What a zstd pass over many columns can do well (long
//! runs of the same byte) is left to it.

use crate::varint::{Malformed, Reader, len, push, push_signed, zigzag};

/// Samples of one series in one blob. A day at ten samples a second; more become another blob.
pub(crate) const COLUMN_LEN_MAX: usize = 900_000;

/// All values have the same bits.
const CONSTANT: u8 = 0;
/// Scaled decimals as differences.
const DELTA: u8 = 1;
/// Scaled decimals as differences of differences.
const DELTA2: u8 = 2;
/// Bits, each exclusive-or the one before, mirrored so that the zeros at the end come first.
const XOR: u8 = 3;
/// Eight bytes each.
const RAW: u8 = 4;

/// Decimal places that are tried. Sensors and counters have up to nine (nanoseconds as seconds).
const PLACES_MAX: usize = 9;
const POWERS: [f64; PLACES_MAX + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Below this every integer is a float of its own.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// One value in this many may be no decimal (a stale marker, say) before the codec is given up.
const EXCEPTION_SHARE: usize = 16;

/// Appends a column of ascending times: the first, then runs of equal steps.
pub(crate) fn push_times(out: &mut Vec<u8>, times: &[i64]) {
    let Some((&first, rest)) = times.split_first() else { return };
    push_signed(out, first);
    let mut last = first;
    let mut run = (0_i64, 0_u64);
    for &time in rest {
        let step = time.wrapping_sub(last);
        last = time;
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

/// Reads `count` times.
pub(crate) fn times(bytes: &[u8], count: usize) -> Result<Vec<i64>, Malformed> {
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("times"));
    }
    let mut times = Vec::with_capacity(count);
    if count == 0 {
        return Ok(times);
    }
    let mut reader = Reader::new(bytes);
    let mut time = reader.signed()?;
    times.push(time);
    while times.len() < count {
        let step = reader.signed()?;
        let run = reader.count(count - times.len())?;
        if run == 0 || step <= 0 {
            return Err(Malformed("times"));
        }
        for _ in 0..run {
            time = time.checked_add(step).ok_or(Malformed("times"))?;
            times.push(time);
        }
    }
    if reader.is_empty() { Ok(times) } else { Err(Malformed("times")) }
}

/// Appends a column of values.
pub(crate) fn push_values(out: &mut Vec<u8>, values: &[f64]) {
    let Some((first, rest)) = values.split_first() else { return };
    if rest.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_bits().to_le_bytes());
    } else if let Some(decimals) = Decimals::of(values) {
        decimals.push(out);
    } else {
        push_bits(out, values);
    }
}

/// Reads `count` values.
pub(crate) fn values(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
    if count > COLUMN_LEN_MAX {
        return Err(Malformed("values"));
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    let codec = reader.byte()?;
    let values = match codec {
        CONSTANT => vec![f64::from_bits(reader.u64_le()?); count],
        DELTA => decimals(&mut reader, count, false)?,
        DELTA2 => decimals(&mut reader, count, true)?,
        XOR => {
            let mut bits = 0_u64;
            let next = |_| {
                bits ^= reader.varint()?.reverse_bits();
                Ok(f64::from_bits(bits))
            };
            (0..count).map(next).collect::<Result<_, _>>()?
        }
        RAW => (0..count).map(|_| reader.u64_le().map(f64::from_bits)).collect::<Result<_, _>>()?,
        _ => return Err(Malformed("codec")),
    };
    if reader.is_empty() { Ok(values) } else { Err(Malformed("values")) }
}

fn push_bits(out: &mut Vec<u8>, values: &[f64]) {
    let start = out.len();
    out.push(XOR);
    let mut last = 0_u64;
    for value in values {
        let bits = value.to_bits();
        push(out, (bits ^ last).reverse_bits());
        last = bits;
    }
    if out.len() - start > 1 + 8 * values.len() {
        out.truncate(start);
        out.push(RAW);
        for value in values {
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

/// Values that are decimals with few places, as the integers they are when scaled.
struct Decimals {
    places: usize,
    integers: Vec<i64>,
    /// Values that are no such decimal, by position; their integer repeats the one before.
    exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    fn of(values: &[f64]) -> Option<Self> {
        let exceptions_max = 1 + values.len() / EXCEPTION_SHARE;
        let places = places(values, exceptions_max)?;
        let mut exceptions = Vec::new();
        let mut integers = Vec::with_capacity(values.len());
        let mut last = 0;
        for (at, &value) in values.iter().enumerate() {
            match scaled(value, places) {
                Some(integer) => last = integer,
                None => exceptions.push((at, value.to_bits())),
            }
            integers.push(last);
        }
        (exceptions.len() <= exceptions_max).then_some(Self { places, integers, exceptions })
    }

    fn push(&self, out: &mut Vec<u8>) {
        let deltas = differences(&self.integers);
        // Byte counts mostly move in pages or sectors, so their steps share a factor.
        let factor = deltas.iter().skip(1).fold(0, |factor, &delta| gcd(factor, delta));
        let mut steps = deltas;
        if factor > 1 {
            for step in steps.iter_mut().skip(1) {
                *step /= factor.cast_signed();
            }
        }
        // The first of `steps` is the first integer itself, so that the second differences begin
        // after it.
        let second = differences(steps.get(1..).unwrap_or_default());
        let plain_len: usize = steps.iter().skip(1).map(|&step| len(zigzag(step))).sum();
        let second_len: usize = second.iter().map(|&step| len(zigzag(step))).sum();
        let codec = if second_len < plain_len { DELTA2 } else { DELTA };
        out.push(codec);
        push(out, self.places as u64);
        push(out, self.exceptions.len() as u64);
        for (at, bits) in &self.exceptions {
            push(out, *at as u64);
            out.extend_from_slice(&bits.to_le_bytes());
        }
        push_signed(out, steps.first().copied().unwrap_or(0));
        push(out, factor.max(1));
        let rest = if codec == DELTA2 { &second[..] } else { steps.get(1..).unwrap_or_default() };
        for &step in rest {
            push_signed(out, step);
        }
    }
}

/// The first, then each less the one before.
fn differences(integers: &[i64]) -> Vec<i64> {
    let mut last = 0_i64;
    let next = |&integer: &i64| {
        let step = integer.wrapping_sub(last);
        last = integer;
        step
    };
    integers.iter().map(next).collect()
}

fn gcd(factor: u64, delta: i64) -> u64 {
    let (mut a, mut b) = (factor, delta.unsigned_abs());
    if a == 1 {
        return 1;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The fewest places with which all but a few values are decimals.
fn places(values: &[f64], exceptions_max: usize) -> Option<usize> {
    let mut places = 0;
    let mut exceptions = 0;
    for &value in values {
        match (places..=PLACES_MAX).find(|&places| scaled(value, places).is_some()) {
            Some(needed) => places = needed,
            None if exceptions == exceptions_max => return None,
            None => exceptions += 1,
        }
    }
    Some(places)
}

/// The integer that gives exactly `value` when it is divided by ten to the `places`.
#[inline]
fn scaled(value: f64, places: usize) -> Option<i64> {
    let power = POWERS.get(places)?;
    // Adding 0 turns -0 into 0, which is not what was given, so that -0 is no decimal.
    let integer = (value * power).round() + 0.0;
    // A NaN fails this comparison.
    if integer.abs() < INTEGER_MAX && (integer / power).to_bits() == value.to_bits() {
        #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53")]
        return Some(integer as i64);
    }
    None
}

fn decimals(reader: &mut Reader<'_>, count: usize, second: bool) -> Result<Vec<f64>, Malformed> {
    let places = reader.count(PLACES_MAX)?;
    let power = *POWERS.get(places).ok_or(Malformed("places"))?;
    let mut exceptions = Vec::new();
    for _ in 0..reader.count(count)? {
        exceptions.push((reader.count(count)?, reader.u64_le()?));
    }
    let mut integer = reader.signed()?;
    let factor = reader.varint()?.cast_signed();
    let mut values = Vec::with_capacity(count);
    values.push(quotient(integer, power));
    let mut step = 0_i64;
    for _ in 1..count {
        let read = reader.signed()?;
        step = if second { step.wrapping_add(read) } else { read };
        integer = integer.wrapping_add(step.wrapping_mul(factor));
        values.push(quotient(integer, power));
    }
    for (at, bits) in exceptions {
        *values.get_mut(at).ok_or(Malformed("exception"))? = f64::from_bits(bits);
    }
    Ok(values)
}

#[expect(clippy::cast_precision_loss, reason = "encoders write integers below 2^53")]
fn quotient(integer: i64, power: f64) -> f64 {
    integer as f64 / power
}

#[cfg(test)]
mod tests {
    use super::*;
    use labstat_model::stale_marker;
    use proptest::prelude::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn round_trip(column: &[f64]) -> Vec<u8> {
        let mut out = Vec::new();
        push_values(&mut out, column);
        let back = values(&out, column.len()).unwrap();
        assert_eq!(bits(&back), bits(column), "{column:?}");
        out
    }

    fn nasty() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i32>().prop_map(|int| f64::from(int) / 10.0),
            (0_u32..100).prop_map(f64::from),
            prop::sample::select(vec![
                0.0,
                -0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                stale_marker(),
                f64::MIN_POSITIVE / 8.0,
                f64::MAX,
                9_007_199_254_740_993.0,
                -9_007_199_254_740_991.0,
                0.1 + 0.2,
            ]),
        ]
    }

    #[test]
    fn every_kind_of_column_takes_its_codec() {
        let counter: Vec<f64> = (0..100).map(|at| f64::from(at * at) * 4096.0 + 7.0).collect();
        let sensor: Vec<f64> = (0..100).map(|at| 40.0 + f64::from(at % 3) / 10.0).collect();
        let roots: Vec<f64> = (1..100).map(|at| f64::from(at).sqrt()).collect();
        let mut ended = sensor.clone();
        ended.push(stale_marker());
        assert_eq!(round_trip(&[5.0; 50])[0], CONSTANT);
        assert_eq!(round_trip(&counter)[0], DELTA2);
        assert!(round_trip(&counter).len() < 120, "one byte each");
        assert_eq!(round_trip(&sensor)[0], DELTA);
        assert_eq!(round_trip(&ended)[0], DELTA, "a marker is an exception");
        assert_eq!(round_trip(&roots)[0], RAW);
        assert_eq!(round_trip(&[1.5, f64::NAN, 2.5, f64::NAN, 1e300, -0.0])[0], XOR);
        assert!(round_trip(&[]).is_empty());
    }

    #[test]
    fn regular_times_take_a_few_bytes() {
        let regular: Vec<i64> = (0..5_000).map(|at| 1_700_000_000_000 + at * 15_000).collect();
        let mut out = Vec::new();
        push_times(&mut out, &regular);
        assert!(out.len() < 16, "{}", out.len());
        assert_eq!(times(&out, regular.len()).unwrap(), regular);
        assert!(times(&out, regular.len() - 1).is_err());
        assert!(times(&out, regular.len() + 1).is_err());
    }

    proptest! {
        #[test]
        fn values_come_back_bit_for_bit(column in prop::collection::vec(nasty(), 0..200)) {
            round_trip(&column);
        }

        #[test]
        fn times_come_back(times_in in prop::collection::btree_set(any::<i32>(), 0..200)) {
            let column: Vec<i64> = times_in.into_iter().map(i64::from).collect();
            let mut out = Vec::new();
            push_times(&mut out, &column);
            prop_assert_eq!(times(&out, column.len()), Ok(column));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..100), count in 0_usize..100) {
            let _ = values(&bytes, count);
            let _ = times(&bytes, count);
        }
    }
}
