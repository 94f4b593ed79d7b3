//! What a fuzzer looks for in kept messages: a queue that begins with any rows comes to an end.

#![expect(clippy::expect_used, reason = "a panic is what a fuzzer looks for")]

use super::queue::{Next, Queue};
use super::{DeliveryOptions, row};
use crate::notify::SendError;

/// Attempts that are made at what was kept.
const ATTEMPTS: usize = 20;

/// Any rows are refused or taken for messages, which are tried one after the other.
pub(crate) fn queue(rows: Vec<(String, Vec<u8>)>, now_ms: i64) {
    let mut rows = row::read(rows);
    let mut seq = rows.last_seq;
    let mut now_ms = now_ms;
    for (receiver, rate) in [("phone", "3/10m"), ("mail", "off")] {
        let rate = rate.parse().expect("BUG: it is a rate");
        let mut queue = Queue::new(receiver, rate, &DeliveryOptions::default());
        queue.restore(&mut rows);
        let before = queue.waiting().len;
        for attempt in 0..ATTEMPTS {
            let mut entries = Vec::new();
            let mut number = || {
                seq += 1;
                seq
            };
            match queue.next(now_ms, &mut number, &mut entries) {
                Next::Idle => break,
                Next::Wait(until_ms) => {
                    assert!(until_ms > now_ms, "to wait for what is over is to turn in place");
                    now_ms = until_ms.min(now_ms.saturating_add(i64::from(u32::MAX)));
                }
                Next::Attempt(_) => {
                    let why = "no".to_owned();
                    let error = match attempt % 3 {
                        0 => SendError::Doubt { why, was_there: true },
                        1 => SendError::Retry { why, after: None },
                        _ => SendError::GiveUp(why),
                    };
                    queue.failed(now_ms, &error, false, &mut entries);
                }
            }
        }
        assert!(queue.waiting().len <= before, "messages do not multiply");
    }
}
