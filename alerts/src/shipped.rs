//! The rules labstat ships, embedded, so that one binary is enough.

/// The rule files, each by the name it is shown with. Every one has its unit tests beside it
/// (`*.test.yml`), in promtool's format.
pub const FILES: &[(&str, &str)] = &[
    ("labstat/btrfs.yml", include_str!("../rules/btrfs.yml")),
    ("labstat/ceph.yml", include_str!("../rules/ceph.yml")),
    ("labstat/filesystem.yml", include_str!("../rules/filesystem.yml")),
    ("labstat/guests.yml", include_str!("../rules/guests.yml")),
    ("labstat/lvm.yml", include_str!("../rules/lvm.yml")),
    ("labstat/network.yml", include_str!("../rules/network.yml")),
    ("labstat/node.yml", include_str!("../rules/node.yml")),
    ("labstat/raid.yml", include_str!("../rules/raid.yml")),
    ("labstat/smart.yml", include_str!("../rules/smart.yml")),
    ("labstat/thermal.yml", include_str!("../rules/thermal.yml")),
    ("labstat/ups.yml", include_str!("../rules/ups.yml")),
    ("labstat/zfs.yml", include_str!("../rules/zfs.yml")),
];
