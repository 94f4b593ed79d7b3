//! Errors as people read them: logs, answers and what is kept of a last failure.

use std::error::Error;

/// An error and its causes, on one line.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_ref().map(|cause| &**cause as _)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let disk = Told("no space left", None);
        let write = Told("failed to write x: no space left", Some(Box::new(disk)));
        let round = Told("a round is lost", Some(Box::new(write)));
        assert_eq!(error_chain(&round), "a round is lost: failed to write x: no space left");
    }
}
