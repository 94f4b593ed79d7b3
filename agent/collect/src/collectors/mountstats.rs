//! What each mount of NFS has done and how long it took. Off unless it is asked for: a mount has some
//! five hundred series.
//!
//! - Reads: `mountstats` and `mountinfo` of process 1 (of our own where those may not be read).
//! - Absent when nothing is mounted from a server of NFS.
//! - Emits: `node_mountstats_nfs_*`. Mounts of one export from one server by one protocol are told
//!   once, as the first of them. Of a mount with several connections (`nconnect`) the sums are told,
//!   the most slots that one had, and the time since the last of them was used.
//! - Not here: calls of all mounts together ([`super::nfs`]).

use std::collections::HashSet;

use labstat_model::{Batch, Family};
use labstat_parse::proc::mountinfo;
use labstat_parse::proc::mountstats::{self, BYTES, EVENTS, Mount, OPERATION, Transport};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::outcome;

const PATH: &str = "mountstats";

/// Processes whose mounts are told of: the machine's own, and ours where that may not be read.
const PROCESSES: [&str; 2] = ["/proc/1", "/proc/self"];

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family::counter(name, help)
}

static AGE: Family =
    counter("node_mountstats_nfs_age_seconds_total", "Seconds since it was mounted.");

static BYTE_COUNTS: [Family; BYTES] = [
    counter("node_mountstats_nfs_read_bytes_total", "Bytes that programs read."),
    counter("node_mountstats_nfs_write_bytes_total", "Bytes that programs wrote."),
    counter(
        "node_mountstats_nfs_direct_read_bytes_total",
        "Bytes that programs read past the cache.",
    ),
    counter(
        "node_mountstats_nfs_direct_write_bytes_total",
        "Bytes that programs wrote past the cache.",
    ),
    counter("node_mountstats_nfs_total_read_bytes_total", "Bytes read from the server."),
    counter("node_mountstats_nfs_total_write_bytes_total", "Bytes written to the server."),
    counter("node_mountstats_nfs_read_pages_total", "Pages read for mapped files."),
    counter("node_mountstats_nfs_write_pages_total", "Pages written for mapped files."),
];

/// In the kernel's order; one of them it does not use.
static EVENT_COUNTS: [Option<Family>; EVENTS] = [
    event("node_mountstats_nfs_event_inode_revalidate_total"),
    event("node_mountstats_nfs_event_dnode_revalidate_total"),
    event("node_mountstats_nfs_event_data_invalidate_total"),
    event("node_mountstats_nfs_event_attribute_invalidate_total"),
    event("node_mountstats_nfs_event_vfs_open_total"),
    event("node_mountstats_nfs_event_vfs_lookup_total"),
    event("node_mountstats_nfs_event_vfs_access_total"),
    event("node_mountstats_nfs_event_vfs_update_page_total"),
    event("node_mountstats_nfs_event_vfs_read_page_total"),
    event("node_mountstats_nfs_event_vfs_read_pages_total"),
    event("node_mountstats_nfs_event_vfs_write_page_total"),
    event("node_mountstats_nfs_event_vfs_write_pages_total"),
    event("node_mountstats_nfs_event_vfs_getdents_total"),
    event("node_mountstats_nfs_event_vfs_setattr_total"),
    event("node_mountstats_nfs_event_vfs_flush_total"),
    event("node_mountstats_nfs_event_vfs_fsync_total"),
    event("node_mountstats_nfs_event_vfs_lock_total"),
    event("node_mountstats_nfs_event_vfs_file_release_total"),
    None,
    event("node_mountstats_nfs_event_truncation_total"),
    event("node_mountstats_nfs_event_write_extension_total"),
    event("node_mountstats_nfs_event_silly_rename_total"),
    event("node_mountstats_nfs_event_short_read_total"),
    event("node_mountstats_nfs_event_short_write_total"),
    event("node_mountstats_nfs_event_jukebox_delay_total"),
    event("node_mountstats_nfs_event_pnfs_read_total"),
    event("node_mountstats_nfs_event_pnfs_write_total"),
];

const fn event(name: &'static str) -> Option<Family> {
    Some(counter(name, "Events of a mount of NFS, by the kernel's own name."))
}

/// In the kernel's order, and by how much the value is divided: times are told in milliseconds.
static OPERATION_COUNTS: [(Family, f64); OPERATION] = [
    (counter("node_mountstats_nfs_operations_requests_total", "Operations asked for."), 1.0),
    (counter("node_mountstats_nfs_operations_transmissions_total", "Times they were sent."), 1.0),
    (
        counter("node_mountstats_nfs_operations_major_timeouts_total", "Times one got no answer."),
        1.0,
    ),
    (counter("node_mountstats_nfs_operations_sent_bytes_total", "Bytes sent for them."), 1.0),
    (
        counter("node_mountstats_nfs_operations_received_bytes_total", "Bytes received for them."),
        1.0,
    ),
    (
        counter(
            "node_mountstats_nfs_operations_queue_time_seconds_total",
            "Seconds that they waited to be sent.",
        ),
        1000.0,
    ),
    (
        counter(
            "node_mountstats_nfs_operations_response_time_seconds_total",
            "Seconds from sending them to their answers.",
        ),
        1000.0,
    ),
    (
        counter(
            "node_mountstats_nfs_operations_request_time_seconds_total",
            "Seconds from asking for them to their end.",
        ),
        1000.0,
    ),
];

/// What a connection counts, and how several of a mount are told as one.
type Connection = (Family, fn(&Transport<'_>) -> Option<u64>, fn(u64, u64) -> u64);

static CONNECTION_COUNTS: [Connection; 10] = [
    (
        counter("node_mountstats_nfs_transport_bind_total", "Times a port was bound for it."),
        |it| it.binds,
        u64::saturating_add,
    ),
    (
        counter("node_mountstats_nfs_transport_connect_total", "Times the server was connected."),
        |it| it.connects,
        u64::saturating_add,
    ),
    (
        Family::gauge(
            "node_mountstats_nfs_transport_idle_time_seconds",
            "Seconds since its last use.",
        ),
        |it| it.idle_s,
        u64::min,
    ),
    (
        counter("node_mountstats_nfs_transport_sends_total", "Requests sent."),
        |it| it.sends,
        u64::saturating_add,
    ),
    (
        counter("node_mountstats_nfs_transport_receives_total", "Answers received."),
        |it| it.receives,
        u64::saturating_add,
    ),
    (
        counter(
            "node_mountstats_nfs_transport_bad_transaction_ids_total",
            "Answers to what was not asked.",
        ),
        |it| it.bad_ids,
        u64::saturating_add,
    ),
    (
        counter(
            "node_mountstats_nfs_transport_backlog_queue_total",
            "Requests in the backlog, summed up at each request.",
        ),
        |it| it.backlog,
        u64::saturating_add,
    ),
    (
        Family::gauge(
            "node_mountstats_nfs_transport_maximum_rpc_slots",
            "The most requests at a time.",
        ),
        |it| it.slots_max,
        u64::max,
    ),
    (
        counter(
            "node_mountstats_nfs_transport_sending_queue_total",
            "Requests that waited to be sent, summed up at each request.",
        ),
        |it| it.sending,
        u64::saturating_add,
    ),
    (
        counter(
            "node_mountstats_nfs_transport_pending_queue_total",
            "Requests that waited for an answer, summed up at each request.",
        ),
        |it| it.pending,
        u64::saturating_add,
    ),
];

/// Numbers over this begin anew at 0: the kernel sums up times that may be negative after a clock was
/// set, and what is left must be exact as a float.
const COUNT_END: u64 = 1 << 53;

/// Mounts of NFS.
#[derive(Debug, Default)]
pub struct Mountstats {
    bytes: Vec<u8>,
    mounts: Vec<u8>,
}

impl Collector for Mountstats {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read(host, "mountstats", &mut self.bytes)?
            || !read(host, "mountinfo", &mut self.mounts)?
        {
            return Ok(Status::Absent);
        }
        let mut servers = Vec::new();
        for mount in mountinfo::parse(&self.mounts) {
            let mount = mount.map_err(CollectError::parse("mountinfo"))?;
            if let Some(server) = mount.super_option("addr") {
                servers.push((mount.mount_point, server));
            }
        }
        let mut seen = HashSet::new();
        let each = |mount: &Mount<'_>| {
            let point = mountinfo::unescaped(mount.mount_point);
            // The last mount at a point hides those before it.
            let server = servers.iter().rev().find(|(at, _)| *at == point);
            let server = server.map_or("", |(_, server)| server);
            let protocol = mount.transports.first().map_or(&b""[..], |first| first.protocol);
            let [export, protocol] = [mount.device, protocol].map(String::from_utf8_lossy);
            let key = (export.to_string(), protocol.to_string(), server.to_owned());
            if seen.insert(key) {
                let labels =
                    [("export", &*export), ("mountaddr", server), ("protocol", &*protocol)];
                push(mount, &labels, out);
            }
        };
        mountstats::parse(&self.bytes, each).map_err(CollectError::parse(PATH))?;
        Ok(outcome(out))
    }
}

/// Reads a file of the first process whose files may be read; whether there is one.
fn read(host: &dyn Host, name: &str, into: &mut Vec<u8>) -> Result<bool, CollectError> {
    let mut failed = None;
    for process in PROCESSES {
        let path = format!("{process}/{name}");
        match host.read_into(&path, into) {
            Ok(()) => return Ok(true),
            Err(error) if is_absent(&error) => {}
            Err(cause) => failed = Some(CollectError::Read { from: path, cause }),
        }
    }
    failed.map_or(Ok(false), Err)
}

fn push(mount: &Mount<'_>, labels: &[(&str, &str); 3], out: &mut Batch) {
    if let Some(age) = mount.age_s {
        out.push(&AGE, labels, age as f64);
    }
    for (family, count) in BYTE_COUNTS.iter().zip(mount.bytes.iter().flatten()) {
        out.push(family, labels, *count as f64);
    }
    for (family, count) in EVENT_COUNTS.iter().zip(mount.events.iter().flatten()) {
        if let Some(family) = family {
            out.push(family, labels, *count as f64);
        }
    }
    for (family, of, together) in &CONNECTION_COUNTS {
        if let Some(count) = mount.transports.iter().filter_map(of).reduce(together) {
            out.push(family, labels, count as f64);
        }
    }
    let [export, server, protocol] = *labels;
    let names: Vec<_> =
        mount.operations.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    for (at, (family, divisor)) in OPERATION_COUNTS.iter().enumerate() {
        for (name, (_, counts)) in names.iter().zip(&mount.operations) {
            let Some(count) = counts.get(at) else { continue };
            let labels = [export, server, ("operation", &**name), protocol];
            out.push(family, &labels, (*count % COUNT_END) as f64 / divisor);
        }
    }
}
