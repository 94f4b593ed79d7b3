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
    let rest = numbered(line)?;
    let (at, percent) = last_percent(rest)?;
    let (kind, status) = two_columns(rest.get(..at)?)?;
    let mut after = rest.get(at..)?.split_whitespace().skip(1);
    let hours = after.next()?.parse().ok()?;
    let lba = after.next().and_then(|lba| lba.parse().ok());
    Some(SelfTest {
        kind: text(kind),
        status: Some(SelfTestStatus {
            string: Some(status.to_owned()),
            passed: (status == "Completed without error").then_some(true),
            // Only a test that is not over has something left; the column says 90 for failed
            // ones, too.
            remaining_percent: status.contains("in progress").then_some(percent),
            ..SelfTestStatus::default()
        }),
        lifetime_hours: Some(hours),
        lba,
    })
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
            field == "-" || field.starts_with(|c: char| c.is_ascii_digit())
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
    let fields: Vec<_> = fields(before).collect();
    let &(segment_at, _) = fields.get(fields.len().checked_sub(3)?)?;
    let &(_, hours) = fields.get(fields.len().checked_sub(2)?)?;
    let (code, result) = two_columns(before.get(..segment_at)?)?;
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
    }
}
