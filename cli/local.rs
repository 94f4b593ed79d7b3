//! The disks of this very machine, as its agent would find and ask them, for commands that people
//! run beside it.
//!
//! Settings are the agent's: its file where it lies in its usual place, then the environment.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use labstat_agent::Config;
use labstat_agent::collect::collectors::smartctl::Smartctl;
use labstat_agent::collect::parse::smartctl::Report;
use labstat_agent::collect::{self, Collector, Host, RealHost, Status};
use labstat_model::{Batch, SystemClock};

use crate::ceph_read;
use crate::environment;
use crate::failure::Failure;
use crate::places;
use crate::settings;

/// How long one disk may take while somebody waits: half of what an agent allows.
const DEADLINE: Duration = Duration::from_secs(20);

/// This machine and the settings of its agent.
pub(crate) struct Local {
    pub(crate) host: RealHost,
    pub(crate) config: Config,
}

/// One disk of this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// As smartctl takes it.
    pub(crate) path: String,
    /// As its samples call it.
    pub(crate) label: String,
    /// smartctl's device type that works.
    pub(crate) kind: String,
    /// How the look at it ended: a state and a reason of `labstat_smart_state`.
    pub(crate) state: &'static str,
    pub(crate) reason: &'static str,
    /// Whether another one is the same disk.
    pub(crate) is_double: bool,
    pub(crate) usb: Option<(u16, u16)>,
    /// Types that were tried in vain.
    pub(crate) tried: Vec<&'static str>,
    pub(crate) report: Option<Report>,
}

impl Local {
    /// With the settings of the agent here; fails when they are wrong.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut config = config()?;
        config.collect.ceph.reader = ceph_read::reader();
        Ok(Self { host: RealHost::new(Arc::new(SystemClock)), config })
    }

    /// With the settings that an agent has that is told nothing.
    pub(crate) fn plain() -> Self {
        Self { host: RealHost::new(Arc::new(SystemClock)), config: Config::default() }
    }

    /// Whether `node` is a name of this machine.
    pub(crate) fn is_named(&self, node: &str) -> bool {
        let host = self.host.uname().map(|names| names.nodename).unwrap_or_default();
        let short = host.split('.').next().unwrap_or_default();
        let own = self.config.node.as_deref().unwrap_or_default();
        node == "localhost" || [own, &host, short].contains(&node) && !node.is_empty()
    }

    /// Asks all disks once, or those of `include` alone; none when there is no way to ask any.
    pub(crate) fn survey(&self, include: &[String], wake: bool) -> Result<Vec<Disk>, Failure> {
        let mut options = self.config.collect.smartctl.clone();
        options.continuous = false;
        options.device_deadline = options.device_deadline.min(DEADLINE);
        options.wake |= wake;
        if !include.is_empty() {
            options.include = include.to_vec();
            // What the settings name is asked whatever else is included; here it is not to be woken.
            options.devices.retain(|(path, _)| include.iter().any(|meant| is_meant(path, meant)));
        }
        let mut smartctl = Smartctl::new(&options);
        match smartctl.collect(&self.host, &mut Batch::default()) {
            Ok(Status::Collected) => Ok(smartctl.survey().into_iter().map(Disk::from).collect()),
            Ok(Status::Absent) => Ok(Vec::new()),
            Err(error) => Err(Failure::new("failed to look for disks").because(&error)),
        }
    }

    /// The serial number of a disk that the kernel remembers, without asking the disk.
    pub(crate) fn remembered_serial(&self, disk: &Disk) -> Option<String> {
        /// Bytes of a page of vital product data before what it says.
        const HEAD_LEN: usize = 4;
        let name = disk.path.strip_prefix("/dev/")?;
        let page = self.host.read(&format!("/sys/block/{name}/device/vpd_pg80")).ok()?;
        let text = std::str::from_utf8(page.get(HEAD_LEN..)?).ok()?;
        Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned())
    }

    /// Runs smartctl for one disk, with these arguments before its type and path.
    pub(crate) fn smartctl(
        &self,
        arguments: &[&str],
        disk: &Disk,
    ) -> Result<collect::Output, collect::RunError> {
        let device = format!("--device={}", disk.kind);
        let mut all = arguments.to_vec();
        all.extend([device.as_str(), disk.path.as_str()]);
        let options = &self.config.collect.smartctl;
        self.host.run(&options.program, &all, options.device_deadline.min(DEADLINE))
    }
}

impl Disk {
    /// Model and serial number, as far as they are known.
    pub(crate) fn who(&self) -> Option<String> {
        let report = self.report.as_ref()?;
        let model = report.model_name.as_ref().or(report.scsi_model_name.as_ref());
        let words = [model, report.serial_number.as_ref()];
        let words: Vec<&str> = words.into_iter().flatten().map(|word| word.trim()).collect();
        (!words.is_empty()).then(|| crate::table::printable(&words.join(" ")))
    }
}

impl From<collect::collectors::smartctl::Surveyed<'_>> for Disk {
    fn from(found: collect::collectors::smartctl::Surveyed<'_>) -> Self {
        Self {
            path: found.path.to_owned(),
            label: found.label.to_owned(),
            kind: found.kind.to_owned(),
            state: found.state,
            reason: found.reason,
            is_double: found.is_double,
            usb: found.usb,
            tried: found.tried,
            report: found.report.cloned(),
        }
    }
}

/// Whether `meant`, a path, a name or a label, is about the device at `path`.
fn is_meant(path: &str, meant: &str) -> bool {
    let name = |path: &str| path.strip_prefix("/dev/").unwrap_or(path).replace('/', "_");
    // Disks behind a controller have its name and a number.
    name(meant)
        .strip_prefix(&name(path))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn config() -> Result<Config, Failure> {
    let file = places::agent_config();
    let base = Config::default();
    let config = match is_readable(&file) {
        true => settings::parse(&file, |text| Config::parse_over(text, base))?,
        false => base,
    };
    environment::lay_over(config, environment::AGENT, Config::parse_over)
}

/// Who may not read the agent's settings does without them.
fn is_readable(file: &Path) -> bool {
    std::fs::File::open(file).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_about_its_device_and_about_no_other() {
        for (path, meant, wanted) in [
            ("/dev/sda", "sda", true),
            ("/dev/sda", "/dev/sda", true),
            ("/dev/bus/0", "bus_0_megaraid_4", true),
            ("/dev/sda", "sdaa", false),
            ("/dev/sda", "sdb", false),
            ("/dev/sda", "WD-WCC4N1234567", false),
        ] {
            assert_eq!(is_meant(path, meant), wanted, "{path} {meant}");
        }
    }
}
