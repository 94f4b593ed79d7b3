//! CPU, memory and I/O of guests: virtual machines, containers and pods, by their control groups.
//!
//! - Reads: the files of the guests' control groups ([`find`]), of version 2 or of version 1, in each
//!   round; which guests there are, four times a minute; what they are called ([`names`]), when they
//!   come and every five minutes.
//! - Absent when no control group is that of a guest.
//! - Emits: `labstat_guest_info` and `labstat_guest_*`; what a kernel or a controller does not count is
//!   absent.
//! - Left out: guests within guests, whose doings are already in those of the guest they run in;
//!   services, which are no guests.

mod content;
mod find;
mod names;

use labstat_model::{Batch, Family};
use labstat_parse::guest::Names;

use self::content::{Content, Devices};
use self::find::{Found, Tree};
use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::options::Patience;
use crate::shared::{Freshness, outcome};

/// Guests of one machine. A node of Kubernetes has 110 pods at most unless it is told otherwise.
const GUESTS_MAX: usize = 512;

/// How soon a guest that starts is seen. One that ends is noticed at once.
const SCAN_MS: i64 = 15_000;

/// How soon a new name of a guest is seen.
const NAMES_MS: i64 = 300_000;

static INFO: Family =
    Family::gauge("labstat_guest_info", "What a guest of this machine is called; always 1.");

/// What reading gives of a group that ended while its file was open, and of a file that the kernel
/// has and does not serve (`psi=0`).
const GONE: i32 = rustix::io::Errno::NODEV.raw_os_error();
const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

/// What guests use.
#[derive(Debug, Default)]
pub struct Guests {
    guests: Vec<Guest>,
    devices: Devices,
    scanned: Freshness,
    named: Freshness,
    patience: Patience,
    bytes: Vec<u8>,
}

/// A guest and where its files are.
#[derive(Debug)]
struct Guest {
    found: Found,
    /// What tells it from all others of this machine.
    label: String,
    names: Names,
    files: Vec<(String, &'static Content)>,
}

impl Collector for Guests {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let now_ms = host.now_ms();
        if !self.scanned.lasts(SCAN_MS, now_ms) {
            self.scan(host, now_ms)?;
        }
        let mut is_one_gone = false;
        for guest in &self.guests {
            let mut is_there = false;
            for (path, content) in &guest.files {
                match host.read_into(path, &mut self.bytes) {
                    Ok(()) => is_there = true,
                    Err(error) if error.raw_os_error() == Some(NOT_SUPPORTED) => continue,
                    Err(error) if is_absent(&error) || error.raw_os_error() == Some(GONE) => {
                        is_one_gone = true;
                        continue;
                    }
                    Err(cause) => return Err(CollectError::Read { from: path.clone(), cause }),
                }
                let file = (path.as_str(), self.bytes.as_slice());
                content.push(file, &guest.label, host, &mut self.devices, out)?;
            }
            if is_there {
                guest.push_info(out);
            }
        }
        if is_one_gone {
            self.scanned.end();
        }
        Ok(outcome(out))
    }
}

impl Guests {
    /// One that waits for the names of guests no longer than this.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Looks which guests there are. What is known of one that is still there is kept.
    fn scan(&mut self, host: &dyn Host, now_ms: i64) -> Result<(), CollectError> {
        let keeps_names = self.named.lasts(NAMES_MS, now_ms);
        let mut known = std::mem::take(&mut self.guests);
        if !keeps_names {
            self.named.renew(now_ms);
            self.devices.forget();
        }
        let tree = Tree::of(host);
        let mut fresh = Vec::new();
        for found in tree.guests(host)? {
            let at = known.iter().position(|guest| guest.found == found);
            let mut names = Names::default();
            if let Some(guest) = at.map(|at| known.swap_remove(at)) {
                if keeps_names {
                    self.guests.push(guest);
                    continue;
                }
                // What it was called until now counts where nobody answers.
                names = guest.names;
            }
            let label = found.label();
            let files = tree.files(host, &found);
            fresh.push(Guest { found, label, names, files });
        }
        if !names::look_up(host, self.patience, &mut fresh) {
            // What hangs is known by then, so that it holds up nothing else.
            self.named.end();
        }
        self.guests.append(&mut fresh);
        self.guests.sort_by(|a, b| a.label.cmp(&b.label));
        // A pod of a cgroup that is being replaced may be there twice for a moment.
        self.guests.dedup_by(|a, b| a.label == b.label);
        if self.guests.len() > GUESTS_MAX {
            let count = self.guests.len();
            return Err(CollectError::Limit { what: "guests", count, max: GUESTS_MAX });
        }
        self.scanned.renew(now_ms);
        Ok(())
    }
}

impl Guest {
    fn push_info(&self, out: &mut Batch) {
        let said = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let name = self.names.name.as_deref().unwrap_or_else(|| self.found.short_id());
        let labels = [
            ("guest", self.label.as_str()),
            ("id", &self.found.id),
            ("image", &said(&self.names.image)),
            ("kind", self.found.kind.as_str()),
            ("name", name),
            ("project", &said(&self.names.project)),
        ];
        out.push(&INFO, &labels, 1.0);
    }
}
