//! Times as Ceph writes them.

/// Before this, 2000, a time means "never": Ceph writes zero as 1970 or as `0.000000`.
const NEVER_BEFORE: i64 = 946_684_800;

/// `2026-11-21T03:06:11.630298+0000` as seconds since the Unix epoch.
///
/// Nothing for "never", and for times without a zone: before Octopus Ceph wrote the local time of the
/// daemon, which nobody else knows.
pub fn seconds(text: &str) -> Option<f64> {
    let (date, rest) = text.split_once('T')?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut clock = clock.split(':');
    let hour: i64 = clock.next()?.parse().ok()?;
    let minute: i64 = clock.next()?.parse().ok()?;
    let second: f64 = clock.next()?.parse().ok()?;
    let is_sane = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second);
    if !is_sane {
        return None;
    }
    let whole = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 - offset(zone)?;
    // Whole seconds of this size have a floating point number each.
    (whole >= NEVER_BEFORE).then_some(whole as f64 + second)
}

/// `Z`, `+0000` or `+01:00` in seconds east.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { 0 } else { minutes.parse::<i64>().ok()? };
    let hours = hours.parse::<i64>().ok()?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, whose years are taken to begin in March
/// so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_zone() {
        for (text, wanted) in [
            ("2026-11-21T03:06:11.500000+0000", Some(1_795_230_371.5)),
            ("2026-11-21T03:06:11.500000Z", Some(1_795_230_371.5)),
            ("2026-11-21T04:06:11.500000+01:00", Some(1_795_230_371.5)),
            ("2026-11-20T22:06:11.500000-0500", Some(1_795_230_371.5)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800.0)),
            ("2000-01-01T00:00:00.0+0000", Some(946_684_800.0)),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }

    #[test]
    fn never_and_the_time_of_an_unknown_zone_are_absent() {
        for text in [
            "0.000000",
            "1970-01-01T00:00:00.000000+0000",
            "2018-11-07 14:17:12.324408",
            "2018-11-07T14:17:12.324408",
            "2018-13-07T14:17:12Z",
            "2018-11-07T24:17:12Z",
            "2018-11-07T14:17:nanZ",
            "2018-11-07T14:17:12+99",
            "2018-11-07T14:17:12+é9",
            "T+",
            "",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
