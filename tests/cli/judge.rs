//! `labstat judge` on saved reports: one object a line, a verdict for each, and no comparison of
//! two disks.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::support::command;
use serde_json::Value;

/// A report with so many pending sectors, of the disk with this serial number.
fn report(serial: &str, pending: u32, hours: u32) -> String {
    format!(
        "\
smartctl 7.2 2020-12-30 r5155 [x86_64-linux-5.10.0] (local build)
=== START OF INFORMATION SECTION ===
Device Model:     WDC WD40EFRX-68N32N0
Serial Number:    {serial}
User Capacity:    4,000,787,030,016 bytes [4.00 TB]
Rotation Rate:    5400 rpm

=== START OF READ SMART DATA SECTION ===
SMART overall-health self-assessment test result: PASSED

SMART Attributes Data Structure revision number: 16
ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE      UPDATED  WHEN_FAILED RAW_VALUE
  5 Reallocated_Sector_Ct   0x0033   200   200   140    Pre-fail  Always       -       0
  9 Power_On_Hours          0x0032   078   078   000    Old_age   Always       -       {hours}
197 Current_Pending_Sector  0x0032   200   200   000    Old_age   Always       -       {pending}
"
    )
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input closes it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// A folder with a report by each of these names.
fn folder(reports: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, report) in reports {
        std::fs::write(folder.path().join(name), report).expect("it can be written");
    }
    folder
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn one_object_a_file_and_a_bad_verdict_is_no_failure() {
    let folder = folder(&[("good", report("WD-1", 0, 10)), ("bad", report("WD-2", 60, 10))]);
    let (good, bad) = (path(&folder, "good"), path(&folder, "bad"));
    let output = run(&["judge", "--format", "json", &good, &bad], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let objects = objects(&output);
    assert_eq!(objects.len(), 2);
    assert_eq!((&objects[0]["file"], &objects[0]["verdict"]), (&good.into(), &"ok".into()));
    assert_eq!((&objects[1]["file"], &objects[1]["verdict"]), (&bad.into(), &"act".into()));
    assert_eq!(objects[1]["reasons"][0]["code"], "pending_sectors");
    assert_eq!(objects[1]["reasons"][0]["evidence"][0]["value"], 60);
    assert_eq!(objects[1]["serial"], "WD-2");
}

#[test]
fn standard_input_and_people() {
    let output = run(&["judge", "-"], &report("WD-1", 2, 10));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("standard input: WATCH  WDC WD40EFRX-68N32N0, serial WD-1"), "{text}");
    assert!(text.contains("2 sectors cannot be read now"), "{text}");
}

#[test]
fn growth_since_an_earlier_report_counts() {
    let folder = folder(&[
        ("earlier", report("WD-1", 2, 10)),
        ("same", report("WD-1", 2, 500)),
        ("grown", report("WD-1", 40, 500)),
    ]);
    let earlier = path(&folder, "earlier");
    let (same, grown) = (path(&folder, "same"), path(&folder, "grown"));
    let output = run(&["judge", "--format", "json", &same, &grown, "--since", &earlier], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let objects = objects(&output);
    assert_eq!(objects[0]["verdict"], "watch");
    assert_eq!(objects[1]["verdict"], "act");
    assert_eq!(objects[1]["reasons"][0]["evidence"][0]["before"], 2);
}

#[test]
fn reports_of_two_disks_are_not_compared() {
    let folder = folder(&[("one", report("WD-1", 0, 10)), ("other", report("WD-2", 0, 10))]);
    let (one, other) = (path(&folder, "one"), path(&folder, "other"));
    let output = run(&["judge", "--format", "json", &one, "--since", &other], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let objects = objects(&output);
    assert!(objects[0].get("verdict").is_none(), "{objects:?}");
    let error = objects[0]["error"].as_str().expect("an error");
    assert!(error.contains("serial numbers differ"), "{error}");
}

#[test]
fn what_is_no_report_or_not_there_is_told() {
    let folder = folder(&[("good", report("WD-1", 0, 10)), ("text", "hello\n".to_owned())]);
    let (good, text, none) = (path(&folder, "good"), path(&folder, "text"), path(&folder, "none"));
    let output = run(&["judge", "--format", "json", &none, &text, &good], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let objects = objects(&output);
    assert!(objects[0]["error"].as_str().expect("an error").contains("failed to read"));
    assert_eq!(objects[1]["verdict"], "silent");
    assert_eq!(objects[2]["verdict"], "ok");
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.contains(&none) && told.contains(&text) && !told.contains(&good), "{told}");
    let output = run(&["judge", &good, "--since", &none], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
