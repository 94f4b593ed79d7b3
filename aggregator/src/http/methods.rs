//! Which methods a path answers to: those that Prometheus has there, and to any other 405 with the
//! list of them. OPTIONS are answered before any path is looked at.

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use std::sync::Arc;

use super::error::plain;
use crate::app::App;

type Methods = MethodRouter<Arc<App>>;

/// GET alone. A HEAD would cost as much as a GET and tell nothing; Prometheus has none either.
pub(super) fn reads<H, T>(handler: H) -> Methods
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    refuse_others(get(handler).head(refusal("GET, OPTIONS")), "GET, OPTIONS")
}

/// GET and HEAD, for probes that ask only whether something is there.
pub(super) fn probes<H, T>(handler: H) -> Methods
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    refuse_others(get(handler), "GET, HEAD, OPTIONS")
}

/// GET, and POST with the parameters in a form.
pub(super) fn asks<H, T>(handler: H) -> Methods
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    let allowed = "GET, OPTIONS, POST";
    refuse_others(get(handler.clone()).post(handler).head(refusal(allowed)), allowed)
}

/// POST alone.
pub(super) fn takes<H, T>(handler: H) -> Methods
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    refuse_others(post(handler), "OPTIONS, POST")
}

/// POST and PUT.
pub(super) fn changes<H, T>(handler: H) -> Methods
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    refuse_others(post(handler.clone()).put(handler), "OPTIONS, POST, PUT")
}

fn refuse_others(methods: Methods, allowed: &'static str) -> Methods {
    methods.fallback(refusal(allowed))
}

/// The answer to a method that a path has not.
fn refusal(
    allowed: &'static str,
) -> impl Fn(Request) -> std::future::Ready<Response> + Clone + Send + Sync + 'static {
    move |_| {
        let refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        std::future::ready(([(header::ALLOW, allowed)], refusal).into_response())
    }
}
