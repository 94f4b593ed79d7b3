//! Software RAID.
//!
//! - Reads: `/proc/mdstat`; per array two files of sysfs, per member one.
//! - Absent when the md driver is not loaded (no such file).
//! - Emits: `node_md_*`, [`MEMBER`].
//! - What the kernel does not say of an array (members in sync of a stripe or of one that is not
//!   started) is not emitted.

use labstat_model::{Batch, Family};
use labstat_parse::mdstat::{self, Array, Flag, State};
use labstat_parse::proc::{fields_of, number, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;

pub(crate) const PATH: &str = "/proc/mdstat";

/// What an array is doing, one of five.
pub static STATE: Family = Family::gauge("node_md_state", "Indicates the state of md-device.");
/// Members by state.
pub static DISKS: Family =
    Family::gauge("node_md_disks", "Number of active, failed and spare disks of a device.");
/// Members of a whole array.
pub static REQUIRED: Family =
    Family::gauge("node_md_disks_required", "Total number of disks of a device.");
static BLOCKS: Family = Family::gauge("node_md_blocks", "Total number of blocks on device.");
static SYNCED: Family =
    Family::gauge("node_md_blocks_synced", "Number of blocks synced on device.");
/// Members missing, by sysfs.
pub static DEGRADED: Family =
    Family::gauge("node_md_degraded", "Number of degraded disks on device.");
static RAID_DISKS: Family = Family::gauge("node_md_raid_disks", "Number of raid disks on device.");
/// Which disks make up an array.
pub static MEMBER: Family = Family::gauge(
    "labstat_md_member_info",
    "A member of an array, with its place and what is special about it; always 1.",
);

const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];

/// Software RAID.
#[derive(Debug, Default)]
pub struct Mdadm;

impl Collector for Mdadm {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let text = match host.text(PATH) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(PATH))?,
        };
        let mdstat = mdstat::parse(&text).map_err(CollectError::parse(PATH))?;
        for array in &mdstat.arrays {
            push_array(array, out);
            push_members(host, array, out);
            for (family, file) in [(&DEGRADED, "degraded"), (&RAID_DISKS, "raid_disks")] {
                let path = format!("/sys/block/{}/md/{file}", array.name);
                // Levels without redundancy have no `degraded`. An array that is reshaped has the
                // number of before in parentheses behind that of its disks.
                let bytes = host.read(&path).unwrap_or_default();
                let value = fields_of(trimmed(&bytes)).next().and_then(number);
                if let Some(value) = value {
                    out.push(family, &[("device", &array.name)], value as f64);
                }
            }
        }
        Ok(Status::Collected)
    }
}

fn push_array(array: &Array, out: &mut Batch) {
    let device = ("device", array.name.as_str());
    let now = state(array);
    for state in STATES {
        out.push(&STATE, &[device, ("state", state)], f64::from(u8::from(state == now)));
    }
    let with = |flag| array.members.iter().filter(|m| m.flags.contains(&flag)).count();
    let failed = with(Flag::Faulty);
    let spare = with(Flag::Spare);
    // A stripe prints no count of members in sync: it has all of them, or it is not started.
    let whole = (array.disks_total.is_none() && array.state != State::Inactive)
        .then(|| array.members.iter().filter(|member| in_use(member)).count() as u64);
    if let Some(active) = array.disks_active.or(whole) {
        out.push(&DISKS, &[device, ("state", "active")], active as f64);
    }
    out.push(&DISKS, &[device, ("state", "failed")], failed as f64);
    out.push(&DISKS, &[device, ("state", "spare")], spare as f64);
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
}

/// The number that mdstat has in brackets is that of the member's record in the superblock: the
/// third disk of a new RAID 5 has number 3. Its place is in sysfs, and there only; a member that is
/// faulty or spare has none.
fn push_members(host: &dyn Host, array: &Array, out: &mut Batch) {
    for member in &array.members {
        // The kernel writes a device such as `cciss/c0d0` with a `!` in its folders.
        let device = member.device.replace('/', "!");
        let path = format!("/sys/block/{}/md/dev-{device}/slot", array.name);
        let slot = host.read(&path).ok().and_then(|bytes| number(trimmed(&bytes)));
        let slot = slot.map(|slot: u64| slot.to_string()).unwrap_or_default();
        let labels = [
            ("device", array.name.as_str()),
            ("member", &member.device),
            ("slot", &slot),
            ("state", word(member)),
        ];
        out.push(&MEMBER, &labels, 1.0);
    }
}

/// Some members have both flags.
fn in_use(member: &mdstat::Member) -> bool {
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

fn word(member: &mdstat::Member) -> &'static str {
    let words = [
        (Flag::Faulty, "faulty"),
        (Flag::Spare, "spare"),
        (Flag::Replacement, "replacement"),
        (Flag::Journal, "journal"),
        (Flag::WriteMostly, "write-mostly"),
    ];
    words.iter().find(|(flag, _)| member.flags.contains(flag)).map_or("in-use", |(_, word)| word)
}
