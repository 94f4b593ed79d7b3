//! Which NVMe controllers there are, and in what state the kernel has them.
//!
//! - Reads: `/sys/class/nvme/*`, of which nothing asks the device. Absent where there are none.
//! - Emits: [`INFO`].
//! - Not here: their health, which is [`super::smartctl`]'s.

use labstat_model::{Batch, Family};
use labstat_parse::proc::trimmed;

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::{outcome, read_if_there};

/// What a controller is, and its state (`live`, `dead`, `resetting` …).
pub static INFO: Family =
    Family::gauge("node_nvme_info", "What an NVMe controller is, and its state; always 1.");

const FOLDER: &str = "/sys/class/nvme";

/// Controllers of one machine.
const CONTROLLERS_MAX: usize = 1024;

/// Labels and their files.
const LABELS: [(&str, &str); 5] = [
    ("cntlid", "cntlid"),
    ("firmware_revision", "firmware_rev"),
    ("model", "model"),
    ("serial", "serial"),
    ("state", "state"),
];

/// NVMe controllers.
#[derive(Debug, Default)]
pub struct Nvme(Vec<u8>);

impl Collector for Nvme {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(FOLDER) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(FOLDER))?,
        };
        if names.len() > CONTROLLERS_MAX {
            let (what, count) = ("NVMe controllers", names.len());
            return Err(CollectError::Limit { what, count, max: CONTROLLERS_MAX });
        }
        for name in &names {
            let mut texts: [String; LABELS.len()] = Default::default();
            for (text, (_, file)) in texts.iter_mut().zip(LABELS) {
                // One that is being pulled has not all of them any more.
                if read_if_there(host, &format!("{FOLDER}/{name}/{file}"), &mut self.0)? {
                    *text = String::from_utf8_lossy(trimmed(&self.0)).into_owned();
                }
            }
            if texts.iter().any(|text| !text.is_empty()) {
                let of_files =
                    LABELS.iter().zip(&texts).map(|((label, _), text)| (*label, &**text));
                let labels: Vec<_> =
                    std::iter::once(("device", name.as_str())).chain(of_files).collect();
                out.push(&INFO, &labels, 1.0);
            }
        }
        Ok(outcome(out))
    }
}
