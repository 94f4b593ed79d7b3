//! Why an input was not understood.

/// Characters of an offending line that an error shows, as they are printed: noise takes several for
/// each byte. Enough to recognise the line in its file, and no way to fill a log.
const FOUND_LEN_MAX: usize = 160;

/// Why a parser gave nothing.
///
/// `Display` never repeats the cause: the one place that prints errors prints the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The input was had but is not what the parser knows.
    #[error("failed to parse {what} at line {line}: {found:?}")]
    Line {
        /// The kind of input, such as `mdstat`.
        what: &'static str,
        /// Counted from 1.
        line: usize,
        /// The line, cut where it is very long.
        found: String,
    },
    /// The input is JSON that is broken or of another shape.
    #[error("failed to parse {what} as JSON")]
    Json {
        /// The kind of input, such as `perf dump`.
        what: &'static str,
        /// What the JSON reader said; it names line and column.
        #[source]
        cause: serde_json::Error,
    },
    /// The input lacks what every input of its kind has.
    #[error("{what} has no {missing}")]
    Missing {
        /// The kind of input.
        what: &'static str,
        /// What was looked for.
        missing: &'static str,
    },
    /// The input is larger than any machine we know of makes it; refuse it rather than grow.
    #[error("{what}: {count} is over the limit of {max}")]
    Limit {
        /// What was counted, such as `md arrays`.
        what: &'static str,
        /// How many there were, or how many when counting stopped.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The other side answered with an error of its own.
    #[error("{from} answered: {text}")]
    Refused {
        /// Who answered.
        from: &'static str,
        /// What it said, on one line.
        text: String,
    },
}

impl ParseError {
    /// A [`ParseError::Line`] for the line numbered `line` (from 1).
    pub(crate) fn line(what: &'static str, line: usize, found: &str) -> Self {
        Self::Line { what, line, found: shown(found) }
    }
}

/// What an error shows of `text`: all of it, or its beginning where it is long.
pub fn shown(text: &str) -> String {
    let mut len = 0;
    let is_beyond = |c: char| {
        len += c.escape_debug().len();
        len > FOUND_LEN_MAX
    };
    match text.find(is_beyond) {
        Some(at) => {
            let mut cut = text.get(..at).unwrap_or_default().to_owned();
            cut.push('…');
            cut
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let error = ParseError::line("mdstat", 7, &"é".repeat(1000));
        let text = error.to_string();
        assert!(text.starts_with("failed to parse mdstat at line 7: \"é"), "{text}");
        assert!(text.chars().count() < 250, "{text}");
        let noise = ParseError::line("mdstat", 7, &"\0\u{1}".repeat(1000)).to_string();
        assert!(noise.chars().count() < 250, "{noise}");
        assert_eq!(shown("a line\n"), "a line\n");
    }
}
