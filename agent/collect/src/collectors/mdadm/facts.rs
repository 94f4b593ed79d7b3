//! What node_exporter does not tell of arrays.

use labstat_model::{Batch, Family};
use labstat_parse::mdstat::{Array, Flag, Member, State};

use super::is_container;
use super::sysfs::{Files, OfMember, Sysfs};

const KIB: f64 = 1024.0;
const SECTOR: f64 = 512.0;

/// What an array is.
static INFO: Family = Family::gauge(
    "labstat_md_info",
    "An array: its level, kind of superblock, and how it stays consistent; always 1.",
);
/// The kernel's word for the state of an array.
static ARRAY_STATE: Family = Family::gauge(
    "labstat_md_array_state",
    "The kernel's word for the state of an array: 1 for the one that applies.",
);
/// Which disks make up an array.
static MEMBER: Family = Family::gauge(
    "labstat_md_member_info",
    "A member of an array, with its place, its part in it and what is special about it; always 1.",
);
/// Read errors that a member was forgiven.
static ERRORS: Family = Family::counter(
    "labstat_md_member_errors_total",
    "Read errors of a member that were mended from the others, about; from 0 when it is added anew.",
);
/// What an array is busy with.
static ACTION: Family = Family::gauge(
    "labstat_md_sync_action",
    "What an array is doing (idle, resync, recover, check, repair, reshape, frozen), and for what it \
     waits; always 1.",
);
static DONE: Family =
    Family::gauge("labstat_md_sync_done_bytes", "Done of what an array is doing, of each member.");
static TOTAL: Family = Family::gauge(
    "labstat_md_sync_total_bytes",
    "What is to be done in all of what an array is doing, of each member.",
);
static SPEED: Family = Family::gauge(
    "labstat_md_sync_speed_bytes_per_second",
    "Speed of what an array is doing, of each member, over the last half minute or so.",
);
static ETA: Family = Family::gauge(
    "labstat_md_sync_remaining_seconds",
    "Time until what an array is doing is done, as the kernel estimates.",
);
/// What it was busy with last.
static LAST: Family = Family::gauge(
    "labstat_md_last_sync_action",
    "What an array does, or did last since it was started (resync, recovery, check, repair, reshape); \
     always 1.",
);
/// Sectors that differed.
static MISMATCH: Family = Family::gauge(
    "labstat_md_mismatch_sectors",
    "Sectors in stripes whose copies or parity differed in the last check or repair.",
);
/// When the last check ended.
static SCRUBBED: Family = Family::gauge(
    "labstat_md_scrub_end_timestamp_seconds",
    "When a check or repair of the whole array was seen to end.",
);
static SIZE: Family = Family::gauge("labstat_md_size_bytes", "Size of an array.");
static COMPONENT: Family =
    Family::gauge("labstat_md_component_size_bytes", "What an array uses of each member.");
static CHUNK: Family = Family::gauge("labstat_md_chunk_bytes", "Size of a chunk of an array.");
static BITMAP_USED: Family = Family::gauge(
    "labstat_md_bitmap_used_pages",
    "Pages in memory of the write-intent bitmap: there are writes to the parts they stand for.",
);
static BITMAP_PAGES: Family =
    Family::gauge("labstat_md_bitmap_pages", "Pages of the write-intent bitmap.");
static BITMAP_CHUNK: Family = Family::gauge(
    "labstat_md_bitmap_chunk_bytes",
    "What one bit of the write-intent bitmap stands for.",
);
static RESHAPE: Family =
    Family::gauge("labstat_md_reshape_position_bytes", "How far an array is reshaped.");
static DISKS_BEFORE: Family = Family::gauge(
    "labstat_md_reshape_disks_before",
    "Members of an array before the reshape that is under way.",
);
static SUSPENDED: Family = Family::gauge(
    "labstat_md_suspended",
    "Whether access to a part of an array is held up from outside.",
);

/// All words that the kernel has for an array.
const ARRAY_STATES: [&str; 10] = [
    "active",
    "active-idle",
    "broken",
    "clean",
    "clear",
    "inactive",
    "read-auto",
    "readonly",
    "suspended",
    "write-pending",
];

pub(super) fn push(array: &Array, sysfs: &Sysfs, scrubbed_ms: Option<i64>, out: &mut Batch) {
    let device = ("device", array.name.as_str());
    push_info(array, &sysfs.array, out);
    let state = sysfs.array.word("array_state");
    // A word that is not known says nothing about those that are.
    if let Some(now) = state.filter(|word| ARRAY_STATES.contains(word)) {
        for state in ARRAY_STATES {
            out.push(&ARRAY_STATE, &[device, ("state", state)], f64::from(u8::from(state == now)));
        }
    }
    push_sync(array, &sysfs.array, scrubbed_ms, out);
    push_sizes(array, &sysfs.array, out);
    for (at, member) in array.members.iter().enumerate() {
        push_member(array, member, sysfs.members.get(at), out);
    }
}

fn push_info(array: &Array, files: &Files, out: &mut Batch) {
    let known = |file| files.word(file).filter(|word| *word != "unknown");
    let level = if is_container(array) { Some("container") } else { array.level.as_deref() };
    // The line without a word is that of the first kind of superblock, if it is printed at all.
    let first = array.blocks.map(|_| "0.90");
    let bitmap = match files.text("bitmap/location") {
        Some(place) if place.starts_with(['+', '-']) => Some("internal"),
        other => other,
    };
    let labels = [
        ("device", array.name.as_str()),
        ("level", level.or(known("level")).unwrap_or_default()),
        ("metadata", array.superblock.as_deref().or(first).unwrap_or_default()),
        ("consistency_policy", known("consistency_policy").unwrap_or_default()),
        ("bitmap", bitmap.unwrap_or_default()),
        ("journal_mode", chosen(files.text("journal_mode")).unwrap_or_default()),
    ];
    out.push(&INFO, &labels, 1.0);
}

/// The word in brackets, of a file that shows all there are: `[write-through] write-back`.
fn chosen(text: Option<&str>) -> Option<&str> {
    let (_, rest) = text?.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

fn push_sync(array: &Array, files: &Files, scrubbed_ms: Option<i64>, out: &mut Batch) {
    let device = ("device", array.name.as_str());
    let sync = array.sync.as_ref();
    // Where sysfs cannot be asked, mdstat has all but a repair, which it calls a resync.
    let by_mdstat = match sync.map(|sync| sync.action.as_str()) {
        Some("recovery") => Some("recover"),
        None if array.level.is_some() && array.disks_total.is_some() => Some("idle"),
        other => other,
    };
    let action = files.word("sync_action").or(by_mdstat);
    if let Some(action) = action {
        let pending = sync.and_then(|sync| sync.pending.as_deref()).unwrap_or_default();
        let pending = pending.to_ascii_lowercase();
        out.push(&ACTION, &[device, ("action", action), ("pending", &pending)], 1.0);
    }
    if let Some(last) = files.word("last_sync_action").filter(|word| *word != "none") {
        out.push(&LAST, &[device, ("action", last)], 1.0);
    }
    if let Some(sync) = sync {
        let kib = |value: Option<u64>| value.map(|value| value as f64 * KIB);
        for (family, value) in [
            (&DONE, kib(sync.done)),
            (&TOTAL, kib(sync.total)),
            (&SPEED, kib(sync.speed_kib_s)),
            (&ETA, sync.finish_minutes.map(|minutes| minutes * 60.0)),
        ] {
            if let Some(value) = value {
                out.push(family, &[device], value);
            }
        }
    }
    if let Some(mismatch) = mismatch(files) {
        out.push(&MISMATCH, &[device], mismatch);
    }
    if let Some(at_ms) = scrubbed_ms {
        out.push(&SCRUBBED, &[device], at_ms as f64 / 1000.0);
    }
}

/// The kernel counts from 0 in everything that it does to an array, and compares only in a check or
/// a repair. So a 0 is one only at the end of those; what was found so far counts at once.
fn mismatch(files: &Files) -> Option<f64> {
    let count = files.number("mismatch_cnt")?;
    let is_scrub = |file| matches!(files.word(file), Some("check" | "repair"));
    let is_over = files.word("sync_action") == Some("idle");
    (is_scrub("last_sync_action") && (is_over || count > 0.0)).then_some(count)
}

fn push_sizes(array: &Array, files: &Files, out: &mut Batch) {
    let device = ("device", array.name.as_str());
    let kib = |value: Option<u64>| value.map(|value| value as f64 * KIB);
    // Of an array that does not run, it is the sum of what its members have.
    let size = array.blocks.filter(|_| array.state != State::Inactive);
    let bitmap = array.bitmap.as_ref();
    let count = |pages: Option<u64>| pages.map(|pages| pages as f64);
    let suspended = match (files.number("suspend_lo"), files.number("suspend_hi")) {
        (Some(low), Some(high)) => Some(f64::from(u8::from(high > low))),
        _ => None,
    };
    for (family, value) in [
        (&SIZE, kib(size)),
        (&COMPONENT, files.number("component_size").filter(|kib| *kib > 0.0).map(|kib| kib * KIB)),
        (&CHUNK, kib(array.chunk)),
        (&BITMAP_USED, count(bitmap.map(|it| it.pages_used))),
        (&BITMAP_PAGES, count(bitmap.map(|it| it.pages_total))),
        (&BITMAP_CHUNK, kib(bitmap.and_then(|it| it.chunk_kib))),
        (&RESHAPE, files.number("reshape_position").map(|sectors| sectors * SECTOR)),
        (&DISKS_BEFORE, disks_before(files)),
        (&SUSPENDED, suspended),
    ] {
        if let Some(value) = value {
            out.push(family, &[device], value);
        }
    }
}

/// `4 (3)`: there were three.
fn disks_before(files: &Files) -> Option<f64> {
    let (_, rest) = files.text("raid_disks")?.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// The number that mdstat has in brackets is that of the member's record in the superblock: the
/// third disk of a new RAID 5 has number 3. Its place is in sysfs, and there only; a member that is
/// faulty or spare has none.
fn push_member(array: &Array, member: &Member, sysfs: Option<&OfMember>, out: &mut Batch) {
    let none = Files::default();
    let files = sysfs.map_or(&none, |sysfs| &sysfs.files);
    let slot = files.word("slot").filter(|slot| slot.bytes().all(|byte| byte.is_ascii_digit()));
    let said = match files.text("state") {
        Some(words) => Said::by_sysfs(words, slot.is_some()),
        None => Said::by_mdstat(array, member),
    };
    let device = ("device", array.name.as_str());
    let name = ("member", member.device.as_str());
    let labels = [
        device,
        name,
        ("slot", slot.unwrap_or_default()),
        ("role", said.role),
        ("state", said.state),
        ("flags", &said.flags),
        ("disk", sysfs.and_then(|sysfs| sysfs.disk.as_deref()).unwrap_or_default()),
    ];
    out.push(&MEMBER, &labels, 1.0);
    if let Some(errors) = files.number("errors") {
        out.push(&ERRORS, &[device, name], errors);
    }
}

/// What a member is to its array. What is not known is empty.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// `data`, `spare`, `journal`, `replacement`.
    role: &'static str,
    /// `in_sync`, `rebuilding`, `spare`, `journal`, `faulty`; `in_use` where that is all that is known.
    state: &'static str,
    /// What is special about it, such as `write_mostly,want_replacement`.
    flags: String,
}

impl Said {
    /// By words such as `in_sync,write_mostly`.
    fn by_sysfs(words: &str, has_slot: bool) -> Self {
        let has = |word| words.split(',').any(|known| known.trim() == word);
        let role = match has_slot {
            _ if has("journal") => "journal",
            true if has("replacement") => "replacement",
            true => "data",
            false if has("spare") => "spare",
            // One that was thrown out has lost its place.
            false => "",
        };
        let state = match has_slot {
            _ if has("faulty") => "faulty",
            _ if has("journal") => "journal",
            _ if has("in_sync") => "in_sync",
            true => "rebuilding",
            false if has("spare") => "spare",
            false => "",
        };
        let told = ["in_sync", "spare", "faulty", "journal", "replacement"];
        let flags = words.split(',').map(str::trim).filter(|word| !told.contains(word));
        Self { role, state, flags: flags.collect::<Vec<_>>().join(",") }
    }

    fn by_mdstat(array: &Array, member: &Member) -> Self {
        let has = |flag| member.flags.contains(&flag);
        let all_in_sync = array.disks_total.is_some() && array.disks_total == array.disks_active;
        let (role, state) = match () {
            () if has(Flag::Faulty) => ("", "faulty"),
            () if has(Flag::Journal) => ("journal", "journal"),
            () if has(Flag::Spare) => ("spare", "spare"),
            () if has(Flag::Replacement) => ("replacement", "in_use"),
            () if all_in_sync => ("data", "in_sync"),
            () => ("data", "in_use"),
        };
        let flags = if has(Flag::WriteMostly) { "write_mostly" } else { "" };
        Self { role, state, flags: flags.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_by_the_words_of_sysfs() {
        for (words, has_slot, role, state, flags) in [
            ("in_sync", true, "data", "in_sync", ""),
            ("in_sync,write_mostly", true, "data", "in_sync", "write_mostly"),
            (
                "in_sync,want_replacement,write_error",
                true,
                "data",
                "in_sync",
                "want_replacement,write_error",
            ),
            ("spare,replacement", true, "replacement", "rebuilding", ""),
            ("spare", true, "data", "rebuilding", ""),
            ("spare", false, "spare", "spare", ""),
            ("faulty,blocked", false, "", "faulty", "blocked"),
            ("faulty", true, "data", "faulty", ""),
            ("in_sync,journal", true, "journal", "journal", ""),
            ("journal", false, "journal", "journal", ""),
            ("in_sync,failfast,external_bbl", true, "data", "in_sync", "failfast,external_bbl"),
            ("", false, "", "", ""),
        ] {
            let wanted = Said { role, state, flags: flags.to_owned() };
            assert_eq!(Said::by_sysfs(words, has_slot), wanted, "{words}");
        }
    }

    #[test]
    fn the_mode_in_use_is_in_brackets() {
        assert_eq!(chosen(Some("[write-through] write-back")), Some("write-through"));
        assert_eq!(chosen(Some("write-through [write-back]")), Some("write-back"));
        assert_eq!(chosen(Some("")), None);
        assert_eq!(chosen(Some("[")), None);
    }
}
