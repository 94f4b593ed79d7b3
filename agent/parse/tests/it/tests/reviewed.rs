//! Reports of disks that are strange in one way or another, each with what it says, read by a
//! person beside the report: `expected/`, under the paths of the captures of other projects.
//! `expected/README.md` says what is strange about each.
//!
//! `UPDATE_GOLDEN=1 cargo test -p labstat-parse --test it reviewed` rewrites the files that are
//! there. Read every difference beside the report before it goes in.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use labstat_parse::smartctl;
use serde_json::Value;

/// Characters of a value that stands on one line.
const LINE_LEN_MAX: usize = 240;
/// Reports that were to be reviewed at least.
const REVIEWED_MIN: usize = 60;

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The expected files, by the path of their capture.
fn expected() -> Vec<PathBuf> {
    let root = manifest().join("tests/expected");
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "json") {
                files.push(path.strip_prefix(&root).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// What we make of a capture, without the flags that follow from the others.
fn facts(capture: &Path) -> Value {
    let report = smartctl::parse(&fs::read(capture).unwrap());
    let mut facts = serde_json::to_value(report).unwrap();
    let rows = facts.pointer_mut("/ata_smart_attributes/table").and_then(Value::as_array_mut);
    for row in rows.into_iter().flatten() {
        let flags = row.get_mut("flags").and_then(Value::as_object_mut).unwrap();
        for derived in ["performance", "error_rate", "event_count", "auto_keep"] {
            flags.remove(derived);
        }
    }
    facts
}

/// A value on one line where it is short, or else with a line for each of its parts.
fn print(value: &Value, indent: usize, out: &mut String) {
    let line = value.to_string();
    let inner = indent + 1;
    let parts: Vec<(String, &Value)> = match value {
        _ if line.len() <= LINE_LEN_MAX => Vec::new(),
        Value::Object(map) => map.iter().map(|(key, it)| (format!("\"{key}\": "), it)).collect(),
        Value::Array(list) => list.iter().map(|it| (String::new(), it)).collect(),
        _ => Vec::new(),
    };
    if parts.is_empty() {
        out.push_str(&line);
        return;
    }
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    out.push(open);
    for (n, (key, part)) in parts.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}\n{:1$}{key}", "", inner).unwrap();
        print(part, inner, out);
    }
    write!(out, "\n{:1$}{close}", "", indent).unwrap();
}

/// All differences of two values, by path.
fn differences(path: &str, expected: &Value, found: &Value, out: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                let of = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or_default();
                differences(&format!("{path}.{key}"), &of(one), &of(other), out);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (n, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}[{n}]"), one, other, out);
            }
        }
        _ if expected == found => {}
        _ => out.push(format!("{path}: expected {expected}, found {found}")),
    }
}

#[test]
fn reviewed_reports_say_what_was_reviewed() {
    let captures = manifest().join("../../../shared/fixtures/smartctl");
    if !captures.is_dir() {
        println!("SKIPPED: {} is not there", captures.display());
        return;
    }
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let (files, mut wrong) = (expected(), Vec::new());
    assert!(files.len() >= REVIEWED_MIN, "{} reports were reviewed", files.len());
    for file in &files {
        let folder = file.parent().unwrap();
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let kind = if folder.starts_with("json") { "json" } else { "txt" };
        let found = facts(&captures.join(folder).join(format!("{stem}.{kind}")));
        let path = manifest().join("tests/expected").join(file);
        if update {
            let mut text = String::new();
            print(&found, 0, &mut text);
            fs::write(&path, text + "\n").unwrap();
            continue;
        }
        let expected = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        differences(&file.display().to_string(), &expected, &found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every reviewed report is in the index that says what is strange about it, and nothing else is.
#[test]
fn the_index_names_the_reviewed_reports() {
    let index = fs::read_to_string(manifest().join("tests/expected/README.md")).unwrap();
    let named: Vec<_> = index.lines().filter_map(|line| line.strip_prefix("- `")).collect();
    for file in expected() {
        let name = file.with_extension("").display().to_string();
        let is_named = named.iter().any(|line| line.starts_with(&format!("{name}`: ")));
        assert!(is_named, "{name} is not in the index");
    }
    assert_eq!(named.len(), expected().len(), "the index names a report that is not there");
}
