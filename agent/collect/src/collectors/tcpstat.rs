//! TCP's sockets by state, and what waits in their queues.
//!
//! - Reads: the kernel's answer over netlink (`sock_diag`); `/proc/net/{tcp,tcp6}` of captured machines and
//!   where there is no such socket, for which the kernel walks the whole of its table, however few
//!   sockets are in it. Absent when the first is not there.
//! - Emits: `node_tcp_connection_states`; a state that no socket is in is not emitted.
//! - Not here: single connections, and the counters of the protocol ([`super::netstat`]).

use std::io::ErrorKind;

use labstat_model::{Batch, Family};
use labstat_parse::proc::tcp::{STATES, Tcp};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::options::Patience;
use crate::shared::read_if_there;

const PATHS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

static CONNECTIONS: Family = Family::gauge(
    "node_tcp_connection_states",
    "TCP sockets in each state, and bytes that wait in their queues.",
);

/// TCP's sockets by state.
#[derive(Debug, Default)]
pub struct Tcpstat {
    /// A hundred thousand sockets take the kernel some 50 ms.
    patience: Patience,
    bytes: Vec<u8>,
}

impl Collector for Tcpstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let tcp = match host.tcp_sockets(self.patience.0) {
            Ok(tcp) => Some(tcp),
            Err(error) if error.kind() == ErrorKind::Unsupported => self.read_files(host)?,
            Err(error) => return Err(CollectError::read("sock_diag")(error)),
        };
        let Some(tcp) = tcp else { return Ok(Status::Absent) };
        let states = STATES.into_iter().zip(tcp.states).filter(|(_, count)| *count > 0);
        let queues = [("rx_queued_bytes", tcp.received_bytes), ("tx_queued_bytes", tcp.sent_bytes)];
        for (state, value) in states.chain(queues) {
            out.push(&CONNECTIONS, &[("state", state)], value as f64);
        }
        Ok(Status::Collected)
    }
}

impl Tcpstat {
    /// One that waits for the kernel no longer than this.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// The same from the files; nothing when there are none.
    fn read_files(&mut self, host: &dyn Host) -> Result<Option<Tcp>, CollectError> {
        let mut tcp = Tcp::default();
        for path in PATHS {
            if read_if_there(host, path, &mut self.bytes)? {
                tcp.add(&self.bytes).map_err(CollectError::parse(path))?;
            } else if path == PATHS[0] {
                // Where there is no TCP, the other one would be a part of what is not known.
                return Ok(None);
            }
        }
        Ok(Some(tcp))
    }
}
