//! What went wrong, for the person who typed the command: the thing, the cause, the cure.

use std::error::Error;
use std::fmt::{self, Write};
use std::process::ExitCode;

/// The command did its work and found something wrong, or could not do its work.
pub(crate) const FAILED: u8 = 1;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read our output has closed it (`labstat … | head`): nothing to say to anybody.
    Closed,
    /// Something to tell.
    Told {
        /// The operation that failed, fit to follow `labstat: `.
        what: String,
        /// Its causes, outermost first.
        causes: Vec<String>,
        /// What the reader can do about it.
        cure: Option<String>,
    },
}

/// What failed and why, in one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Told { what, causes, .. } = self else { return Ok(()) };
        f.write_str(what)?;
        causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Failure {}

impl Failure {
    /// A failure of `what`, such as `failed to read rules.yml`.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Told { what: what.into(), causes: Vec::new(), cure: None }
    }

    /// Adds the error behind it, with all of its sources.
    pub(crate) fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        if let Self::Told { causes, .. } = &mut self {
            let mut next = Some(error);
            while let Some(error) = next {
                let text = one_line(&error.to_string());
                // Some libraries repeat their source in their own text; say a thing once.
                if causes.last().is_none_or(|last| !last.contains(&text)) {
                    causes.push(text);
                }
                next = error.source();
            }
        }
        self
    }

    /// Makes it the first cause of a failure of `what`.
    pub(crate) fn within(mut self, outer: impl Into<String>) -> Self {
        if let Self::Told { what, causes, .. } = &mut self {
            causes.insert(0, std::mem::replace(what, outer.into()));
        }
        self
    }

    /// Adds what the reader can do about it.
    pub(crate) fn cure(mut self, advice: impl Into<String>) -> Self {
        if let Self::Told { cure, .. } = &mut self {
            *cure = Some(advice.into());
        }
        self
    }

    /// The lines for standard error; none when there is nobody to tell.
    pub(crate) fn text(&self) -> Option<String> {
        let Self::Told { cure, .. } = self else { return None };
        let mut text = format!("labstat: {self}");
        if let Some(cure) = cure {
            let _ = write!(text, "\n  {cure}");
        }
        text.push('\n');
        Some(text)
    }

    /// Prints itself and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        match self.text() {
            Some(text) => {
                crate::output::message(&text);
                ExitCode::from(FAILED)
            }
            None => ExitCode::SUCCESS,
        }
    }
}

/// Messages from outside may hold line ends; ours are one line for each thing.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn names_thing_cause_and_cure() {
        let inner = std::io::Error::other("disk\n  on fire");
        let failure = Failure::new("failed to start").because(&Outer(inner)).cure("put it out");
        let text = failure.text().unwrap();
        assert_eq!(text, "labstat: failed to start: failed to open: disk on fire\n  put it out\n");
    }

    #[test]
    fn a_closed_pipe_is_no_news() {
        assert_eq!(Failure::Closed.text(), None);
    }
}
