//! Whatever stands in the place of the files of guests and pools gives values or an error.

use labstat_parse::{dmsetup, guest, proc, zfs};
use proptest::prelude::*;

/// Bytes, and lines that nearly make sense.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("  scan: scrub repaired "),
        Just(" with "),
        Just(" errors on Sun Nov  9 00:24:03 2025"),
        Just("  pool: "),
        Just("config:\n"),
        Just("\tNAME STATE READ WRITE CKSUM\n"),
        Just("ONLINE "),
        Just("0 8 thin-pool 1 1/2 "),
        Just("x: "),
        Just("8:0 rbytes="),
        Just("\\x2"),
        Just("18446744073709551616 "),
        Just("7 "),
        Just("\n"),
        Just("ä"),
    ];
    let lines = prop::collection::vec(word, 0..24).prop_map(|words| words.concat().into_bytes());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), lines]
}

proptest! {
    #[test]
    fn nothing_panics(bytes in input()) {
        proc::cgroup::flat(&bytes).for_each(drop);
        proc::cgroup::io(&bytes).for_each(drop);
        proc::cgroup::blkio(&bytes, true).for_each(drop);
        let _ = (proc::cgroup::value(&bytes), proc::cgroup::limit(&bytes));
        let _ = (guest::docker(&bytes), guest::podman(&bytes), guest::proxmox(&bytes, "name"));
        let text = String::from_utf8_lossy(&bytes);
        let _ = (guest::unescaped(&text), guest::pod_folder(&text), dmsetup::volume(&text));
        let _ = dmsetup::thin_pools(&bytes);
        zfs::named(&bytes).for_each(drop);
        let _ = (zfs::io(&bytes), zfs::status(&bytes));
    }
}
