//! What labstat ships: its rules and a page of advice for each alert, embedded, so that one binary is
//! enough in a lab that the internet does not reach.

/// The rule files, each by the name it is shown with. Every one has its unit tests beside it
/// (`*.test.yml`), in promtool's format.
pub const FILES: &[(&str, &str)] = &[
    ("labstat/btrfs.yml", include_str!("../rules/btrfs.yml")),
    ("labstat/ceph.yml", include_str!("../rules/ceph.yml")),
    ("labstat/filesystem.yml", include_str!("../rules/filesystem.yml")),
    ("labstat/guests.yml", include_str!("../rules/guests.yml")),
    ("labstat/labstat.yml", include_str!("../rules/labstat.yml")),
    ("labstat/lvm.yml", include_str!("../rules/lvm.yml")),
    ("labstat/network.yml", include_str!("../rules/network.yml")),
    ("labstat/node.yml", include_str!("../rules/node.yml")),
    ("labstat/raid.yml", include_str!("../rules/raid.yml")),
    ("labstat/smart.yml", include_str!("../rules/smart.yml")),
    ("labstat/thermal.yml", include_str!("../rules/thermal.yml")),
    ("labstat/ups.yml", include_str!("../rules/ups.yml")),
    ("labstat/zfs.yml", include_str!("../rules/zfs.yml")),
];

/// The alert that always fires, for those who ask for it.
pub const WATCHDOG: (&str, &str) = ("labstat/watchdog.yml", include_str!("../rules/watchdog.yml"));

/// The pages of advice, in Markdown, by name: a page a family, with a heading of the second level for
/// each of its alerts. `runbook_url` of the alert NAME leads to `/runbooks/NAME`.
pub const RUNBOOKS: &[(&str, &str)] = &[
    ("btrfs", include_str!("../../docs/runbooks/btrfs.md")),
    ("ceph", include_str!("../../docs/runbooks/ceph.md")),
    ("disks", include_str!("../../docs/runbooks/disks.md")),
    ("filesystem", include_str!("../../docs/runbooks/filesystem.md")),
    ("guests", include_str!("../../docs/runbooks/guests.md")),
    ("labstat", include_str!("../../docs/runbooks/labstat.md")),
    ("lvm", include_str!("../../docs/runbooks/lvm.md")),
    ("network", include_str!("../../docs/runbooks/network.md")),
    ("node", include_str!("../../docs/runbooks/node.md")),
    ("raid", include_str!("../../docs/runbooks/raid.md")),
    ("thermal", include_str!("../../docs/runbooks/thermal.md")),
    ("ups", include_str!("../../docs/runbooks/ups.md")),
    ("zfs", include_str!("../../docs/runbooks/zfs.md")),
];

/// What begins the advice on one alert.
const HEADING: &str = "\n## ";

/// Advice on one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The alert's name.
    pub alert: &'static str,
    /// The name of the page it stands on.
    pub page: &'static str,
    /// The Markdown below its heading.
    pub text: &'static str,
}

/// All advice, in the order of the pages.
pub fn advice() -> impl Iterator<Item = Advice> {
    RUNBOOKS.iter().flat_map(|&(page, text)| {
        text.split(HEADING).skip(1).map(move |section| {
            let (alert, text) = section.split_once('\n').unwrap_or((section, ""));
            Advice { alert: alert.trim(), page, text: text.trim() }
        })
    })
}
