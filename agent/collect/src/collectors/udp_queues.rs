//! Datagrams that no program has taken yet, or no card.
//!
//! - Reads: `/proc/net/{udp,udp6}`. Absent when neither is there.
//! - Emits: `node_udp_queues`, the sum over all sockets.
//! - Not here: single sockets.

use labstat_model::{Batch, Family};
use labstat_parse::proc::fields_of;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{not_understood, outcome, read_if_there};

static UDP_QUEUES: Family = Family::gauge(
    "node_udp_queues",
    "Bytes of datagrams that wait in the queues of all UDP sockets.",
);

/// Datagrams that no program has taken yet, or no card.
#[derive(Debug, Default)]
pub struct UdpQueues(Vec<u8>);

impl Collector for UdpQueues {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for (path, ip) in [("/proc/net/udp", "v4"), ("/proc/net/udp6", "v6")] {
            if !read_if_there(host, path, &mut self.0)? {
                continue;
            }
            let mut lines = self.0.split(|byte| *byte == b'\n');
            let headings = lines.next().unwrap_or_default();
            if !headings.trim_ascii_start().starts_with(HEADINGS_START) {
                return Err(not_understood(path, &String::from_utf8_lossy(headings)));
            }
            let (mut sent, mut received) = (0_u64, 0_u64);
            for line in lines.filter(|line| !line.is_empty()) {
                let bytes = waiting(line)
                    .ok_or_else(|| not_understood(path, &String::from_utf8_lossy(line)))?;
                sent = sent.saturating_add(bytes.0);
                received = received.saturating_add(bytes.1);
            }
            for (queue, bytes) in [("tx", sent), ("rx", received)] {
                out.push(&UDP_QUEUES, &[("ip", ip), ("queue", queue)], bytes as f64);
            }
        }
        Ok(outcome(out))
    }
}

/// How the first line begins. Without it, no line of a socket is no sign that there is no socket.
const HEADINGS_START: &[u8] = b"sl ";

/// The bytes to be sent and those received of a socket, `00000000:00000A40` in its fifth column.
fn waiting(line: &[u8]) -> Option<(u64, u64)> {
    let field = std::str::from_utf8(fields_of(line).nth(4)?).ok()?;
    let (sent, received) = field.split_once(':')?;
    Some((u64::from_str_radix(sent, 16).ok()?, u64::from_str_radix(received, 16).ok()?))
}
