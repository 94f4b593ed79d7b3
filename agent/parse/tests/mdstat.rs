//! `/proc/mdstat` of real kernels, broken lines, and any text.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]

use std::fs;
use std::path::Path;

use labstat_parse::ParseError;
use labstat_parse::mdstat::{self, State};
use proptest::prelude::*;
use serde_json::json;

fn fixture(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mdstat");
    fs::read_to_string(root.join(name)).unwrap()
}

#[test]
fn every_state_of_two_kernels_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mdstat");
    let mut count = 0;
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let found = mdstat::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(found.arrays.len(), text.matches(" : ").count() - 1, "{path:?}");
        let members: usize = found.arrays.iter().map(|array| array.members.len()).sum();
        let brackets = text.lines().filter(|line| line.starts_with("md"));
        assert_eq!(
            members,
            brackets.map(|line| line.matches('[').count()).sum::<usize>(),
            "{path:?}"
        );
        count += 1;
    }
    assert_eq!(count, 23);
}

/// Read by eye, against the documented shape.
#[test]
fn a_replacement_is_rebuilt() {
    let found = mdstat::parse(&fixture("zoo-04-raid10-replacement.txt")).unwrap();
    let found = serde_json::to_value(&found).unwrap();
    assert_eq!(
        found["personalities"],
        json!(["raid0", "raid1", "raid6", "raid5", "raid4", "raid10", "linear"])
    );
    assert_eq!(found["unused_devices"], json!([]));
    assert_eq!(
        found["arrays"][0],
        json!({
            "name": "md20", "state": "active", "level": "raid1", "super": "1.0",
            "members": [
                {"device": "loop12", "slot": 1, "flags": ["write-mostly"]},
                {"device": "loop11", "slot": 0, "flags": []},
            ],
            "blocks": 24512, "chunk": null, "disks_total": 3, "disks_active": 2,
            "status_mask": "UU_", "sync": null, "bitmap": null,
        })
    );
    let array = &found["arrays"][3];
    assert_eq!(
        array["members"][0],
        json!({"device": "loop13", "slot": 4, "flags": ["replacement"]})
    );
    assert_eq!((&array["chunk"], &array["status_mask"]), (&json!(512), &json!("UUUU")));
    assert_eq!(
        array["sync"],
        json!({
            "action": "recovery", "percent": 4.4, "done": 1472, "total": 22528,
            "finish_minutes": 0.2, "speed_kib_s": 1472, "pending": null,
        })
    );
}

/// Lines that a virtual machine does not bring about, in the driver's own form.
#[test]
fn rare_lines() {
    let text = "Personalities : [raid1]  \n\
        md1 : active (auto-read-only) raid5 cciss/c0d0p1[0](J)(F) dm-1[1]\n\
        8 blocks super external:/md127/0 level 5, 64K chunks, algorithm 2 [2/1] [U_]  \n\
        \tresync=PENDING\n\
        bitmap: 1/9 pages [4KB], 65536KB chunk, file: /a b\n\
        md219 : inactive sdb[2](S)\n\
        7932 blocks super external:imsm\n\
        md120 : broken linear sda1[1]\n\
        2095104 blocks super non-persistent 0k rounding";
    let found = mdstat::parse(text).unwrap();
    let [first, second, third] = found.arrays.as_slice() else { panic!("{found:?}") };
    assert_eq!((first.state, first.chunk), (State::ReadOnly, Some(64)));
    assert_eq!(first.superblock.as_deref(), Some("external:/md127/0"));
    assert_eq!(first.members[0].flags, [mdstat::Flag::Journal, mdstat::Flag::Faulty]);
    let sync = first.sync.as_ref().unwrap();
    assert_eq!((sync.action.as_str(), sync.pending.as_deref()), ("resync", Some("PENDING")));
    assert_eq!(sync.percent, None);
    assert_eq!(first.bitmap.as_ref().unwrap().pages_total, 9);
    assert_eq!((second.state, second.level.as_deref()), (State::Inactive, None));
    assert_eq!((third.state, third.chunk, third.disks_total), (State::Broken, None, None));
}

/// A cut-off or invented line is an error that names the line: never a panic, never silence.
#[test]
fn a_broken_line_is_named() {
    for (text, message) in [
        (
            "md0 : active raid1 sda1[0]\n  100 blocks [2/x] [U_]\n",
            "failed to parse mdstat at line 2: \"  100 blocks [2/x] [U_]\"",
        ),
        (
            "Personalities :\n\nmdf1: testman actve\n",
            "failed to parse mdstat at line 3: \"mdf1: testman actve\"",
        ),
        ("Personalities :\n  100 blocks\n", "failed to parse mdstat at line 2: \"  100 blocks\""),
        (
            "md0 : active raid1 sda1[0\n",
            "failed to parse mdstat at line 1: \"md0 : active raid1 sda1[0\"",
        ),
        ("", "mdstat has no line of personalities"),
    ] {
        assert_eq!(mdstat::parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn more_arrays_than_a_machine_has_are_refused() {
    let text = "md0 : inactive sda[0]\n".repeat(mdstat::ARRAYS_MAX + 1);
    assert!(matches!(mdstat::parse(&text), Err(ParseError::Limit { what: "md arrays", .. })));
    let text = format!("md0 : inactive{}\n", " sda[0]".repeat(mdstat::MEMBERS_MAX + 1));
    assert!(matches!(mdstat::parse(&text), Err(ParseError::Limit { .. })));
}

#[test]
fn captures_of_other_projects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/mdstat");
    let Ok(entries) = fs::read_dir(&root) else {
        println!("SKIPPED: {} is not there", root.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let found = mdstat::parse(&fs::read_to_string(&path).unwrap());
        match path.file_name().unwrap().to_str().unwrap() {
            "telegraf-mdStatFileInvalid.txt" => {
                assert!(found.unwrap_err().to_string().contains("at line 3"));
            }
            "procfs-many.txt" => {
                let found = found.unwrap();
                assert_eq!(found.arrays.len(), 18);
                let inactive = found.arrays.iter().filter(|it| it.state == State::Inactive);
                assert_eq!(inactive.count(), 2);
                let busy = found.arrays.iter().filter(|it| it.sync.is_some()).count();
                assert_eq!(busy, 6);
            }
            _ => {
                found.unwrap_or_else(|error| panic!("{path:?}: {error}"));
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_never_panics(text in "\\PC{0,300}") {
        let _ = mdstat::parse(&text);
    }

    #[test]
    fn damaged_text_never_panics(cut in 0_usize..800, byte in any::<char>()) {
        let text = fixture("zoo-04-raid10-replacement.txt");
        let mut damaged: String = text.chars().take(cut).collect();
        damaged.push(byte);
        damaged.extend(text.chars().skip(cut + 1));
        let _ = mdstat::parse(&damaged);
    }
}
