//! Columns of times and of values as bytes, each value column by the codec that suits it.
//!
//! A value column becomes a *head*, which says what it is, and mostly a *lane*: one small integer a
//! value, all in as many bits as the largest needs. Lanes are kept in *planes*, all highest bytes
//! first, so that a zstd pass finds bytes that are alike next to each other: it codes the high
//! ones by how frequent they are, finds what repeats, and leaves noise as it is. Bit-exact for
//! every float: stale markers and other NaNs, -0, denormals, infinities. Pure; the layouts are in
//! `docs/formats/store.md`.
//!
//! - `times`: columns of times, which have no head.
//! - `encode`: picks the codec by what it would cost; `decode`: head and lane back to values.
//! - `v1`: columns of the first version of blobs, to read only.

use crate::varint::Malformed;

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod times;
pub(crate) mod v1;

pub(crate) use decode::{Lane, values_into};
pub(crate) use encode::Encoder;
pub(crate) use times::{push_times, times};

/// Samples of one series in one blob. A day at ten samples a second; more become another blob.
pub(crate) const COLUMN_LEN_MAX: usize = 900_000;

/// All values have the same bits.
const CONSTANT: u8 = 0;
/// Few values differ from the one before: where they do, and by how much. No lane.
const SPARSE: u8 = 1;
/// The lane has how far each integer is above the lowest.
const LEVELS: u8 = 2;
/// The lane has the steps from integer to integer.
const STEPS: u8 = 3;
/// The lane has the differences between steps.
const CURVES: u8 = 4;

/// Decimal places that are tried. Sensors and counters have up to nine (nanoseconds as seconds).
const PLACES_MAX: usize = 9;
const POWERS: [f64; PLACES_MAX + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Below this every integer is a float of its own.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// What the integers of a column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// The value is the integer divided by ten to the places.
    Decimal(usize),
    /// As `Decimal`, and as many floats further as the second lane says.
    Corrected(usize),
    /// The integer is the place of the float among all floats.
    Float,
}

const CORRECTED_BYTE: u8 = 16;
const FLOAT_BYTE: u8 = 32;

impl Scale {
    fn byte(self) -> u8 {
        // Places are at most nine.
        let byte = |places: usize| u8::try_from(places).unwrap_or(u8::MAX);
        match self {
            Self::Decimal(places) => byte(places),
            Self::Corrected(places) => CORRECTED_BYTE + byte(places),
            Self::Float => FLOAT_BYTE,
        }
    }

    fn of_byte(byte: u8) -> Result<Self, Malformed> {
        let places = usize::from(byte % CORRECTED_BYTE);
        match byte / CORRECTED_BYTE {
            0 if places <= PLACES_MAX => Ok(Self::Decimal(places)),
            1 if places <= PLACES_MAX => Ok(Self::Corrected(places)),
            2 if places == 0 => Ok(Self::Float),
            _ => Err(Malformed("scale")),
        }
    }
}

/// How the lane of a column lies in bytes: 0 when there is none, 1 and 2 for two and four bits a
/// value, `2 + n` for n bytes a value; and [`Shape::TWO_LANES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape(u8);

impl Shape {
    pub(crate) const NONE: Self = Self(0);
    const BYTE: u8 = 3;
    const WIDTH_MAX: u8 = Self::BYTE + 7;
    /// The lane is twice as long: the integers, then the corrections.
    const TWO_LANES: u8 = 16;

    /// The narrowest for words up to `max`.
    fn of(max: u64, two_lanes: bool) -> Self {
        let bits = u64::BITS - max.leading_zeros();
        let bytes = u8::try_from(bits.div_ceil(8)).unwrap_or(8).max(1);
        match (bits, two_lanes) {
            (..=2, false) => Self(1),
            (..=4, false) => Self(2),
            (_, false) => Self(Self::BYTE - 1 + bytes),
            // Only whole bytes let the second lane begin anywhere.
            (_, true) => Self((Self::BYTE - 1 + bytes) | Self::TWO_LANES),
        }
    }

    pub(crate) const fn byte(self) -> u8 {
        self.0
    }

    pub(crate) fn of_byte(byte: u8) -> Result<Self, Malformed> {
        let width = byte & !Self::TWO_LANES;
        let whole_bytes = (Self::BYTE..=Self::WIDTH_MAX).contains(&width);
        if whole_bytes || byte < Self::BYTE { Ok(Self(byte)) } else { Err(Malformed("shape")) }
    }

    const fn has_two_lanes(self) -> bool {
        self.0 & Self::TWO_LANES != 0
    }

    /// Bits of a value when those are fewer than eight.
    const fn bits(self) -> Option<u32> {
        match self.0 {
            1 => Some(2),
            2 => Some(4),
            _ => None,
        }
    }

    pub(crate) fn planes(self) -> usize {
        let width = usize::from(self.0 & !Self::TWO_LANES);
        if self.bits().is_some() { 1 } else { width.saturating_sub(2) }
    }

    /// Bytes of one plane of a column with this many values.
    pub(crate) const fn plane_len(self, count: usize) -> usize {
        match self.bits() {
            Some(bits) => count.div_ceil((8 / bits) as usize),
            None if self.0 == 0 => 0,
            None if self.has_two_lanes() => 2 * count,
            None => count,
        }
    }

    /// Appends words, plane by plane.
    fn push_words(self, words: &[u64], out: &mut Vec<u8>) {
        if let Some(bits) = self.bits() {
            let in_byte = (8 / bits) as usize;
            out.extend(words.chunks(in_byte).map(|words| {
                let all = words.iter().rev().fold(0, |all, word| all << bits | word);
                (all & 0xff) as u8
            }));
            return;
        }
        for plane in (0..self.planes()).rev() {
            out.extend(words.iter().map(|word| ((word >> (8 * plane)) & 0xff) as u8));
        }
    }
}

/// The place of a float among all floats, from the lowest NaN to the highest. Its own inverse.
const fn order(bits: i64) -> i64 {
    // The bits of negative floats count backwards.
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

#[expect(clippy::cast_precision_loss, reason = "encoders write integers up to 2^53")]
#[inline]
fn quotient(integer: i64, power: f64) -> f64 {
    integer as f64 / power
}

/// A head and a shape in words, for people who measure.
#[cfg(feature = "fuzzing")]
pub(crate) fn describe(head: &[u8], shape: Shape) -> String {
    let codec = match head.first() {
        None => "empty",
        Some(&CONSTANT) => return "constant".to_owned(),
        Some(&SPARSE) => "sparse",
        Some(&LEVELS) => "levels",
        Some(&STEPS) => "steps",
        Some(_) => "curves",
    };
    let scale = match head.get(1).map(|&byte| Scale::of_byte(byte)) {
        Some(Ok(Scale::Decimal(_))) => "decimals",
        Some(Ok(Scale::Corrected(_))) => "decimals corrected",
        _ => "floats",
    };
    let width = match (shape.bits(), shape.planes()) {
        (Some(bits), _) => format!(", {bits} bits"),
        (None, 0) => String::new(),
        (None, bytes) => format!(", {} bits", 8 * bytes),
    };
    format!("{codec} of {scale}{width}")
}
