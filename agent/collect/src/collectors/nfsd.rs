//! What the NFS server of this machine was asked.
//!
//! - Reads: `/proc/net/rpc/nfsd`. Absent when the kernel has no server of NFS (loaded).
//! - Emits: `node_nfsd_*`; what a kernel does not count any more (read ahead, since 5.4) is absent.
//! - Not here: who asked, and what the exports hold.

use labstat_model::{Batch, Family};

use super::nfs::{VERSION_2, VERSION_3};
use crate::collector::{CollectError, Collector, Status};
use crate::counts::{self, Calls, Row};
use crate::host::Host;
use crate::shared::{outcome, read_if_there};

const PATH: &str = "/proc/net/rpc/nfsd";

static CACHE_HITS: Family = Family::counter(
    "node_nfsd_reply_cache_hits_total",
    "Calls whose answer was in the reply cache, since the client had lost it.",
);
static CACHE_MISSES: Family = Family::counter(
    "node_nfsd_reply_cache_misses_total",
    "Calls whose answer was put into the reply cache.",
);
static CACHE_NOT_USED: Family = Family::counter(
    "node_nfsd_reply_cache_nocache_total",
    "Calls that may be repeated without harm and bypass the reply cache.",
);
static STALE: Family =
    Family::counter("node_nfsd_file_handles_stale_total", "File handles that were stale.");
static READ: Family = Family::counter("node_nfsd_disk_bytes_read_total", "Bytes read.");
static WRITTEN: Family = Family::counter("node_nfsd_disk_bytes_written_total", "Bytes written.");
static THREADS: Family = Family::gauge("node_nfsd_server_threads", "Threads of the server.");
static AHEAD_SIZE: Family =
    Family::gauge("node_nfsd_read_ahead_cache_size_blocks", "Blocks of the read-ahead cache.");
static AHEAD_MISSES: Family = Family::counter(
    "node_nfsd_read_ahead_cache_not_found_total",
    "Reads that the read-ahead cache did not have.",
);
static PACKETS: Family =
    Family::counter("node_nfsd_packets_total", "Packets, sent and received, by protocol.");
static CONNECTIONS: Family =
    Family::counter("node_nfsd_connections_total", "Connections over TCP.");
static RPCS: Family = Family::counter("node_nfsd_server_rpcs_total", "Calls received over RPC.");
static ERRORS: Family =
    Family::counter("node_nfsd_rpc_errors_total", "Calls that were refused, by what was wrong.");
/// Calls by kind.
pub static REQUESTS: Family =
    Family::counter("node_nfsd_requests_total", "Calls received, by method and version.");

static ROWS: [Row; 7] = [
    ("rc", &[(0, &CACHE_HITS, None), (1, &CACHE_MISSES, None), (2, &CACHE_NOT_USED, None)]),
    ("fh", &[(0, &STALE, None)]),
    ("io", &[(0, &READ, None), (1, &WRITTEN, None)]),
    ("th", &[(0, &THREADS, None)]),
    ("ra", &[(0, &AHEAD_SIZE, None), (11, &AHEAD_MISSES, None)]),
    (
        "net",
        &[
            (1, &PACKETS, Some(("proto", "udp"))),
            (2, &PACKETS, Some(("proto", "tcp"))),
            (3, &CONNECTIONS, None),
        ],
    ),
    (
        "rpc",
        &[
            (0, &RPCS, None),
            (2, &ERRORS, Some(("error", "fmt"))),
            (3, &ERRORS, Some(("error", "auth"))),
            (4, &ERRORS, Some(("error", "cInt"))),
        ],
    ),
];

/// The operations of version 4 by their numbers in the protocol (RFC 7530), as the kernel counts them.
#[rustfmt::skip]
static CALLS: [Calls; 3] = [
    ("proc2", "2", 1, VERSION_2.split_at(1).1),
    ("proc3", "3", 1, VERSION_3.split_at(1).1),
    ("proc4ops", "4", 3, &[
        "Access", "Close", "Commit", "Create", "DelegPurge", "DelegReturn", "GetAttr",
        "GetFH", "Link", "Lock", "Lockt", "Locku", "Lookup", "LookupRoot", "Nverify", "Open",
        "OpenAttr", "OpenConfirm", "OpenDgrd", "PutFH", "", "", "Read", "ReadDir", "ReadLink",
        "Remove", "Rename", "Renew", "RestoreFH", "SaveFH", "SecInfo", "SetAttr", "", "", "Verify",
        "Write", "RelLockOwner",
    ]),
];

/// What the NFS server was asked.
#[derive(Debug, Default)]
pub struct Nfsd(Vec<u8>);

impl Collector for Nfsd {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        counts::push((PATH, &self.0), (&ROWS, None), (&CALLS, &REQUESTS), out)?;
        Ok(outcome(out))
    }
}
