//! The metrics that node_exporter has, too.

use labstat_model::{Batch, Family};
use labstat_parse::mdstat::{Array, Flag, Member, State};

use super::sysfs::Sysfs;

/// What an array is doing, one of five.
static STATE: Family = Family::gauge("node_md_state", "Indicates the state of md-device.");
/// Members by state.
static DISKS: Family =
    Family::gauge("node_md_disks", "Number of active, failed and spare disks of a device.");
/// Members of a whole array.
static REQUIRED: Family =
    Family::gauge("node_md_disks_required", "Total number of disks of a device.");
static BLOCKS: Family = Family::gauge("node_md_blocks", "Total number of blocks on device.");
static SYNCED: Family =
    Family::gauge("node_md_blocks_synced", "Number of blocks synced on device.");
/// Members missing, by sysfs.
static DEGRADED: Family = Family::gauge("node_md_degraded", "Number of degraded disks on device.");
static RAID_DISKS: Family = Family::gauge("node_md_raid_disks", "Number of raid disks on device.");

const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];

pub(super) fn push(array: &Array, sysfs: &Sysfs, out: &mut Batch) {
    let device = ("device", array.name.as_str());
    let now = state(array);
    for state in STATES {
        out.push(&STATE, &[device, ("state", state)], f64::from(u8::from(state == now)));
    }
    let with = |flag| array.members.iter().filter(|m| m.flags.contains(&flag)).count();
    // A stripe prints no count of members in sync: it has all of them, or it is not started.
    let whole = (array.disks_total.is_none() && array.state != State::Inactive)
        .then(|| array.members.iter().filter(|member| in_use(member)).count() as u64);
    if let Some(active) = array.disks_active.or(whole) {
        out.push(&DISKS, &[device, ("state", "active")], active as f64);
    }
    out.push(&DISKS, &[device, ("state", "failed")], with(Flag::Faulty) as f64);
    out.push(&DISKS, &[device, ("state", "spare")], with(Flag::Spare) as f64);
    if let Some(total) = array.disks_total.or(whole) {
        out.push(&REQUIRED, &[device], total as f64);
    }
    if let Some(blocks) = array.blocks {
        out.push(&BLOCKS, &[device], blocks as f64);
        let synced = match &array.sync {
            Some(sync) => sync.done,
            None => (array.state != State::Inactive).then_some(blocks),
        };
        if let Some(synced) = synced {
            out.push(&SYNCED, &[device], synced as f64);
        }
    }
    // Levels without redundancy have no `degraded`. An array that is reshaped has the number of
    // before in parentheses behind that of its disks.
    for (family, file) in [(&DEGRADED, "degraded"), (&RAID_DISKS, "raid_disks")] {
        if let Some(value) = sysfs.array.number(file) {
            out.push(family, &[device], value);
        }
    }
}

/// Some members have both flags.
fn in_use(member: &Member) -> bool {
    !member.flags.contains(&Flag::Faulty) && !member.flags.contains(&Flag::Spare)
}

fn state(array: &Array) -> &'static str {
    match (&array.state, array.sync.as_ref().map(|sync| sync.action.as_str())) {
        (State::Inactive, _) => "inactive",
        (_, Some("recovery")) => "recovering",
        (_, Some("resync")) => "resync",
        (_, Some("check")) => "check",
        // A reshape has no state of its own; the array works.
        _ => "active",
    }
}
