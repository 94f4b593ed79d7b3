//! Logs of ATA devices that count errors: the error log, device statistics, pending defects.

use nom::bytes::complete::tag;
use nom::character::complete::{char, digit1, space0, space1};
use nom::combinator::opt;
use nom::sequence::delimited;
use nom::{IResult, Parser};

use super::facts::set;
use super::number::{self, plain};
use super::push;
use crate::smartctl::{
    DeviceStatistics, LogCount, LoggedError, Report, Statistic, StatisticFlags, StatisticsPage,
};

/// Errors of a log. The extended one has up to four a sector; smartctl prints eight unless asked.
const ERRORS_MAX: usize = 1024;
/// Pages of device statistics, one byte counts them.
const PAGES_MAX: usize = 256;
/// Statistics of a page: 512 bytes, eight each.
const STATISTICS_MAX: usize = 64;

/// The error log, the extended one or the one of before.
pub(super) fn errors(report: &mut Report, extended: bool) -> &mut LogCount {
    let logs = report.ata_smart_error_log.get_or_insert_default();
    let log = if extended { &mut logs.extended } else { &mut logs.summary };
    log.get_or_insert_default()
}

/// A line of an error log that begins an error, or tells what it was.
pub(super) fn error(report: &mut Report, extended: bool, line: &str) -> Option<()> {
    if let Ok((_, (error_number, lifetime_hours))) = occurred(line) {
        let error = LoggedError {
            error_number: Some(error_number),
            lifetime_hours: Some(lifetime_hours),
            error_description: None,
        };
        push(errors(report, extended).table.get_or_insert_default(), error, ERRORS_MAX);
        return Some(());
    }
    let description = described(line)?;
    let error = errors(report, extended).table.as_mut()?.last_mut()?;
    set(&mut error.error_description, Some(description.to_owned()));
    Some(())
}

/// `Error 12 [11] occurred at disk power-on lifetime: 1234 hours (51 days + 10 hours)`
fn occurred(line: &str) -> IResult<&str, (u64, u64)> {
    let index = delimited(tag(" ["), digit1, char(']'));
    let number = delimited(tag("Error "), plain, opt(index));
    let hours = delimited(tag(" occurred at disk power-on lifetime: "), plain, tag(" hours"));
    (number, hours).parse(line)
}

/// What follows the registers in `  40 51 00 ff ff ff 0f  Error: UNC at LBA = 0x0fffffff = …`.
fn described(line: &str) -> Option<&str> {
    let registers = line.trim_start();
    let (first, _) = registers.split_once(' ')?;
    if first.len() != 2 || !first.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    ["  Error: ", "  Device Fault"].iter().find_map(|begin| {
        let at = registers.find(begin)?;
        Some(registers.get(at..)?.trim())
    })
}

/// A row of the device statistics, or the heading of a page of them:
/// `0x07  0x008  1               4  N--  Percentage Used Endurance Indicator`. Versions before 6.4
/// have plain page numbers and a tilde in place of the flags.
pub(super) fn statistic(report: &mut Report, line: &str) -> Option<()> {
    let mut rest = line;
    let page = page_number(column(&mut rest)?)?;
    let offset = column(&mut rest)?;
    let statistics = report.ata_device_statistics.get_or_insert_default();
    if offset.starts_with("==") {
        begin_page(statistics, page, rest);
        return Some(());
    }
    let offset = u64::from_str_radix(offset.strip_prefix("0x")?, 16).ok()?;
    let size = column(&mut rest)?.parse().ok()?;
    let value = column(&mut rest)?;
    let (number, scaled) = match value.strip_suffix('~') {
        Some(number) => (number, true),
        None => (value, false),
    };
    let rest = rest.trim_start();
    let flags = rest.split(' ').next().filter(|it| is_flags(it));
    let name = rest.get(flags.map_or(0, str::len)..)?.trim();
    let value: Option<i64> = number.parse().ok();
    let statistic = Statistic {
        offset: Some(offset),
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        size: Some(size),
        value,
        flags: Some(StatisticFlags {
            valid: Some(value.is_some()),
            normalized: Some(scaled || flags.is_some_and(|flags| flags.contains('N'))),
        }),
    };
    let pages = statistics.pages.get_or_insert_default();
    let table = &mut pages.iter_mut().find(|it| it.number == Some(page))?.table;
    push(table.get_or_insert_default(), statistic, STATISTICS_MAX);
    Some(())
}

/// `=  =  ===  == Solid State Device Statistics (rev 1) ==`
fn begin_page(statistics: &mut DeviceStatistics, number: u64, heading: &str) {
    let text = heading.trim_start_matches([' ', '=']).trim_end_matches([' ', '=']);
    let (name, revision) = match text.rsplit_once(" (rev ") {
        Some((name, rest)) => (name, rest.split(')').next().and_then(number::whole)),
        None => (text, None),
    };
    let page = StatisticsPage {
        number: Some(number),
        name: Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
        revision,
        table: None,
    };
    push(statistics.pages.get_or_insert_default(), page, PAGES_MAX);
}

/// The next word of `rest`, and `rest` after it.
fn column<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start();
    let (word, after) = text.split_at_checked(text.find(' ')?)?;
    *rest = after;
    Some(word)
}

fn page_number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Three letters or dashes: condition met, notification, normalised.
fn is_flags(word: &str) -> bool {
    word.len() == 3 && word.bytes().all(|byte| byte == b'-' || byte.is_ascii_uppercase())
}

/// A line of the log of pending defects: `  0       123456789    12345`, or how many there are
/// beside those that are printed. `count` is that of the lines so far.
pub(super) fn pending_defect(count: &mut Option<u64>, line: &str) -> Option<()> {
    if line == "No Defects Logged" {
        *count = Some(0);
        return Some(());
    }
    let unread = delimited(tag("... ("), plain, tag(" entries not"));
    if let Ok((_, unread)) = { unread }.parse(line) {
        *count = Some(count.unwrap_or_default().saturating_add(unread));
        return Some(());
    }
    let (rest, index) = delimited(space0, plain, space1).parse(line).ok()?;
    let numbers = rest.split_whitespace().all(|word| word == "-" || word.parse::<u64>().is_ok());
    if !numbers || rest.split_whitespace().count() != 2 {
        return None;
    }
    *count = Some(index.saturating_add(1));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_an_age_and_a_description() {
        let mut report = Report::default();
        for line in [
            "Error 12 [11] occurred at disk power-on lifetime: 1234 hours (51 days + 10 hours)",
            "  -- -- -- == -- == == == -- -- -- -- --",
            "  40 -- 51 00 00 00 00 00 12 34 56 40 00  Error: UNC at LBA = 0x00123456 = 1193046",
            "  60 00 08 00 10 00 00 00 12 34 50 40 00     00:01:02.003  READ FPDMA QUEUED",
            "Error 11 [10] occurred at disk power-on lifetime: 1200 hours (50 days + 0 hours)",
        ] {
            error(&mut report, true, line);
        }
        let table = errors(&mut report, true).table.take().unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!((table[0].error_number, table[0].lifetime_hours), (Some(12), Some(1234)));
        assert_eq!(
            table[0].error_description.as_deref(),
            Some("Error: UNC at LBA = 0x00123456 = 1193046")
        );
        assert_eq!((table[1].lifetime_hours, &table[1].error_description), (Some(1200), &None));
    }

    #[test]
    fn statistics_of_all_versions() {
        for rows in [
            [
                "0x07  =====  =               =  ===  == Solid State Device Statistics (rev 1) ==",
                "0x07  0x008  1               4  N--  Percentage Used Endurance Indicator",
            ],
            [
                "  7  =====  =                =  == Solid State Device Statistics (rev 1) ==",
                "  7  0x008  1                4~ Percentage Used Endurance Indicator",
            ],
        ] {
            let mut report = Report::default();
            rows.iter().for_each(|row| statistic(&mut report, row).unwrap());
            let page = report.ata_device_statistics.unwrap().pages.unwrap().remove(0);
            assert_eq!(page.name.as_deref(), Some("Solid State Device Statistics"));
            assert_eq!((page.number, page.revision), (Some(7), Some(1)));
            let row = page.table.unwrap().remove(0);
            assert_eq!(row.name.as_deref(), Some("Percentage Used Endurance Indicator"));
            assert_eq!((row.offset, row.size, row.value), (Some(8), Some(1), Some(4)));
            let flags = row.flags.unwrap();
            assert_eq!((flags.valid, flags.normalized), (Some(true), Some(true)));
        }
        let mut report = Report::default();
        statistic(
            &mut report,
            "0x05  =====  =               =  ===  == Temperature Statistics (rev 1) ==",
        );
        statistic(&mut report, "0x05  0x020  1              -3  ---  Lowest Temperature");
        statistic(
            &mut report,
            "0x05  0x028  1               -  ---  Average Short Term Temperature",
        );
        let table = report.ata_device_statistics.unwrap().pages.unwrap().remove(0).table.unwrap();
        assert_eq!((table[0].value, table[1].value), (Some(-3), None));
    }

    #[test]
    fn pending_defects_are_counted() {
        for (lines, count) in [
            (&["No Defects Logged"][..], 0),
            (
                &[
                    "Index                LBA    Hours",
                    "    0          123456      789",
                    "    1          123464        -",
                ],
                2,
            ),
            (&["    9          123456      789", "... (5 entries not shown)"], 15),
        ] {
            let mut found = None;
            lines.iter().for_each(|line| {
                pending_defect(&mut found, line);
            });
            assert_eq!(found, Some(count));
        }
    }
}
