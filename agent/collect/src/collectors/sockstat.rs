//! Sockets in use, and the memory they take.
//!
//! - Reads: `/proc/net/{sockstat,sockstat6}`. Absent when neither is there.
//! - Emits: `node_sockstat_*`, by the kernel's own names; memory in bytes where the size of a page
//!   is known.
//! - Not here: what waits in the queues of sockets ([`super::udp_queues`]).

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::float;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{not_understood, outcome, read_if_there};

/// Sockets in use.
#[derive(Debug, Default)]
pub struct Sockstat(Vec<u8>);

impl Collector for Sockstat {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for path in ["/proc/net/sockstat", "/proc/net/sockstat6"] {
            if !read_if_there(host, path, &mut self.0)? {
                continue;
            }
            for line in String::from_utf8_lossy(&self.0).lines() {
                let (protocol, rest) =
                    line.split_once(':').ok_or_else(|| not_understood(path, line))?;
                let parts: Vec<&str> = rest.split_whitespace().collect();
                for pair in parts.chunks(2) {
                    let [name, value] = pair else { return Err(not_understood(path, line)) };
                    let value =
                        float(value.as_bytes()).ok_or_else(|| not_understood(path, line))?;
                    push_gauge(format!("node_sockstat_{protocol}_{name}"), value, out);
                    if *name == "mem"
                        && let Some(page) = host.page_size_bytes()
                    {
                        let name = format!("node_sockstat_{protocol}_mem_bytes");
                        push_gauge(name, value * page as f64, out);
                    }
                }
            }
        }
        Ok(outcome(out))
    }
}

fn push_gauge(name: String, value: f64, out: &mut Batch) {
    out.push(&Family::dynamic(name, Kind::Gauge, "Number of sockets or their memory."), &[], value);
}
