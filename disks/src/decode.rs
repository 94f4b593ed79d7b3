//! Raw values of ATA attributes into numbers.
//!
//! A raw value is 48 bits in which each vendor packs what it likes. smartctl knows many of the
//! packings and prints text; its JSON has the bits, too. Both are read here and give the same
//! numbers. What is not a number that the attribute can have (all bits set, more sectors than a
//! disk has) gives none.

use serde::Deserialize;

/// How a raw value is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// A count, in the text's first number or the lowest of the bits.
    #[default]
    Count,
    /// A count of 16 bits, with other numbers above it.
    Count16,
    /// Seagate's rates: errors in the upper 16 bits, operations in the lower 32.
    Rate,
    /// Seagate's timeouts: all, those over 5 s and those over 7.5 s, in 16 bits each.
    Timeouts,
    /// Hours, in the lower 32 bits or as smartctl writes times.
    Hours,
    /// A temperature in the lowest byte; some have the extremes above it.
    Celsius,
    /// A percentage.
    Percent,
    /// Hundredths of a percent in the lowest 16 bits.
    PercentHundredths,
    /// Not to be decoded.
    Opaque,
}

/// One number of a raw value, by its name as in the label `part`.
pub type Part = (&'static str, f64);

/// Bits of an attribute's raw value.
const RAW_BITS: u32 = 48;
const RAW_MAX: u64 = (1 << RAW_BITS) - 1;
/// Values that mean "not there": all bits of 16, 32 or 48 set.
const UNSET: [u64; 3] = [0xFFFF, 0xFFFF_FFFF, RAW_MAX];
/// A count above this is one with something packed above its lowest 16 bits: no disk survives as
/// many events.
const COUNT_MAX: u64 = 0xFF_FFFF;
const LOW_16: u64 = 0xFFFF;
const LOW_32: u64 = 0xFFFF_FFFF;
/// Hours of an attribute: a century, as a bound for what is believed.
const HOURS_MAX: u64 = 1_000_000;
/// Degrees that a sensor of a disk in use can have. 0 and below -40 are sensors that are not there.
const CELSIUS: std::ops::RangeInclusive<i64> = -40..=125;

/// A raw value, and what stands beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packed<'a> {
    /// As smartctl prints it.
    pub text: Option<&'a str>,
    /// The same as a number, where it is one.
    pub raw: Option<u64>,
    /// The normalised value.
    pub value: Option<u8>,
}

/// How large a count can be before it must show in the normalised value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It need not show there.
    None,
    /// Events of which a disk does not survive 65,536.
    Events,
    /// Sectors that cannot be read: likewise, and firmware keeps other numbers in their place.
    Sectors,
}

/// Where normalised values begin.
const STARTS: [u8; 6] = [100, 200, 252, 253, 254, 255];

/// What the normalised value says of a plain count: that one of all 16 bits is full and not
/// missing, or that one beyond 16 bits is packed. `None` when it says nothing, and `Some(None)`
/// when it says that there is no count.
pub fn count_beside(packed: Packed<'_>, bound: Bound) -> Option<Option<u64>> {
    let text = packed.text.map(str::trim).filter(|text| !text.is_empty());
    let number = match text {
        Some(text) => text.parse::<u64>().ok()?,
        None => packed.raw?,
    };
    let value = packed.value.filter(|value| *value > 0)?;
    let is_at_start = STARTS.contains(&value);
    match number {
        LOW_16 if !is_at_start => Some(Some(LOW_16)),
        _ if !is_at_start || UNSET.contains(&number) => None,
        0..=LOW_16 => None,
        0..=COUNT_MAX if bound != Bound::None => Some(Some(number & LOW_16)),
        _ if number > COUNT_MAX && bound == Bound::Sectors => Some(None),
        _ => None,
    }
}

/// The numbers in `text`, the raw value as smartctl prints it, or else in its bits `raw`.
///
/// Nothing when there is no number that can be believed.
pub fn decode(packing: Packing, text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    // A plain number is the same in both.
    let plain = text.and_then(|text| text.parse::<u64>().ok());
    let raw = raw.or(plain);
    let text = text.filter(|_| plain.is_none());
    match packing {
        Packing::Count => count(text, raw, false),
        Packing::Count16 => count(text, raw, true),
        Packing::Rate => rate(text, raw),
        Packing::Timeouts => timeouts(text, raw),
        Packing::Hours => hours(text, raw),
        Packing::Celsius => celsius(text, raw),
        Packing::Percent => percent(text, raw),
        Packing::PercentHundredths => hundredths(text, raw),
        Packing::Opaque => Vec::new(),
    }
}

/// Numbers in a text, separated by anything but digits; a minus directly before one counts.
fn numbers(text: &str) -> Vec<i64> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let negative = rest.get(..at).is_some_and(|before| before.ends_with('-'));
        let tail = rest.get(at..).unwrap_or_default();
        let len = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (digits, next) = tail.split_at(len);
        if let Ok(number) = digits.parse::<i64>() {
            found.push(if negative { -number } else { number });
        }
        rest = next;
    }
    found
}

fn first(text: &str) -> Option<u64> {
    // Hexadecimal words are vendors' own business.
    if text.starts_with("0x") {
        return None;
    }
    numbers(text).first().and_then(|&number| u64::try_from(number).ok())
}

fn count(text: Option<&str>, raw: Option<u64>, low_16: bool) -> Vec<Part> {
    let found = match text {
        Some(text) => first(text),
        None => raw.filter(|raw| *raw <= RAW_MAX),
    };
    let Some(found) = found.filter(|found| !UNSET.contains(found)) else { return Vec::new() };
    let count = if low_16 || found > COUNT_MAX { found & LOW_16 } else { found };
    if count == LOW_16 {
        return Vec::new();
    }
    vec![("count", count as f64)]
}

/// `2765/13191816`, or the bits of that. The upper 16 of 48 bits are errors.
fn rate(text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let pair = match text {
        Some(text) => {
            let Some((errors, operations)) = text.split_once('/') else { return Vec::new() };
            errors.trim().parse::<u64>().ok().zip(operations.trim().parse::<u64>().ok())
        }
        None => raw.filter(|raw| *raw < RAW_MAX).map(|raw| (raw >> 32, raw & LOW_32)),
    };
    pair.map_or_else(Vec::new, |(errors, operations)| {
        vec![("errors", errors as f64), ("operations", operations as f64)]
    })
}

/// `8 8 32`: the words from the highest on; the lowest counts all.
fn timeouts(text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let words = match text {
        Some(text) => match numbers(text).as_slice() {
            &[over_7_5, over_5, all] => [over_7_5, over_5, all].map(u64::try_from),
            _ => return Vec::new(),
        },
        None => match raw.filter(|raw| !UNSET.contains(raw) && *raw <= RAW_MAX) {
            Some(raw) => [raw >> 32, (raw >> 16) & LOW_16, raw & LOW_16].map(Ok),
            None => return Vec::new(),
        },
    };
    let [Ok(over_7_5), Ok(over_5), Ok(all)] = words else { return Vec::new() };
    vec![("count", all as f64), ("over_5s", over_5 as f64), ("over_7_5s", over_7_5 as f64)]
}

/// `12345`, `12345h+12m+3.4s`, `12345 (237 33 0)`, or the lower 32 bits.
fn hours(text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let hours = match text {
        Some(text) => first(text),
        None => raw.filter(|raw| *raw <= RAW_MAX).map(|raw| raw & LOW_32),
    };
    let hours = hours.filter(|hours| *hours <= HOURS_MAX);
    hours.map_or_else(Vec::new, |hours| vec![("hours", hours as f64)])
}

/// `34 (Min/Max 20/45)`, `29 (0 18 0 0 0)`, or the lowest byte.
fn celsius(text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let mut parts = Vec::new();
    let (now, extremes) = match text {
        Some(text) => {
            let found = numbers(text);
            let extremes =
                text.contains("Min/Max").then(|| (found.get(1).copied(), found.get(2).copied()));
            (found.first().copied(), extremes)
        }
        // The lowest byte is signed.
        None => {
            let byte = raw.and_then(|raw| u8::try_from(raw & 0xFF).ok());
            (byte.map(|byte| i64::from(byte.cast_signed())), None)
        }
    };
    let believed = |celsius: i64| CELSIUS.contains(&celsius) && celsius != 0;
    if let Some(now) = now.filter(|now| believed(*now)) {
        parts.push(("celsius", now as f64));
        if let Some((Some(min), Some(max))) = extremes
            && min <= max
            && CELSIUS.contains(&min)
            && CELSIUS.contains(&max)
        {
            parts.extend([("min", min as f64), ("max", max as f64)]);
        }
    }
    parts
}

fn percent(text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let found = text.map_or(raw, first).filter(|percent| *percent <= 100);
    found.map_or_else(Vec::new, |percent| vec![("percent", percent as f64)])
}

/// `2567 1355 2567`, `0x022502460246`, or the lowest 16 bits: 100 is one percent.
fn hundredths(text: Option<&str>, raw: Option<u64>) -> Vec<Part> {
    let found = match text {
        Some(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => numbers(text).last().and_then(|&last| u64::try_from(last).ok()),
        },
        None => raw,
    };
    let found = found.map(|bits| bits & LOW_16).filter(|word| *word != LOW_16);
    found.map_or_else(Vec::new, |word| vec![("percent", word as f64 / 100.0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(packing: Packing, text: &str) -> Vec<Part> {
        decode(packing, Some(text), None)
    }

    fn bits(packing: Packing, raw: u64) -> Vec<Part> {
        decode(packing, None, Some(raw))
    }

    #[test]
    fn counts() {
        assert_eq!(text(Packing::Count, "1040"), [("count", 1040.0)]);
        assert_eq!(text(Packing::Count, "256 (0 31)"), [("count", 256.0)]);
        assert_eq!(text(Packing::Count, "25 (0 6400)"), [("count", 25.0)]);
        // Packed by a Travelstar: 1, 84 and 161 in words of 16 bits.
        assert_eq!(bits(Packing::Count, 691_495_239_681), [("count", 1.0)]);
        assert_eq!(bits(Packing::Count16, 31 << 16 | 256), [("count", 256.0)]);
        // As versions before 6 print it: 168 sectors, and 18 above them.
        assert_eq!(text(Packing::Count16, "1179816"), [("count", 168.0)]);
        assert_eq!(text(Packing::Count, "159783"), [("count", 159_783.0)]);
        for unset in [0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF] {
            assert_eq!(bits(Packing::Count, unset), []);
        }
        assert_eq!(text(Packing::Count, "65535 (65535 65535)"), []);
        assert_eq!(text(Packing::Count, "0x000503780201"), []);
    }

    #[test]
    fn the_normalised_value_tells_full_from_missing_and_packed_from_many() {
        let beside = |number: u64, value: u8, bound| {
            count_beside(Packed { text: None, raw: Some(number), value: Some(value) }, bound)
        };
        for (number, value, bound, expected) in [
            (65_535, 1, Bound::Events, Some(Some(65_535))),
            (65_535, 1, Bound::None, Some(Some(65_535))),
            (65_535, 100, Bound::Events, None),
            (65_535, 0, Bound::Events, None),
            (65_536, 200, Bound::Sectors, Some(Some(0))),
            (131_072, 100, Bound::Events, Some(Some(0))),
            (131_072, 60, Bound::Events, None),
            (131_072, 100, Bound::None, None),
            (8, 100, Bound::Sectors, None),
            (98_943_383, 100, Bound::Sectors, Some(None)),
            (98_943_383, 1, Bound::Sectors, None),
            (54_579_868, 100, Bound::Events, None),
            (0xFFFF_FFFF_FFFF, 100, Bound::Sectors, None),
        ] {
            assert_eq!(beside(number, value, bound), expected, "{number} {value} {bound:?}");
        }
        let words = Packed { text: Some("65535 (1 2)"), raw: None, value: Some(1) };
        assert_eq!(count_beside(words, Bound::Events), None);
    }

    #[test]
    fn seagate_rates_are_errors_over_operations() {
        let parts = [("errors", 0.0), ("operations", 168_165_566.0)];
        assert_eq!(bits(Packing::Rate, 168_165_566), parts);
        let parts = [("errors", 10.0), ("operations", 607_137_795.0)];
        assert_eq!(bits(Packing::Rate, 43_556_810_755), parts);
        let parts = [("errors", 2765.0), ("operations", 13_191_816.0)];
        assert_eq!(text(Packing::Rate, "2765/13191816"), parts);
    }

    #[test]
    fn seagate_timeouts_are_three_counters() {
        let parts = [("count", 32.0), ("over_5s", 8.0), ("over_7_5s", 8.0)];
        assert_eq!(text(Packing::Timeouts, "8 8 32"), parts);
        assert_eq!(bits(Packing::Timeouts, 8 << 32 | 8 << 16 | 32), parts);
        let parts = [("count", 4.0), ("over_5s", 4.0), ("over_7_5s", 4.0)];
        assert_eq!(bits(Packing::Timeouts, 17_180_131_332), parts);
        assert_eq!(bits(Packing::Timeouts, 0xFFFF_FFFF), []);
    }

    #[test]
    fn hours_in_all_their_forms() {
        for form in ["12345", "12345h+12m+3.4s", "12345 (237 33 0)", "12345h+01m"] {
            assert_eq!(text(Packing::Hours, form), [("hours", 12345.0)], "{form}");
        }
        assert_eq!(bits(Packing::Hours, 237 << 40 | 12345), [("hours", 12345.0)]);
        assert_eq!(bits(Packing::Hours, 0xFFFF_FFFF), []);
    }

    #[test]
    fn temperatures() {
        let parts = [("celsius", 34.0), ("min", 20.0), ("max", 45.0)];
        assert_eq!(text(Packing::Celsius, "34 (Min/Max 20/45)"), parts);
        let parts = [("celsius", 31.0), ("min", -21.0), ("max", 46.0)];
        assert_eq!(text(Packing::Celsius, "31 (Min/Max -21/46)"), parts);
        assert_eq!(text(Packing::Celsius, "29 (0 18 0 0 0)"), [("celsius", 29.0)]);
        assert_eq!(bits(Packing::Celsius, 45 << 32 | 20 << 16 | 34), [("celsius", 34.0)]);
        assert_eq!(text(Packing::Celsius, "0"), [], "a sensor that is not there");
    }

    #[test]
    fn percentages() {
        assert_eq!(text(Packing::Percent, "74"), [("percent", 74.0)]);
        assert_eq!(bits(Packing::Percent, 64_424_509_441), []);
        let parts = [("percent", 5.82)];
        assert_eq!(text(Packing::PercentHundredths, "0x022502460246"), parts);
        assert_eq!(text(Packing::PercentHundredths, "2567 1355 2567"), [("percent", 25.67)]);
        assert_eq!(bits(Packing::PercentHundredths, 0x0225_0246_0246), parts);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_gives_what_no_disk_has(
            text in "[-0-9 ()/hmsx.+a-zA-Z]{0,40}", raw in any::<u64>(), with in any::<bool>(),
        ) {
            for packing in [
                Packing::Count, Packing::Count16, Packing::Rate, Packing::Timeouts,
                Packing::Hours, Packing::Celsius, Packing::Percent,
                Packing::PercentHundredths, Packing::Opaque,
            ] {
                let text = with.then_some(text.as_str());
                for (_, number) in decode(packing, text, Some(raw)) {
                    prop_assert!(number.is_finite());
                }
            }
        }
    }
}
