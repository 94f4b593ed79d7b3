//! What the kernel measures time with. One that says another than its best found that one to run
//! wrong, and is slow at telling the time.
//!
//! - Reads: `/sys/devices/system/clocksource/*`. Absent where that folder is missing.
//! - Emits: [`CURRENT`], [`AVAILABLE`].
//! - Not here: how well the clock is kept ([`super::timex`]).

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::{outcome, read_if_there};

/// What time is measured with.
pub static CURRENT: Family =
    Family::gauge("node_time_clocksource_current_info", "What time is measured with; always 1.");
/// What it could be measured with.
pub static AVAILABLE: Family = Family::gauge(
    "node_time_clocksource_available_info",
    "What time can be measured with; always 1.",
);

const FOLDER: &str = "/sys/devices/system/clocksource";

/// The kernel has one such device.
const DEVICES_MAX: usize = 64;

/// Sources that are told of one device; there are seldom more than three.
const SOURCES_MAX: usize = 64;

/// What time is measured with.
#[derive(Debug, Default)]
pub struct Clocksource(Vec<u8>);

impl Collector for Clocksource {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(FOLDER) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(FOLDER))?,
        };
        let devices = names.iter().filter_map(|name| name.strip_prefix("clocksource"));
        for device in devices.take(DEVICES_MAX) {
            let files = [("available_clocksource", &AVAILABLE), ("current_clocksource", &CURRENT)];
            for (file, family) in files {
                let path = format!("{FOLDER}/clocksource{device}/{file}");
                if !read_if_there(host, &path, &mut self.0)? {
                    continue;
                }
                let text = String::from_utf8_lossy(&self.0);
                for source in text.split_whitespace().take(SOURCES_MAX) {
                    out.push(family, &[("clocksource", source), ("device", device)], 1.0);
                }
            }
        }
        Ok(outcome(out))
    }
}
