//! Connections that the firewall follows.
//!
//! - Reads: `/proc/sys/net/netfilter/nf_conntrack_{count,max}`.
//! - Absent when neither is there: a kernel that follows none.
//! - Emits: `node_nf_conntrack_entries`, `node_nf_conntrack_entries_limit`.
//! - Not here: the connections themselves.

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{NumberFile, push_numbers};

static CONNTRACK: Family = Family::gauge(
    "node_nf_conntrack_entries",
    "Number of currently allocated flow entries for connection tracking.",
);
static CONNTRACK_MAX: Family =
    Family::gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.");

static FILES: [NumberFile; 2] = [
    ("/proc/sys/net/netfilter/nf_conntrack_count", &[Some(&CONNTRACK)]),
    ("/proc/sys/net/netfilter/nf_conntrack_max", &[Some(&CONNTRACK_MAX)]),
];

/// Connections that the firewall follows.
#[derive(Debug, Default)]
pub struct Conntrack(Vec<u8>);

impl Collector for Conntrack {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        push_numbers(host, &FILES, &mut self.0, out)
    }
}
