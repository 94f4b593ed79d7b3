//! Units of systemd.
//!
//! - Runs: `systemctl show`, twice, hence not in every round: once for all units and once for the
//!   manager. It asks systemd over its bus, and needs no rights.
//! - Absent where systemd does not run the machine (no `/run/systemd/system`), or has no systemctl.
//! - Emits: [`UNITS`] of all units; of those wanted [`STATE`] and what services and sockets count;
//!   [`RUNNING`], [`VERSION`].
//! - Not here: the times of timers, the tasks of units, and what the log says of them.

use labstat_model::{Batch, Family};
use labstat_parse::systemctl::{self, PROPERTIES, Unit};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::{Host, RunError};
use crate::options;
use crate::shared::is_like;

/// What is there while systemd runs the machine.
const RUNS: &str = "/run/systemd/system";

const PROGRAM: &str = "systemctl";

/// Units of one machine; a host of containers has some thousand.
const UNITS_MAX: usize = 32_768;

const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

/// A unit's state.
pub static STATE: Family =
    Family::gauge("node_systemd_unit_state", "Whether a unit is in a state.");
/// Units in each state.
pub static UNITS: Family = Family::gauge("node_systemd_units", "Units in each state.");
/// Whether all is as it should be.
pub static RUNNING: Family = Family::gauge(
    "node_systemd_system_running",
    "Whether the machine is up and no unit has failed, as systemctl is-system-running says.",
);
/// systemd's version.
pub static VERSION: Family = Family::gauge("node_systemd_version", "The version of systemd.");
static RESTARTS: Family = Family::counter(
    "node_systemd_service_restart_total",
    "How often systemd started a service again.",
);
static ACCEPTED: Family = Family::counter(
    "node_systemd_socket_accepted_connections_total",
    "Connections that a socket has taken.",
);
static CURRENT: Family =
    Family::gauge("node_systemd_socket_current_connections", "Connections that a socket has.");
/// A gauge to node_exporter, too, whatever its name says.
static REFUSED: Family = Family::gauge(
    "node_systemd_socket_refused_connections_total",
    "Connections that a socket has refused.",
);

/// Units of systemd.
#[derive(Debug)]
pub struct Systemd {
    options: options::Systemd,
}

impl Systemd {
    /// One with these settings.
    pub fn new(options: &options::Systemd) -> Self {
        Self { options: options.clone() }
    }

    fn is_wanted(&self, name: &str) -> bool {
        let matches = |pattern: &String| is_like(pattern, name);
        (self.options.include.is_empty() || self.options.include.iter().any(matches))
            && !self.options.exclude.iter().any(matches)
    }

    /// What `systemctl show` prints; nothing when there is no systemctl.
    fn show(&self, host: &dyn Host, args: &[&str]) -> Result<Option<String>, CollectError> {
        let all = [&["--no-pager", "show"], args].concat();
        let command = || format!("{PROGRAM} {}", all.join(" "));
        let output = match host.run(PROGRAM, &all, self.options.deadline) {
            Ok(output) => output,
            Err(RunError::NotFound) => return Ok(None),
            Err(cause) => return Err(CollectError::Run { command: command(), cause }),
        };
        if output.status != Some(0) {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("no word").to_owned();
            let cause = RunError::Earlier(said);
            return Err(CollectError::Run { command: command(), cause });
        }
        Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn push_units(&self, text: &str, out: &mut Batch) -> Result<(), CollectError> {
        let units: Vec<Unit<'_>> = systemctl::units(text).take(UNITS_MAX + 1).collect();
        if units.len() > UNITS_MAX {
            let count = units.len();
            return Err(CollectError::Limit { what: "units", count, max: UNITS_MAX });
        }
        // A running systemd always has units of its own.
        if units.is_empty() {
            return Err(CollectError::parse("systemctl show")("no unit in it"));
        }
        for state in STATES {
            let count = units.iter().filter(|unit| unit.state == state).count();
            out.push(&UNITS, &[("state", state)], count as f64);
        }
        for unit in units.iter().filter(|unit| unit.is_loaded && self.is_wanted(unit.name)) {
            push_unit(unit, out);
        }
        Ok(())
    }
}

impl Collector for Systemd {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        match host.list(RUNS) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            // Whoever may not look into it knows that it is there.
            _ => {}
        }
        let properties = format!("--property={PROPERTIES}");
        let Some(units) = self.show(host, &["--all", &properties, "*"])? else {
            return Ok(Status::Absent);
        };
        self.push_units(&units, out)?;
        if let Some(manager) = self.show(host, &["--property=Version,SystemState"])? {
            if let Some(state) = systemctl::property(&manager, "SystemState") {
                out.push(&RUNNING, &[], f64::from(u8::from(state == "running")));
            }
            let version = systemctl::property(&manager, "Version").unwrap_or_default();
            if let Some((full, number)) = version_of(version) {
                out.push(&VERSION, &[("version", full)], number);
            }
        }
        Ok(Status::Collected)
    }
}

fn push_unit(unit: &Unit<'_>, out: &mut Batch) {
    let is_service = unit.name.ends_with(".service");
    let kind = if is_service { unit.kind } else { "" };
    for state in STATES {
        let labels = [("name", unit.name), ("state", state), ("type", kind)];
        out.push(&STATE, &labels, f64::from(u8::from(unit.state == state)));
    }
    let counts = [
        (&RESTARTS, unit.restarts.filter(|_| is_service)),
        (&ACCEPTED, unit.accepted),
        (&CURRENT, unit.connections),
        (&REFUSED, unit.refused),
    ];
    for (family, count) in counts {
        if let Some(count) = count {
            out.push(family, &[("name", unit.name)], count as f64);
        }
    }
}

/// `252.39-1~deb12u2` is 252.39; distributions write what they like around the number.
fn version_of(text: &str) -> Option<(&str, f64)> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let rest = text.get(start..)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let number = rest.get(..end)?.trim_end_matches('.');
    // A third part, as in 252.39.1, is no part of the number.
    let mut parts = number.splitn(3, '.');
    let (major, minor) = (parts.next()?, parts.next());
    let number = minor.map_or_else(|| major.to_owned(), |minor| format!("{major}.{minor}"));
    Some((text, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_with_whatever_around_them() {
        for (text, number) in [
            ("252.39-1~deb12u2", 252.39),
            ("systemd 245 (245.4-4ubuntu3)", 245.0),
            ("v257.6.1", 257.6),
            ("260", 260.0),
        ] {
            assert_eq!(version_of(text), Some((text, number)));
        }
        assert_eq!(version_of(""), None);
        assert_eq!(version_of("unknown"), None);
    }

    #[test]
    fn units_are_filtered_by_name() {
        let wanted = |include: &[&str], name: &str| {
            let include = include.iter().map(|text| (*text).to_owned()).collect();
            Systemd::new(&options::Systemd { include, ..options::Systemd::default() })
                .is_wanted(name)
        };
        assert!(wanted(&[], "ssh.service") && !wanted(&[], "home.mount"));
        assert!(wanted(&["ssh*"], "ssh.service") && !wanted(&["ssh*"], "cron.service"));
        assert!(!wanted(&["home*"], "home.mount"), "what is left out stays out");
    }
}
