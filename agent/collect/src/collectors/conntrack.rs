//! Connections that the firewall follows.
//!
//! - Reads: `/proc/sys/net/netfilter/nf_conntrack_{count,max}`, `/proc/net/stat/nf_conntrack`.
//! - Absent when none is there: a kernel that follows none.
//! - Emits: `node_nf_conntrack_entries`, `node_nf_conntrack_entries_limit`, and the sums of all CPUs
//!   of `node_nf_conntrack_stat_*`, which are gauges to node_exporter too.
//! - Not here: the connections themselves.

use labstat_model::{Batch, Family};
use labstat_parse::proc::{fields_of, trimmed};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{NumberFile, not_understood, outcome, push_numbers, read_if_there};

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

const STATISTICS_PATH: &str = "/proc/net/stat/nf_conntrack";

/// Columns by the names that the head of the file gives them.
static STATISTICS: [(&str, Family); 8] = [
    ("drop", Family::gauge("node_nf_conntrack_stat_drop", "Packets dropped for want of an entry.")),
    (
        "early_drop",
        Family::gauge(
            "node_nf_conntrack_stat_early_drop",
            "Entries dropped to make room for new ones.",
        ),
    ),
    ("found", Family::gauge("node_nf_conntrack_stat_found", "Lookups that found an entry.")),
    (
        "ignore",
        Family::gauge("node_nf_conntrack_stat_ignore", "Packets of what already had an entry."),
    ),
    ("insert", Family::gauge("node_nf_conntrack_stat_insert", "Entries put into the table.")),
    (
        "insert_failed",
        Family::gauge("node_nf_conntrack_stat_insert_failed", "Entries that could not be put in."),
    ),
    (
        "invalid",
        Family::gauge("node_nf_conntrack_stat_invalid", "Packets that cannot be followed."),
    ),
    (
        "search_restart",
        Family::gauge(
            "node_nf_conntrack_stat_search_restart",
            "Lookups begun anew since the table changed its size.",
        ),
    ),
];

/// Connections that the firewall follows.
#[derive(Debug, Default)]
pub struct Conntrack(Vec<u8>);

impl Collector for Conntrack {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        push_numbers(host, &FILES, &mut self.0, out)?;
        if read_if_there(host, STATISTICS_PATH, &mut self.0)? {
            push_statistics(&self.0, out)?;
        }
        Ok(outcome(out))
    }
}

/// A head with names, then one line for each CPU with as many hexadecimal numbers.
fn push_statistics(bytes: &[u8], out: &mut Batch) -> Result<(), CollectError> {
    let wrong =
        |line: &[u8]| not_understood(STATISTICS_PATH, &String::from_utf8_lossy(trimmed(line)));
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let head = lines.next().unwrap_or_default();
    let mut columns = [None; STATISTICS.len()];
    for (at, name) in fields_of(head).enumerate() {
        let known = STATISTICS.iter().position(|(known, _)| known.as_bytes() == name);
        if let Some(column) = known.and_then(|known| columns.get_mut(known)) {
            *column = Some(at);
        }
    }
    let mut sums = [0_u64; STATISTICS.len()];
    for line in lines {
        for (at, field) in fields_of(line).enumerate() {
            let Some(known) = columns.iter().position(|column| *column == Some(at)) else {
                continue;
            };
            let count = std::str::from_utf8(field).ok();
            let count = count.and_then(|text| u64::from_str_radix(text, 16).ok());
            let count = count.ok_or_else(|| wrong(line))?;
            if let Some(sum) = sums.get_mut(known) {
                *sum = sum.wrapping_add(count);
            }
        }
        // A line that is cut has not all columns of the head.
        if fields_of(line).count() < fields_of(head).count() {
            return Err(wrong(line));
        }
    }
    for (((_, family), column), sum) in STATISTICS.iter().zip(columns).zip(sums) {
        if column.is_some() {
            out.push(family, &[], sum as f64);
        }
    }
    Ok(())
}
