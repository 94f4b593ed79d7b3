//! What a user can say about collecting. Every default is what a lab wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::Memory;
use crate::network::View;
use crate::told::Told;

/// All settings of all collectors.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Disks by smartctl.
    pub smartctl: Smartctl,
    /// Ceph: daemons of this node, and the cluster.
    pub ceph: Ceph,
    /// What the CPUs are.
    pub cpu: Cpu,
    /// Mounted filesystems.
    pub filesystems: Filesystems,
    /// Block devices.
    pub disks: Disks,
    /// Network interfaces.
    pub interfaces: Interfaces,
    /// Interrupts by source.
    pub interrupts: Interrupts,
    /// Power supplies and batteries.
    pub supplies: Supplies,
    /// Units of systemd.
    pub systemd: Systemd,
    /// Metrics in files.
    pub textfile: Textfile,
    /// UPSes.
    pub nut: Nut,
    /// Where collectors keep what they must know after a restart; none where nothing is to be kept.
    pub memory: Option<Arc<dyn Memory>>,
    /// How long those that run in every round may wait.
    pub patience: Patience,
}

/// How long a collector that runs in every round waits for one answer: of the files of a device, of
/// the network, of a folder that a program serves. What is later than that is left out.
///
/// A round grants a collector half of the interval, and gives up what it has when it takes longer. So
/// this is a quarter: a collector that asks twice still ends by itself, with what was in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Duration);

impl Patience {
    /// A kernel that takes longer for an answer is at a fault, however long the interval is.
    pub const MAX: Duration = Duration::from_secs(2);

    /// That of rounds which are `interval` apart.
    pub fn of(interval: Duration) -> Self {
        Self(Self::part_of(interval).min(Self::MAX))
    }

    /// The part of an interval that one answer may take.
    pub fn part_of(interval: Duration) -> Duration {
        interval / 4
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self(Self::MAX)
    }
}

/// Settings of the nut collector.
#[derive(Debug, Clone, Default)]
pub struct Nut {
    /// UPSes, `NAME@HOST:PORT`, or servers, `HOST:PORT`, of which all are wanted; the port may be left
    /// out. When empty, the server of this machine is asked if there is one.
    pub ups: Vec<String>,
}

/// Settings of the smartctl collector.
#[derive(Debug, Clone)]
pub struct Smartctl {
    /// The program: a name looked up on PATH, or a path.
    pub program: String,
    /// Whether the collector is run again and again, as by an agent. Then each disk has its own
    /// schedule and no run waits for a disk for long. If not, one run asks all and waits for all.
    pub continuous: bool,
    /// Time between two readings of one disk; `None` is [`SMART_INTERVAL`](Self::SMART_INTERVAL).
    pub interval: Option<Duration>,
    /// How long one call for one disk may take. A disk that spins up needs up to 15 s, and a
    /// dying one can take the kernel's 30 s command timeout.
    pub device_deadline: Duration,
    /// How long the search for disks may take.
    pub scan_deadline: Duration,
    /// Time between two searches for disks. A disk that comes or goes is seen at once besides.
    pub rescan: Duration,
    /// How long the last values of a disk are kept when it can no longer be read.
    pub keep_failed: Duration,
    /// How long the last values of a disk are kept while it says that it sleeps.
    pub keep_asleep: Duration,
    /// How long a disk that was pulled is told of as gone.
    pub keep_gone: Duration,
    /// Whether NVMe disks are asked without smartctl, where the rights are enough.
    pub nvme_direct: bool,
    /// Whether disks may be woken to be read.
    pub wake: bool,
    /// How long a disk that spins is left alone after a reading when nothing was read or written
    /// since, so that reading it does not keep it from falling asleep.
    pub idle_interval: Duration,
    /// Disks beside those found, or asked in another way: path and smartctl's device type.
    pub devices: Vec<(String, String)>,
    /// Patterns of the disks to be asked; when empty, all are.
    pub include: Vec<String>,
    /// Patterns of disks never to be touched.
    pub exclude: Vec<String>,
}

impl Smartctl {
    /// SMART values move slowly, and reading them costs the disk a moment.
    pub const SMART_INTERVAL: Duration = Duration::from_secs(300);
}

impl Default for Smartctl {
    fn default() -> Self {
        Self {
            program: "smartctl".to_owned(),
            continuous: false,
            interval: None,
            device_deadline: Duration::from_secs(45),
            scan_deadline: Duration::from_secs(30),
            rescan: Duration::from_secs(600),
            keep_failed: Duration::from_secs(3600),
            keep_asleep: Duration::from_secs(7 * 86_400),
            keep_gone: Duration::from_secs(3600),
            nvme_direct: false,
            wake: false,
            idle_interval: Duration::from_secs(3600),
            devices: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

/// Whether this node reads a cluster as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// When a monitor of this node leads the quorum: so one node does, whichever it is.
    Auto,
    /// Always: for a node that has a key and no monitor. Then no other should.
    Always,
    /// Never.
    Never,
}

/// Where what the manager of a cluster counts is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The page of its prometheus module, where that is on and renewed; else commands.
    Auto,
    /// Commands, always.
    Commands,
    /// The page, and no commands in its place where that is not to be had.
    Module,
}

/// Settings of the Ceph collectors.
#[derive(Debug, Clone)]
pub struct Ceph {
    /// The configuration file, when it is not `/etc/ceph/ceph.conf`.
    pub conf: Option<String>,
    /// The folder of the admin sockets.
    pub run_dir: String,
    /// How long the daemons, all asked at the same time, may take to answer.
    pub deadline: Duration,
    /// Whether this node reads the cluster as a whole.
    pub cluster: Reads,
    /// What the cluster is called: the label `cluster` of all its series, and what stands in place of a
    /// node in those of the whole cluster.
    pub name: Option<String>,
    /// The user that reads the cluster; `None` takes `client.labstat` if it has a key in `/etc/ceph`, and
    /// else `client.admin`.
    pub user: Option<String>,
    /// The file of the user's key, when the configuration file does not say it.
    pub keyring: Option<String>,
    /// Where what the manager counts is taken from.
    pub source: Source,
    /// Time between two readings of the cluster.
    pub interval: Duration,
    /// The program that does a reading, which is labstat itself; without one the cluster is not read.
    pub reader: Option<String>,
}

impl Default for Ceph {
    fn default() -> Self {
        Self {
            conf: None,
            run_dir: "/var/run/ceph".to_owned(),
            deadline: Duration::from_secs(2),
            cluster: Reads::Auto,
            name: None,
            user: None,
            keyring: None,
            source: Source::Auto,
            interval: Duration::from_secs(30),
            reader: None,
        }
    }
}

/// Settings of the collector that says what the CPUs are.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    /// Whether model, microcode and caches of each are shown.
    pub info: bool,
    /// Patterns of what a CPU can do (`vmx`, `aes`) that is to be shown; when empty, none is.
    pub flags: Vec<String>,
    /// Patterns of its bugs that are to be shown; when empty, none is.
    pub bugs: Vec<String>,
}

/// Settings of the filesystem collector.
#[derive(Debug, Clone)]
pub struct Filesystems {
    /// How long all filesystems together may take to tell their sizes. One that does not answer
    /// (a server that is gone) is reported so, and not asked again until it does.
    pub deadline: Duration,
    /// Patterns of the mount points to be shown; when empty, all are but those of the kernel and of
    /// containers.
    pub include: Vec<String>,
    /// Patterns of mount points left out.
    pub exclude: Vec<String>,
    /// Patterns of the types of filesystems to be shown; when empty, all are but those that hold no
    /// data of anyone's.
    pub types_include: Vec<String>,
    /// Patterns of types left out.
    pub types_exclude: Vec<String>,
}

impl Default for Filesystems {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            include: Vec::new(),
            exclude: Vec::new(),
            types_include: Vec::new(),
            types_exclude: Vec::new(),
        }
    }
}

/// Settings of the block device collector.
#[derive(Debug, Clone, Default)]
pub struct Disks {
    /// Patterns of the devices to be shown; when empty, all are but partitions, RAM disks, loop and
    /// floppy devices.
    pub include: Vec<String>,
    /// Patterns of devices left out.
    pub exclude: Vec<String>,
}

/// Settings of the network interface collectors.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    /// Patterns of names; when empty, all interfaces are told of.
    pub include: Vec<String>,
    /// Patterns of names left out.
    pub exclude: Vec<String>,
    /// What the owner calls VLANs, by their ids.
    pub vlan_names: BTreeMap<u16, String>,
    /// The kernel's last answer, which those that are made of these settings share.
    pub(crate) view: View,
}

/// Settings of the collector of interrupts. Patterns are of a source's number or letters, of its
/// controller, and of its devices.
#[derive(Debug, Clone, Default)]
pub struct Interrupts {
    /// Whether counts are shown that have been 0 all the time.
    pub zeros: bool,
    /// Patterns of the sources to be shown; when empty, all are.
    pub include: Vec<String>,
    /// Patterns of sources left out.
    pub exclude: Vec<String>,
}

/// Settings of the collector of power supplies.
#[derive(Debug, Clone, Default)]
pub struct Supplies {
    /// Patterns of the supplies left out.
    pub exclude: Vec<String>,
}

/// Settings of the systemd collector.
#[derive(Debug, Clone)]
pub struct Systemd {
    /// Patterns of the units to be shown; when empty, all are.
    pub include: Vec<String>,
    /// Patterns of units left out. They are counted all the same.
    pub exclude: Vec<String>,
    /// How long systemd may take to answer.
    pub deadline: Duration,
}

impl Default for Systemd {
    fn default() -> Self {
        let kinds = ["*.automount", "*.device", "*.mount", "*.scope", "*.slice", "*.target"];
        Self {
            include: Vec::new(),
            exclude: kinds.map(str::to_owned).to_vec(),
            deadline: Duration::from_secs(10),
        }
    }
}

/// Settings of the collector of metrics in files.
#[derive(Debug, Clone, Default)]
pub struct Textfile {
    /// Folders with files named `*.prom`; when empty, those of node_exporter are looked at, if
    /// they are there.
    pub directories: Vec<String>,
    /// What other collectors tell of, which no file may.
    pub told: Told,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_fit_into_what_a_round_grants_a_collector() {
        let second = Duration::from_secs(1);
        for interval in [second, 10 * second, 120 * second] {
            assert!(2 * Patience::of(interval).0 <= interval / 2, "{interval:?}");
        }
        assert_eq!(Patience::of(120 * second), Patience::default());
    }
}
