//! Times as Alertmanager's API reads and writes them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A time of the API: RFC 3339 with three decimals, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) i64);

/// The time that in Go stands for none: the first moment of the year 1.
const NONE_MS: i64 = -62_135_596_800_000;

impl Time {
    /// The time in milliseconds, unless it is the one that stands for none.
    pub(crate) fn known_ms(self) -> Option<i64> {
        (self.0 != NONE_MS).then_some(self.0)
    }

    /// Reads RFC 3339, and without an offset (then of UTC) or without a time of day as well, as
    /// Alertmanager does. An empty text is the time that stands for none.
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(NONE_MS));
        }
        let instant = text.parse::<Timestamp>().ok();
        let civil = || {
            let day =
                text.parse::<Date>().map(|day| day.to_datetime(jiff::civil::Time::midnight()));
            let civil = text.parse::<DateTime>().or(day).ok()?;
            civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        };
        let instant = instant.or_else(civil)?;
        Some(Self(instant.as_millisecond()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let not = || D::Error::custom(format!("not a time such as 2026-11-22T03:34:23Z: {text:?}"));
        Self::read(&text).ok_or_else(not)
    }
}

/// `ms` as `2026-11-22T03:34:23.128Z`; a time that no calendar has, as the nearest that one has.
pub(crate) fn format(ms: i64) -> String {
    let ms = ms.max(crate::http::TIME_MIN_MS);
    let instant = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{instant:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_three_decimals() {
        assert_eq!(format(1_795_318_463_128), "2026-11-22T03:34:23.128Z");
        assert_eq!(format(1_795_318_463_000), "2026-11-22T03:34:23.000Z");
        assert_eq!(format(NONE_MS), "0001-01-01T00:00:00.000Z");
        assert!(format(i64::MAX).starts_with("9999-12-3"));
    }

    #[test]
    fn times_are_read_in_all_their_forms() {
        let ms = 1_795_318_463_000;
        for (text, expected) in [
            ("2026-11-22T03:34:23Z", ms),
            ("2026-11-22T04:34:23+01:00", ms),
            ("2026-11-22T03:34:23.128999999Z", ms + 128),
            ("2026-11-22T03:34:23", ms),
            ("2026-11-22 03:34:23", ms),
            ("2026-11-22", ms - (3 * 3600 + 34 * 60 + 23) * 1000),
        ] {
            assert_eq!(Time::read(text), Some(Time(expected)), "{text}");
        }
        for none in ["", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"] {
            assert_eq!(Time::read(none).map(Time::known_ms), Some(None), "{none}");
        }
        for wrong in ["nonsense", "x", "2026-13-01T00:00:00Z", "12"] {
            assert_eq!(Time::read(wrong), None, "{wrong}");
        }
    }
}
