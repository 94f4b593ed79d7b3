//! Files whose lines are a name and counts behind it: `/proc/net/rpc/nfs` and `nfsd`, the
//! statistics of XFS, and (with a colon behind the name) `/proc/softirqs`.
//!
//! A line that nobody asks for is not looked at, so that one that a newer kernel adds does no harm.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// Counts of one line; `/proc/softirqs` has one for each CPU that there may be.
const COUNTS_MAX: usize = super::stat::CPUS_MAX;

/// A line with its name.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its first word.
    pub name: &'a [u8],
    what: &'static str,
    at: usize,
    text: &'a [u8],
}

/// The lines of a file; `what` names it in errors.
pub fn parse<'a>(what: &'static str, bytes: &'a [u8]) -> impl Iterator<Item = Line<'a>> {
    lines(bytes).filter_map(move |(at, text)| {
        let name = fields(text).next()?;
        Some(Line { name, what, at, text })
    })
}

impl Line<'_> {
    /// Puts the first `max` counts into `into`, which is cleared first; fewer where the line has
    /// no more.
    ///
    /// # Errors
    /// What is not a number among them; more than there can be.
    pub fn counts(&self, max: usize, into: &mut Vec<u64>) -> Result<(), ParseError> {
        into.clear();
        for field in fields(self.text).skip(1).take(max) {
            into.push(number(field).ok_or_else(|| self.bad())?);
            if into.len() > COUNTS_MAX {
                let (what, count) = ("counts of a line", into.len());
                return Err(ParseError::Limit { what, count, max: COUNTS_MAX });
            }
        }
        Ok(())
    }

    /// Puts counts into `into` of which the first says how many follow; it is not among them.
    ///
    /// # Errors
    /// As for [`counts`](Self::counts), and when there are fewer than it says.
    pub fn counted(&self, into: &mut Vec<u64>) -> Result<(), ParseError> {
        self.counts(usize::MAX, into)?;
        if into.is_empty() {
            return Err(self.bad());
        }
        let count = usize::try_from(into.remove(0)).unwrap_or(usize::MAX);
        if into.len() < count {
            return Err(self.bad());
        }
        into.truncate(count);
        Ok(())
    }

    /// An error that names the line.
    fn bad(&self) -> ParseError {
        bad(self.what, self.at, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line<'_> {
        parse("nfsd", text.as_bytes()).next().unwrap()
    }

    #[test]
    fn lines_have_a_name_and_what_is_behind_is_read_when_it_is_wanted() {
        let text = b"rc 1 2 3\n\nth 8 9 0.000\nproc3 2 7 8\n";
        let lines: Vec<_> = parse("nfsd", text).collect();
        let names: Vec<_> = lines.iter().map(|line| line.name).collect();
        assert_eq!(names, [&b"rc"[..], b"th", b"proc3"]);
        let mut counts = vec![5];
        lines[0].counts(9, &mut counts).unwrap();
        assert_eq!(counts, [1, 2, 3]);
        lines[1].counts(2, &mut counts).unwrap();
        assert_eq!(counts, [8, 9], "the fraction behind them is not looked at");
        lines[2].counted(&mut counts).unwrap();
        assert_eq!(counts, [7, 8]);
        line("proc2 0").counted(&mut counts).unwrap();
        assert_eq!(counts, [0; 0]);
        line("x 1 7 8").counted(&mut counts).unwrap();
        assert_eq!(counts, [7], "no more than the line says");
    }

    #[test]
    fn a_line_that_is_cut_or_has_words_is_named() {
        let mut counts = Vec::new();
        for text in ["proc3 3 7 8", "proc3", "proc3 -1", "proc3 2 7 x"] {
            let error = line(text).counted(&mut counts).unwrap_err().to_string();
            assert!(error.contains("nfsd at line 1") && error.contains(text), "{error}");
        }
        assert!(line("th 8 0.5").counts(2, &mut counts).is_err());
        let many = format!("x {}", "1 ".repeat(COUNTS_MAX + 1));
        let error = line(&many).counts(usize::MAX, &mut counts).unwrap_err();
        assert!(matches!(error, ParseError::Limit { .. }));
    }
}
