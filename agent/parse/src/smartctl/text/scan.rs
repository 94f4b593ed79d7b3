//! The log of a SCSI device's background scan: how far it is and which blocks gave trouble.

use super::facts::{set, texted};
use super::{number, push};
use crate::smartctl::report::SCSI_SCAN_RESULTS_MAX;
use crate::smartctl::{Report, ScsiScanResult, Text};

/// A line of the log.
pub(super) fn line(report: &mut Report, line: &str) -> Option<()> {
    if let Some(result) = result(line) {
        let scan = report.scsi_background_scan.get_or_insert_default();
        push(&mut scan.results.0, result, SCSI_SCAN_RESULTS_MAX);
        return Some(());
    }
    let (key, value) = line.split_once(": ")?;
    let value = value.trim();
    match key.trim() {
        "Status" if !value.is_empty() => {
            let scan = report.scsi_background_scan.get_or_insert_default();
            set(&mut scan.status.get_or_insert_default().string, Some(value.to_owned()));
        }
        // Its progress follows on the same line.
        "Number of background scans performed" => {
            let count = number::digits(value.split(',').next()?)?;
            let scan = report.scsi_background_scan.get_or_insert_default();
            set(&mut scan.status.get_or_insert_default().number_scans_performed, Some(count));
        }
        _ => return None,
    }
    Some(())
}

/// `   1 32700:13  00000000e5b6c4d8  [3,11,0]   Require Write or Reassign Blocks command`
fn result(line: &str) -> Option<ScsiScanResult> {
    let (before, rest) = line.split_once('[')?;
    let (sense, status) = rest.split_once(']')?;
    let mut words = before.split_whitespace();
    number::digits(words.next()?)?;
    let (hours, minutes) = words.next()?.split_once(':')?;
    number::digits(hours)?;
    number::digits(minutes)?;
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let lba = hexadecimal(words.next()?)?;
    let mut codes = sense.split(',').map(hexadecimal);
    let (key, asc, ascq) = (codes.next()??, codes.next()??, codes.next()??);
    Some(ScsiScanResult {
        lba: Some(lba),
        sense_key: Some(Text { string: None, value: Some(key) }),
        asc: Some(asc),
        ascq: Some(ascq),
        reassign_status: Some(status.trim()).filter(|it| !it.is_empty()).and_then(texted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_has_a_state_and_results() {
        let mut report = Report::default();
        for text in [
            "  Status: halted due to fatal error",
            "    Number of background scans performed: 190,  scan progress: 33.00%",
            "    Number of background medium scans performed: 190",
            "   #  when        lba(hex)    [sk,asc,ascq]    reassign_status",
            "   1 32700:13  00000000e5b6c4d8  [3,11,0]   Require Write or Reassign Blocks command",
        ] {
            line(&mut report, text);
        }
        let json = serde_json::to_value(&report).unwrap();
        let scan = &json["scsi_background_scan"];
        assert_eq!(scan["status"]["string"], "halted due to fatal error");
        assert_eq!(scan["status"]["number_scans_performed"], 190);
        assert_eq!(scan["result_1"]["lba"], 0xe5b6_c4d8_u64);
        assert_eq!(scan["result_1"]["sense_key"]["value"], 3);
        assert_eq!(scan["result_1"]["asc"], 0x11);
        let reassign = &scan["result_1"]["reassign_status"]["string"];
        assert_eq!(reassign, "Require Write or Reassign Blocks command");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
