//! What a request that cannot be answered gets: Prometheus' error types, codes and shape.

use std::error::Error;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use labstat_promql::{ErrorKind as QueryErrorKind, QueryError};

use super::json;
use crate::storage::{ErrorKind, StorageError, WriteFailed, chain};

/// An error of the API.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// The code that nginx invented and Prometheus took for a client that went away.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl ApiError {
    /// The request makes no sense.
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_data", message)
    }

    /// A parameter makes no sense.
    pub(crate) fn parameter(name: &str, cause: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {cause}"))
    }

    /// What was asked for does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// It took too long.
    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message)
    }

    /// The fault is here.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What was asked for is done, and a restart would undo it.
    pub(crate) fn not_kept(error: &WriteFailed) -> Self {
        Self::internal(format!("it counts now, but not after a restart: {}", chain(error)))
    }

    /// A part of Prometheus that labstat never switches on.
    pub(crate) fn switched_off(message: impl Into<String>) -> Self {
        // Prometheus has no code for this type of error, and falls back to this one.
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unavailable", message)
    }

    /// The type of the error.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The same error, with what can be done about it behind it.
    pub(crate) fn with_cure(mut self, cure: &str) -> Self {
        self.message.push_str(": ");
        self.message.push_str(cure);
        self
    }

    /// More samples than one request may have, be they read or made, in Prometheus' words.
    fn too_much() -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "execution", QueryError::TooManySamples { limit: 0 }.to_string())
    }

    /// Whoever has the answer cannot be asked just now.
    fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// The error as the line of text that the paths outside the API answer with.
    pub(crate) fn into_text(self) -> Response {
        plain(self.status, &format!("{}\n", self.message))
    }
}

/// A refusal in plain text, which no browser may take for a page.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text.to_owned()).into_response()
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error.kind() {
            ErrorKind::Away => Self::unavailable(chain(&error)),
            ErrorKind::Unsupported => {
                Self::new(StatusCode::NOT_IMPLEMENTED, "unsupported", chain(&error))
            }
            ErrorKind::TooMuch => Self::too_much(),
            ErrorKind::Stopped => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                QueryErrorKind::Timeout.as_str(),
                chain(&error),
            ),
            ErrorKind::Failed => {
                tracing::error!(error = chain(&error), "a read failed");
                Self::internal(chain(&error))
            }
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match storage_kind(&error) {
            Some(ErrorKind::Away) => return Self::unavailable(chain(&error)),
            Some(ErrorKind::TooMuch) => return Self::too_much(),
            _ => {}
        }
        let status = match error.kind() {
            QueryErrorKind::BadData => StatusCode::BAD_REQUEST,
            QueryErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            QueryErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            QueryErrorKind::Canceled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST)
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            QueryErrorKind::Internal => {
                tracing::error!(error = chain(&error), "a query failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.kind().as_str(), chain(&error))
    }
}

/// Whether a query failed because the history has more samples for it than one read may have.
pub(crate) fn is_too_much(error: &QueryError) -> bool {
    storage_kind(error) == Some(ErrorKind::TooMuch)
}

/// What the history said of a query that failed because of it.
fn storage_kind(error: &QueryError) -> Option<ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(storage) = error.downcast_ref::<StorageError>() {
            return Some(storage.kind());
        }
        cause = error.source();
    }
    None
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = format!(r#"{{"status":"error","errorType":"{}","error":"#, self.kind);
        json::push_text(&mut body, &self.message);
        body.push('}');
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// A successful answer of the API.
pub(crate) struct Json<T = String>(pub(crate) T);

impl<T: Into<Body>> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.into()).into_response()
    }
}
