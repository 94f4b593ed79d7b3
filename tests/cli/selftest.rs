//! `labstat disk selftest` against a smartctl that is made up: a script that plays a disk whose
//! test takes a few looks.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::command;

/// A smartctl that knows one disk, `/dev/made-up`. The folder holds its state: `left` is the
/// percentage that a running test has left, which sinks by 40 a look; `status` is the ATA status
/// with which it ends; `asleep` makes it sleep; every call is a line of `calls`.
const SMARTCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
case "$*" in *--scan* | */dev/made-up) ;; *) exit 1 ;; esac
echo "$*" >> "$here/calls"
ran() { [ -e "$here/left" ] && cat "$here/left"; }
identity='"device":{"name":"/dev/made-up","type":"sat","protocol":"ATA"},"model_name":"MADE UP","serial_number":"SELF1234","power_on_time":{"hours":50},"smart_status":{"passed":true},"ata_smart_attributes":{"table":[{"id":9,"name":"Power_On_Hours","value":100,"worst":100,"thresh":0,"raw":{"value":50,"string":"50"}}]}'
version='"version":[7,3]'
case "$*" in
*--scan*) echo "{\"smartctl\":{$version},\"devices\":[{\"name\":\"/dev/made-up\",\"type\":\"sat\"}]}" ;;
*--nocheck*) [ -e "$here/asleep" ] && {
    echo "{\"smartctl\":{$version,\"messages\":[{\"string\":\"Device is in STANDBY mode, exit(3)\",\"severity\":\"information\"}],\"exit_status\":3}}"
    exit 3
  } ;;
esac
case "$*" in
*--scan*) ;;
*--test=*)
  if [ "$(ran)" ]; then echo "Can't start self-test without aborting current test"; exit 4; fi
  [ -e "$here/refuses" ] && { echo "smartctl 7.3"; echo "Self-tests not supported"; exit 4; }
  echo 90 > "$here/left"
  echo "Please wait 2 minutes for test to complete." ;;
*--abort*) rm -f "$here/left"; echo 'Self-testing aborted!' ;;
*--log=selftest*)
  left=$(ran)
  log='{"type":{"value":2,"string":"Extended offline"},"status":{"value":0,"string":"Completed without error","passed":true},"lifetime_hours":3}'
  status=0
  if [ "$left" ] && [ "$left" -gt 0 ]; then
    case "$*" in *--json=o*) echo $((left > 40 ? left - 40 : 0)) > "$here/left" ;; esac
    state='{"value":249,"string":"in progress","remaining_percent":'$left'}'
  else
    state='{"value":0,"string":"completed without error","passed":true}'
    if [ "$left" ]; then
      status=$(cat "$here/status")
      log='{"type":{"value":1,"string":"Short offline"},"status":{"value":'$status',"string":"Completed: as it is"},"lifetime_hours":50,"lba":4711},'$log
    fi
  fi
  echo "{\"smartctl\":{$version},$identity,\"ata_smart_data\":{\"self_test\":{\"status\":$state,\"polling_minutes\":{\"short\":2,\"extended\":90}}},\"ata_smart_self_test_log\":{\"standard\":{\"table\":[$log]}}}" ;;
esac
"#;

struct MadeUp(TempDir);

impl MadeUp {
    /// One whose tests end with this ATA status.
    fn new(status: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("smartctl");
        std::fs::write(&program, SMARTCTL).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let made_up = Self(dir);
        made_up.put("status", &status.to_string());
        made_up
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&["disk", "selftest"]);
        // Nobody listens there.
        command.args(arguments).args(["--server", "http://127.0.0.1:1"]);
        if !arguments.contains(&"--every") {
            command.args(["--every", "20ms"]);
        }
        command.env("LABSTAT_SMARTCTL_PROGRAM", self.path("smartctl"));
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        ended(&self.command(arguments).output().expect("the binary runs"))
    }
}

fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn has(path: &Path, word: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.contains(word))
}

#[test]
fn a_test_that_passes_is_watched_to_its_end() {
    let disk = MadeUp::new(0);
    let (code, out, told) = disk.run(&["made-up"]);
    assert_eq!(code, Some(0), "{out}{told}");
    assert!(out.starts_with("made-up (MADE UP SELF1234): short self-test passed"), "{out}");
    assert!(
        told.contains("takes about 2m") && told.contains("50 % of the self-test left"),
        "{told}"
    );
    assert!(disk.calls().contains("--test=short --device=sat /dev/made-up"), "{}", disk.calls());
}

#[test]
fn a_test_that_fails_is_told_by_serial_number_as_json_and_by_the_exit_status() {
    let disk = MadeUp::new(0x79);
    let (code, out, told) = disk.run(&["SELF1234", "--long", "--format", "json"]);
    assert_eq!(code, Some(3), "{out}{told}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["result"], "failed");
    assert_eq!(said["test"], "long");
    assert_eq!(said["first_error_lba"], 4711);
    assert_eq!((&said["device"], &said["serial_number"]), (&"made-up".into(), &"SELF1234".into()));
    assert!(disk.calls().contains("--test=long"), "{}", disk.calls());
}

#[test]
fn one_that_is_cut_off_has_no_result() {
    let (code, out, _) = MadeUp::new(0x10).run(&["made-up"]);
    assert_eq!(code, Some(4), "{out}");
    assert!(out.contains("cut off"), "{out}");
}

#[test]
fn a_test_is_started_followed_and_aborted_by_several_calls() {
    let disk = MadeUp::new(0);
    let (code, out, told) = disk.run(&["made-up", "--no-wait"]);
    assert_eq!((code, told.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("started") && out.contains("--follow"), "{out}");
    let (code, out, told) = disk.run(&["made-up"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{told}");
    assert!(told.contains("runs already") && told.contains("--abort"), "{told}");
    disk.put("left", "90");
    let (code, out, _) = disk.run(&["made-up", "--abort"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(disk.calls().contains("--abort --device=sat"), "{}", disk.calls());
    let (code, _, told) = disk.run(&["made-up", "--abort"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("no self-test of made-up runs"), "{told}");
    let (code, out, _) = disk.run(&["made-up", "--follow"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("self-test (Extended offline) passed, at 3 h"), "the newest: {out}");
    disk.put("left", "90");
    let (code, out, _) = disk.run(&["made-up", "--follow"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("self-test (Short offline) passed, at 50 h"), "{out}");
}

#[test]
fn a_disk_that_sleeps_is_left_alone_unless_told_otherwise() {
    let disk = MadeUp::new(0);
    disk.put("asleep", "");
    let (code, out, told) = disk.run(&["made-up"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{told}");
    assert!(told.contains("asleep (standby)") && told.contains("--wake"), "{told}");
    let calls = disk.calls();
    let touched = calls.lines().filter(|call| call.contains("/dev/made-up"));
    for call in touched {
        assert!(call.contains("--nocheck=standby"), "{call}");
    }
    let (code, out, told) = disk.run(&["made-up", "--wake"]);
    assert_eq!(code, Some(0), "{out}{told}");
}

#[test]
fn no_disk_is_woken_to_find_one_by_its_serial_number() {
    let disk = MadeUp::new(0);
    disk.put("asleep", "");
    let (code, out, told) = disk.run(&["SELF1234", "--wake"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{told}");
    assert!(told.contains("asleep") && told.contains("made-up: name the device"), "{told}");
    for call in disk.calls().lines().filter(|call| call.contains("/dev/made-up")) {
        assert!(call.contains("--nocheck=standby"), "{call}");
    }
}

#[test]
fn what_the_disk_refuses_is_told_in_its_words() {
    let disk = MadeUp::new(0);
    disk.put("refuses", "");
    let (code, out, told) = disk.run(&["made-up"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        told.contains("failed to start") && told.contains("Self-tests not supported"),
        "{told}"
    );
}

#[test]
fn a_disk_of_another_node_is_not_touched_and_one_that_is_unknown_is_named() {
    let disk = MadeUp::new(0);
    let (code, _, told) = disk.run(&["another-node/sda", "--long"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("run on another-node: sudo labstat disk selftest sda --long"), "{told}");
    assert_eq!(disk.calls(), "");
    let (code, _, told) = disk.run(&["nonesuch"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("nonesuch") && told.contains("made-up"), "{told}");
    assert!(!disk.calls().contains("--test"));
}

#[test]
fn ctrl_c_leaves_the_test_running() {
    let disk = MadeUp::new(0);
    // It takes for ever, since the looks are far apart.
    let mut command = disk.command(&["made-up", "--every", "1h"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary runs");
    let until = Instant::now() + Duration::from_secs(30);
    let calls = disk.path("calls");
    // The look after the start: the first with a test under way.
    while !(has(&calls, "--test=short") && has(&disk.path("left"), "50")) {
        assert!(Instant::now() < until, "it never looked: {}", disk.calls());
        std::thread::sleep(Duration::from_millis(10));
    }
    let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(asked.is_ok_and(|status| status.success()));
    let (code, out, told) = ended(&child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(4), "{out}{told}");
    assert!(out.contains("goes on") && out.contains("--follow"), "{out}");
    assert!(!has(&calls, "--abort"), "the test was not ended");
}
