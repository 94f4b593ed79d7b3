//! What `--help` says of every command, kept as golden files: it is read more than any other page,
//! and scripts rely on the options it names.

use std::path::Path;

use crate::support::command;

/// Every command with a help text of its own.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["up"],
    &["agent"],
    &["aggregator"],
    &["status"],
    &["nodes"],
    &["disks"],
    &["disk"],
    &["disk", "ack"],
    &["disk", "forget"],
    &["disk", "selftest"],
    &["inventory"],
    &["inventory", "forget"],
    &["raid"],
    &["ceph"],
    &["ups"],
    &["temps"],
    &["net"],
    &["alerts"],
    &["alerts", "ack"],
    &["alerts", "show"],
    &["routes"],
    &["routes", "test"],
    &["silence"],
    &["silence", "add"],
    &["silence", "list"],
    &["silence", "expire"],
    &["query"],
    &["judge"],
    &["doctor"],
    &["parse"],
    &["capture"],
    &["backup"],
    &["store"],
    &["store", "check"],
    &["store", "stats"],
    &["store", "compact"],
    &["config"],
    &["config", "check"],
    &["rules"],
    &["rules", "check"],
    &["rules", "test"],
    &["notify"],
    &["notify", "test"],
    &["notify", "status"],
    &["dashboards"],
    &["dashboards", "export"],
    &["completions"],
];

fn help(arguments: &[&str]) -> String {
    let mut arguments = arguments.to_vec();
    arguments.push("--help");
    let output = command(&arguments).env("COLUMNS", "100").output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn every_command_explains_itself_as_agreed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for arguments in COMMANDS {
        let name = if arguments.is_empty() { "labstat".to_owned() } else { arguments.join("-") };
        let path = golden.join(format!("{name}.txt"));
        let help = help(arguments);
        let expected = std::fs::read_to_string(&path);
        let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if help != expected {
            if update {
                std::fs::write(&path, &help).expect("golden files can be written");
            }
            wrong.push(format!("{}:\n{help}", path.display()));
        }
    }
    assert!(wrong.is_empty() || update, "{}", wrong.join("\n"));
}

#[test]
fn every_command_is_listed_here() {
    let listed: Vec<&str> = COMMANDS.iter().filter_map(|path| path.first().copied()).collect();
    let text = help(&[]);
    let (_, commands) = text.split_once("Commands:\n").expect("there are commands");
    let (commands, _) = commands.split_once("\n\n").expect("then something else");
    for line in commands.lines().filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().expect("a name");
        assert!(listed.contains(&name), "{name} has no golden help");
    }
}

#[test]
fn every_help_has_an_example() {
    for arguments in COMMANDS.iter().filter(|arguments| !arguments.is_empty()) {
        let help = help(arguments);
        assert!(help.contains("Example"), "{arguments:?}");
        let example = format!("  labstat {}", arguments.join(" "));
        // A command that reads standard input may have its example behind a pipe.
        assert!(help.contains(example.trim_start()), "{arguments:?} shows no use of itself");
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = command(&["completions", shell]).output().expect("the binary runs");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("completions are text");
        for name in ["aggregator", "doctor", "completions"] {
            assert!(text.contains(name), "{shell} does not know {name}");
        }
    }
}

#[test]
fn without_arguments_the_help_is_shown_and_it_is_wrong_usage() {
    let output = command(&[]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Usage: labstat"), "{text}");
}

/// The commands in the code blocks of a page, or in a unit, without what the shell does with them.
fn shown(text: &str) -> Vec<Vec<String>> {
    let unit = text.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::trim);
    let commands = unit.chain(blocks).filter_map(|line| {
        let command = line.strip_prefix("labstat ")?;
        let ends = [" && ", " #", " |"].iter().filter_map(|stop| command.find(stop));
        command.get(..ends.min().unwrap_or(command.len()))
    });
    commands.map(|command| command.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn every_command_in_the_guides_and_units_is_one() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "README.md",
        "docs/operating.md",
        "docs/systemd/labstat-agent.service",
        "docs/systemd/labstat-aggregator.service",
    ];
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let commands = shown(&text);
        assert!(!commands.is_empty(), "{file} shows no command");
        for words in commands {
            let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = command(&arguments).arg("--help").output().expect("the binary runs");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}: labstat {words:?}: {told}");
        }
    }
}
