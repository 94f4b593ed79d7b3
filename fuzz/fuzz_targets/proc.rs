//! Any bytes in the place of a file of `/proc` give values or an error.
#![no_main]

use labstat_parse::proc;
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
});
