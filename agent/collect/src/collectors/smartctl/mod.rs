//! Health of disks, by smartctl.
//!
//! - Runs: `smartctl --scan-open` to find disks, then one call per disk. Needs root (or
//!   `CAP_SYS_RAWIO` and the disk group) and leaves sleeping disks asleep.
//! - Absent when smartctl is not installed.
//! - Emits: the names of `smartctl_exporter` ([`samples`]), and what it lacks: [`READ_SUCCESS`],
//!   [`LAST_SUCCESS`], [`AGE`], [`POWER_MODE`].
//! - One disk that cannot be read is that disk's fault: its last values stay for a bounded time
//!   while their age grows; the others are not touched. One that is gone has no values at once.
//! - Not here: verdicts.

mod samples;

use std::time::Duration;

use labstat_model::{Batch, Family};
use labstat_parse::smartctl::{self, Report};

use crate::collector::{CollectError, Collector, Status};
use crate::host::{Host, Output, RunError};
use crate::options;

/// Whether the last read of a disk gave anything.
pub static READ_SUCCESS: Family = Family::gauge(
    "labstat_smart_read_success",
    "Whether the last attempt to read the disk gave its state; 0 also while it sleeps.",
);
/// When a disk was last read.
pub static LAST_SUCCESS: Family = Family::gauge(
    "labstat_smart_last_success_timestamp_seconds",
    "When the disk was last read, in unixtime.",
);
/// How old the values of a disk are.
pub static AGE: Family = Family::gauge(
    "labstat_smart_reading_age_seconds",
    "Age of the disk's values when the collector last ran.",
);
/// Whether a disk sleeps.
pub static POWER_MODE: Family =
    Family::gauge("labstat_smart_power_mode", "Power mode the disk is in; always 1.");
static DEVICES: Family =
    Family::gauge("smartctl_devices", "Number of devices configured or dynamically discovered.");

/// Disks of one machine; a large disk shelf has a hundred.
const DISKS_MAX: usize = 512;

/// The arguments of a call for one disk, before its type and path.
const READ_ARGS: [&str; 8] = [
    "--json",
    "--info",
    "--health",
    "--attributes",
    "--tolerance=verypermissive",
    "--nocheck=standby",
    "--format=brief",
    "--log=error",
];

/// Disks, by smartctl.
#[derive(Debug)]
pub struct Smartctl {
    options: options::Smartctl,
    disks: Vec<Disk>,
    scanned_ms: Option<i64>,
}

/// One disk and what is known about it.
#[derive(Debug)]
struct Disk {
    path: String,
    kind: String,
    label: String,
    last: Option<Reading>,
}

/// What a disk said, and when.
#[derive(Debug)]
struct Reading {
    report: Report,
    exit_status: Option<u64>,
    at_ms: i64,
}

/// How one read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Read,
    /// It sleeps, and how deeply.
    Asleep(&'static str),
    /// It was pulled, or its link died: there is no such device any more.
    Gone,
    Failed,
}

impl Smartctl {
    /// One with these settings.
    pub fn new(options: &options::Smartctl) -> Self {
        Self { options: options.clone(), disks: Vec::new(), scanned_ms: None }
    }

    /// Looks for disks when it is time to; those known keep what is known about them.
    fn scan(&mut self, host: &dyn Host) -> Result<Status, CollectError> {
        let now_ms = host.now_ms();
        let due = match self.scanned_ms {
            Some(last) => now_ms - last >= millis(self.options.rescan),
            None => true,
        };
        if !due {
            return Ok(Status::Collected);
        }
        let searched = match self.search(host) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.disks.clear();
                return Ok(Status::Absent);
            }
            // A search that fails once does not make known disks vanish.
            Err(error) if self.disks.is_empty() && self.options.devices.is_empty() => {
                return Err(error);
            }
            Err(_) if !self.disks.is_empty() => return Ok(Status::Collected),
            Err(_) => Vec::new(),
        };
        // Those that were named come first: of two that are one disk, the first one counts.
        let found = [self.options.devices.clone(), searched].concat();
        if found.len() > DISKS_MAX {
            let count = found.len();
            return Err(CollectError::Limit { what: "disks", count, max: DISKS_MAX });
        }
        let mut known = std::mem::take(&mut self.disks);
        for (path, kind) in found {
            let label = device_label(&path, &kind);
            // A disk that is found twice is one disk, and its series are one.
            let is_double = self.disks.iter().any(|disk| disk.label == label);
            if is_double || self.options.exclude.contains(&path) {
                continue;
            }
            let at = known.iter().position(|disk| disk.path == path && disk.kind == kind);
            let disk = at.map(|at| known.swap_remove(at)).unwrap_or_else(|| Disk {
                label,
                path,
                kind,
                last: None,
            });
            self.disks.push(disk);
        }
        self.scanned_ms = Some(now_ms);
        Ok(Status::Collected)
    }

    /// Paths and types of disks; nothing when smartctl is not installed.
    fn search(&self, host: &dyn Host) -> Result<Option<Vec<(String, String)>>, CollectError> {
        let mut failure = None;
        for how in ["--scan-open", "--scan"] {
            let args = [how, "--json"];
            match host.run(&self.options.program, &args, self.options.scan_deadline) {
                Err(RunError::NotFound) => return Ok(None),
                Err(cause) => {
                    // What hung once is not asked again in other words: that only waits longer.
                    let hangs = matches!(cause, RunError::TimedOut(_) | RunError::Hung);
                    let command = format!("{} {how} --json", self.options.program);
                    failure = Some(CollectError::Run { command, cause });
                    if hangs {
                        break;
                    }
                }
                Ok(output) => match json(&output) {
                    Ok(report) => return Ok(Some(devices(&report, how))),
                    Err(error) => failure = Some(CollectError::parse("smartctl --scan")(error)),
                },
            }
        }
        failure.map_or(Ok(None), Err)
    }
}

impl Collector for Smartctl {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if self.scan(host)? == Status::Absent {
            return Ok(Status::Absent);
        }
        let mut version_shown = false;
        for disk in &mut self.disks {
            let outcome = match disk.read(&self.options, host) {
                Ok(outcome) => outcome,
                // Uninstalled since the search.
                Err(RunError::NotFound) => {
                    self.scanned_ms = None;
                    return Ok(Status::Absent);
                }
                Err(error) => {
                    tracing::debug!(disk = disk.path, %error, "disk not read");
                    Outcome::Failed
                }
            };
            disk.push(outcome, &self.options, host.now_ms(), out);
            if let Some(last) = &disk.last
                && !version_shown
            {
                samples::push_version(&last.report, out);
                version_shown = true;
            }
        }
        out.push(&DEVICES, &[], self.disks.len() as f64);
        Ok(Status::Collected)
    }
}

impl Disk {
    fn read(&mut self, options: &options::Smartctl, host: &dyn Host) -> Result<Outcome, RunError> {
        let kind = format!("--device={}", self.kind);
        let mut args = READ_ARGS.to_vec();
        args.extend([kind.as_str(), self.path.as_str()]);
        let output = host.run(&options.program, &args, options.device_deadline)?;
        // The exit status is a mask of which most bits are about the disk's health: the JSON says
        // more, so it comes first.
        let Ok(report) = json(&output) else { return Ok(Outcome::Failed) };
        if let Some(mode) = sleep_mode(&report) {
            return Ok(Outcome::Asleep(mode));
        }
        if !says_anything(&report) {
            return Ok(if is_gone(&report) { Outcome::Gone } else { Outcome::Failed });
        }
        let status = output.status.and_then(|status| u64::try_from(status).ok());
        let exit_status = report.smartctl.as_ref().and_then(|program| program.exit_status);
        let exit_status = exit_status.or(status);
        self.last = Some(Reading { report, exit_status, at_ms: host.now_ms() });
        Ok(Outcome::Read)
    }

    fn push(&self, outcome: Outcome, options: &options::Smartctl, now_ms: i64, out: &mut Batch) {
        let device = [("device", self.label.as_str())];
        let read = f64::from(u8::from(outcome == Outcome::Read));
        out.push(&READ_SUCCESS, &device, read);
        if let Outcome::Asleep(mode) = outcome {
            out.push(&POWER_MODE, &[("device", &self.label), ("mode", mode)], 1.0);
        }
        let Some(last) = &self.last else { return };
        out.push(&LAST_SUCCESS, &device, last.at_ms as f64 / 1000.0);
        out.push(&AGE, &device, (now_ms - last.at_ms) as f64 / 1000.0);
        let keep = match outcome {
            Outcome::Read => return samples::push(&self.label, last, out),
            Outcome::Asleep(_) => options.keep_asleep,
            // What a disk said that is not there says nothing about this machine.
            Outcome::Gone => return,
            Outcome::Failed => options.keep_failed,
        };
        if now_ms - last.at_ms <= millis(keep) {
            samples::push(&self.label, last, out);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The report in a command's output. Firmware puts bytes into it that are not UTF-8; they become
/// U+FFFD, the rest counts.
fn json(output: &Output) -> Result<Report, serde_json::Error> {
    let text = String::from_utf8_lossy(&output.stdout);
    // The parser takes texts too and never fails; here only a whole JSON object will do.
    let _: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)?;
    Ok(smartctl::parse(text.as_bytes()))
}

/// What the search found. Without opening a disk smartctl calls all SATA disks `scsi`: then it had
/// better guess when it reads them.
fn devices(report: &Report, how: &str) -> Vec<(String, String)> {
    let devices = report.devices.iter().flatten();
    devices
        .filter_map(|device| {
            let kind = device.kind.clone().unwrap_or_default();
            let kind = match kind.as_str() {
                "" => "auto".to_owned(),
                "scsi" if how == "--scan" => "auto".to_owned(),
                _ => kind,
            };
            Some((device.name.clone()?, kind))
        })
        .collect()
}

/// The mode in which smartctl left the disk alone.
fn sleep_mode(report: &Report) -> Option<&'static str> {
    let modes = [("Device is in STANDBY", "standby"), ("Device is in SLEEP", "sleep")];
    modes.iter().find(|(words, _)| complains(report, &[words])).map(|(_, mode)| *mode)
}

/// Whether the kernel has no such device, in its words for `ENOENT`, `ENODEV` and `ENXIO`.
fn is_gone(report: &Report) -> bool {
    complains(report, &["failed: No such device", "failed: No such file or directory"])
}

/// Whether one of smartctl's messages has one of these words in it.
fn complains(report: &Report, words: &[&str]) -> bool {
    let messages = report.smartctl.as_ref().and_then(|program| program.messages.as_ref());
    let mut texts = messages.into_iter().flatten().filter_map(|m| m.string.as_deref());
    texts.any(|text| words.iter().any(|word| text.contains(word)))
}

/// Whether there is more in it than that smartctl ran: an identity or a state.
fn says_anything(report: &Report) -> bool {
    report.model_name.is_some()
        || report.scsi_product.is_some()
        || report.serial_number.is_some()
        || report.smart_status.is_some()
        || report.ata_smart_attributes.is_some()
        || report.nvme_smart_health_information_log.is_some()
}

/// `/dev/sda` gives `sda`; a disk behind a controller gets its number there.
fn device_label(path: &str, kind: &str) -> String {
    let name = path.strip_prefix("/dev/").unwrap_or(path);
    let name = ["disk/by-id/", "disk/by-path/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let name = name.trim_start_matches('/').replace('/', "_");
    if kind.contains(',') { format!("{name}_{}", kind.replace(',', "_")) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_devices() {
        for (path, kind, label) in [
            ("/dev/sda", "sat", "sda"),
            ("/dev/disk/by-id/wwn-0x5", "auto", "wwn-0x5"),
            ("/dev/bus/0", "megaraid,1", "bus_0_megaraid_1"),
            ("/dev/nvme0", "nvme", "nvme0"),
        ] {
            assert_eq!(device_label(path, kind), label);
        }
    }
}
