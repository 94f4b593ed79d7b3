//! Software RAID.
//!
//! - Reads: `/proc/mdstat`; `md/*` of each array in sysfs and three files of each member there, through
//!   [`Host::read_all`], since the kernel makes their readers wait for whoever changes the array. It is
//!   read when mdstat says something new, while an array is busy, and every [`KEPT_MS`].
//! - Absent when the md driver is not loaded (no such file).
//! - Run at once when the kernel tells that mdstat has changed.
//! - Emits: `node_md_*` ([`stock`]) and `labstat_md_*` ([`facts`]). What the kernel does not say of an
//!   array (members in sync of a stripe or of one that is not started) is not emitted.
//! - Not here: what stands on an array ([`super::topology`]); containers of Intel's and DDF's firmware
//!   are arrays of the level `container`, which never run.

mod facts;
mod stock;
mod sysfs;

use std::collections::BTreeMap;

use labstat_model::Batch;
use labstat_parse::mdstat::{self, Array, State};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Patience;
use sysfs::Sysfs;

pub(crate) const PATH: &str = "/proc/mdstat";

/// How long what sysfs said counts while mdstat stays the same: states that it shows, such as of
/// writes that are under way, are of no use to the second, and each file costs as much as mdstat.
const KEPT_MS: i64 = 30_000;

/// Software RAID.
#[derive(Debug, Default)]
pub struct Mdadm {
    patience: Patience,
    text: Vec<u8>,
    /// What was read last, and what was made of it.
    last: Vec<u8>,
    kept: Batch,
    read_ms: i64,
    /// Whether what was read last is true for that moment only.
    busy: bool,
    scrubs: BTreeMap<String, Scrub>,
}

/// What was seen of the checks of an array. The kernel does not tell when the last one ended.
#[derive(Debug, Default, Clone, Copy)]
struct Scrub {
    running: bool,
    ended_ms: Option<i64>,
}

impl Collector for Mdadm {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        match host.read_into(PATH, &mut self.text) {
            Err(error) if is_absent(&error) => {
                *self = Self::new(self.patience);
                return Ok(Status::Absent);
            }
            result => result.map_err(CollectError::read(PATH))?,
        }
        let now_ms = host.now_ms();
        let is_fresh = (0..KEPT_MS).contains(&now_ms.saturating_sub(self.read_ms));
        if self.busy || !is_fresh || self.text != self.last {
            self.last.clear();
            self.kept.clear();
            self.read(host, now_ms)?;
            self.last.clone_from(&self.text);
            self.read_ms = now_ms;
        }
        out.append(&self.kept);
        Ok(Status::Collected)
    }
}

impl Mdadm {
    /// One that waits for what sysfs says no longer than this.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    fn read(&mut self, host: &dyn Host, now_ms: i64) -> Result<(), CollectError> {
        let text = String::from_utf8_lossy(&self.text);
        let arrays = mdstat::parse(&text).map_err(CollectError::parse(PATH))?.arrays;
        let mut all = sysfs::read(host, &arrays, self.patience);
        self.scrubs.retain(|name, _| arrays.iter().any(|array| array.name == *name));
        self.busy = false;
        for (array, sysfs) in arrays.iter().zip(&mut all) {
            let scrub = self.scrubs.entry(array.name.clone()).or_default();
            scrub.see(sysfs, now_ms);
            self.busy |= array.sync.is_some() || scrub.running;
            stock::push(array, sysfs, &mut self.kept);
            facts::push(array, sysfs, scrub.ended_ms, &mut self.kept);
        }
        Ok(())
    }
}

impl Scrub {
    /// A check that was running and is not any more has ended, unless it was broken off: then the
    /// kernel remembers where to go on.
    fn see(&mut self, sysfs: &Sysfs, now_ms: i64) {
        // Unknown, as when the kernel kept the readers waiting: nothing is learned.
        let Some(action) = sysfs.array.word("sync_action") else { return };
        let is_scrub = |word: &str| matches!(word, "check" | "repair");
        let running = is_scrub(action);
        let was_scrub = sysfs.array.word("last_sync_action").is_none_or(is_scrub);
        let whole = sysfs.array.number("sync_min").is_none_or(|sector| sector == 0.0);
        if self.running && !running && was_scrub && whole {
            self.ended_ms = Some(now_ms);
        }
        self.running = running;
    }
}

/// Firmware keeps its own records in a container, of which arrays are made; nothing runs there.
fn is_container(array: &Array) -> bool {
    let external = array.superblock.as_deref().and_then(|it| it.strip_prefix("external:"));
    array.state == State::Inactive && external.is_some_and(|kind| !kind.starts_with('/'))
}
