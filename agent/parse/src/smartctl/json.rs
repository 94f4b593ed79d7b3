//! smartctl's JSON: telling it from text, reading it, printing it on one line.

use std::borrow::Cow;

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

/// A report read from JSON, and the JSON it was read from.
pub(super) struct Parsed<'a> {
    /// What it says.
    pub(super) report: Report,
    /// The JSON; closed by us where the input was cut.
    pub(super) text: Cow<'a, str>,
}

impl Parsed<'_> {
    /// The same, independent of the input.
    pub(super) fn into_owned(self) -> Parsed<'static> {
        Parsed { report: self.report, text: Cow::Owned(self.text.into_owned()) }
    }
}

/// What smartctl's JSON holds.
pub(super) enum Content<'a> {
    /// A report.
    Report(Box<Parsed<'a>>),
    /// The lines of the text alone, which `--json=o` has beside the report.
    Text(String),
}

/// Levels of lists and objects that are closed where JSON was cut; smartctl's has seven.
const DEPTH_MAX: usize = 64;

/// Tells JSON from text by looking: JSON is an input of which a line begins with a brace before
/// any line begins as smartctl's text does. What stands before it (a shell's prompt, a warning of
/// sudo) is passed over.
pub(super) fn look(input: &[u8]) -> Found<'_> {
    if input.len() > INPUT_LEN_MAX {
        return Found::Nothing("the input is larger than any report");
    }
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
            && let Ok(list) = serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(input)
        {
            let only = input.iter().position(|&byte| byte == b'{').filter(|_| list.len() == 1);
            return match only.and_then(|at| input.get(at..)) {
                Some(report) => Found::Json(report),
                None => Found::Nothing("the input is a JSON list, not one report"),
            };
        }
        from += line.len();
    }
    Found::Text(input)
}

/// `smartctl 7.4 …`, and not a shell's echo of the command.
fn is_banner(line: &[u8]) -> bool {
    let rest = line.strip_prefix(b"smartctl ").unwrap_or_default();
    let rest = rest.strip_prefix(b"pre-").unwrap_or(rest);
    rest.starts_with(b"version ") || rest.first().is_some_and(u8::is_ascii_digit)
}

/// Keys of which every JSON of smartctl has at least one.
fn is_report(report: &Report) -> bool {
    report.smartctl.is_some() || report.json_format_version.is_some() || report.device.is_some()
}

/// Whether there is anything in a report that was cut but how it was made.
fn says_something(report: &Report) -> bool {
    let facts = Report { smartctl: None, json_format_version: None, ..report.clone() };
    let has_messages = report.smartctl.as_ref().is_some_and(|it| it.messages.is_some());
    has_messages || facts != Report::default()
}

/// What is in `json`, or why there is nothing.
pub(super) fn parse(json: &[u8]) -> Result<Content<'_>, String> {
    let parsed = report(json)?;
    let facts = Report { smartctl: None, json_format_version: None, ..parsed.report.clone() };
    let text = Some(&parsed.text).filter(|_| facts == Report::default()).and_then(|it| output(it));
    Ok(text.map_or_else(|| Content::Report(Box::new(parsed)), Content::Text))
}

/// The lines in `smartctl.output` of JSON that holds nothing else.
fn output(json: &str) -> Option<String> {
    if !json.contains("\"output\"") {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let lines = value.get("smartctl")?.get("output")?.as_array()?;
    Some(lines.iter().filter_map(|line| line.as_str()).map(|line| format!("{line}\n")).collect())
}

/// The report in `json`, or in the one object that it holds.
fn report(json: &[u8]) -> Result<Parsed<'_>, String> {
    let why = match whole_report(json) {
        Ok(parsed) => return Ok(parsed),
        Err(why) => why,
    };
    let outer: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(json).ok();
    let objects = outer.iter().flat_map(|it| it.values()).filter(|it| it.is_object()).count();
    let inner = json.iter().skip(1).position(|&byte| byte == b'{').filter(|_| objects == 1);
    inner.and_then(|at| whole_report(json.get(at + 1..)?).ok()).ok_or(why)
}

fn whole_report(json: &[u8]) -> Result<Parsed<'_>, String> {
    let text = String::from_utf8_lossy(json);
    let first = match first(&text) {
        Ok(report) => Ok(report),
        // A key that stands twice: the last one counts, as everywhere.
        Err(cause) if cause.is_data() => serde_json::Deserializer::from_str(&text)
            .into_iter::<serde_json::Value>()
            .next()
            .and_then(Result::ok)
            .and_then(|value| serde_json::from_value(value).ok())
            .ok_or(cause),
        Err(cause) => Err(cause),
    };
    match first {
        Ok(report) if is_report(&report) => Ok(Parsed { report: one_name(report), text }),
        Ok(_) => Err("the input is JSON, but not of smartctl".to_owned()),
        Err(cause) => {
            let closed = Some(&cause).filter(|cause| cause.is_eof()).and_then(|_| close(&text));
            closed
                .and_then(|closed| Some((self::first(&closed).ok()?, closed)))
                .filter(|(report, _)| is_report(report) && says_something(report))
                .map(|(report, closed)| Parsed {
                    report: one_name(report),
                    text: Cow::Owned(closed),
                })
                .ok_or_else(|| format!("the input is broken JSON: {cause}"))
        }
    }
}

/// The first value of `text`; what follows it is not looked at.
fn first(text: &str) -> serde_json::Result<Report> {
    serde::Deserialize::deserialize(&mut serde_json::Deserializer::from_str(text))
}

/// JSON that was cut, with what of it is whole and all brackets closed; nothing if that is none.
fn close(text: &str) -> Option<String> {
    // What closes the brackets that are open. They have not changed since `whole`, where the last
    // value that is known to be whole ended, since every bracket moves that.
    let mut open: Vec<char> = Vec::new();
    let mut whole = None;
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => {
                if open.len() == DEPTH_MAX {
                    return None;
                }
                open.push(if character == '{' { '}' } else { ']' });
                whole = Some(at + 1);
            }
            '}' | ']' => {
                open.pop().filter(|&expected| expected == character)?;
                whole = Some(at + 1);
            }
            // A comma says that the value before it is whole.
            ',' => whole = Some(at),
            _ => {}
        }
    }
    let mut closed = text.get(..whole?)?.to_owned();
    closed.extend(open.iter().rev());
    Some(closed)
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

/// The first JSON value of `text`, on one line and otherwise as it is: numbers of any size and
/// the order of keys survive. `text` has been read by [`parse`] before.
pub(super) fn compact(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_was_cut_is_closed_after_what_is_whole() {
        for (cut, closed) in [
            (r#"{"a":1,"b":{"c":[1,2"#, r#"{"a":1,"b":{"c":[1]}}"#),
            (r#"{"a":1,"b":"x,y"#, r#"{"a":1}"#),
            (r#"{"a":{"b":2},"c""#, r#"{"a":{"b":2}}"#),
            (r#"{"a":[{"b":"\"]"},{"b":1"#, r#"{"a":[{"b":"\"]"},{}]}"#),
            (r#"{"a"#, "{}"),
        ] {
            assert_eq!(close(cut).as_deref(), Some(closed), "{cut}");
        }
        assert_eq!(close("{]"), None);
        assert_eq!(close(&"[".repeat(1000)), None);
    }
}
