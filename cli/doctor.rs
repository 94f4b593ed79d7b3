//! `labstat doctor`: what is missing on this machine, and the cure, one line each.
//!
//! Facts are gathered through `Host` ([`facts`]); what they mean is a pure function ([`advice`]).
//! Disks are found and asked as the agent here would, each once, and none is woken ([`disks()`]). All
//! other collectors run once as they would in the agent ([`collectors`]); what they say of
//! temperatures is told too ([`sensors`]).

mod ceph;
mod cluster;
mod collectors;
mod disks;
mod sensors;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use labstat_agent::collect::collectors::ceph_cluster;
use labstat_agent::collect::{Host, RunError};

use crate::client::{Client, ServerArgs};
use crate::failure::{FAILED, Failure};
use crate::local::{Disk, Local};
use crate::output;
use crate::places;
use crate::runtime;
use crate::table::{Cell, Column, Format, Table, Tone};
use crate::view;

/// Says what is missing on this machine, and the cure
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat doctor
  sudo labstat doctor               as the agent sees the machine when it runs as root
  labstat doctor --format json

The exit status is 1 when something is missing that can be cured.")]
pub(crate) struct Doctor {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

/// How long `smartctl --version` may take: it opens no device.
const VERSION_TIME_MAX: Duration = Duration::from_secs(5);

/// The oldest smartctl that speaks JSON.
const SMARTCTL_JSON_SINCE: (u32, u32) = (7, 0);

/// What was found out about this machine.
#[derive(Debug, Clone, Default)]
struct Facts {
    root: bool,
    /// The version of smartctl; the inner none is a version that is not understood.
    smartctl: Option<Option<(u32, u32)>>,
    /// Whole disks of the kernel.
    disks: Vec<String>,
    /// The disks as the agent here would find and ask them.
    asked: Vec<Disk>,
    /// Why they could not be looked for.
    disks_problem: Option<String>,
    /// Why the settings of the agent here cannot be used.
    config_problem: Option<String>,
    /// Whether the agent here may wake disks.
    wake: bool,
    /// How long a disk at rest is left alone after a reading.
    idle_seconds: f64,
    /// Whether commands may be sent to SATA and SAS disks (CAP_SYS_RAWIO), and to NVMe disks
    /// (CAP_SYS_ADMIN); absent where the kernel does not say.
    rights: Option<Rights>,
    /// Whether the kernel tells temperatures of SATA disks.
    drivetemp: bool,
    ceph: ceph::Found,
    state_dir: Option<PathBuf>,
    state_problem: Option<String>,
    /// The server asked, and why it did not answer.
    server: String,
    server_problem: Option<String>,
    temperatures: usize,
    /// The sensors of temperatures that the agent here tells of.
    sensors: Vec<sensors::Sensor>,
    /// Whether this node could read its cluster.
    cluster: Option<ceph_cluster::Reach>,
    /// The collectors that failed, but for those of disks.
    failures: Vec<collectors::Failed>,
    /// Text files that were not taken: the file and why.
    textfiles: Vec<(String, String)>,
}

/// What a process may do to disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    raw_io: bool,
    admin: bool,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq)]
struct Advice {
    what: Cow<'static, str>,
    tone: Tone,
    found: String,
    cure: String,
}

impl Doctor {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut facts = facts();
        facts.server = self.server.server.clone();
        facts.server_problem = server_problem(&self.server);
        let advice = advice(&facts);
        let mut table = Table::new(
            [
                Column::text("what", "WHAT"),
                Column::text("state", "STATE"),
                Column::prose("found", "FOUND"),
                Column::prose("cure", "CURE"),
            ],
            "",
        );
        for line in &advice {
            table.push(vec![
                Cell::text(&*line.what),
                Cell::text(word(line.tone)).tone(line.tone),
                Cell::text(&*line.found),
                Cell::text(&*line.cure),
            ]);
        }
        output::result(&table.render(self.format, &view::look()))?;
        let missing = advice.iter().any(|line| line.tone >= Tone::Warn);
        Ok(if missing { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
    }
}

fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "note",
        Tone::Good => "ok",
        Tone::Warn => "missing",
        Tone::Bad => "broken",
    }
}

fn server_problem(args: &ServerArgs) -> Option<String> {
    let asked = runtime::block_on(async {
        let client = Client::new(args)?;
        client.get("/api/v1/status/buildinfo").await
    });
    let text = asked.err()?.text()?;
    Some(text.lines().next()?.trim_start_matches("labstat: ").to_owned())
}

fn facts() -> Facts {
    let (local, config_problem) = match Local::new() {
        Ok(local) => (local, None),
        Err(failure) => (Local::plain(), Some(in_short(&failure))),
    };
    let host = &local.host;
    let options = &local.config.collect;
    let (asked, disks_problem) = match local.survey(&[], false) {
        Ok(asked) => (asked, None),
        Err(failure) => (Vec::new(), Some(in_short(&failure))),
    };
    let ran = collectors::run(&local.config);
    let state_dir = places::state_dir();
    Facts {
        root: places::is_root(),
        smartctl: smartctl(host, &options.smartctl.program),
        disks: disks(host),
        asked,
        disks_problem,
        config_problem,
        wake: options.smartctl.wake,
        idle_seconds: options.smartctl.idle_interval.as_secs_f64(),
        rights: rights(host),
        drivetemp: has_drivetemp(host),
        ceph: ceph::look(host, options),
        state_problem: state_dir.as_deref().and_then(state_problem),
        state_dir,
        temperatures: temperatures(host),
        cluster: ceph_cluster::reach(host, &options.ceph),
        failures: ran.failures,
        textfiles: ran.textfiles,
        sensors: ran.sensors,
        ..Facts::default()
    }
}

/// A failure on one line.
fn in_short(failure: &Failure) -> String {
    let text = failure.text().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("; ").trim_start_matches("labstat: ").to_owned()
}

/// What this process may do, whoever runs it: root in a container may not do all.
fn rights(host: &dyn Host) -> Option<Rights> {
    /// Numbers of the capabilities in the kernel's mask.
    const SYS_RAWIO: u64 = 1 << 17;
    const SYS_ADMIN: u64 = 1 << 21;
    let status = host.text("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(Rights { raw_io: mask & SYS_RAWIO != 0, admin: mask & SYS_ADMIN != 0 })
}

fn has_drivetemp(host: &dyn Host) -> bool {
    let chips = host.list("/sys/class/hwmon").unwrap_or_default();
    let name = |chip: &String| host.text(&format!("/sys/class/hwmon/{chip}/name"));
    chips.iter().any(|chip| name(chip).is_ok_and(|name| name.trim() == "drivetemp"))
}

/// Whole disks that hold something, without RAM disks, loops, optical drives and what is stacked
/// on other disks.
fn disks(host: &dyn Host) -> Vec<String> {
    let stacked = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "rbd", "zd", "nbd", "drbd"];
    let names = host.list("/sys/block").unwrap_or_default();
    names.into_iter().filter(|name| !stacked.iter().any(|kind| name.starts_with(kind))).collect()
}

fn smartctl(host: &dyn Host, program: &str) -> Option<Option<(u32, u32)>> {
    match host.run(program, &["--version"], VERSION_TIME_MAX) {
        Ok(output) => Some(version(&String::from_utf8_lossy(&output.stdout))),
        Err(RunError::NotFound) => None,
        Err(_) => Some(None),
    }
}

/// The version in `smartctl 7.3 2022-02-28 r5338 …`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_whitespace().nth(1)?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn temperatures(host: &dyn Host) -> usize {
    let chips = host.list("/sys/class/hwmon").unwrap_or_default();
    let inputs = |chip: &String| {
        let names = host.list(&format!("/sys/class/hwmon/{chip}")).unwrap_or_default();
        names.iter().filter(|n| n.starts_with("temp") && n.ends_with("_input")).count()
    };
    chips.iter().map(inputs).sum()
}

/// Why the state folder cannot be written to; a folder that does not exist yet is judged by the
/// nearest one that does.
fn state_problem(dir: &Path) -> Option<String> {
    let there = dir.ancestors().find(|dir| dir.exists())?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(there, access).err().map(|error| format!("{}: {error}", there.display()))
}

fn advice(facts: &Facts) -> Vec<Advice> {
    let mut all = vec![smartctl_advice(facts)];
    all.extend(disks::advice(facts));
    all.extend(collectors::advice(facts));
    let ceph = [ceph::advice(&facts.ceph), cluster::advice(facts.cluster.as_ref())];
    let areas = ceph.into_iter().chain([Some(temperature_advice(facts))]);
    all.extend(areas.into_iter().flatten());
    all.extend(sensors::advice(facts));
    all.extend([state_advice(facts), server_advice(facts)]);
    all
}

fn line(
    what: impl Into<Cow<'static, str>>,
    tone: Tone,
    found: impl Into<String>,
    cure: &str,
) -> Advice {
    Advice { what: what.into(), tone, found: found.into(), cure: cure.to_owned() }
}

fn smartctl_advice(facts: &Facts) -> Advice {
    let what = "smartctl";
    match facts.smartctl {
        None if facts.disks.iter().all(|disk| is_virtual(disk)) => {
            line(what, Tone::Plain, "not installed; virtual disks have no SMART data", "")
        }
        None => {
            line(what, Tone::Warn, "not installed: no disk health", "apt install smartmontools")
        }
        Some(None) => line(what, Tone::Warn, "its version could not be read", "smartctl --version"),
        Some(Some(version)) if version < SMARTCTL_JSON_SINCE => {
            let found = format!("version {}.{} has no --json", version.0, version.1);
            line(what, Tone::Warn, found, "install smartmontools 7.0 or newer")
        }
        Some(Some((major, minor))) => {
            line(what, Tone::Good, format!("version {major}.{minor}"), "")
        }
    }
}

/// Disks that a hypervisor makes up have no SMART data.
fn is_virtual(disk: &str) -> bool {
    disk.starts_with("vd") || disk.starts_with("xvd")
}

fn temperature_advice(facts: &Facts) -> Advice {
    match facts.temperatures {
        0 => line(
            "temperatures",
            Tone::Plain,
            "no sensors",
            "usual in virtual machines; else: apt install lm-sensors && sensors-detect",
        ),
        sensors => line("temperatures", Tone::Good, view::count(sensors, "sensor"), ""),
    }
}

fn state_advice(facts: &Facts) -> Advice {
    let what = "state folder";
    match (&facts.state_dir, &facts.state_problem) {
        (None, _) => line(what, Tone::Bad, "no home to put it in", "name one with --data, --state"),
        (Some(_), Some(problem)) => {
            line(what, Tone::Bad, problem.clone(), "make it writable, or choose one with --data")
        }
        (Some(dir), None) => line(what, Tone::Good, format!("{} is fine", dir.display()), ""),
    }
}

fn server_advice(facts: &Facts) -> Advice {
    match &facts.server_problem {
        None => line("server", Tone::Good, format!("{} answers", facts.server), ""),
        // Nothing is wrong with a machine on which labstat was not started yet.
        Some(problem) => {
            line("server", Tone::Plain, problem.clone(), "start one here with `labstat up`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            smartctl: Some(Some((7, 3))),
            disks: vec!["sda".into()],
            state_dir: Some("/var/lib/labstat".into()),
            temperatures: 4,
            ..Facts::default()
        }
    }

    fn about(facts: &Facts, what: &str) -> Advice {
        advice(facts).into_iter().find(|line| line.what == what).unwrap()
    }

    #[test]
    fn a_machine_in_order_needs_no_cure() {
        assert!(advice(&well()).iter().all(|line| line.tone < Tone::Warn));
    }

    #[test]
    fn what_is_missing_has_its_cure() {
        let facts = Facts { smartctl: None, ..well() };
        assert_eq!(about(&facts, "smartctl").cure, "apt install smartmontools");
        let facts = Facts { smartctl: Some(Some((6, 6))), ..well() };
        assert_eq!(about(&facts, "smartctl").tone, Tone::Warn);
        let facts = Facts { smartctl: None, disks: vec!["vda".into()], ..well() };
        assert_eq!(about(&facts, "smartctl").tone, Tone::Plain, "a virtual disk has none");
        let facts = Facts { state_problem: Some("/: read-only".into()), ..well() };
        assert_eq!(about(&facts, "state folder").tone, Tone::Bad);
    }

    #[test]
    fn versions() {
        assert_eq!(version("smartctl 7.3 2022-02-28 r5338 [x86_64-linux]"), Some((7, 3)));
        assert_eq!(version("something else"), None);
        assert_eq!(version(""), None);
    }
}
