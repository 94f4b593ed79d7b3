//! Every collector, one line each.

use std::time::Duration;

use crate::collector::Pace::{Fast, Slow};
use crate::collector::{Collector, Entry, Pace};
use crate::kernel::Numbers;
use crate::options::Options;
use crate::{ceph, cpu, disks, filesystem, hwmon, kernel, mdadm, network, smartctl, stack};

/// SMART values move slowly, and reading them costs the disk a moment.
const SMART: Pace = Slow(Duration::from_secs(300));

/// A busy daemon may take seconds to answer, which no round may wait for.
const CEPH: Pace = Slow(Duration::from_secs(10));

/// All collectors, in the order their samples stand in a round.
pub fn registry() -> &'static [Entry] {
    ENTRIES
}

type Make = fn(&Options) -> Box<dyn Collector>;

const fn node(name: &'static str, make: Make) -> Entry {
    Entry { name, job: "node", pace: Fast, make }
}

#[rustfmt::skip]
static ENTRIES: &[Entry] = &[
    node("arp", |_| Box::new(stack::Arp::default())),
    node("conntrack", |_| Box::new(Numbers::conntrack())),
    node("cpu", |_| Box::new(cpu::Cpu::default())),
    node("diskstats", |o| Box::new(disks::Diskstats::new(&o.disks))),
    node("entropy", |_| Box::new(Numbers::entropy())),
    node("filefd", |_| Box::new(Numbers::filefd())),
    node("filesystem", |o| Box::new(filesystem::Filesystem::new(&o.filesystems))),
    node("hwmon", |_| Box::new(hwmon::Hwmon)),
    node("links", |o| Box::new(network::Links::new(&o.interfaces))),
    node("loadavg", |_| Box::new(kernel::Loadavg::default())),
    node("mdadm", |_| Box::new(mdadm::Mdadm)),
    node("meminfo", |_| Box::new(kernel::Meminfo::default())),
    node("netclass", |o| Box::new(network::Netclass::new(&o.interfaces))),
    node("netdev", |o| Box::new(network::Netdev::new(&o.interfaces))),
    node("netstat", |_| Box::new(stack::Netstat::default())),
    node("os", |_| Box::new(kernel::Os::default())),
    node("pressure", |_| Box::new(kernel::Pressure::default())),
    node("sockstat", |_| Box::new(stack::Sockstat::default())),
    node("softnet", |_| Box::new(stack::Softnet::default())),
    node("stat", |_| Box::new(kernel::Stat::default())),
    node("thermal_zone", |_| Box::new(hwmon::ThermalZone)),
    node("time", |_| Box::new(kernel::Time)),
    node("udp_queues", |_| Box::new(stack::UdpQueues::default())),
    node("uname", |_| Box::new(kernel::Uname)),
    node("vmstat", |_| Box::new(kernel::Vmstat::default())),
    Entry { name: "smartctl", job: "smartctl", pace: SMART, make: |o| Box::new(smartctl::Smartctl::new(&o.smartctl)) },
    Entry { name: "ceph", job: "ceph", pace: CEPH, make: |o| Box::new(ceph::Ceph::new(&o.ceph)) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_within_a_job_and_unique() {
        let names: Vec<_> = registry().iter().filter(|e| e.job == "node").map(|e| e.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}
