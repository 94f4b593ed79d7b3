//! Arrays over time, and machines that do not say all of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use labstat_collect::{CollectError, Collector, Options, ReplayHost, Status, registry};
use labstat_model::{Batch, ManualClock};

const MIRROR: &str = "Personalities : [raid1]\n\
    md0 : active raid1 sdb1[1] sda1[0]\n      1024 blocks super 1.2 [2/2] [UU]\n\
    \n\
    unused devices: <none>\n";

/// A machine that can be changed, and its collector.
struct Machine {
    dir: tempfile::TempDir,
    collector: Box<dyn Collector>,
}

impl Machine {
    fn new(mdstat: &str) -> Self {
        let entry = registry().iter().find(|entry| entry.name == "mdadm").unwrap();
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
            collector: (entry.make)(&Options::default()),
        };
        machine.put("proc/mdstat", mdstat);
        machine
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn md(&self, file: &str, text: &str) {
        self.put(&format!("sys/block/md0/md/{file}"), format!("{text}\n"));
    }

    fn run(&mut self, now_ms: i64) -> Result<(Status, Batch), CollectError> {
        let clock = Arc::new(ManualClock::new(now_ms));
        let host = ReplayHost::open(self.dir.path(), clock).unwrap();
        let mut batch = Batch::new();
        let status = self.collector.collect(&host, &mut batch)?;
        Ok((status, batch))
    }

    fn at(&mut self, now_ms: i64) -> Batch {
        self.run(now_ms).unwrap().1
    }
}

fn checking(percent: u8) -> String {
    let line = format!("      [>...]  check = {percent}.0% (5/1024) finish=1.5min speed=7K/sec\n");
    MIRROR.replace("[UU]\n", &format!("[UU]\n{line}"))
}

const ENDED: &str = "labstat_md_scrub_end_timestamp_seconds";
const LAST: &str = "labstat_md_last_sync_action";
const MISMATCH: &str = "labstat_md_mismatch_sectors";

#[test]
fn the_end_of_a_check_is_seen_and_what_it_found_counts_from_then_on() {
    let mut machine = Machine::new(MIRROR);
    machine.md("sync_action", "idle");
    machine.md("last_sync_action", "none");
    machine.md("mismatch_cnt", "0");
    machine.md("sync_min", "0");
    let batch = machine.at(1_000_000);
    assert_eq!(batch.value(ENDED, &[]), None, "nobody knows");
    assert_eq!(batch.value(MISMATCH, &[]), None, "nothing was compared");
    assert_eq!(batch.value(LAST, &[]), None, "nothing was done");

    machine.put("proc/mdstat", checking(5));
    machine.md("sync_action", "check");
    machine.md("last_sync_action", "check");
    let batch = machine.at(1_010_000);
    assert_eq!(batch.value(MISMATCH, &[]), None, "nothing was found yet");
    assert_eq!(batch.value("labstat_md_sync_remaining_seconds", &[]), Some(90.0));
    assert_eq!(batch.value("labstat_md_sync_speed_bytes_per_second", &[]), Some(7168.0));
    let check = [("action", "check")];
    assert_eq!(batch.value("labstat_md_sync_action", &check), Some(1.0));
    assert_eq!(batch.value("node_md_disks", &[("state", "failed")]), Some(0.0), "it is no fault");
    machine.md("mismatch_cnt", "128");
    assert_eq!(machine.at(1_020_000).value(MISMATCH, &[]), Some(128.0), "told at once");

    machine.put("proc/mdstat", MIRROR);
    machine.md("sync_action", "idle");
    for now_ms in [1_030_000, 1_040_000, 9_000_000] {
        let batch = machine.at(now_ms);
        assert_eq!(batch.value(ENDED, &[]), Some(1030.0), "{now_ms}");
        assert_eq!(batch.value(MISMATCH, &[]), Some(128.0), "{now_ms}");
    }
    // What was found is mended, which does not make the number smaller.
    assert_eq!(machine.at(9_010_000).value(LAST, &[("action", "check")]), Some(1.0));
    machine.md("last_sync_action", "repair");
    let batch = machine.at(9_050_000);
    assert_eq!(batch.value(MISMATCH, &[]), Some(128.0));
    assert_eq!(batch.value(LAST, &[("action", "repair")]), Some(1.0));
    assert_eq!(batch.value(LAST, &[("action", "check")]), None);
    // A rebuild compares nothing and counts from 0.
    machine.md("mismatch_cnt", "0");
    machine.md("last_sync_action", "recovery");
    let batch = machine.at(9_100_000);
    assert_eq!(batch.value(MISMATCH, &[]), None);
    assert_eq!(batch.value(ENDED, &[]), Some(1030.0));
}

#[test]
fn a_check_that_was_broken_off_or_became_a_rebuild_has_not_ended() {
    for (last, sync_min) in [("check", "4096"), ("recovery", "0")] {
        let mut machine = Machine::new(&checking(5));
        machine.md("sync_action", "check");
        machine.md("last_sync_action", "check");
        machine.at(1_000_000);
        machine.put("proc/mdstat", MIRROR);
        machine.md("sync_action", "idle");
        machine.md("last_sync_action", last);
        machine.md("sync_min", sync_min);
        assert_eq!(machine.at(1_010_000).value(ENDED, &[]), None, "{last} {sync_min}");
    }
}

#[test]
fn sysfs_is_read_when_mdstat_changes_and_now_and_then() {
    let mut machine = Machine::new(MIRROR);
    machine.md("array_state", "clean");
    let clean = |batch: &Batch| batch.value("labstat_md_array_state", &[("state", "clean")]);
    assert_eq!(clean(&machine.at(1_000_000)), Some(1.0));
    machine.md("array_state", "active");
    assert_eq!(clean(&machine.at(1_010_000)), Some(1.0), "asked a moment ago");
    assert_eq!(clean(&machine.at(1_030_000)), Some(0.0));
    machine.md("array_state", "readonly");
    machine.put("proc/mdstat", MIRROR.replace("active", "active (read-only)"));
    let batch = machine.at(1_031_000);
    assert_eq!(batch.value("labstat_md_array_state", &[("state", "readonly")]), Some(1.0));
    // A clock that went back is no reason to wait for it.
    machine.md("array_state", "clean");
    assert_eq!(clean(&machine.at(500_000)), Some(1.0));
}

#[test]
fn a_failed_member_is_told_though_sysfs_does_not_answer() {
    let failed = MIRROR.replace("sdb1[1]", "sdb1[1](F)").replace("[2/2] [UU]", "[2/1] [U_]");
    let mut machine = Machine::new(&failed);
    for file in ["array_state", "degraded", "sync_action", "dev-sdb1/state", "dev-sdb1/slot"] {
        machine.md(file, "x");
    }
    // Timed out and not permitted.
    let errors = |code| {
        let files = ["array_state", "degraded", "sync_action", "dev-sdb1/state", "dev-sdb1/slot"];
        let line = |file: &str| format!("\"/sys/block/md0/md/{file}\": {code}");
        format!("{{{}}}", files.map(line).join(","))
    };
    for code in [110, 13] {
        machine.put("errors.json", errors(code));
        let batch = machine.at(i64::from(code) * 1_000_000);
        assert_eq!(batch.value("node_md_disks", &[("state", "failed")]), Some(1.0));
        assert_eq!(batch.value("node_md_degraded", &[]), None, "not known");
        assert_eq!(batch.value("labstat_md_array_state", &[("state", "clean")]), None);
        let member = [("member", "sdb1"), ("state", "faulty")];
        assert_eq!(batch.value("labstat_md_member_info", &member), Some(1.0));
        let other = [("member", "sda1"), ("state", "in_use")];
        assert_eq!(batch.value("labstat_md_member_info", &other), Some(1.0));
    }
}

#[test]
fn a_member_is_tied_to_its_disk() {
    let mdstat = "md0 : active raid1 nvme0n1p2[0] sda1[1] sdb[2]\n  8 blocks [3/3] [UUU]\n";
    let mut machine = Machine::new(mdstat);
    let class = machine.dir.path().join("sys/class/block");
    fs::create_dir_all(&class).unwrap();
    for (name, target) in [
        ("nvme0n1p2", "../../devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p2"),
        ("sda1", "../../devices/pci0/ata1/host0/block/sda/sda1"),
        ("sdb", "../../devices/pci0/ata2/host1/block/sdb"),
    ] {
        std::os::unix::fs::symlink(target, class.join(name)).unwrap();
    }
    let batch = machine.at(0);
    for (member, disk) in [("nvme0n1p2", "nvme0"), ("sda1", "sda"), ("sdb", "sdb")] {
        let labels = [("member", member), ("disk", disk)];
        assert_eq!(batch.value("labstat_md_member_info", &labels), Some(1.0), "{member}");
    }
}

#[test]
fn what_firmware_and_journals_add() {
    let mut machine = Machine::new(
        "md127 : inactive sdb[1](S) sda[0](S)\n  4514 blocks super external:imsm\n\
         md0 : active raid5 sdc[3](J) sdd[1] sde[2] sdf[0]\n\
         \x20 2048 blocks super 1.2 level 5, 64k chunk, algorithm 2 [3/3] [UUU]\n",
    );
    machine.md("journal_mode", "[write-through] write-back");
    machine.md("consistency_policy", "journal");
    machine.md("dev-sdc/state", "journal");
    machine.md("dev-sdc/slot", "journal");
    machine.md("suspend_lo", "0");
    machine.md("suspend_hi", "4096");
    let batch = machine.at(0);
    let container = [("device", "md127"), ("level", "container"), ("metadata", "external:imsm")];
    assert_eq!(batch.value("labstat_md_info", &container), Some(1.0));
    let size = batch.value("labstat_md_size_bytes", &[("device", "md127")]);
    assert_eq!(size, None, "it is the sum of its members");
    let journal =
        [("device", "md0"), ("journal_mode", "write-through"), ("consistency_policy", "journal")];
    assert_eq!(batch.value("labstat_md_info", &journal), Some(1.0));
    let member = [("member", "sdc"), ("role", "journal"), ("state", "journal")];
    assert_eq!(batch.value("labstat_md_member_info", &member), Some(1.0));
    assert_eq!(batch.value("labstat_md_suspended", &[]), Some(1.0));
}

#[test]
fn a_broken_mdstat_is_an_error_and_a_good_one_after_it_is_read() {
    let mut machine = Machine::new(MIRROR);
    assert_eq!(machine.at(1_000_000).value("node_md_disks_required", &[]), Some(2.0));
    for broken in [
        String::new(),
        MIRROR.replace("[2/2]", "[2/"),
        "\0".repeat(100),
        "md0 : inactive sda[0]\n".repeat(2000),
        "x".repeat(5 * 1024 * 1024),
    ] {
        machine.put("proc/mdstat", &broken);
        let shown: String = broken.chars().take(80).collect();
        assert!(machine.run(1_001_000).is_err(), "{shown:?}");
    }
    machine.put("proc/mdstat", MIRROR);
    assert_eq!(machine.at(1_002_000).value("node_md_disks_required", &[]), Some(2.0));
    fs::remove_file(machine.dir.path().join("proc/mdstat")).unwrap();
    let (status, batch) = machine.run(1_003_000).unwrap();
    assert_eq!((status, batch.len()), (Status::Absent, 0));
}

/// Every capture of other projects gives samples, each series once.
#[test]
fn captures_of_other_projects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/mdstat");
    let Ok(entries) = fs::read_dir(&root) else {
        println!("SKIPPED: {} is not there", root.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let mut machine = Machine::new(&fs::read_to_string(&path).unwrap());
        let is_broken = path.ends_with("telegraf-mdStatFileInvalid.txt");
        let result = machine.run(0);
        assert_eq!(result.is_err(), is_broken, "{}", path.display());
        let Ok((_, batch)) = result else { continue };
        let mut series: Vec<String> =
            batch.iter().map(|s| format!("{}{}", s.family.name, s.labels)).collect();
        let count = series.len();
        series.sort();
        series.dedup();
        // Two members of one name stand in one array of a made-up capture.
        let made_up = path.ends_with("procfs-many.txt");
        assert!(series.len() == count || made_up, "{}", path.display());
    }
}

/// A member, as the table at the end of `mdadm --detail` has it.
struct Row<'a> {
    device: &'a str,
    slot: Option<u32>,
    /// In the kernel's words.
    state: String,
}

/// What stands behind a name in what mdadm prints.
fn told<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| Some(line.trim().strip_prefix(name)?.trim().strip_prefix(": ")?.trim()))
}

fn number(text: &str, name: &str) -> Option<usize> {
    told(text, name)?.split_whitespace().next()?.parse().ok()
}

/// The kernel's word for one of mdadm's; the second word of `active sync` and `spare rebuilding` says
/// what the slot says.
fn of_kernel(word: &str) -> Option<&str> {
    match word {
        "active" => Some("in_sync"),
        "writemostly" | "write-mostly" => Some("write_mostly"),
        "sync" | "rebuilding" => None,
        "spare" | "faulty" | "failfast" => Some(word),
        unknown => {
            assert_eq!(unknown, "", "a word of mdadm's that is not known");
            None
        }
    }
}

fn rows(detail: &str) -> Vec<Row<'_>> {
    let lines = detail.lines().skip_while(|line| !line.contains("RaidDevice")).skip(1);
    let row = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let (device, words) = words.split_last()?;
        let device = device.strip_prefix("/dev/")?;
        let state: Vec<&str> = words[4..].iter().filter_map(|word| of_kernel(word)).collect();
        Some(Row { device, slot: words[3].parse().ok(), state: state.join(",") })
    };
    lines.filter_map(row).collect()
}

/// The machine on which mdadm would print this.
fn machine_of(level: &str, disks: usize, rows: &[Row<'_>]) -> Machine {
    let is_container = level == "container";
    let in_sync = |slot: usize| {
        let mut rows = rows.iter();
        rows.any(|row| row.slot == u32::try_from(slot).ok() && row.state.contains("in_sync"))
    };
    let letters: String = (0..disks).map(|slot| if in_sync(slot) { 'U' } else { '_' }).collect();
    let members = rows.iter().enumerate().map(|(at, row)| {
        let has_no_place = row.slot.is_none();
        let flag = match () {
            () if row.state.contains("faulty") => "(F)",
            () if has_no_place => "(S)",
            () if row.state.contains("replacement") => "(R)",
            () => "",
        };
        format!(" {}[{at}]{flag}", row.device)
    });
    let members: String = members.collect();
    let working = letters.matches('U').count();
    let mdstat = match (is_container, level) {
        (true, _) => format!("md0 : inactive{members}\n      1024 blocks super external:ddf\n"),
        (_, "raid0") => {
            format!("md0 : active {level}{members}\n      1024 blocks super 1.2 512k chunks\n")
        }
        _ => format!(
            "md0 : active {level}{members}\n      1024 blocks super 1.2 [{disks}/{working}] [{letters}]\n"
        ),
    };
    let machine = Machine::new(&format!("Personalities :\n{mdstat}\nunused devices: <none>\n"));
    for row in rows.iter().filter(|_| !is_container) {
        let slot = row.slot.map_or("none".to_owned(), |slot| slot.to_string());
        machine.md(&format!("dev-{}/slot", row.device), &slot);
        machine.md(&format!("dev-{}/state", row.device), &row.state);
    }
    machine
}

/// How many members have these labels.
fn members(batch: &Batch, wanted: &[(&str, &str)]) -> usize {
    let all = batch.iter().filter(|sample| sample.family.name == "labstat_md_member_info");
    all.filter(|sample| {
        wanted.iter().all(|(name, value)| sample.labels.get(name).unwrap_or("") == *value)
    })
    .count()
}

/// Our counts of members are those of mdadm, for what others recorded of theirs.
#[test]
fn members_are_counted_as_mdadm_counts_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/mdadm");
    let Ok(entries) = fs::read_dir(&root) else {
        println!("SKIPPED: {} is not there", root.display());
        return;
    };
    let mut arrays = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display();
        if path.to_str().unwrap().contains("-examine-") {
            examined(&text, &shown.to_string());
            continue;
        }
        for detail in format!("\n{text}").split("\n/dev/md") {
            let Some(level) = told(detail, "Raid Level") else { continue };
            let rows = rows(detail);
            let disks = number(detail, "Raid Devices").unwrap_or_default();
            let batch = machine_of(level, disks, &rows).at(0);
            arrays += 1;
            assert_eq!(Some(members(&batch, &[])), number(detail, "Total Devices"), "{shown}");
            assert_eq!(batch.value("labstat_md_info", &[("level", level)]), Some(1.0), "{shown}");
            if level == "container" {
                continue;
            }
            let state = |state| members(&batch, &[("state", state)]);
            let counted = |name| number(detail, name).unwrap_or_default();
            assert_eq!(state("in_sync"), counted("Active Devices"), "{shown}");
            assert_eq!(state("faulty"), counted("Failed Devices"), "{shown}");
            assert_eq!(state("rebuilding") + state("spare"), counted("Spare Devices"), "{shown}");
            let stock = |state| batch.value("node_md_disks", &[("state", state)]).unwrap();
            assert_eq!(stock("failed"), counted("Failed Devices") as f64, "{shown}");
            let is_degraded = told(detail, "State").unwrap().contains("degraded");
            assert_eq!(stock("active") < disks as f64, is_degraded, "{shown}");
        }
    }
    assert!(arrays > 20, "{arrays}");
}

/// The part that a member has by its own superblock is the one that it is given.
fn examined(text: &str, shown: &str) {
    let (Some(role), Some(level)) = (told(text, "Device Role"), told(text, "Raid Level")) else {
        return; // The superblock of a container has no roles.
    };
    let slot = role.rsplit(' ').next().and_then(|word| word.parse().ok());
    let (wanted, mut state) = match role.split(' ').next() {
        Some("Active") => ("data", vec!["in_sync"]),
        Some("Replacement") => ("replacement", vec!["replacement"]),
        _ => ("spare", vec!["spare"]),
    };
    let flags = told(text, "Flags").unwrap_or_default();
    state.extend(flags.split_whitespace().filter_map(of_kernel));
    let row = Row { device: "vda1", slot, state: state.join(",") };
    let disks = number(text, "Raid Devices").unwrap();
    let batch = machine_of(level, disks, &[row]).at(0);
    assert_eq!(members(&batch, &[("role", wanted)]), 1, "{shown}");
    let flags: Vec<&str> = flags.split_whitespace().filter_map(of_kernel).collect();
    assert_eq!(members(&batch, &[("flags", &flags.join(","))]), 1, "{shown}");
}
