//! `labstat parse` on real reports: one object a line, in order, whatever one of them is like.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::support::{self, command};
use serde_json::Value;

const MDSTAT: &str = "\
Personalities : [raid1]
md0 : active raid1 sdb1[1] sda1[0](F)
      976630464 blocks super 1.2 [2/1] [_U]

unused devices: <none>
";

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input closes it.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn mdstat_from_standard_input() {
    for arguments in [&["parse", "mdstat"][..], &["parse", "mdstat", "-", "--json"]] {
        let output = run(arguments, MDSTAT.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let array = &objects(&output)[0]["arrays"][0];
        assert_eq!(array["name"], "md0");
        assert_eq!(array["disks_total"], 2);
        assert_eq!(array["disks_active"], 1);
        assert_eq!(array["chunk"], Value::Null, "what the kernel does not say is null");
    }
}

/// A copy from a forum: what can be read is, and what cannot is told beside it.
#[test]
fn mdstat_of_a_forum() {
    let quoted: String = MDSTAT.lines().map(|line| format!("> {line}\r\n")).collect();
    let output = run(&["parse", "mdstat"], format!("$ cat /proc/mdstat\n{quoted}").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let object = &objects(&output)[0];
    assert_eq!(object["arrays"][0]["status_mask"], "_U");
    assert_eq!(object.get("error"), None);

    let broken = format!("{MDSTAT}md1 : activ raid1\n");
    let output = run(&["parse", "mdstat"], broken.as_bytes());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let object = &objects(&output)[0];
    assert_eq!(object["arrays"][0]["name"], "md0");
    let error = "failed to parse mdstat at line 6: \"md1 : activ raid1\"";
    assert_eq!(object["error"], error);
    assert!(String::from_utf8_lossy(&output.stderr).contains(error), "{output:?}");
}

#[test]
fn one_object_for_each_input_and_the_bad_ones_do_not_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let report = "smartctl 7.3 2022-02-28 r5338 [x86_64-linux-5.15.0] (local build)\n\n\
                  === START OF INFORMATION SECTION ===\n\
                  Device Model:     Samsung SSD 870 EVO 1TB\n\
                  Serial Number:    S1\n";
    std::fs::write(path("good"), report).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("broken"), "{\"smartctl\":").unwrap();
    std::fs::write(path("binary"), [0xff_u8, 0x00, 0xfe, 0x80]).unwrap();
    let files = [path("empty"), path("good"), path("missing"), path("broken"), path("binary")];
    let mut arguments = vec!["parse", "smartctl"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.push(&files[1]);
    let output = run(&arguments, b"");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let objects = objects(&output);
    assert_eq!(objects.len(), 6, "{objects:?}");
    for at in [1, 5] {
        assert_eq!(objects[at]["model_name"], "Samsung SSD 870 EVO 1TB");
    }
    for at in [0, 2, 3] {
        assert_eq!(objects[at]["smartctl"]["messages"][0]["severity"], "error", "{}", objects[at]);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&files[2]) && told.contains("No such file"), "{told}");
}

/// A reader that goes away (`| head -1`) is no error, however much there would be to print.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report");
    let row = "  5 Reallocated_Sector_Ct   PO--CK   100   100   010    -    0\n";
    std::fs::write(&file, row.repeat(200)).unwrap();
    // More than a pipe holds.
    let files = vec![file.as_os_str(); 64];
    let mut child = command(&["parse", "smartctl"])
        .args(files)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// Of several devices in one text the first is read, and there is one object all the same.
#[test]
fn several_devices_in_one_text_give_one_object() {
    let banner = "smartctl 7.3 2022-02-28 r5338 [x86_64-linux-5.15.0] (local build)\n";
    let text = format!("{banner}Device Model:     One\n\n{banner}Device Model:     Two\n");
    let output = run(&["parse", "smartctl", "-", "--json"], text.as_bytes());
    let objects = objects(&output);
    assert_eq!(objects.len(), 1, "{objects:?}");
    assert_eq!(objects[0]["model_name"], "One");
}

#[test]
fn every_captured_report_gives_one_object() {
    let Some(fixtures) = support::shared_fixtures() else {
        return support::skip("captured smartctl reports", "no ../shared/fixtures here");
    };
    let mut files = Vec::new();
    let mut folders = vec![fixtures.join("smartctl")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    assert!(files.len() > 10, "only {} reports", files.len());
    for some in files.chunks(500) {
        let output = command(&["parse", "smartctl"]).args(some).output().expect("it runs");
        assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
        assert_eq!(objects(&output).len(), some.len());
    }
}
