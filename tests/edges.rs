//! The walls of the house: which crate may depend on which, and which know no async runtime.
//!
//! `docs/architecture.md` draws these arrows; this test keeps the manifests to them. Dependencies
//! of tests and benchmarks are free. And `CONTRIBUTING.md` is kept to the tests that a plain run
//! leaves out.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folder, crate name, and the crates of ours that it may depend on.
const EDGES: &[(&str, &str, &[&str])] = &[
    (".", "labstat", &["agent", "aggregator", "alerts", "dashboards", "disks", "model", "wire"]),
    ("agent", "labstat-agent", &["collect", "wire", "model"]),
    ("agent/collect", "labstat-collect", &["parse", "disks", "model"]),
    ("agent/parse", "labstat-parse", &["model"]),
    (
        "aggregator",
        "labstat-aggregator",
        &["store", "promql", "alerts", "dashboards", "disks", "wire", "model"],
    ),
    ("aggregator/store", "labstat-store", &["model"]),
    ("aggregator/promql", "labstat-promql", &["model"]),
    ("alerts", "labstat-alerts", &["promql", "model"]),
    ("dashboards", "labstat-dashboards", &["promql", "model"]),
    ("disks", "labstat-disks", &["model"]),
    ("common/model", "labstat-model", &[]),
    ("common/wire", "labstat-wire", &["model"]),
];

/// Crates that must stay usable without an async runtime.
const WITHOUT_RUNTIME: [&str; 6] = [
    "labstat-parse",
    "labstat-disks",
    "labstat-model",
    "labstat-wire",
    "labstat-promql",
    "labstat-store",
];

/// What counts as one.
const RUNTIMES: [&str; 4] = ["tokio", "async-std", "smol", "hyper"];

fn manifest(folder: &str) -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names of all dependencies that are built into the crate.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let tables = ["dependencies", "build-dependencies"];
    let found = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
    found.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn crates_depend_only_where_an_arrow_is_drawn() {
    let mut wrong = Vec::new();
    for (folder, name, allowed) in EDGES {
        let manifest = manifest(folder);
        assert_eq!(manifest["package"]["name"].as_str(), Some(*name), "{folder}");
        let allowed: BTreeSet<String> = allowed.iter().map(|to| format!("labstat-{to}")).collect();
        let ours = dependencies(&manifest).into_iter().filter(|to| to.starts_with("labstat-"));
        wrong.extend(ours.filter(|to| !allowed.contains(to)).map(|to| format!("{name} -> {to}")));
    }
    assert!(wrong.is_empty(), "arrows that docs/architecture.md does not draw: {wrong:?}");
}

#[test]
fn every_crate_is_on_the_map() {
    let members = manifest(".")["workspace"]["members"].as_array().cloned().unwrap_or_default();
    let mut members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    members.insert(".");
    let mapped: BTreeSet<&str> = EDGES.iter().map(|(folder, ..)| *folder).collect();
    assert_eq!(members, mapped);
}

#[test]
fn pure_crates_know_no_runtime() {
    let by_name: BTreeMap<&str, &str> = EDGES.iter().map(|(dir, name, _)| (*name, *dir)).collect();
    for name in WITHOUT_RUNTIME {
        let found = dependencies(&manifest(by_name[name]));
        for runtime in RUNTIMES {
            assert!(!found.contains(runtime), "{name} depends on {runtime}");
        }
    }
}

/// All source files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_built = path.ends_with("target") || path.ends_with(".git");
        if path.is_dir() && !is_built {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The tests that are left out of a plain run.
fn ignored(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim_start);
    let mut names = Vec::new();
    while lines.any(|line| line.starts_with("#[ignore")) {
        let name = lines.find_map(|line| line.split_once("fn ")?.1.split_once('(')).unwrap().0;
        names.push(name.to_owned());
    }
    names
}

#[test]
fn what_a_plain_run_leaves_out_is_listed_with_its_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(root, &mut files);
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let left_out: BTreeSet<String> = texts.flat_map(|text| ignored(&text)).collect();
    let guide = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let rows = guide.lines().filter(|line| line.contains(" --ignored "));
    let listed = rows.filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<String> = listed.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(left_out, listed);
}
