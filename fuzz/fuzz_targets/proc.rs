//! Any bytes in the place of a file of `/proc`, or of what says of guests and pools, give values or an error.
#![no_main]

use labstat_parse::{dmsetup, guest, proc, zfs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = proc::loadavg::parse(bytes);
    let _ = proc::pressure::parse(bytes);
    let _ = proc::stat::parse(bytes, &mut Vec::new());
    let _ = proc::process::parse(bytes);
    let _ = proc::tcp::Tcp::default().add(bytes);
    let mut cpus = Vec::new();
    if proc::interrupts::cpus(bytes, &mut cpus).is_ok() {
        let _ = proc::interrupts::sources(bytes, cpus.len(), &mut Vec::new(), |_, _| {});
    }
    proc::diskstats::parse(bytes).for_each(drop);
    proc::meminfo::parse(bytes).for_each(drop);
    proc::netdev::parse(bytes).for_each(drop);
    proc::os_release::parse(bytes).for_each(drop);
    proc::schedstat::parse(bytes).for_each(drop);
    proc::swaps::parse(bytes).for_each(drop);
    proc::uevent::parse(bytes).for_each(drop);
    proc::vmstat::parse(bytes).for_each(drop);
    for mount in proc::mountinfo::parse(bytes) {
        let _ = mount;
    }
    proc::mountinfo::unescaped(bytes);
    let _ = proc::mountstats::parse(bytes, |_| {});
    let _ = proc::cpuinfo::parse(&String::from_utf8_lossy(bytes));
    for line in proc::counts::parse("counts", bytes) {
        let _ = (line.counts(9, &mut Vec::new()), line.counted(&mut Vec::new()));
    }
    guests_and_pools(bytes);
});

fn guests_and_pools(bytes: &[u8]) {
    proc::cgroup::flat(bytes).for_each(drop);
    proc::cgroup::io(bytes).for_each(drop);
    proc::cgroup::blkio(bytes, true).for_each(drop);
    let _ = (proc::cgroup::value(bytes), proc::cgroup::limit(bytes));
    let _ = (guest::docker(bytes), guest::podman(bytes), guest::proxmox(bytes, "name"));
    let text = String::from_utf8_lossy(bytes);
    let _ = (guest::unescaped(&text), guest::pod_folder(&text), dmsetup::volume(&text));
    let _ = dmsetup::thin_pools(bytes);
    zfs::named(bytes).for_each(drop);
    let _ = (zfs::io(bytes), zfs::status(bytes));
}
