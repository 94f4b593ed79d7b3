//! How much memory answers may hold that wait to be sent.
//!
//! A query gives its place back once it is evaluated, but its answer is in memory until the client
//! has taken it. So each long answer has a part of a budget until it is sent or dropped; what does
//! not fit waits, in its place in the gate, and after a while is an error. What of an answer is
//! sent is given free as it goes. How long a client may take nothing: see [`super::socket`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use crate::app::PERMIT_BYTES;

/// How long an answer waits until others are sent: by then those that nobody takes are given up.
const WAIT_MAX: Duration = super::socket::SEND_TIMEOUT;

/// Answers up to this length count for nothing: all connections together hold little with them, and
/// they need not wait for long ones.
const FREE_LEN: usize = 64 * 1024;

/// What a longer one counts for at the least: the pieces that are written ahead.
const LEAST_LEN: usize = 512 * 1024;

/// The memory of answers that are not yet sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    permits: Arc<Semaphore>,
    permits_max: usize,
    bytes: IntGauge,
}

/// A part of the memory for unsent answers; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    permit: OwnedSemaphorePermit,
    bytes: IntGauge,
}

impl Unsent {
    /// Up to `bytes_max` for all answers; `bytes` tells how much they have.
    pub(crate) fn new(bytes_max: usize, bytes: &IntGauge) -> Self {
        let permits_max = (bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let permits_max = permits_max.min(u32::MAX as usize);
        let permits = Arc::new(Semaphore::new(permits_max));
        Self { permits, permits_max, bytes: bytes.clone() }
    }

    /// A part for an answer of this length, as soon as there is one, but not after `timeout`. One
    /// that is longer than all there is may have all there is.
    pub(crate) async fn hold(
        &self,
        bytes: usize,
        timeout: Duration,
    ) -> Result<Option<Held>, ApiError> {
        if bytes <= FREE_LEN {
            return Ok(None);
        }
        let count = u32::try_from(permits_of(bytes).min(self.permits_max)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.permits).acquire_many_owned(count);
        match tokio::time::timeout(timeout.min(WAIT_MAX), permit).await {
            Ok(Ok(permit)) => {
                let held = Held { permit, bytes: self.bytes.clone() };
                held.count(count as usize, 1);
                Ok(Some(held))
            }
            _ => Err(ApiError::timeout(
                "query timed out in sending of results: others that are not yet taken fill the \
                 memory for answers; ask again, ask for less, or raise query_memory of [limits]",
            )),
        }
    }
}

impl Held {
    /// Gives back what is not needed any more for what is left.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let spare = self.permit.num_permits().saturating_sub(permits_of(bytes));
        if let Some(permit) = self.permit.split(spare) {
            self.count(permit.num_permits(), -1);
        }
    }

    fn count(&self, permits: usize, sign: i64) {
        self.bytes.add(sign * i64::try_from(permits * PERMIT_BYTES).unwrap_or(0));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count(self.permit.num_permits(), -1);
    }
}

fn permits_of(bytes: usize) -> usize {
    bytes.max(LEAST_LEN).div_ceil(PERMIT_BYTES)
}

/// Text that keeps its part of the memory until it is sent.
#[derive(Debug)]
struct Text {
    text: String,
    _held: Held,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// `text` to be sent, with the part of the memory that goes with it.
pub(crate) fn bytes(text: String, held: Option<Held>) -> Bytes {
    match held {
        Some(held) => Bytes::from_owner(Text { text, _held: held }),
        None => Bytes::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn unsent(bytes_max: usize) -> Unsent {
        Unsent::new(bytes_max, &IntGauge::new("bytes", "a gauge").unwrap())
    }

    #[tokio::test]
    async fn memory_is_given_back_as_an_answer_is_sent() {
        let unsent = unsent(4 * LEAST_LEN);
        let mut first = unsent.hold(3 * LEAST_LEN, NOW).await.unwrap().unwrap();
        assert!(unsent.hold(2 * LEAST_LEN, NOW).await.is_err());
        assert!(unsent.hold(FREE_LEN, NOW).await.unwrap().is_none(), "short ones need none");
        first.shrink_to(2 * LEAST_LEN);
        let second = unsent.hold(2 * LEAST_LEN, NOW).await.unwrap();
        assert_eq!(usize::try_from(unsent.bytes.get()), Ok(4 * LEAST_LEN));
        first.shrink_to(0);
        assert_eq!(usize::try_from(unsent.bytes.get()), Ok(3 * LEAST_LEN), "what is written ahead");
        let text = bytes("text".to_owned(), Some(first));
        let part = text.slice(1..2);
        drop((text, second));
        assert_eq!(usize::try_from(unsent.bytes.get()), Ok(LEAST_LEN), "a part is not sent yet");
        drop(part);
        assert_eq!(unsent.bytes.get(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_longer_than_all_may_have_all() {
        let unsent = unsent(LEAST_LEN / 2);
        let all = unsent.hold(usize::MAX / 2, NOW).await.unwrap().unwrap();
        assert!(unsent.hold(FREE_LEN + 1, NOW).await.is_err());
        drop(all);
        assert!(unsent.hold(FREE_LEN + 1, NOW).await.unwrap().is_some());
        assert_eq!(unsent.bytes.get(), 0);
    }
}
