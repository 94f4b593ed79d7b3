//! smartctl's JSON: telling it from text, reading it, printing it on one line.

use super::INPUT_LEN_MAX;
use super::report::Report;

/// What an input turned out to be.
pub(super) enum Found<'a> {
    /// Text, from its first line on.
    Text(&'a [u8]),
    /// JSON, from its opening brace on.
    Json(&'a [u8]),
    /// Neither, and why.
    Nothing(&'static str),
}

/// The byte order mark that Windows tools put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Tells JSON from text by looking: JSON is an input of which a line begins with a brace before
/// any line begins as smartctl's text does. What stands before it (a shell's prompt, a warning of
/// sudo) is passed over.
pub(super) fn look(input: &[u8]) -> Found<'_> {
    if input.len() > INPUT_LEN_MAX {
        return Found::Nothing("the input is larger than any report");
    }
    let input = input.strip_prefix(BYTE_ORDER_MARK).unwrap_or(input);
    if input.iter().all(|&byte| byte.is_ascii_whitespace() || byte == 0) {
        return Found::Nothing("the input is empty");
    }
    let mut from = 0;
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        let indent = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = line.get(indent..).unwrap_or_default();
        if rest.starts_with(b"{") {
            return Found::Json(input.get(from + indent..).unwrap_or_default());
        }
        if is_banner(rest) || rest.starts_with(b"=== START OF") {
            break;
        }
        if from == 0
            && rest.starts_with(b"[")
            && serde_json::from_slice::<serde::de::IgnoredAny>(rest).is_ok()
        {
            return Found::Nothing("the input is a JSON list, not one report");
        }
        from += line.len();
    }
    Found::Text(input)
}

/// `smartctl 7.4 …`, and not a shell's echo of the command.
fn is_banner(line: &[u8]) -> bool {
    let rest = line.strip_prefix(b"smartctl ").unwrap_or_default();
    rest.starts_with(b"version ") || rest.first().is_some_and(u8::is_ascii_digit)
}

/// Keys of which every JSON of smartctl has at least one.
fn is_report(report: &Report) -> bool {
    report.smartctl.is_some() || report.json_format_version.is_some() || report.device.is_some()
}

/// The report in `json`, or why there is none.
pub(super) fn parse(json: &[u8]) -> Result<Report, String> {
    let text = String::from_utf8_lossy(json);
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Report>();
    match values.next() {
        Some(Ok(report)) if is_report(&report) => Ok(one_name(report)),
        Some(Ok(_)) => Err("the input is JSON, but not of smartctl".to_owned()),
        Some(Err(cause)) => Err(format!("the input is broken JSON: {cause}")),
        None => Err("the input is empty".to_owned()),
    }
}

/// Facts that smartctl's versions have under several keys, under the key of its latest.
fn one_name(mut report: Report) -> Report {
    for (place, old) in [
        (&mut report.scsi_vendor, &report.vendor),
        (&mut report.scsi_product, &report.product),
        (&mut report.scsi_revision, &report.revision),
    ] {
        if place.is_none() {
            place.clone_from(old);
        }
    }
    if report.model_name.is_none() {
        report.model_name.clone_from(&report.scsi_model_name);
    }
    if let Some(trip) = report.scsi_temperature.as_ref().and_then(|it| it.drive_trip) {
        report.temperature.get_or_insert_default().drive_trip.get_or_insert(trip);
    }
    report
}

/// The first JSON value of `json`, on one line and otherwise as it is: numbers of any size and
/// the order of keys survive. `json` has been read by [`parse`] before.
pub(super) fn compact(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let mut line = String::with_capacity(text.len() / 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for character in text.chars() {
        if quoted {
            line.push(character);
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match character {
            ' ' | '\t' | '\r' | '\n' => continue,
            '"' => quoted = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        line.push(character);
        if depth == 0 {
            break;
        }
    }
    line
}
