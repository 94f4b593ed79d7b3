//! Tests that run in a network namespace of their own.

use std::process::Command;

/// What tells the test that it runs in the namespace.
const INSIDE: &str = "LABSTAT_TEST_IN_NAMESPACE";

/// Runs the test of this name again in a namespace of its own; `false` in there.
pub(crate) fn is_outside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let can = Command::new("unshare").args(["-nm", "ip", "link"]).output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no network namespace of our own here: {can:?}");
        return true;
    }
    let output = Command::new("unshare")
        .arg("-nm")
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    true
}

pub(crate) fn shell(script: &str) {
    let output = Command::new("bash").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");
}
