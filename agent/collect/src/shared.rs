//! What several collectors do alike.
//!
//! Here: a file whose absence says something ([`read_if_there`], [`outcome`]), a command that must end
//! well ([`answer_of`]), a line that makes no sense ([`not_understood`]), files of a few numbers
//! ([`push_numbers`]), families named by a file ([`FamiliesByName`]), what is read less often than each
//! round ([`Freshness`]), and patterns of names ([`is_like`], [`is_wanted`]).
//! Not here: what only one collector needs, which stands in its file.

use std::borrow::Cow;
use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{fields_of, number, trimmed};
use labstat_parse::shown;

use crate::collector::{CollectError, Status, is_absent};
use crate::host::{Host, Output, RunError};

/// Reads a file whose absence means that the machine has no such thing, which is `false`.
pub(crate) fn read_if_there(
    host: &dyn Host,
    path: &str,
    into: &mut Vec<u8>,
) -> Result<bool, CollectError> {
    match host.read_into(path, into) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(cause) => Err(CollectError::Read { from: path.to_owned(), cause }),
    }
}

/// What a command prints that ends well; its own words when it does not.
pub(crate) fn answer_of(
    host: &dyn Host,
    program: &str,
    args: &[&str],
    deadline: Duration,
) -> Result<Vec<u8>, CollectError> {
    let failed =
        |cause| CollectError::Run { command: format!("{program} {}", args.join(" ")), cause };
    let output = host.run(program, args, deadline).map_err(failed)?;
    answer(output).map_err(failed)
}

/// What a command printed that ended well; its own words when it did not.
pub(crate) fn answer(output: Output) -> Result<Vec<u8>, RunError> {
    if output.status == Some(0) {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no word");
    Err(RunError::Earlier(shown(said.trim())))
}

/// How a run ended whose sources are all absent if none gave a sample.
pub(crate) fn outcome(out: &Batch) -> Status {
    if out.is_empty() { Status::Absent } else { Status::Collected }
}

/// How long counts what does not change by itself while the machine runs, such as which sensors a
/// chip has.
pub(crate) const KEPT_MS: i64 = 60_000;

/// When something was read that is not read in every round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Freshness(Option<i64>);

impl Freshness {
    /// Whether what was read still counts, which it does for `kept_ms`; not when it is from a time
    /// that is yet to come, since then the clock was set.
    pub(crate) fn lasts(self, kept_ms: i64, now_ms: i64) -> bool {
        self.0.is_some_and(|read| (read..read.saturating_add(kept_ms)).contains(&now_ms))
    }

    /// It was read now.
    pub(crate) fn renew(&mut self, now_ms: i64) {
        self.0 = Some(now_ms);
    }

    /// It is to be read again.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }
}

/// A line of a file that is not as the kernel writes it.
pub(crate) fn not_understood(path: impl Into<Cow<'static, str>>, line: &str) -> CollectError {
    CollectError::parse(path)(format!("not understood: {:?}", shown(line)))
}

/// A file and the families of the numbers in it; those without one are left out.
pub(crate) type NumberFile = (&'static str, &'static [Option<&'static Family>]);

/// Adds what is in files of one to three numbers.
pub(crate) fn push_numbers(
    host: &dyn Host,
    files: &[NumberFile],
    bytes: &mut Vec<u8>,
    out: &mut Batch,
) -> Result<Status, CollectError> {
    for (path, families) in files {
        if !read_if_there(host, path, bytes)? {
            continue;
        }
        let mut fields = fields_of(trimmed(bytes));
        for family in *families {
            let field = fields.next().unwrap_or_default();
            let value = number(field).ok_or_else(|| CollectError::no_number(*path, field))?;
            if let Some(family) = family {
                out.push(family, &[], value as f64);
            }
        }
    }
    Ok(outcome(out))
}

/// Families whose names come from a file: made once and found again by their place in it, as long as the
/// same stands there.
#[derive(Debug, Default)]
pub(crate) struct FamiliesByName(Vec<(String, &'static str, Family)>);

impl FamiliesByName {
    /// The family for the line at `at` that has the name `key`, and a number in this `unit`.
    pub(crate) fn get(
        &mut self,
        at: usize,
        key: &str,
        unit: &'static str,
        make: impl FnOnce() -> Family,
    ) -> Option<&Family> {
        if self.0.get(at).is_none_or(|known| known.0 != key || known.1 != unit) {
            self.0.truncate(at);
            self.0.push((key.to_owned(), unit, make()));
        }
        self.0.get(at).map(|(.., family)| family)
    }
}

/// Whether `text` is as `pattern` says: `*` stands for any characters, `?` for one.
pub(crate) fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how much of the text it takes.
    let mut star = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(c) if *c == b'?' || Some(c) == text.get(read) => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    read = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// Whether `text` is as one of `patterns` says.
pub(crate) fn is_like_any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| is_like(pattern, text))
}

/// Whether something is to be shown that is left out unless the user asks for it, or is not.
pub(crate) fn is_wanted(
    include: &[String],
    exclude: &[String],
    name: &str,
    is_left_out: impl FnOnce() -> bool,
) -> bool {
    let is_in = if include.is_empty() { !is_left_out() } else { is_like_any(include, name) };
    is_in && !is_like_any(exclude, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_by_name_is_shown_even_if_it_is_left_out_otherwise() {
        let list = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>();
        let wanted = |include: &[&str], exclude: &[&str], name, is_left_out| {
            is_wanted(&list(include), &list(exclude), name, || is_left_out)
        };
        assert!(wanted(&[], &[], "sda", false));
        assert!(!wanted(&[], &[], "sda1", true));
        assert!(!wanted(&[], &["sd*"], "sda", false));
        assert!(wanted(&["sda1", "nvme*"], &[], "sda1", true));
        assert!(!wanted(&["sda1", "nvme*"], &[], "sda", false));
        assert!(!wanted(&["sd*"], &["sda?"], "sda1", true));
        assert!(wanted(&["sd*"], &["sda?"], "sda", false));
    }

    #[test]
    fn what_was_read_counts_for_its_time_and_not_ahead_of_it() {
        let mut read = Freshness::default();
        assert!(!read.lasts(60, 0), "never read");
        read.renew(1_000);
        assert_eq!([1_000, 1_059, 1_060].map(|now| read.lasts(60, now)), [true, true, false]);
        assert!(!read.lasts(60, 999), "the clock went back");
        read.renew(i64::MAX - 1);
        assert!(read.lasts(60, i64::MAX - 1));
        read.end();
        assert!(!read.lasts(60, i64::MAX - 1));
    }

    #[test]
    fn patterns() {
        for (pattern, text, wanted) in [
            ("/dev/sd*", "/dev/sda", true),
            ("/dev/sd?", "/dev/sdaa", false),
            ("*", "", true),
            ("", "a", false),
            ("nvme*n1", "nvme0n1n1", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("sda", "sda", true),
            ("sda", "sdab", false),
        ] {
            assert_eq!(is_like(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
