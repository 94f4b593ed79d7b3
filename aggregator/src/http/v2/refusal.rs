//! What a request to the Alertmanager API gets that cannot be answered.
//!
//! Alertmanager has two shapes of errors. What its handlers refuse is a bare JSON string; what the
//! description of its API already forbids (a field that is missing, a path that is none) is
//! `{"code":…,"message":…}`, where the code may be finer than the status: 601 a wrong format, 602
//! something missing, 612 too few of something.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::error::Json;

/// A field that is not of its format.
const WRONG_FORMAT: u16 = 601;

/// A field that must be there and is not.
const REQUIRED: u16 = 602;

/// A list with too few items.
const TOO_FEW: u16 = 612;

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// In the words of a handler.
    Said(StatusCode, String),
    /// By the description of the API: status, code and text.
    Coded(StatusCode, u16, String),
    /// A silence that is not known: no text at all.
    Unknown,
    /// A path that has not this method; what it has.
    Method {
        /// The method that was used.
        used: String,
        /// Those that are there, apart by commas.
        allowed: &'static str,
    },
}

impl Refusal {
    /// The request makes no sense.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::Said(StatusCode::BAD_REQUEST, text.into())
    }

    /// The fault is here.
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::Said(StatusCode::INTERNAL_SERVER_ERROR, text.into())
    }

    /// Refused with the status as the code.
    pub(crate) fn coded(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Coded(status, status.as_u16(), text.into())
    }

    /// `field` (such as `0.labels`) is not there.
    pub(crate) fn required(field: &str) -> Self {
        Self::unprocessable(REQUIRED, format!("{field} in body is required"))
    }

    /// `field` is an empty list.
    pub(crate) fn empty(field: &str) -> Self {
        Self::unprocessable(TOO_FEW, format!("{field} in body should have at least 1 items"))
    }

    /// `field`, which stands in `place`, is not of the format `format`.
    pub(crate) fn format(field: &str, place: &str, format: &str, value: &str) -> Self {
        let text = format!("{field} in {place} must be of type {format}: {value:?}");
        Self::unprocessable(WRONG_FORMAT, text)
    }

    fn unprocessable(code: u16, text: String) -> Self {
        Self::Coded(StatusCode::UNPROCESSABLE_ENTITY, code, text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let coded =
            |code: u16, text: &str| Json(format!("{}\n", json!({ "code": code, "message": text })));
        match self {
            Self::Said(status, text) => {
                (status, Json(format!("{}\n", json!(text)))).into_response()
            }
            Self::Coded(status, code, text) => (status, coded(code, &text)).into_response(),
            Self::Unknown => StatusCode::NOT_FOUND.into_response(),
            Self::Method { used, allowed } => {
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let text = format!("method {used} is not allowed, but [{allowed}] are");
                let allow = [(header::ALLOW, HeaderValue::from_static(allowed))];
                (status, allow, coded(status.as_u16(), &text)).into_response()
            }
        }
    }
}
