//! Neighbours in the network, by interface.
//!
//! - Reads: `/proc/net/arp`. Absent when that file is missing.
//! - Emits: `node_arp_entries`.
//! - Not here: who they are, and neighbours by IPv6.

use std::collections::BTreeMap;

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{not_understood, read_if_there};

const PATH: &str = "/proc/net/arp";

/// Neighbours of one machine; the kernel's own limit is far lower.
const NEIGHBOURS_MAX: usize = 65_536;

static ARP: Family = Family::gauge("node_arp_entries", "ARP entries by device.");

/// Neighbours by interface.
#[derive(Debug, Default)]
pub struct Arp(Vec<u8>);

impl Collector for Arp {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for (at, line) in String::from_utf8_lossy(&self.0).lines().skip(1).enumerate() {
            if at >= NEIGHBOURS_MAX {
                let (what, count) = ("neighbours", at + 1);
                return Err(CollectError::Limit { what, count, max: NEIGHBOURS_MAX });
            }
            let device =
                line.split_whitespace().nth(5).ok_or_else(|| not_understood(PATH, line))?;
            *counts.entry(device.to_owned()).or_default() += 1;
        }
        for (device, count) in counts {
            out.push(&ARP, &[("device", &device)], f64::from(count));
        }
        Ok(Status::Collected)
    }
}
