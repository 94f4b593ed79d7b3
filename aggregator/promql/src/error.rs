//! Why a query gave no answer.

use std::error::Error;

/// A place in the text of a query, both counted from one; columns count bytes, as Prometheus does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The byte within the line.
    pub column: usize,
}

/// What a [`Source`](crate::Source) says when it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read series")]
pub struct SourceError(#[source] pub Box<dyn Error + Send + Sync>);

/// Which of the API's error types a [`QueryError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The query or a parameter is not well formed: `bad_data`.
    BadData,
    /// The query cannot be evaluated over this data: `execution`.
    Execution,
    /// It took too long: `timeout`.
    Timeout,
    /// The asker went away: `canceled`.
    Canceled,
    /// The store failed: `internal`.
    Internal,
}

impl ErrorKind {
    /// The text of `errorType` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
        }
    }
}

/// Why a query gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no query, or asks for something that is not known here.
    #[error("{}parse error: {message}", prefix(*position))]
    Parse {
        /// What is wrong.
        message: String,
        /// Where, when that is known.
        position: Option<Position>,
    },
    /// Start, end or step make no range.
    #[error("{0}")]
    Range(String),
    /// The query makes no sense over the data it met.
    #[error("{0}")]
    Execution(String),
    /// More samples than one query may hold.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples {
        /// The bound it broke.
        limit: usize,
    },
    /// More memory than one query may take.
    #[error("query processing would take too much memory in query execution")]
    TooMuchMemory {
        /// The bound it broke, in bytes.
        limit: usize,
    },
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Whoever asked does not wait for the answer any more.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The series could not be read.
    #[error("failed to expand series")]
    Source(#[source] SourceError),
}

impl QueryError {
    /// The API's error type.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse { .. } | Self::Range(_) => ErrorKind::BadData,
            Self::Execution(_) | Self::TooManySamples { .. } | Self::TooMuchMemory { .. } => {
                ErrorKind::Execution
            }
            Self::Timeout => ErrorKind::Timeout,
            Self::Canceled => ErrorKind::Canceled,
            Self::Source(_) => ErrorKind::Internal,
        }
    }

    /// Whether it asks for more than one query may hold.
    pub(crate) fn is_too_much(&self) -> bool {
        matches!(self, Self::TooManySamples { .. } | Self::TooMuchMemory { .. })
    }

    pub(crate) fn parse(message: impl Into<String>) -> Self {
        Self::Parse { message: message.into(), position: None }
    }

    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }
}

fn prefix(position: Option<Position>) -> String {
    match position {
        Some(at) => format!("{}:{}: ", at.line, at.column),
        None => "unknown position: ".to_owned(),
    }
}

impl Position {
    /// The place of byte `at` of `text`.
    pub(crate) fn of(text: &str, at: usize) -> Self {
        let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Self { line, column }
    }
}
