//! What goes wrong, and what the person who typed the command reads: the thing, the cause, the
//! cure, in a line or two on standard error, nothing on standard output, and the right exit status.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::support::{self, command};

/// Runs a command to its end.
fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The command fails with status 1, prints no result, and says all of `words`.
fn fails(arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed {}", stdout(&output));
    assert!(text.starts_with("labstat: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?}: {word:?} is not in {text}");
    }
}

/// A disk without a name is nothing to ask a server for.
#[test]
fn an_empty_name_of_a_disk_is_told_at_once() {
    for arguments in [&["disk", ""][..], &["disk", "ack", ""], &["disk", "forget", ""]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("'<DISK>'"), "{}", stderr(&output));
    }
}

/// Who cannot be reached knows no disk: to list those that are known is no cure for that.
#[test]
fn a_server_that_is_away_is_no_unknown_disk() {
    let output = run(&["disk", "nas/sda", "--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("is it running?"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("labstat disks"), "{}", stderr(&output));
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("the folder is ours");
    path.to_str().expect("UTF-8").to_owned()
}

/// An address that nobody listens on.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = "listen = \"127.0.0.1:0\"\ncolour = \"blue\"\nretention = \"soon\"\n";
    let file = write(&dir.path().join("aggregator.toml"), text);
    let starts: &[&[&str]] = &[&["aggregator", "--config", &file]];
    for arguments in starts {
        fails(arguments, &["has 2 problems", "line 2: ", "colour", "line 3: ", "retention"]);
    }
    let output = run(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(1));
    let lines = stdout(&output);
    assert!(lines.starts_with(&format!("{file}:2: ")), "{lines}");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let file = write(&dir.path().join("agent.toml"), "interval = \"10s\"\nspeed = 3\n");
    fails(&["agent", "--config", &file], &["has 1 problem", "line 2: ", "speed"]);
}

#[test]
fn rule_files_that_a_configuration_names_are_checked_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.d");
    std::fs::create_dir(&rules).unwrap();
    let text = format!("[rules]\npaths = [{rules:?}]\n");
    let file = write(&dir.path().join("aggregator.toml"), &text);
    let rule = "groups:\n- name: lab\n  rules:\n  - {alert: Hot, expr: up == 0}\n";
    write(&rules.join("good.yml"), rule);
    let output = run(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let bad = write(&rules.join("bad.yml"), &rule.replace("== 0", "== ("));
    let output = run(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(1));
    let lines = stdout(&output);
    assert!(lines.starts_with(&format!("{bad}:4: ")), "{lines}");
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir.path().join("lab.toml"), "aggregator = \"http://nas:5227\"\n");
    let output = run(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("a good configuration of the agent"), "{output:?}");
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    fails(
        &["agent", "--config", "/nonexistent/agent.toml"],
        &["failed to read /nonexistent/agent.toml", "No such file"],
    );
}

#[test]
fn a_port_in_use_is_named_with_its_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    for name in ["aggregator", "up"] {
        fails(&[name, "--listen", &addr, "--data", data], &[&addr, "in use", "--listen"]);
    }
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    // Not even root makes a folder below a file.
    let file = write(&dir.path().join("file"), "");
    let data = format!("{file}/data");
    for name in ["aggregator", "up"] {
        fails(&[name, "--listen", "127.0.0.1:0", "--data", &data], &[&data, "choose another"]);
    }
    let locked = dir.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(locked.join("probe"), "").is_ok() {
        support::skip("a folder without the right to write", "this user may write everywhere");
        return;
    }
    let locked = locked.to_str().unwrap();
    fails(
        &["aggregator", "--listen", "127.0.0.1:0", "--data", locked],
        &[locked, "choose another"],
    );
}

#[test]
fn open_to_the_network_needs_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    fails(&["aggregator", "--listen", "0.0.0.0:0", "--data", data], &["token"]);
    fails(&["up", "--listen", "0.0.0.0:0", "--data", data], &["labstat aggregator"]);
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_cure() {
    let server = format!("http://{}", free_port());
    for name in ["status", "nodes", "disks", "raid", "temps", "net", "ups", "alerts"] {
        fails(&[name, "--server", &server], &[&server, "refused", "labstat up"]);
    }
    fails(&["query", "--server", &server, "up"], &[&server, "refused", "labstat up"]);
}

#[test]
fn a_check_that_cannot_ask_is_unknown() {
    let server = format!("http://{}", free_port());
    let output = run(&["status", "--check", "--server", &server]);
    assert_eq!(output.status.code(), Some(3));
    let text = stdout(&output);
    assert!(text.starts_with("LABSTAT UNKNOWN - failed to reach"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn an_agent_without_anywhere_to_send_says_so() {
    fails(&["agent"], &["nowhere to send", "--aggregator", "--once"]);
}

#[test]
fn a_collector_that_does_not_exist_is_named() {
    fails(&["agent", "--once", "--only", "cpu,weather"], &["weather"]);
}

#[test]
fn a_bad_rule_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = "groups:\n  - name: lab\n    rules:\n      - alert: Hot\n        expr: sum(\n";
    let bad = write(&dir.path().join("bad.yml"), text);
    let good = "groups:\n  - name: lab\n    rules:\n      - alert: Down\n        expr: up == 0\n        \
                labels: {severity: critical}\n        annotations: {summary: down}\n";
    let good = write(&dir.path().join("good.yml"), good);
    let output = run(&["rules", "check", &bad, &good]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = stdout(&output);
    assert!(lines.starts_with(&format!("{bad}:")), "{lines}");
    assert!(lines.ends_with(&format!("{good}: 1 rule in 1 group\n")), "{lines}");
    assert_eq!(run(&["rules", "check", &good]).status.code(), Some(0));

    let output = run(&["rules", "check", "--format", "json", &bad, &good]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let all: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&all["good"], &all["warnings"]), (&false.into(), &serde_json::json!([])));
    let problem = &all["files"][0]["problems"][0];
    assert_eq!((&problem["file"], &problem["line"]), (&bad.clone().into(), &5.into()), "{all}");
    let taken = serde_json::json!({
        "file": good, "rules": 1, "groups": 1, "problems": [],
    });
    assert_eq!(all["files"][1], taken);
}

#[test]
fn what_is_doubtful_about_rules_is_a_problem_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = "groups:\n- name: lab\n  rules:\n  - {record: 'a:b', expr: sum(up)}\n  - {alert: Down, expr: sum(up) < 3, \
                labels: {severity: info}, annotations: {summary: '{{ $labels.instance }}'}}\n";
    let file = write(&dir.path().join("lab.yml"), text);
    let label = format!(
        "{file}:5: warning: Down: annotation summary names $labels.instance, which the expression drops\n"
    );
    let idle = format!("{file}:4: warning: a:b: no rule asks for what it records\n");
    let found = format!("{file}: 2 rules in 1 group\n");
    for (options, status, lines) in [
        (&[][..], 0, vec![&found, &label]),
        (&["--strict"], 1, vec![&found, &label]),
        (&["--whole"], 0, vec![&found, &label, &idle]),
    ] {
        let output = run(&[&["rules", "check", &file], options].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let lines: String = lines.into_iter().map(String::as_str).collect();
        assert_eq!(stdout(&output), lines);
    }
    let output = run(&["rules", "check", "--format", "json", "--strict", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let all: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let message = "Down: annotation summary names $labels.instance, which the expression drops";
    let warning = serde_json::json!({ "file": file, "line": 5, "message": message });
    assert_eq!((&all["good"], &all["warnings"]), (&false.into(), &serde_json::json!([warning])));
}

/// With the exit status of `promtool check rules`.
#[test]
fn duplicate_rules_are_told_as_promtool_does_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let rule =
        |expr: &str| format!("  - {{alert: A, expr: {expr}, annotations: {{summary: s}}}}\n");
    let text = format!("groups:\n- name: g\n  rules:\n{}{}", rule("up"), rule("down"));
    let file = write(&dir.path().join("dup.yml"), &text);
    let found = format!("{file}: 2 rules in 1 group\n");
    let severity = |line: usize| {
        format!(
            "{file}:{line}: warning: A: has no label severity, by which receivers and routes choose\n"
        )
    };
    let both = severity(4) + &severity(5);
    let twice = format!(
        "{file}:5: warning: A: duplicate rule: the same name and labels as the one at {file}:4\n"
    );
    for (options, status, warnings) in [
        (&[][..], 0, both.clone()),
        (&["--lint=none", "--lint-fatal"], 0, String::new()),
        (&["--lint=duplicate-rules"], 0, twice.clone()),
        (&["--lint=all"], 0, format!("{both}{twice}")),
        (&["--lint-fatal"], 3, format!("{both}{twice}")),
        (&["--lint=none,duplicate-rules", "--lint-fatal"], 3, twice.clone()),
        (&["--lint=duplicate-rules", "--lint-fatal", "--strict"], 1, twice.clone()),
    ] {
        let output = run(&[&["rules", "check", &file], options].concat());
        assert_eq!(stdout(&output), format!("{found}{warnings}"), "{options:?}");
        assert_eq!(output.status.code(), Some(status), "{options:?}");
    }
    let bad = write(&dir.path().join("bad.yml"), "groups: [\n");
    assert_eq!(run(&["rules", "check", "--lint-fatal", &bad, &file]).status.code(), Some(1));
}

#[test]
fn a_folder_without_rules_is_not_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("rules.txt"), "groups: []");
    let output = run(&["rules", "check", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stdout(&output).ends_with(": no rules; rule files are named *.yml\n"), "{output:?}");
}

#[test]
fn an_interval_that_no_agent_takes_is_wrong_usage() {
    for name in ["up", "agent"] {
        let output = run(&[name, "--interval", "5ms"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains("invalid value '5ms' for '--interval"), "{output:?}");
    }
}

#[test]
fn a_variable_that_says_nonsense_is_named() {
    for (name, variable, value) in
        [("agent", "LABSTAT_SPOOL_SIZE", "much"), ("aggregator", "LABSTAT_LIMITS_QUERIES", "-1")]
    {
        let output = command(&[name]).env(variable, value).output().expect("the binary runs");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("the variable {variable} cannot be used: ")), "{text}");
    }
}

#[test]
fn variables_win_over_the_file_and_arguments_over_both() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir.path().join("agent.toml"), "only = [\"uname\"]\n");
    let once = ["agent", "--once", "--config", &file];
    let told = |arguments: &[&str], variable: &str| {
        let output = command(arguments).env("LABSTAT_ONLY", variable).output().expect("it runs");
        (output.status.code(), stdout(&output))
    };
    let (code, text) = told(&once, "loadavg");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("node_load1 ") && !text.contains("node_uname_info"), "{text}");
    let (code, text) = told(&[&once[..], &["--only", "meminfo"]].concat(), "loadavg");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("node_memory_MemTotal_bytes ") && !text.contains("node_load1 "),
        "{text}"
    );
}

#[test]
fn receivers_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let empty = write(&dir.path().join("none.toml"), "");
    fails(&["notify", "test", "--config", &empty], &["names no receivers", "[[receivers]]"]);
    let text =
        "[[receivers]]\nname = \"phone\"\nntfy = { url = \"http://127.0.0.1:1\", topic = \"x\" }\n";
    let one = write(&dir.path().join("one.toml"), text);
    fails(&["notify", "test", "mail", "--config", &one], &["no receiver \"mail\"", "phone"]);
    fails(&["notify", "test", "--config", &one], &["phone: not delivered"]);
}

#[test]
fn dashboards_are_written_where_grafana_looks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let output = run(&["dashboards", "export", path, "--server", "http://nas:5227"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for line in stdout(&output).lines() {
        assert!(Path::new(line).is_file(), "{line} is not there");
    }
    let source = dir.path().join("provisioning/datasources/labstat.yml");
    assert!(std::fs::read_to_string(source).unwrap().contains("http://nas:5227"));
    let token = ["--token-file", "/etc/labstat/token"];
    assert!(run(&[&["dashboards", "export", path][..], &token].concat()).status.success());
    let source = dir.path().join("provisioning/datasources/labstat.yml");
    assert!(std::fs::read_to_string(source).unwrap().contains("$__file{/etc/labstat/token}"));
    let file = write(&dir.path().join("file"), "");
    fails(&["dashboards", "export", &file], &["failed to export", "file"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command(&["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
