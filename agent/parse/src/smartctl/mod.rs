//! Reports of smartctl, as text of versions 5 to 7 or as JSON, into one [`Report`].
//!
//! - [`parse`] never fails: what is not understood gives a report whose `smartctl.messages` say
//!   why.
//! - [`to_json`] prints a report in smartctl 7's own JSON schema on one line. JSON that came in
//!   goes out as it was, with every key, so that nothing is lost that we do not know.
//! - A fact the input does not state is absent: never 0, never a guess.
//!
//! Not here: judging a disk, naming metrics, running smartctl.

mod encoding;
mod json;
mod loose;
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
    match json::look(&encoding::unmarked(input)) {
        json::Found::Text(text) => text::parse(text),
        json::Found::Json(json) => {
            json::parse(json).map_or_else(|why| not_understood(&why), |it| it.report)
        }
        json::Found::Nothing(why) => not_understood(why),
    }
}

/// `input` as one line of JSON in smartctl 7's schema, without a line end.
pub fn to_json(input: &[u8]) -> String {
    let report = match json::look(&encoding::unmarked(input)) {
        json::Found::Text(text) => text::parse(text),
        json::Found::Json(json) => match json::parse(json) {
            Ok(found) => return json::compact(&found.text),
            Err(why) => not_understood(&why),
        },
        json::Found::Nothing(why) => not_understood(why),
    };
    // A report holds text and whole numbers only; writing those cannot fail.
    serde_json::to_string(&report).unwrap_or_default()
}

/// A report of which nothing is known but why.
fn not_understood(why: &str) -> Report {
    let message =
        Message { string: Some(format!("labstat: {why}")), severity: Some("error".to_owned()) };
    let program = Program { messages: Some(vec![message]), ..Program::default() };
    Report { smartctl: Some(program), ..Report::default() }
}
