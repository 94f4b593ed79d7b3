//! Every collector, one line each. The line of `x` is made of `collectors/x.rs` or `collectors/x/`.

use std::time::Duration;

use crate::collector::Pace::{Aside, Fast, Slow};
use crate::collector::{Collector, Entry, Pace, Wake};
use crate::collectors::*;
use crate::options::Options;

/// Each disk has its own schedule; how often that is looked at is how exactly it is kept, and how
/// soon a disk that comes is seen.
const SMART: Pace = Aside(Duration::from_secs(5));

/// Often enough that no round of the longest interval shows what is older than a scrape of others.
const UNHURRIED: Pace = Slow(Duration::from_secs(15));

/// What changes within hours, or takes another program.
const SELDOM: Pace = Slow(Duration::from_secs(60));

/// A busy daemon may take seconds to answer, which no round may wait for.
const CEPH: Pace = Slow(Duration::from_secs(10));

/// How soon a change of the map of OSDs is seen; a reading itself has a schedule of its own.
const CEPH_CLUSTER: Pace = Aside(Duration::from_secs(5));

/// A server that is away may take its deadline, and power fails seldom and for minutes.
const NUT: Pace = Slow(Duration::from_secs(15));

/// All collectors, in the order their samples stand in a round.
pub fn registry() -> &'static [Entry] {
    ENTRIES
}

type Make = fn(&Options) -> Box<dyn Collector>;

const fn node(name: &'static str, make: Make) -> Entry {
    Entry { name, job: "node", pace: Fast, is_on: true, wake: None, make }
}

/// One that is run at once, too, when the kernel says that this file has changed.
const fn woken(name: &'static str, file: &'static str, make: Make) -> Entry {
    Entry { name, job: "node", pace: Fast, is_on: true, wake: Some(Wake::Poll(file)), make }
}

/// What takes hundreds of files, or asks a device or another program.
const fn slow(name: &'static str, make: Make) -> Entry {
    Entry { name, job: "node", pace: UNHURRIED, is_on: true, wake: None, make }
}

/// What few ask for, and has many series: off unless the user wants it.
const fn off(name: &'static str, make: Make) -> Entry {
    Entry { name, job: "node", pace: Fast, is_on: false, wake: None, make }
}

/// What is looked at once a minute.
const fn seldom(name: &'static str, make: Make) -> Entry {
    Entry { name, job: "node", pace: SELDOM, is_on: true, wake: None, make }
}

#[rustfmt::skip]
static ENTRIES: &[Entry] = &[
    node("arp", |_| Box::new(arp::Arp::default())),
    node("bridge_vlans", |o| Box::new(bridge_vlans::BridgeVlans::new(&o.interfaces, o.patience))),
    slow("btrfs", |_| Box::new(btrfs::Btrfs::default())),
    seldom("clocksource", |_| Box::new(clocksource::Clocksource::default())),
    node("conntrack", |_| Box::new(conntrack::Conntrack::default())),
    seldom("container", |_| Box::new(container::Container::default())),
    node("cpu", |_| Box::new(cpu::Cpu::default())),
    seldom("cpuinfo", |o| Box::new(cpuinfo::Cpuinfo::new(&o.cpu))),
    node("diskstats", |o| Box::new(diskstats::Diskstats::new(&o.disks))),
    seldom("dmi", |_| Box::new(dmi::Dmi::default())),
    slow("edac", |_| Box::new(edac::Edac::default())),
    node("entropy", |_| Box::new(entropy::Entropy::default())),
    node("filefd", |_| Box::new(filefd::Filefd::default())),
    node("filesystem", |o| Box::new(filesystem::Filesystem::new(&o.filesystems))),
    node("guests", |o| Box::new(guests::Guests::new(o.patience))),
    node("hwmon", |o| Box::new(hwmon::Hwmon::new(o.patience))),
    node("interrupts", |o| Box::new(interrupts::Interrupts::new(&o.interrupts))),
    node("kernel_hung", |_| Box::new(kernel_hung::KernelHung::default())),
    node("links", |o| Box::new(links::Links::new(&o.interfaces, o.patience))),
    node("loadavg", |_| Box::new(loadavg::Loadavg::default())),
    seldom("lvm", |_| Box::new(lvm::Lvm)),
    woken("mdadm", mdadm::PATH, |o| Box::new(mdadm::Mdadm::new(o.patience))),
    node("meminfo", |_| Box::new(meminfo::Meminfo::default())),
    off("mountstats", |_| Box::new(mountstats::Mountstats::default())),
    node("netclass", |o| Box::new(netclass::Netclass::new(&o.interfaces, o.patience))),
    node("netdev", |o| Box::new(netdev::Netdev::new(&o.interfaces, o.patience))),
    node("netstat", |_| Box::new(netstat::Netstat::default())),
    node("nfs", |_| Box::new(nfs::Nfs::default())),
    node("nfsd", |_| Box::new(nfsd::Nfsd::default())),
    Entry { name: "nut", job: "node", pace: NUT, is_on: true, wake: None, make: |o| Box::new(nut::Nut::new(&o.nut)) },
    slow("nvme", |_| Box::new(nvme::Nvme::default())),
    node("os", |_| Box::new(os::Os::default())),
    slow("powersupplyclass", |o| Box::new(powersupplyclass::Powersupplyclass::new(&o.supplies))),
    node("pressure", |_| Box::new(pressure::Pressure::default())),
    slow("processes", |_| Box::new(processes::Processes::default())),
    node("rapl", |_| Box::new(rapl::Rapl::default())),
    seldom("reboot", |_| Box::new(reboot::Reboot::default())),
    node("schedstat", |_| Box::new(schedstat::Schedstat::default())),
    node("sockstat", |_| Box::new(sockstat::Sockstat::default())),
    off("softirqs", |_| Box::new(softirqs::Softirqs::default())),
    node("softnet", |_| Box::new(softnet::Softnet::default())),
    node("stat", |_| Box::new(stat::Stat::default())),
    slow("systemd", |o| Box::new(systemd::Systemd::new(&o.systemd))),
    node("tcpstat", |o| Box::new(tcpstat::Tcpstat::new(o.patience))),
    node("textfile", |o| Box::new(textfile::Textfile::new(&o.textfile))),
    node("thermal_zone", |o| Box::new(thermal_zone::ThermalZone::new(o.patience))),
    node("throttle", |_| Box::new(throttle::Throttle::default())),
    node("time", |_| Box::new(time::Time)),
    node("timex", |_| Box::new(timex::Timex)),
    node("topology", |o| Box::new(topology::Topology::new(&o.disks))),
    node("udp_queues", |_| Box::new(udp_queues::UdpQueues::default())),
    node("uname", |_| Box::new(uname::Uname)),
    node("vmstat", |_| Box::new(vmstat::Vmstat::default())),
    node("xfs", |_| Box::new(xfs::Xfs::default())),
    slow("zfs", |_| Box::new(zfs::Zfs::default())),
    seldom("zpool", |_| Box::new(zpool::Zpool)),
    Entry { name: "smartctl", job: "smartctl", pace: SMART, is_on: true, wake: None, make: |o| Box::new(smartctl::Smartctl::new(&o.smartctl).with_memory(o.memory.clone())) },
    Entry { name: "ceph", job: "ceph", pace: CEPH, is_on: true, wake: None, make: |o| Box::new(ceph::Ceph::new(&o.ceph)) },
    Entry { name: "ceph_cluster", job: "ceph", pace: CEPH_CLUSTER, is_on: true, wake: Some(Wake::Own), make: |o| Box::new(ceph_cluster::CephCluster::new(&o.ceph)) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_within_a_job_and_unique() {
        let names: Vec<_> = registry().iter().filter(|e| e.job == "node").map(|e| e.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn each_collector_is_in_the_file_or_folder_of_its_name_and_nothing_else_is_there() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/collectors");
        let mut found: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|file| file.trim_end_matches(".rs").to_owned())
            .filter(|name| name != "mod")
            .collect();
        found.sort();
        let mut names: Vec<_> = registry().iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        assert_eq!(found, names);
    }
}
