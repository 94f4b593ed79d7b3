//! What a server of the Network UPS Tools (`upsd`) answers over its text protocol.
//!
//! Requests are lines, and so are answers: `BEGIN LIST …` to `END LIST …`, one line, or `ERR` with a
//! word of why. Values stand in quotation marks, in which `\` makes a mark or itself plain.

use nom::branch::alt;
use nom::bytes::complete::{is_not, take_while1};
use nom::character::complete::{anychar, char, space0};
use nom::combinator::map;
use nom::multi::{fold_many0, many0};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::ParseError;

/// Bytes of answers that are read; a UPS has some hundred variables of fifty bytes.
pub const INPUT_LEN_MAX: usize = 1024 * 1024;
/// Entries of one list. The largest UPS known has about 400 variables.
pub const ENTRIES_MAX: usize = 4096;

/// What these inputs are called in errors.
const WHAT: &str = "answer of upsd";

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To `LIST UPS`: names and descriptions.
    Upses(Vec<(String, String)>),
    /// To `LIST VAR`: what the UPS is called, and its variables with their values.
    Variables {
        /// Name of the UPS.
        ups: String,
        /// Name and value.
        variables: Vec<(String, String)>,
    },
    /// The server says why it has no answer, such as `DATA-STALE` or `DRIVER-NOT-CONNECTED`.
    Refused(String),
    /// A line of another kind, such as `OK Goodbye`.
    Other(String),
}

/// All answers in `text`, in the order of their requests.
///
/// # Errors
/// A line in a list that does not belong there, a list without an end, too many entries.
pub fn parse(text: &str) -> Result<Vec<Answer>, ParseError> {
    if text.len() > INPUT_LEN_MAX {
        let what = "bytes of answers of upsd";
        return Err(ParseError::Limit { what, count: text.len(), max: INPUT_LEN_MAX });
    }
    let mut answers = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let bad = |at: usize, line: &str| ParseError::line(WHAT, at + 1, line);
        let words = words(line).ok_or_else(|| bad(at, line))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = match words.as_slice() {
            [] => continue,
            ["ERR", why, ..] => Answer::Refused((*why).to_owned()),
            ["BEGIN", "LIST", "UPS"] => {
                Answer::Upses(list(&mut lines, at, &["UPS"], &["LIST", "UPS"])?)
            }
            ["BEGIN", "LIST", "VAR", ups] => Answer::Variables {
                ups: (*ups).to_owned(),
                variables: list(&mut lines, at, &["VAR", ups], &["LIST", "VAR", ups])?,
            },
            ["BEGIN", ..] => return Err(bad(at, line)),
            _ => Answer::Other(line.trim().to_owned()),
        };
        answers.push(answer);
        check_count(answers.len())?;
    }
    Ok(answers)
}

/// The pairs of words after `start`, up to the line of `END` and `end`.
fn list<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    begin: usize,
    start: &[&str],
    end: &[&str],
) -> Result<Vec<(String, String)>, ParseError> {
    let mut pairs = Vec::new();
    let mut last = (begin, "");
    for (at, line) in lines {
        let bad = || ParseError::line(WHAT, at + 1, line);
        last = (at, line);
        let words = words(line).ok_or_else(bad)?;
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["END", rest @ ..] = texts.as_slice() {
            return if rest == end { Ok(pairs) } else { Err(bad()) };
        }
        match texts.strip_prefix(start) {
            Some([name, value]) => pairs.push(((*name).to_owned(), (*value).to_owned())),
            _ => return Err(bad()),
        }
        check_count(pairs.len())?;
    }
    // It was cut off.
    Err(ParseError::line(WHAT, last.0 + 1, last.1))
}

fn check_count(count: usize) -> Result<(), ParseError> {
    if count <= ENTRIES_MAX {
        return Ok(());
    }
    Err(ParseError::Limit { what: "entries in an answer of upsd", count, max: ENTRIES_MAX })
}

/// The words of a line, quoted or bare; nothing when a quotation has no end.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim_end();
    let (rest, words) = terminated(many0(preceded(space0, word)), space0).parse(line).ok()?;
    rest.is_empty().then_some(words)
}

fn word(input: &str) -> IResult<&str, String> {
    let bare = take_while1(|c: char| !c.is_whitespace() && c != '"');
    alt((quoted, map(bare, str::to_owned))).parse(input)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let plain = map(is_not("\"\\"), str::to_owned);
    let escaped = map(preceded(char('\\'), anychar), String::from);
    let text = fold_many0(alt((plain, escaped)), String::new, |text, part| text + &part);
    delimited(char('"'), text, char('"')).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    fn lines_said(file: &str) -> Option<String> {
        let text = String::from_utf8(captured(&format!("nut-live/{file}"))?).unwrap();
        let said = text.lines().filter_map(|line| line.strip_prefix("S: "));
        Some(said.map(|line| format!("{line}\n")).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lists_and_refusals_in_their_order() {
        let text = "BEGIN LIST UPS\nUPS a \"the \\\"big\\\" one \\\\ rack\"\nUPS b \"\"\nEND LIST UPS\nBEGIN LIST VAR a\r\nVAR a ups.status \"OL CHRG\"\r\nEND LIST VAR a\r\nERR DATA-STALE\nOK Goodbye\n";
        assert_eq!(
            parse(text).unwrap(),
            [
                Answer::Upses(vec![pair("a", "the \"big\" one \\ rack"), pair("b", "")]),
                Answer::Variables {
                    ups: "a".into(),
                    variables: vec![pair("ups.status", "OL CHRG")]
                },
                Answer::Refused("DATA-STALE".into()),
                Answer::Other("OK Goodbye".into()),
            ]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn broken_answers_are_refused_with_their_line() {
        for (text, line) in [
            ("BEGIN LIST UPS\n", 1),
            ("BEGIN LIST UPS\nUPS a \"x\"\n", 2),
            ("BEGIN LIST UPS\nVAR a b \"x\"\nEND LIST UPS\n", 2),
            ("BEGIN LIST VAR a\nVAR b ups.status \"x\"\nEND LIST VAR a\n", 2),
            ("BEGIN LIST VAR a\nVAR a ups.status \"x\nEND LIST VAR a\n", 2),
            ("BEGIN LIST VAR a\nVAR a ups.status\nEND LIST VAR a\n", 2),
            ("BEGIN LIST VAR a\nEND LIST VAR b\n", 2),
            ("BEGIN LIST RW a\nEND LIST RW a\n", 1),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")), "{text:?}: {error}");
        }
        let many = format!("BEGIN LIST UPS\n{}END LIST UPS\n", "UPS a \"\"\n".repeat(5_000));
        assert!(matches!(parse(&many), Err(ParseError::Limit { .. })));
        assert!(matches!(parse(&"x".repeat(INPUT_LEN_MAX + 1)), Err(ParseError::Limit { .. })));
    }

    #[test]
    fn what_a_real_server_said() {
        let Some(text) = lines_said("protocol-on-battery.txt") else { return };
        let answers = parse(&text).unwrap();
        let [Answer::Variables { ups, variables }] = answers.as_slice() else {
            panic!("{answers:?}")
        };
        assert_eq!(ups, "labups");
        assert_eq!(variables.len(), 27);
        assert!(variables.contains(&pair("device.model", "Test 1500")));
        assert!(variables.contains(&pair("ups.status", "OB DISCHRG")));
        let text = lines_said("protocol-driver-dead.txt").unwrap();
        let refused = Answer::Refused("DRIVER-NOT-CONNECTED".into());
        let upses = Answer::Upses(vec![pair("labups", "labstat test UPS")]);
        assert_eq!(parse(&text).unwrap(), [refused.clone(), refused, upses]);
    }
}
