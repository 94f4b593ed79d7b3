//! TCP's sockets by state, and what waits in their queues.
//!
//! - Reads: `/proc/net/{tcp,tcp6}`. Absent when neither is there.
//! - Emits: `node_tcp_connection_states`; a state that no socket is in is not emitted.
//! - Not here: single connections, and the counters of the protocol ([`super::netstat`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::tcp::{STATES, Tcp};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::read_if_there;

const PATHS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

static CONNECTIONS: Family = Family::gauge(
    "node_tcp_connection_states",
    "TCP sockets in each state, and bytes that wait in their queues.",
);

/// TCP's sockets by state.
#[derive(Debug, Default)]
pub struct Tcpstat(Vec<u8>);

impl Collector for Tcpstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut tcp = Tcp::default();
        let mut is_there = false;
        for path in PATHS {
            if read_if_there(host, path, &mut self.0)? {
                is_there = true;
                tcp.add(&self.0).map_err(CollectError::parse(path))?;
            }
        }
        if !is_there {
            return Ok(Status::Absent);
        }
        let states = STATES.into_iter().zip(tcp.states).filter(|(_, count)| *count > 0);
        let queues = [("rx_queued_bytes", tcp.received_bytes), ("tx_queued_bytes", tcp.sent_bytes)];
        for (state, value) in states.chain(queues) {
            out.push(&CONNECTIONS, &[("state", state)], value as f64);
        }
        Ok(Status::Collected)
    }
}
