//! `/proc/mdstat` of real kernels, broken lines, and any text.

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

/// The lines of every kernel, level and state: the driver's own forms, from Linux 2.2 to 6.x.
#[test]
fn every_form_the_driver_prints() {
    let array = |text: &str| {
        let found = mdstat::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let [array] = found.arrays.as_slice() else { panic!("{found:?}") };
        serde_json::to_value(array).unwrap()
    };
    for (text, pairs) in [
        // Linux 2.4, and 2.2 with one line an array.
        (
            "Personalities : [1 linear] [2 raid1]\nread_ahead 1024 sectors\nEvent: 3\n\
             md0 : active raid1 hdc1[1] hda1[0](F) 4192832 blocks [2/1] [_U]\nunused devices: <none>",
            json!({"level": "raid1", "blocks": 4192832, "disks_active": 1, "super": null}),
        ),
        (
            "md0 : active raid5 [dev 08:11][0] sdc[1]\n  100 blocks level 5, 64k chunk, algorithm 0 [2/2] [UU]",
            json!({"chunk": 64, "status_mask": "UU", "disks_total": 2}),
        ),
        (
            "md1 : inactive",
            json!({"state": "inactive", "level": null, "members": [], "blocks": null}),
        ),
        (
            "md/root : active linear sdb[1] sda[0]\n      64 blocks super 0.91 64k rounding",
            json!({"name": "md/root", "super": "0.91", "chunk": null, "disks_total": null}),
        ),
        (
            "md_d0 : active multipath sda[0] sdb[1](F)\n 9 blocks super non-persistent [2/1] [U_]",
            json!({"super": "non-persistent", "disks_active": 1}),
        ),
        (
            "md3 : active faulty sda[0]\n 9 blocks super non-persistent WriteTransient=3(5) nfaults=1",
            json!({"level": "faulty", "blocks": 9, "disks_total": null}),
        ),
        (
            "md4 : active raid10 cciss!c0d0p1[0] nvme0n1p2[1](W)(J)\n\
             8 blocks super 1.1 512K chunks 2 near-copies 2 offset-copies 4 devices per set [4/2] [UU__]",
            json!({"chunk": 512, "super": "1.1", "status_mask": "UU__"}),
        ),
        (
            "md5 : active raid10 sda[0] sdb[1]\n 8 blocks super 1.2 4K chunks 2 far-copies [2/2] [UU]",
            json!({"chunk": 4, "disks_total": 2}),
        ),
        (
            "md127 : inactive sdb[-1](S) sda[0](S)\n       4514 blocks super external:ddf",
            json!({"super": "external:ddf", "level": null, "disks_total": null, "members": [
                {"device": "sdb", "slot": -1, "flags": ["spare"]},
                {"device": "sda", "slot": 0, "flags": ["spare"]}]}),
        ),
        (
            "md0 : broken (read-only) raid0 sda[0]\n 8 blocks super 1.2 512k chunks",
            json!({"state": "read-only", "level": "raid0"}),
        ),
        // A letter that a later kernel may add says nothing that is known.
        (
            "md0 : active raid1 sda[0](X)(S)",
            json!({"members": [{"device": "sda", "slot": 0, "flags": ["spare"]}]}),
        ),
    ] {
        let array = array(text);
        for (key, value) in pairs.as_object().unwrap() {
            assert_eq!(&array[key], value, "{key} of {text}");
        }
    }
}

#[test]
fn what_an_array_is_doing_in_every_form() {
    let sync = |line: &str| {
        let text = format!("md0 : active raid1 sda[0]\n      8 blocks [1/1] [U]\n      {line}\n");
        let found = mdstat::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        serde_json::to_value(&found.arrays[0].sync).unwrap()
    };
    let running = |action: &str, percent: f64, done, total, finish, speed| {
        json!({"action": action, "percent": percent, "done": done, "total": total,
            "finish_minutes": finish, "speed_kib_s": speed, "pending": null})
    };
    let waiting = |action: &str, why: &str| {
        json!({"action": action, "percent": null, "done": null, "total": null,
            "finish_minutes": null, "speed_kib_s": null, "pending": why})
    };
    let none = json!(null);
    for (line, wanted) in [
        ("resync=DELAYED", waiting("resync", "DELAYED")),
        ("\tresync=PENDING  ", waiting("resync", "PENDING")),
        ("\trecover=REMOTE", waiting("recovery", "REMOTE")),
        ("\treshape=REMOTE", waiting("reshape", "REMOTE")),
        (
            "[>....................]  check =  0.0% (0/8) finish=infmin speed=0K/sec",
            running("check", 0.0, json!(0), json!(8), none.clone(), json!(0)),
        ),
        (
            // Counters were set back between the two marks.
            "[=>...................]  resync =  5.1% (1/8) finish=9007199254740.9min speed=-12K/sec",
            running("resync", 5.1, json!(1), json!(8), json!(9_007_199_254_740.9), none.clone()),
        ),
        (
            "[=====================>]  reshape =100.4% (9/8) finish=0.0min speed=7K/sec",
            running("reshape", 100.4, json!(9), json!(8), json!(0.0), json!(7)),
        ),
        (
            "resync=47% finish=12.5min",
            running("resync", 47.0, none.clone(), none.clone(), json!(12.5), none.clone()),
        ),
    ] {
        assert_eq!(sync(line), wanted, "{line}");
    }
}

#[test]
fn a_bitmap_may_have_a_file_and_small_chunks() {
    let bitmap = |line: &str| {
        let text = format!("md0 : active raid1 sda[0]\n 8 blocks [1/1] [U]\n {line}\n");
        serde_json::to_value(&mdstat::parse(&text).unwrap().arrays[0].bitmap).unwrap()
    };
    let kib = |kib| json!({"pages_used": 1, "pages_total": 234, "chunk_kib": kib});
    assert_eq!(bitmap("bitmap: 1/234 pages [4KB], 512KB chunk, file: /var/a b"), kib(json!(512)));
    assert_eq!(bitmap("bitmap: 1/234 pages [4KB], 4096B chunk"), kib(json!(4)));
    assert_eq!(bitmap("bitmap: 1/234 pages [4KB], 512B chunk"), kib(json!(null)));
}

/// Every mdstat at hand.
fn all() -> Vec<(String, String)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mdstat");
    let others = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/mdstat");
    if !others.is_dir() {
        println!("SKIPPED: {} is not there", others.display());
    }
    let entries = [own, others].into_iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten());
    let text = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.display().to_string(), fs::read_to_string(path).unwrap())
    };
    entries.map(text).collect()
}

/// What people do to it on its way to a forum changes nothing of what it says.
#[test]
fn copies_say_what_was_copied() {
    type Mutilate = fn(&str) -> String;
    let mutilations: [(&str, Mutilate); 12] = [
        ("as it is", str::to_owned),
        ("line ends of Windows", |text| text.replace('\n', "\r\n")),
        ("UTF-8 with a mark", |text| format!("\u{feff}{text}")),
        ("no last line end", |text| text.trim_end().to_owned()),
        ("no margins", |text| text.lines().map(|it| format!("{}\n", it.trim())).collect()),
        ("quoted", |text| text.lines().map(|it| format!("> {it}\n")).collect()),
        ("quoted twice", |text| text.lines().map(|it| format!(">> | {it}\n")).collect()),
        ("a journal", |text| {
            text.lines().map(|it| format!("Nov 21 21:20:00 nas kernel: {it}\n")).collect()
        }),
        ("HTML", |text| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            text.replace("  ", "&nbsp; ")
        }),
        ("a terminal", |text| {
            format!("root@nas:~# cat /proc/mdstat\n{text}\n\u{1b}[0mroot@nas:~# ")
        }),
        ("empty lines", |text| text.replace('\n', "\n\n")),
        ("in one line", |text| text.replace('\n', " ")),
    ];
    for (path, text) in all() {
        let Ok(wanted) = mdstat::parse(&text) else { continue };
        for (what, mutilate) in mutilations {
            let copy = mutilate(&text);
            let (found, problem) = mdstat::parse_copy(copy.as_bytes())
                .unwrap_or_else(|error| panic!("{what}: {path}: {error}\n{copy}"));
            assert_eq!(found, wanted, "{what}: {path}\n{copy}");
            assert!(problem.is_none(), "{what}: {path}: {problem:?}\n{copy}");
        }
    }
}

/// Mail breaks lines between words.
#[test]
fn lines_that_were_broken_are_whole_again() {
    for (path, text) in all() {
        let Ok(wanted) = mdstat::parse(&text) else { continue };
        for width in [60, 72, 76, 80, 100] {
            let copy: String = text.lines().map(|line| wrapped(line, width)).collect();
            let (found, problem) = mdstat::parse_copy(copy.as_bytes()).unwrap();
            assert_eq!(found, wanted, "{width}: {path}\n{copy}");
            assert!(problem.is_none(), "{width}: {path}: {problem:?}\n{copy}");
        }
    }
}

fn wrapped(line: &str, width: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for word in line.split(' ') {
        if column > 0 && column + word.len() > width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
        }
        out.push_str(word);
        column += word.len() + 1;
    }
    out + "\n"
}

#[test]
fn remarks_and_what_stands_around_are_passed_over() {
    let text = "Hello, my md0 is broken: 1000 blocks are lost, the array md1 : active is fine.\n\
        $ cat /proc/mdstat\n\
        Personalities : [raid1] \n\
        md0 : active raid1 sdb1[1](F) sda1[0]   <-- this one\n\
              976630464 blocks super 1.2 [2/1] [U_]   # degraded!!\n\
        \n\
        unused devices: <none>\n\
        $ mdadm --detail /dev/md0\n\
        /dev/md0:\n\
               Version : 1.2\n\
            Raid Level : raid1\n\
            Array Size : 976630464 (931.39 GiB 1000.07 GB)\n\
                 State : active\n\
             Active: inactive (dead)\n";
    let (found, problem) = mdstat::parse_copy(text.as_bytes()).unwrap();
    let [array] = found.arrays.as_slice() else { panic!("{found:?}") };
    assert_eq!((array.name.as_str(), array.blocks), ("md0", Some(976_630_464)));
    assert_eq!(array.status_mask.as_deref(), Some("U_"));
    assert_eq!(array.members.len(), 2);
    assert!(problem.is_none(), "{problem:?}");
}

#[test]
fn two_copies_in_one_text_are_all_of_their_arrays() {
    let text = fixture("02-healthy.txt") + &fixture("03-md1-failed.txt");
    let (found, problem) = mdstat::parse_copy(text.as_bytes()).unwrap();
    let names: Vec<&str> = found.arrays.iter().map(|array| array.name.as_str()).collect();
    assert_eq!(names, ["md1", "md0", "md1", "md0"]);
    assert_eq!(found.personalities.len(), 4);
    assert!(problem.is_none());
}

/// The rest of a copy is given, and what could not be read is told.
#[test]
fn a_broken_line_of_a_copy_is_named_and_the_others_are_read() {
    for (text, arrays, line) in [
        ("Personalities :\n\nmdf1: testman actve\n\nmd0 : active raid1 sdb1[1]\n", 1, 3),
        ("Personalities : [invalid]\nmd3 : invalid\n      314 blocks 64k chunks\n", 0, 2),
        ("md0 : active raid1 sda1[0] sdb1[\n", 1, 1),
        ("md0 : active raid1 sda1[0](F\n", 1, 1),
        ("md0 : active raid1 sda1[0]\n      8 blocks super 1.2 [2/x] [U_]\n", 1, 2),
        ("md0 : active raid1 sda1[0]\n      8 blocks [2/1] [U", 1, 2),
        ("      8 blocks [2/1] [U_]\n", 0, 1),
    ] {
        let (found, problem) = mdstat::parse_copy(text.as_bytes()).unwrap();
        assert_eq!(found.arrays.len(), arrays, "{text}");
        let problem = problem.unwrap_or_else(|| panic!("{text}")).to_string();
        assert!(problem.contains(&format!("at line {line}:")), "{text}: {problem}");
    }
    for text in ["", "cat: /proc/mdstat: No such file or directory\n", "\u{0}\u{1}", "md0 is gone"]
    {
        assert!(mdstat::parse_copy(text.as_bytes()).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_never_panics(text in "\\PC{0,300}") {
        let _ = mdstat::parse(&text);
        let _ = mdstat::parse_copy(text.as_bytes());
    }

    #[test]
    fn damaged_text_never_panics(cut in 0_usize..800, byte in any::<char>()) {
        let text = fixture("zoo-04-raid10-replacement.txt");
        let mut damaged: String = text.chars().take(cut).collect();
        damaged.push(byte);
        damaged.extend(text.chars().skip(cut + 1));
        let _ = mdstat::parse(&damaged);
        let _ = mdstat::parse_copy(damaged.as_bytes());
    }

    /// A file that ends anywhere gives what is before the end, and never more arrays.
    #[test]
    fn a_file_that_was_cut_off_gives_what_is_left(cut in 60_usize..1100) {
        let text = fixture("zoo-04-raid10-replacement.txt");
        let whole = mdstat::parse(&text).unwrap();
        let cut_off: String = text.chars().take(cut).collect();
        let (found, _) = mdstat::parse_copy(cut_off.as_bytes()).unwrap();
        prop_assert!(found.arrays.len() <= whole.arrays.len());
        for (found, whole) in found.arrays.iter().rev().skip(1).rev().zip(&whole.arrays) {
            prop_assert_eq!(found, whole, "all but the last are whole");
        }
    }
}
