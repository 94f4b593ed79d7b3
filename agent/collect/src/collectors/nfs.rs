//! What this machine asked of NFS servers.
//!
//! - Reads: `/proc/net/rpc/nfs`. Absent when the kernel has no client of NFS (loaded).
//! - Emits: `node_nfs_*`; calls of versions and of kinds that the kernel does not count are absent.
//! - Not here: what each mount has done ([`super::mountstats`]), and the server ([`super::nfsd`]).

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::counts::{self, Calls, Row};
use crate::host::Host;
use crate::shared::{outcome, read_if_there};

const PATH: &str = "/proc/net/rpc/nfs";

static PACKETS: Family =
    Family::counter("node_nfs_packets_total", "Packets of NFS, sent and received, by protocol.");
static CONNECTIONS: Family =
    Family::counter("node_nfs_connections_total", "Connections of NFS over TCP.");
static RPCS: Family = Family::counter("node_nfs_rpcs_total", "Calls made over RPC.");
static RETRANSMISSIONS: Family =
    Family::counter("node_nfs_rpc_retransmissions_total", "Calls over RPC that were sent again.");
static REFRESHES: Family = Family::counter(
    "node_nfs_rpc_authentication_refreshes_total",
    "Times the authentication of RPC was made anew.",
);
/// Calls by kind.
pub static REQUESTS: Family =
    Family::counter("node_nfs_requests_total", "Calls of NFS, by method and version.");

static ROWS: [Row; 2] = [
    (
        "net",
        &[
            (1, &PACKETS, Some(("protocol", "udp"))),
            (2, &PACKETS, Some(("protocol", "tcp"))),
            (3, &CONNECTIONS, None),
        ],
    ),
    ("rpc", &[(0, &RPCS, None), (1, &RETRANSMISSIONS, None), (2, &REFRESHES, None)]),
];

#[rustfmt::skip]
static CALLS: [Calls; 3] = [
    ("proc2", "2", 0, &VERSION_2),
    ("proc3", "3", 0, &VERSION_3),
    ("proc4", "4", 0, &[
        "Null", "Read", "Write", "Commit", "Open", "OpenConfirm", "OpenNoattr", "OpenDowngrade",
        "Close", "Setattr", "FsInfo", "Renew", "SetClientID", "SetClientIDConfirm", "Lock", "Lockt",
        "Locku", "Access", "Getattr", "Lookup", "LookupRoot", "Remove", "Rename", "Link", "Symlink",
        "Create", "Pathconf", "StatFs", "ReadLink", "ReadDir", "ServerCaps", "DelegReturn",
        "GetACL", "SetACL", "FsLocations", "ReleaseLockowner", "Secinfo", "FsidPresent",
        "ExchangeID", "CreateSession", "DestroySession", "Sequence", "GetLeaseTime",
        "ReclaimComplete", "LayoutGet", "GetDeviceInfo", "LayoutCommit", "LayoutReturn",
        "SecinfoNoName", "TestStateID", "FreeStateID", "GetDeviceList", "BindConnToSession",
        "DestroyClientID", "Seek", "Allocate", "DeAllocate", "LayoutStats", "Clone",
    ]),
];

/// Calls of version 2, of which clients and servers count the same.
#[rustfmt::skip]
pub(super) const VERSION_2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write", "Create",
    "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];

/// Calls of version 3; so it is with these.
#[rustfmt::skip]
pub(super) const VERSION_3: [&str; 22] = [
    "Null", "GetAttr", "SetAttr", "Lookup", "Access", "ReadLink", "Read", "Write", "Create", "MkDir",
    "SymLink", "MkNod", "Remove", "RmDir", "Rename", "Link", "ReadDir", "ReadDirPlus", "FsStat",
    "FsInfo", "PathConf", "Commit",
];

/// What this machine asked of NFS servers.
#[derive(Debug, Default)]
pub struct Nfs(Vec<u8>);

impl Collector for Nfs {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        counts::push((PATH, &self.0), (&ROWS, None), (&CALLS, &REQUESTS), out)?;
        Ok(outcome(out))
    }
}
