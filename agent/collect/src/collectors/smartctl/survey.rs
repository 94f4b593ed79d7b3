//! What is known of each disk after a run, for a person who asks about one machine. The lab gets
//! samples instead.

use labstat_parse::smartctl::Report;

use super::{Smartctl, disk};

/// One disk, as the last run left it.
#[derive(Debug, Clone)]
pub struct Surveyed<'a> {
    /// As smartctl takes it: `/dev/sda`.
    pub path: &'a str,
    /// The label `device` of its samples: `sda`.
    pub label: &'a str,
    /// smartctl's device type that it is asked with, as far as it was found out.
    pub kind: &'a str,
    /// How the last attempt ended, the word of `labstat_smart_state{state}`.
    pub state: &'static str,
    /// Why, the word of `labstat_smart_state{reason}`; empty where there is no more to say.
    pub reason: &'static str,
    /// Whether another one is the same disk, so that this one is not asked.
    pub is_double: bool,
    /// USB vendor and product, where it is behind USB.
    pub usb: Option<(u16, u16)>,
    /// The types that were tried in vain with a bridge that smartctl does not know.
    pub tried: Vec<&'static str>,
    /// What it said when it was last read.
    pub report: Option<&'a Report>,
}

impl Smartctl {
    /// The disks that the last run looked at, in the order in which they were found. None before
    /// the first run.
    pub fn survey(&self) -> Vec<Surveyed<'_>> {
        self.disks.iter().filter_map(disk::Disk::surveyed).collect()
    }
}
