//! Values to heads and lanes.

use super::{
    CONSTANT, CURVES, INTEGER_MAX, LEVELS, PLACES_MAX, POWERS, SPARSE, STEPS, Scale, Shape, order,
    quotient,
};
use crate::varint::{push, push_signed, zigzag};

/// One value in this many may be no decimal (a stale marker, say) before the codec is given up.
const EXCEPTION_SHARE: usize = 16;

/// When fewer than one value in this many differs from the one before, changes are listed.
const SPARSE_SHARE: usize = 8;

/// Steps that are looked at for the usual one, and for what floats are best taken as.
const PROBES: usize = 64;

/// Places for floats that are nearly decimals, mostly products of an integer and a thousandth, a
/// millionth or a billionth.
const NEAR_PLACES: [usize; 4] = [0, 3, 6, 9];

/// Lays columns into heads and lanes. Keeps its memory from column to column.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The values as integers, then in units of their factor.
    integers: Vec<i64>,
    /// How far each value is from its integer, for floats that are nearly decimals.
    corrections: Vec<u64>,
    /// Values that are no decimals, by position; their integer repeats the one before.
    exceptions: Vec<(usize, u64)>,
    words: Vec<u64>,
    probes: Vec<i64>,
}

/// What became of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coded {
    pub(crate) shape: Shape,
    /// How wide the words of the lane are on average, in quarters of a bit. Lanes that are alike
    /// in this compress well together.
    pub(crate) spread: u32,
}

/// What a lane will have.
struct Plan {
    codec: u8,
    cost_bits: u64,
    /// The step of [`STEPS`] from which the words count.
    usual: i64,
}

impl Encoder {
    /// Appends the head and the lane (if any) of at least one value.
    pub(crate) fn push(&mut self, values: &[f64], head: &mut Vec<u8>, lane: &mut Vec<u8>) -> Coded {
        let none = Coded { shape: Shape::NONE, spread: 0 };
        let Some((first, rest)) = values.split_first() else { return none };
        if rest.iter().all(|value| value.to_bits() == first.to_bits()) {
            head.push(CONSTANT);
            head.extend_from_slice(&first.to_bits().to_le_bytes());
            return none;
        }
        let scale = self.scale(values);
        let origin = self.integers.first().copied().unwrap_or(0);
        // Byte counts mostly move in pages or sectors, so their steps share a factor.
        let factor = if scale == Scale::Float { 1 } else { self.take_factor() };
        let changes = self.integers.windows(2).filter(|pair| matches!(pair, [a, b] if a != b));
        if self.corrections.is_empty() && is_sparse(changes.count(), values.len()) {
            self.push_head(head, SPARSE, scale, origin, factor);
            self.push_changes(head);
            return none;
        }
        let lowest = self.integers.iter().copied().min().unwrap_or(0);
        let plan = self.plan(lowest);
        match plan.codec {
            LEVELS => {
                let offset = if factor == 1 { 0 } else { origin };
                let lowest = lowest.wrapping_mul(factor.cast_signed()).wrapping_add(offset);
                self.push_head(head, LEVELS, scale, lowest, factor);
            }
            codec => {
                self.push_head(head, codec, scale, origin, factor);
                push_signed(head, if codec == STEPS { plan.usual } else { self.first_step() });
            }
        }
        self.fill_words(&plan, lowest);
        let two_lanes = !self.corrections.is_empty();
        self.words.append(&mut self.corrections);
        let max = self.words.iter().fold(0, |all, word| all | word);
        let shape = Shape::of(max, two_lanes);
        shape.push_words(&self.words, lane);
        let spread = 4 * plan.cost_bits / values.len() as u64;
        Coded { shape, spread: u32::try_from(spread).unwrap_or(u32::MAX) }
    }

    fn push_head(&self, head: &mut Vec<u8>, codec: u8, scale: Scale, origin: i64, factor: u64) {
        head.push(codec);
        head.push(scale.byte());
        push(head, self.exceptions.len() as u64);
        let mut last = 0;
        for &(at, bits) in &self.exceptions {
            push(head, (at - last) as u64);
            head.extend_from_slice(&bits.to_le_bytes());
            last = at;
        }
        push_signed(head, origin);
        push(head, factor);
    }

    /// Makes integers of the values.
    fn scale(&mut self, values: &[f64]) -> Scale {
        self.corrections.clear();
        if let Some(places) = self.take_decimals(values) {
            return Scale::Decimal(places);
        }
        self.exceptions.clear();
        self.integers.clear();
        let filled = self.take_markers(values);
        let values = filled.as_deref().unwrap_or(values);
        let changes = values.windows(2).filter(|pair| matches!(pair, [a, b] if a != b)).count();
        let places = if is_sparse(changes, values.len()) { None } else { near_places(values) };
        let Some((places, power)) = places.and_then(|at| Some((at, *POWERS.get(at)?))) else {
            self.integers.extend(values.iter().map(|value| place(*value)));
            return Scale::Float;
        };
        for &value in values {
            let integer = nearest(value * power);
            self.integers.push(integer);
            let further = place(value).wrapping_sub(place(quotient(integer, power)));
            self.corrections.push(zigzag(further));
        }
        Scale::Corrected(places)
    }

    /// Takes NaNs and infinities out when there are some but few; each becomes the one before.
    fn take_markers(&mut self, values: &[f64]) -> Option<Vec<f64>> {
        let markers = values.iter().filter(|value| !value.is_finite()).count();
        if markers == 0 || markers > exceptions_max(values.len()) {
            return None;
        }
        let mut last = values.iter().copied().find(|value| value.is_finite())?;
        let mut filled = Vec::with_capacity(values.len());
        for (at, &value) in values.iter().enumerate() {
            if value.is_finite() {
                last = value;
            } else {
                self.exceptions.push((at, value.to_bits()));
            }
            filled.push(last);
        }
        Some(filled)
    }

    /// The fewest places with which all but a few values are decimals, if there are such.
    fn take_decimals(&mut self, values: &[f64]) -> Option<usize> {
        let Self { integers, exceptions, .. } = self;
        integers.clear();
        exceptions.clear();
        let exceptions_max = exceptions_max(values.len());
        let (mut places, mut max) = (0, 0_u64);
        for (at, &value) in values.iter().enumerate() {
            let mut found = scaled(value, places);
            if found.is_none()
                && let Some(more) = (places + 1..=PLACES_MAX).find(|&p| scaled(value, p).is_some())
                && let Some(by) = 10_u64.checked_pow(u32::try_from(more - places).ok()?)
                && max.checked_mul(by).is_some_and(|max| max < 1 << f64::MANTISSA_DIGITS)
            {
                integers.iter_mut().for_each(|integer| *integer *= by.cast_signed());
                (places, max) = (more, max * by);
                found = scaled(value, places);
            }
            let integer = match found {
                Some(integer) => {
                    if exceptions.len() == at {
                        integers.fill(integer);
                    }
                    max = max.max(integer.unsigned_abs());
                    integer
                }
                None if exceptions.len() == exceptions_max => return None,
                None => {
                    exceptions.push((at, value.to_bits()));
                    integers.last().copied().unwrap_or(0)
                }
            };
            integers.push(integer);
        }
        Some(places)
    }

    /// The largest number that divides all steps. Where that is more than 1, the integers become
    /// counts of it, from 0 on.
    fn take_factor(&mut self) -> u64 {
        let mut factor = 0;
        for pair in self.integers.windows(2) {
            if let [a, b] = pair {
                factor = gcd(factor, b.wrapping_sub(*a).unsigned_abs());
                if factor == 1 {
                    return 1;
                }
            }
        }
        let origin = self.integers.first().copied().unwrap_or(0);
        let divisor = factor.max(1).cast_signed();
        if divisor > 1 {
            for integer in &mut self.integers {
                *integer = (*integer - origin) / divisor;
            }
        }
        factor.max(1)
    }

    fn first_step(&self) -> i64 {
        match self.integers[..] {
            [first, second, ..] => second.wrapping_sub(first),
            _ => 0,
        }
    }

    fn push_changes(&self, head: &mut Vec<u8>) {
        let mut last = 0;
        for (at, pair) in self.integers.windows(2).enumerate() {
            if let [a, b] = pair
                && a != b
            {
                // The value at 0 never is a change; where one follows the other, the gap is 0.
                let at = at + 1;
                push(head, (at - last) as u64);
                push(head, zigzag(b.wrapping_sub(*a)).wrapping_sub(1));
                last = at + 1;
            }
        }
    }

    /// The step in the middle of some that are looked at.
    fn usual_step(&mut self) -> i64 {
        let every = self.integers.len().div_ceil(PROBES).max(1);
        self.probes.clear();
        let steps = self.integers.windows(2).step_by(every);
        self.probes.extend(steps.map(|pair| match pair {
            [a, b] => b.wrapping_sub(*a),
            _ => 0,
        }));
        let middle = self.probes.len() / 2;
        match self.probes.get(middle) {
            Some(_) => *self.probes.select_nth_unstable(middle).1,
            None => 0,
        }
    }

    /// What takes the fewest bits. Steps less the usual one and differences of steps must be
    /// clearly better than plain steps, which repeat from series to series.
    fn plan(&mut self, lowest: i64) -> Plan {
        let usual = self.usual_step();
        let (mut levels, mut steps, mut unusual, mut curves) = (0, 0, 0, 0);
        let mut last = self.integers.first().copied().unwrap_or(0);
        let mut last_step = self.first_step();
        for &integer in &self.integers {
            let step = integer.wrapping_sub(last);
            levels += width(integer.wrapping_sub(lowest).cast_unsigned());
            steps += width(zigzag(step));
            unusual += width(zigzag(step.wrapping_sub(usual)));
            curves += width(zigzag(step.wrapping_sub(last_step)));
            (last, last_step) = (integer, step);
        }
        let len = self.integers.len() as u64;
        let plans = [
            (levels, LEVELS, 0, 0),
            (steps, STEPS, 0, 0),
            (unusual, STEPS, usual, len * 3 / 10),
            (curves, CURVES, 0, len * 3 / 20),
        ];
        let best = plans.into_iter().min_by_key(|(bits, _, _, margin)| bits + margin);
        let (cost_bits, codec, usual, _) = best.unwrap_or((0, STEPS, 0, 0));
        Plan { codec, cost_bits, usual }
    }

    fn fill_words(&mut self, plan: &Plan, lowest: i64) {
        let Self { integers, words, .. } = self;
        words.clear();
        if plan.codec == LEVELS {
            words.extend(integers.iter().map(|int| int.wrapping_sub(lowest).cast_unsigned()));
            return;
        }
        // The first integer is in the head, and so is the first of all steps when the words are
        // differences of steps.
        let steps = integers.windows(2).map(|pair| match pair {
            [a, b] => b.wrapping_sub(*a),
            _ => 0,
        });
        words.push(0);
        if plan.codec == STEPS {
            words.extend(steps.map(|step| zigzag(step.wrapping_sub(plan.usual))));
        } else {
            let mut last = steps.clone().next().unwrap_or(0);
            words.extend(steps.map(|step| {
                let word = zigzag(step.wrapping_sub(last));
                last = step;
                word
            }));
        }
    }
}

fn exceptions_max(len: usize) -> usize {
    1 + len / EXCEPTION_SHARE
}

fn is_sparse(changes: usize, len: usize) -> bool {
    changes * SPARSE_SHARE < len
}

/// Bits of a word.
#[inline]
fn width(word: u64) -> u64 {
    u64::from(u64::BITS - word.leading_zeros())
}

#[inline]
fn place(value: f64) -> i64 {
    order(value.to_bits().cast_signed())
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The integer next to a float below 2^53; of two that are as near, the one further from 0.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "what does not fit becomes the largest")]
fn nearest(value: f64) -> i64 {
    // Where a half is not lost in rounding.
    if value.abs() < INTEGER_MAX / 2.0 {
        (value + 0.5_f64.copysign(value)) as i64
    } else {
        value as i64
    }
}

/// The integer that gives exactly `value` when it is divided by ten to the `places`.
#[inline]
fn scaled(value: f64, places: usize) -> Option<i64> {
    let power = POWERS.get(places)?;
    let product = value * power;
    // A NaN fails both comparisons, and -0 the second.
    if product.abs() < INTEGER_MAX {
        let integer = nearest(product);
        if quotient(integer, *power).to_bits() == value.to_bits() {
            return Some(integer);
        }
    }
    None
}

/// The places with which floats, as decimals and how far they are from those, take clearly fewer
/// bits than as floats; judged by some of the steps.
fn near_places(values: &[f64]) -> Option<usize> {
    let every = values.len().div_ceil(PROBES).max(1);
    let pairs = || values.windows(2).step_by(every);
    let step = |of: &dyn Fn(f64) -> i64, pair: &[f64]| match *pair {
        [a, b] => width(zigzag(of(b).wrapping_sub(of(a)))),
        _ => 0,
    };
    let mut best = (pairs().map(|pair| step(&place, pair)).sum::<u64>(), None);
    for places in NEAR_PLACES {
        let power = *POWERS.get(places)?;
        let cost = |pair: &[f64]| {
            let further = pair.first().map_or(0, |&value| {
                place(value).wrapping_sub(place(quotient(nearest(value * power), power)))
            });
            step(&|value| nearest(value * power), pair) + width(zigzag(further))
        };
        let bits: u64 = pairs().map(cost).sum();
        if bits + bits / 8 < best.0
            && values.iter().all(|value| (value * power).abs() < INTEGER_MAX)
        {
            best = (bits, Some(places));
        }
    }
    best.1
}
