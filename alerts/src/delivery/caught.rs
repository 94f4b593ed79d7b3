//! A panic of whoever is asked to do something, as an error: it must cost the others nothing.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use super::Answer;
use crate::notify::SendError;

/// The answer, or that there was a panic on the way to it. What was to be sent may have gone out, but
/// no receiver had any part in that.
pub(super) async fn caught<'a, T>(ask: impl FnOnce() -> Answer<'a, T>) -> Result<T, SendError> {
    let mut answer = catch_unwind(AssertUnwindSafe(ask)).map_err(|panic| panicked(&*panic))?;
    // After a panic the answer is dropped, and nobody looks at what it left half done.
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
        polled.map_or_else(|panic| Poll::Ready(Err(panicked(&*panic))), |polled| polled.map(Ok))
    })
    .await
}

fn panicked(panic: &(dyn Any + Send)) -> SendError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let why = format!("panicked: {}", text.unwrap_or("it does not say why"));
    SendError::Retry { why, after: None }
}
