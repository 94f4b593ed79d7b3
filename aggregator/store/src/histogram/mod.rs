//! Native histograms in a store of floats.
//!
//! A histogram is kept as the numbers it is made of, its *parts*: each is a sample of a series of
//! its own, which has the labels of the histogram's series and [`HISTOGRAM_LABEL`] with the part's
//! name. So logs, columns, compression and retention are those of any series. The part `shape` is
//! the head of them: it says what kind of histogram it is and how many parts there are, so that
//! one of which a part was lost is seen to be broken and left out.
//!
//! No reader sees the series of parts, and no sender may use the label: `index::hidden` sees to
//! that, and `write` to the latter. Here is what parts there are, and how a histogram is taken
//! apart; `read` puts them together.

mod read;

use std::fmt;
use std::str::FromStr;

use labstat_model::{BucketCount, HISTOGRAM_LABEL, Histogram, Labels, ResetHint};

/// The name of the part that every histogram has.
pub(crate) const SHAPE: &str = "shape";

/// The least schema there is stands at zero in a shape.
const SCHEMA_OFFSET: i32 = 64;

/// Bits of a shape: of the hint, and of hint and schema together.
const HINT_BITS: u32 = 2;
const KIND_BITS: u32 = 9;

/// A part of a histogram. Ascending, buckets and bounds stand in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Shape,
    Count,
    Sum,
    ZeroCount,
    ZeroThreshold,
    Positive(i32),
    Negative(i32),
    Bound(u32),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => f.write_str(SHAPE),
            Self::Count => f.write_str("count"),
            Self::Sum => f.write_str("sum"),
            Self::ZeroCount => f.write_str("zero_count"),
            Self::ZeroThreshold => f.write_str("zero_threshold"),
            Self::Positive(index) => write!(f, "p:{index}"),
            Self::Negative(index) => write!(f, "n:{index}"),
            Self::Bound(at) => write!(f, "b:{at}"),
        }
    }
}

/// A label's value that names no part.
#[derive(Debug)]
pub(crate) struct NoPart;

impl FromStr for Part {
    type Err = NoPart;

    fn from_str(text: &str) -> Result<Self, NoPart> {
        let part = match text {
            SHAPE => Some(Self::Shape),
            "count" => Some(Self::Count),
            "sum" => Some(Self::Sum),
            "zero_count" => Some(Self::ZeroCount),
            "zero_threshold" => Some(Self::ZeroThreshold),
            other => match other.split_once(':') {
                Some(("p", index)) => index.parse().ok().map(Self::Positive),
                Some(("n", index)) => index.parse().ok().map(Self::Negative),
                Some(("b", at)) => at.parse().ok().map(Self::Bound),
                _ => None,
            },
        };
        part.ok_or(NoPart)
    }
}

/// The labels of the series of a part.
pub(crate) fn part_labels(base: &Labels, part: Part) -> Labels {
    base.with(HISTOGRAM_LABEL, &part.to_string())
}

/// What kind of histogram one is, and of how many further parts it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shape {
    hint: ResetHint,
    schema: i32,
    parts: usize,
}

impl Shape {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand parts are a small number")]
    fn to_number(self) -> f64 {
        let schema = u64::from(self.schema.saturating_add(SCHEMA_OFFSET).max(0).unsigned_abs());
        let kind = schema << HINT_BITS | self.hint as u64;
        ((self.parts as u64) << KIND_BITS | kind) as f64
    }

    fn of_number(number: f64) -> Option<Self> {
        // What is no whole number of such a size was never written.
        let is_whole = number >= 0.0 && number < f64::from(u32::MAX) && number.fract() == 0.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let bits = is_whole.then_some(number as u64)?;
        let schema = (bits >> HINT_BITS) & ((1 << (KIND_BITS - HINT_BITS)) - 1);
        Some(Self {
            hint: ResetHint::of_number(bits & ((1 << HINT_BITS) - 1)),
            schema: i32::try_from(schema).ok()? - SCHEMA_OFFSET,
            parts: usize::try_from(bits >> KIND_BITS).ok()?,
        })
    }
}

/// The parts of a histogram, the shape first.
pub(crate) fn parts(histogram: &Histogram) -> Vec<(Part, f64)> {
    let mut parts =
        vec![(Part::Shape, 0.0), (Part::Count, histogram.count), (Part::Sum, histogram.sum)];
    if !histogram.is_custom() {
        parts.push((Part::ZeroCount, histogram.zero_count));
        parts.push((Part::ZeroThreshold, histogram.zero_threshold));
    }
    let side =
        |part: fn(i32) -> Part| move |bucket: &BucketCount| (part(bucket.index), bucket.count);
    parts.extend(histogram.positive.iter().map(side(Part::Positive)));
    parts.extend(histogram.negative.iter().map(side(Part::Negative)));
    parts.extend((0..).zip(histogram.bounds.iter()).map(|(at, bound)| (Part::Bound(at), *bound)));
    // Every gauge and every reset is told by its sender; that a counter goes on is found out.
    let hint = match histogram.hint {
        ResetHint::Continued => ResetHint::Unknown,
        other => other,
    };
    let shape = Shape { hint, schema: histogram.schema, parts: parts.len() - 1 };
    if let Some((_, number)) = parts.first_mut() {
        *number = shape.to_number();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_read_back() {
        let parts = [
            Part::Shape,
            Part::Count,
            Part::Sum,
            Part::ZeroCount,
            Part::ZeroThreshold,
            Part::Positive(-12),
            Part::Negative(i32::MAX),
            Part::Bound(511),
        ];
        for part in parts {
            assert_eq!(part.to_string().parse::<Part>().ok(), Some(part));
        }
        for text in ["", "p:", "q:1", "b:-1", "p:99999999999", "Shape"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }

    #[test]
    fn shapes_read_back_from_their_number() {
        for schema in Histogram::SCHEMAS.chain([Histogram::CUSTOM_SCHEMA]) {
            for hint in [ResetHint::Unknown, ResetHint::Reset, ResetHint::Gauge] {
                for parts in [2, 4, 1541] {
                    let shape = Shape { hint, schema, parts };
                    assert_eq!(Shape::of_number(shape.to_number()), Some(shape));
                }
            }
        }
        for number in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(Shape::of_number(number), None);
        }
    }
}
