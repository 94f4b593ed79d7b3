//! Reports of smartctl, as text of versions 5 to 7 or as JSON (in any of its notations), into one
//! [`Report`].
//!
//! - [`parse`] never fails: what is not understood gives a report whose `smartctl.messages` say
//!   why.
//! - [`to_json`] prints a report in smartctl 7's own JSON schema on one line. JSON that came in
//!   goes out as it was, with every key, so that nothing is lost that we do not know.
//! - A fact the input does not state is absent: never 0, never a guess.
//!
//! Not here: judging a disk, naming metrics, running smartctl.

pub(crate) mod encoding;
mod json;
mod normalise;
mod notation;
mod report;
mod text;

pub use report::*;

/// Bytes of one report that are read. `smartctl -x` prints up to about 100 KB, its JSON with all
/// logs a few times that.
pub const INPUT_LEN_MAX: usize = 8 * 1024 * 1024;

/// What `input` says, whether it is text or JSON; which it is, is told from its content.
///
/// An input that cannot be understood gives a report with nothing but `smartctl.messages`, one of
/// them of severity `error`.
pub fn parse(input: &[u8]) -> Report {
    match read(&encoding::unmarked(input)) {
        Read::Text(report) => *report,
        Read::Json(json) => json.report,
        Read::Nothing(why) => not_understood(&why),
    }
}

/// `input` as one line of JSON in smartctl 7's schema, without a line end.
pub fn to_json(input: &[u8]) -> String {
    let report = match read(&encoding::unmarked(input)) {
        Read::Text(report) => *report,
        Read::Json(json) => return json::compact(&json.text),
        Read::Nothing(why) => not_understood(&why),
    };
    // A report holds text and whole numbers only; writing those cannot fail.
    serde_json::to_string(&report).unwrap_or_default()
}

/// What an input was.
enum Read<'a> {
    Text(Box<Report>),
    Json(Box<json::Parsed<'a>>),
    Nothing(String),
}

fn read(input: &[u8]) -> Read<'_> {
    match json::look(input) {
        json::Found::Text(text) => {
            if let Some(parsed) = read_notation(text) {
                return Read::Json(parsed);
            }
            let report = text::parse(text);
            match text::is_understood(&report) {
                true => Read::Text(Box::new(report)),
                false => read_copy(input).unwrap_or_else(|| Read::Text(Box::new(report))),
            }
        }
        json::Found::Json(json) => match json::parse(json) {
            Ok(json::Content::Report(parsed)) => Read::Json(parsed),
            Ok(json::Content::Text(text)) => Read::Text(Box::new(text::parse(text.as_bytes()))),
            Err(why) => read_copy(input).unwrap_or(Read::Nothing(why)),
        },
        json::Found::Nothing(why) => Read::Nothing(why.to_owned()),
    }
}

/// A report in one of the other notations that smartctl prints its JSON in.
fn read_notation(input: &[u8]) -> Option<Box<json::Parsed<'static>>> {
    if !notation::begins(input) {
        return None;
    }
    let json = notation::json(&text::decode(input))?;
    match json::parse(json.as_bytes()) {
        Ok(json::Content::Report(parsed)) => Some(Box::new(parsed.into_owned())),
        _ => None,
    }
}

/// A second look at what is neither text nor JSON as it stands: JSON as a copy has it, or text
/// that something before it made look like JSON.
fn read_copy(input: &[u8]) -> Option<Read<'static>> {
    let text = text::decode(input);
    let copy = normalise::json(&text);
    if let json::Found::Json(json) = json::look(copy.as_bytes())
        && let Ok(json::Content::Report(parsed)) = json::parse(json)
    {
        return Some(Read::Json(Box::new(parsed.into_owned())));
    }
    let report = text::parse(input);
    text::is_understood(&report).then(|| Read::Text(Box::new(report)))
}

/// A report of which nothing is known but why.
fn not_understood(why: &str) -> Report {
    let message =
        Message { string: Some(format!("labstat: {why}")), severity: Some("error".to_owned()) };
    let program = Program { messages: Some(vec![message]), ..Program::default() };
    Report { smartctl: Some(program), ..Report::default() }
}
