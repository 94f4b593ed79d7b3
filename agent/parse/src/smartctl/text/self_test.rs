//! Rows of the self-test logs of ATA, NVMe and SCSI devices.

use crate::smartctl::{NvmeSelfTest, PowerOnTime, ScsiSelfTest, SelfTest, SelfTestStatus, Text};

/// How the results of a self-test begin, so that they can be told from the name of the test
/// before them where columns have moved together.
const RESULTS: [&str; 12] = [
    " Completed",
    " Aborted",
    " Interrupted",
    " Fatal",
    " Self-test routine",
    " Self test in progress",
    " Unknown",
    " Failed",
    " Reserved",
    " Operation",
    " In progress",
    " Vendor",
];

/// `# 1  Short offline       Completed without error       00%     17586         -`
pub(super) fn ata(line: &str) -> Option<SelfTest> {
    let rest = numbered(line).or_else(|| listed(line))?;
    let (at, percent) = last_percent(rest)?;
    let (kind, status) = two_columns(rest.get(..at)?)?;
    let mut after = rest.get(at..)?.split_whitespace().skip(1);
    let hours = after.next()?.parse().ok()?;
    let lba = after.next().and_then(address);
    let failed = status.starts_with("Completed: ");
    Some(SelfTest {
        kind: text(kind),
        status: Some(SelfTestStatus {
            string: Some(status.to_owned()),
            // A test that was stopped neither passed nor failed.
            passed: (failed || status.starts_with("Completed")).then_some(!failed),
            remaining_percent: (percent > 0).then_some(percent),
            ..SelfTestStatus::default()
        }),
        lifetime_hours: Some(hours),
        lba,
    })
}

/// `18664237`, of versions before 5.40 `0x011ccd2d`.
fn address(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `2 of 3 failed self-tests are outdated by newer successful extended offline self-test # 1`
pub(super) fn outdated(line: &str) -> Option<(u64, u64)> {
    let (outdated, rest) = line.split_once(" of ")?;
    let (total, rest) = rest.split_once(' ')?;
    let numbers = (outdated.trim().parse().ok()?, total.parse().ok()?);
    rest.starts_with("failed self-tests are outdated").then_some(numbers)
}

/// The state of the last or running self-test of an ATA device, by its byte.
pub(super) fn state(byte: u64) -> SelfTestStatus {
    let (string, passed) = match byte >> 4 {
        0 => ("completed without error", Some(true)),
        1 => ("was aborted by the host", None),
        2 => ("was interrupted by the host with a reset", None),
        3 => ("could not complete due to a fatal or unknown error", None),
        4 => ("completed with error (unknown test element)", Some(false)),
        5 => ("completed with error (electrical test element)", Some(false)),
        6 => ("completed with error (servo/seek test element)", Some(false)),
        7 => ("completed with error (read test element)", Some(false)),
        8 => ("completed with error (handling damage?)", Some(false)),
        15 => {
            let tenths = byte & 15;
            return SelfTestStatus {
                value: Some(byte),
                string: Some(format!("in progress, {tenths}0% remaining")),
                remaining_percent: Some(tenths * 10),
                ..SelfTestStatus::default()
            };
        }
        _ => ("", None),
    };
    SelfTestStatus {
        value: Some(byte),
        string: Some(string.to_owned()).filter(|string| !string.is_empty()),
        passed,
        ..SelfTestStatus::default()
    }
}

/// ` 0   Short             Completed without error               37            -     -   -   -    -`
pub(super) fn nvme(line: &str) -> Option<NvmeSelfTest> {
    let rest = line.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=2).contains(&digits) {
        return None;
    }
    let rest = rest.get(digits..)?.strip_prefix(' ')?;
    // Failing_LBA, NSID, Seg, SCT and Code stand behind the hours; Seg came with version 7.4.
    let fields: Vec<_> = fields(rest).collect();
    let hours_at = (4..=5).find_map(|behind| {
        let at = fields.len().checked_sub(behind + 1)?;
        let is_value = |&(_, field): &(usize, &str)| {
            // An asterisk stands for all namespaces.
            field == "-" || field == "*" || field.starts_with(|c: char| c.is_ascii_digit())
        };
        let (_, before) = fields.get(at.checked_sub(1)?)?;
        let (_, hours) = fields.get(at)?;
        let is_hours = hours.bytes().all(|byte| byte.is_ascii_digit()) && !is_value(&(0, before));
        (is_hours && fields.get(at..)?.iter().all(is_value)).then_some(at)
    })?;
    let &(at, hours) = fields.get(hours_at)?;
    let (kind, result) = two_columns(rest.get(..at)?)?;
    Some(NvmeSelfTest {
        self_test_code: text(kind),
        self_test_result: text(result),
        power_on_hours: Some(hours.parse().ok()?),
    })
}

/// `# 1  Background short  Completed                   -     302                 - [-   -    -]`
pub(super) fn scsi(line: &str) -> Option<ScsiSelfTest> {
    let rest = numbered(line)?;
    let before = rest.get(..rest.rfind('[')?)?;
    // Versions before 5.40 print the address as `0x` and a number after spaces.
    let fields: Vec<_> = fields(before).filter(|&(_, field)| field != "0x").collect();
    let &(segment_at, _) = fields.get(fields.len().checked_sub(3)?)?;
    let &(_, hours) = fields.get(fields.len().checked_sub(2)?)?;
    let (code, result) = two_columns(before.get(..segment_at)?)?;
    // The arrow points at the column of the segment and is no part of the result.
    let result = result.trim_end_matches(" -->");
    // A test that still runs has NOW in place of the hours.
    let hours = hours.parse().ok();
    Some(ScsiSelfTest {
        code: text(code),
        result: text(result),
        power_on_time: hours.map(|hours| PowerOnTime { hours: Some(hours), minutes: None }),
    })
}

fn text(string: &str) -> Option<Text> {
    Some(Text { string: Some(string.to_owned()), value: None })
}

/// What follows `# 1` or `#10`.
fn numbered(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(digits..)?.strip_prefix(' ').filter(|_| digits > 0)
}

/// As [`numbered`], of a row whose `#` was taken for the mark of a heading or of a list.
fn listed(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let rest =
        rest.get(digits..)?.strip_prefix([' ', '.']).filter(|_| (1..=2).contains(&digits))?;
    RESULTS.iter().any(|begin| rest.contains(begin)).then_some(rest)
}

/// Fields between spaces, each with where it begins.
fn fields(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = text.as_ptr().addr();
    text.split_whitespace().map(move |field| (field.as_ptr().addr() - start, field))
}

/// The last field of the form `00%`, and where it begins.
fn last_percent(text: &str) -> Option<(usize, u64)> {
    let percents =
        fields(text).filter_map(|(at, field)| Some((at, field.strip_suffix('%')?.parse().ok()?)));
    percents.last()
}

/// Name and result of a test: at the words a result begins with, or else at two spaces.
fn two_columns(text: &str) -> Option<(&str, &str)> {
    let at = RESULTS.iter().filter_map(|begin| text.trim_start().find(begin)).min();
    let text = text.trim();
    let (name, result) = match at {
        Some(at) => text.split_at_checked(at)?,
        None => text.split_once("  ")?,
    };
    let (name, result) = (name.trim(), result.trim());
    (!name.is_empty() && !result.is_empty()).then_some((name, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ata_rows() {
        let test = ata(
            "# 2  Extended offline    Completed: read failure       00%     18333         18664237",
        )
        .unwrap();
        assert_eq!(test.kind.unwrap().string.as_deref(), Some("Extended offline"));
        assert_eq!(test.status.unwrap().string.as_deref(), Some("Completed: read failure"));
        assert_eq!((test.lifetime_hours, test.lba), (Some(18333), Some(18_664_237)));
        let test = ata("#10  Offline Completed: servo/seek failure 90% 3020 0").unwrap();
        assert_eq!(test.status.unwrap().string.as_deref(), Some("Completed: servo/seek failure"));
        assert_eq!(ata("# 1  Short offline       Completed without error       00%"), None);
        let listed = ata("1  Extended offline    Completed: read failure       90%  20990  123456");
        assert_eq!(listed.unwrap().lifetime_hours, Some(20990));
        assert_eq!(ata("    1        0        0  Not_testing"), None);
        for (status, passed) in [
            ("Completed without error", Some(true)),
            ("Aborted by host", None),
            ("Interrupted (host reset)", None),
            ("Fatal or unknown error", None),
            ("Completed: unknown failure", Some(false)),
            ("Completed: electrical failure", Some(false)),
            ("Completed: handling damage??", Some(false)),
            ("Self-test routine in progress", None),
            ("Unknown/reserved test status", None),
            ("Unknown status (0x9)", None),
        ] {
            for kind in [
                "Offline",
                "Abort offline test",
                "Vendor (0xc0)",
                "Reserved (0x21)",
                "Selective captive",
            ] {
                let test =
                    ata(&format!("#12  {kind:<19} {status:<29} 40%  {:>8}         0x0123abcd", 70))
                        .unwrap();
                assert_eq!(test.kind.unwrap().string.as_deref(), Some(kind));
                let found = test.status.unwrap();
                assert_eq!((found.string.as_deref(), found.passed), (Some(status), passed));
                assert_eq!(found.remaining_percent, Some(40));
                assert_eq!((test.lifetime_hours, test.lba), (Some(70), Some(0x0123_abcd)));
            }
        }
    }

    #[test]
    fn nvme_rows() {
        for line in [
            " 0   Short             Completed without error                5746            -     -   -   -    -",
            " 0   Short             Completed without error                5746            -     -   -    -",
        ] {
            let test = nvme(line).unwrap();
            assert_eq!(test.self_test_code.unwrap().string.as_deref(), Some("Short"));
            assert_eq!(
                test.self_test_result.unwrap().string.as_deref(),
                Some("Completed without error")
            );
            assert_eq!(test.power_on_hours, Some(5746));
        }
        for result in [
            "Aborted: Self-test command",
            "Aborted: Controller Reset",
            "Aborted: Namespace removed",
            "Aborted: Format NVM command",
            "Fatal or unknown test error",
            "Completed: unknown failed segment",
            "Completed: failed segments",
            "Aborted: unknown reason",
            "Aborted: sanitize operation",
            "Unknown result (0xb)",
        ] {
            for kind in ["Extended", "Vendor specific", "Unknown (0x7)"] {
                for tail in ["1234567890123     *   -   0x1 0x82", "-     1   7 0x1 0x82"] {
                    let test =
                        nvme(&format!("12   {kind:<17} {result:<33} {:>9} {tail:>12}", 5746))
                            .unwrap();
                    assert_eq!(test.self_test_code.unwrap().string.as_deref(), Some(kind));
                    assert_eq!(test.self_test_result.unwrap().string.as_deref(), Some(result));
                    assert_eq!(test.power_on_hours, Some(5746));
                }
            }
        }
        assert_eq!(nvme(" 0 +     9.00W    9.00W       -    0  0  0  0        0       0"), None);
    }

    #[test]
    fn scsi_rows() {
        let test = scsi("# 1  Background short  Completed                   -     302                 - [-   -    -]").unwrap();
        assert_eq!(test.code.unwrap().string.as_deref(), Some("Background short"));
        assert_eq!(test.result.unwrap().string.as_deref(), Some("Completed"));
        assert_eq!(test.power_on_time.unwrap().hours, Some(302));
        let test = scsi("# 1  Background long   Self test in progress ...   -     NOW                 - [-   -    -]").unwrap();
        assert_eq!(test.power_on_time, None);
        for result in [
            "Completed",
            "Aborted (by user command)",
            "Aborted (device reset ?)",
            "Interrupted ('-X' switch)",
            "Interrupted (bus reset ?)",
            "Unknown error, incomplete",
            "Completed, segment failed",
            "Failed in first segment",
            "Failed in second segment",
            "Failed in segment -->",
            "Reserved(12)",
        ] {
            for code in [
                "Default",
                "Background long",
                "Reserved(3)",
                "Abort background",
                "Foreground short",
            ] {
                for tail in [
                    "  7   12345           4096123 [0x3 0x11 0x0]",
                    "  - 12345  0x            3e7fd3 [0x3 0x11 0x0]",
                    "  -   12345                 - [-   -    -]",
                ] {
                    let test = scsi(&format!("# 3  {code:<16}  {result:<25} {tail}")).unwrap();
                    assert_eq!(test.code.unwrap().string.as_deref(), Some(code));
                    let expected = result.trim_end_matches(" -->");
                    assert_eq!(test.result.unwrap().string.as_deref(), Some(expected));
                    assert_eq!(test.power_on_time.unwrap().hours, Some(12345));
                }
            }
        }
    }

    #[test]
    fn outdated_failures_are_counted() {
        let line = "2 of 3 failed self-tests are outdated by newer successful extended offline self-test # 1";
        assert_eq!(outdated(line), Some((2, 3)));
        assert_eq!(outdated("1 of 2 things"), None);
    }
}
