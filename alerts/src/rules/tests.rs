//! Rule files, good and bad.

use std::collections::BTreeMap;

use super::{RuleKind, RuleSet, may_select};
use labstat_model::Labels;

const GOOD: &str = r#"
groups:
  - name: lab
    interval: 30s
    limit: 10
    query_offset: 1m
    labels: {site: home, severity: info}
    rules:
      - alert: Down
        expr: up == 0
        for: 5m
        keep_firing_for: 10m
        labels: {severity: critical}
        annotations:
          summary: "{{ $labels.instance }} is down"
      - record: job:up:sum
        expr: sum by (job) (up)
  - name: empty
"#;

#[test]
fn all_keys_of_a_good_file_are_read() {
    let set = RuleSet::parse(&[("a.yml", GOOD)]).unwrap();
    assert_eq!((set.groups.len(), set.rules_len()), (2, 2));
    let group = &set.groups[0];
    assert_eq!((group.interval_ms, group.limit, group.query_offset_ms), (30_000, 10, 60_000));
    let RuleKind::Alert(alert) = &group.rules[0].kind else { panic!("an alert") };
    assert_eq!((alert.for_ms, alert.keep_firing_for_ms), (300_000, 600_000));
    let labels: Vec<_> = alert.labels.iter().map(|(n, t)| (n.as_str(), t.source())).collect();
    assert_eq!(labels, [("severity", "critical"), ("site", "home")], "the rule's own label wins");
    assert_eq!(group.rules[0].line, 9);
    let RuleKind::Record { labels } = &group.rules[1].kind else { panic!("a record") };
    let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("severity", "info"), ("site", "home")]);
    assert_eq!(set.groups[1].interval_ms, super::INTERVAL_DEFAULT_MS);
}

/// Everything that is wrong with the files, told at once.
#[test]
fn all_problems_are_told_with_file_and_line() {
    let bad = r#"
groups:
  - name: a
    interval: 5
    extra: 1
    rules:
      - alert: X
        expr: "up =="
        fro: 1m
        for: soon
        labels: {a-b: x, __name__: y}
        annotations: {s: "{{ $nope }}"}
      - record: "no{name}"
        expr: up
        for: 1m
      - alert: A
        record: b
        expr: up
      - expr: up
      - alert: NoExpr
  - name: a
  - rules: []
"#;
    let broken = "groups:\n  - name: [\n";
    let error = RuleSet::parse(&[("bad.yml", bad), ("broken.yml", broken), ("good.yml", GOOD)]);
    let problems = error.unwrap_err();
    let places: Vec<(String, usize)> =
        problems.0.iter().map(|p| (p.file.clone(), p.line.unwrap_or(0))).collect();
    let text = problems.to_string();
    for wanted in [
        "bad.yml:5: unknown key \"extra\" in a group",
        "bad.yml:4: interval: not a duration: \"5\"",
        "bad.yml:8: expr: ",
        "bad.yml:9: unknown key \"fro\" in a rule",
        "bad.yml:10: for: not a duration: \"soon\"",
        "bad.yml:11: \"__name__\" is not a name for a label",
        "bad.yml:12: annotation s: template: __alert_X:1: undefined variable \"$nope\"",
        "bad.yml:13: \"no{name}\" has braces",
        "bad.yml:15: for has no meaning in a recording rule",
        "bad.yml:16: a rule has either alert or record, not both",
        "bad.yml:19: a rule needs alert or record",
        "bad.yml:20: a rule needs an expr",
        "bad.yml:21: group name \"a\" is repeated in the same file",
        "bad.yml:22: a group needs a name",
        "broken.yml:",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing in:\n{text}");
    }
    assert!(places.iter().all(|(file, line)| file != "good.yml" && *line > 0), "{text}");
}

#[test]
fn empty_files_have_no_rules_and_odd_kinds_are_named() {
    for text in ["", "# nothing\n", "groups:\n", "groups: []\n", "groups:\n- name: a\n  rules:\n"] {
        assert_eq!(RuleSet::parse(&[("a.yml", text)]).unwrap().rules_len(), 0, "{text:?}");
    }
    for text in [
        "- a\n",
        "groups: 1\n",
        "groups:\n- 1\n",
        "a: 1\n",
        "groups:\n- name: {a: 1}\n",
        "groups:\n- name: a\n  name: b\n",
    ] {
        let problems = RuleSet::parse(&[("a.yml", text)]).unwrap_err();
        assert!(problems.0[0].line.is_some(), "{text:?}: {problems}");
        assert!(!problems.to_string().contains("Policy"), "{problems}");
    }
}

#[test]
fn folders_give_their_rule_files_and_missing_ones_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.yml", GOOD),
        ("a.yaml", GOOD),
        ("x.test.yml", "nonsense: 1"),
        (".c.yml", "bad: 1"),
        ("d.txt", ""),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let set = RuleSet::load(&[dir.path().to_owned()]).unwrap();
    assert_eq!(set.groups.len(), 4);
    assert!(set.groups[0].file.ends_with("a.yaml"), "ascending by name");
    let missing = dir.path().join("none.yml");
    let problems = RuleSet::load(&[dir.path().to_owned(), missing]).unwrap_err();
    assert!(problems.to_string().contains("none.yml: cannot be read"), "{problems}");
}

#[test]
fn shipped_rules_load_and_are_complete() {
    let set = RuleSet::shipped().unwrap();
    assert!(set.rules_len() >= 15);
    for rule in set.groups.iter().flat_map(|group| &group.rules) {
        let RuleKind::Alert(alert) = &rule.kind else { continue };
        let has = |list: &[(String, crate::template::Template)], name: &str| {
            list.iter().any(|(found, text)| found == name && !text.source().is_empty())
        };
        assert!(has(&alert.labels, "severity"), "{}", rule.name);
        assert!(has(&alert.annotations, "summary"), "{}", rule.name);
        for name in ["description", "next"] {
            assert!(has(&alert.annotations, name), "{} has no {name}", rule.name);
        }
    }
}

/// The texts of alerts about disks ask for more than their own labels: with our templates as with
/// those of Prometheus, which runs the unit tests beside the rules.
#[test]
fn an_alert_of_a_disk_says_why_and_what_breaks() {
    let set = RuleSet::shipped().unwrap();
    let mut rules = set.groups.iter().flat_map(|group| &group.rules);
    let rule = rules.find(|rule| rule.name == "DiskAct").unwrap();
    let RuleKind::Alert(alert) = &rule.kind else { panic!("an alert") };
    let (_, text) = alert.annotations.iter().find(|(name, _)| name == "description").unwrap();
    let query = |expr: &str| -> Result<Vec<(Labels, labstat_promql::MixedValue)>, String> {
        labstat_promql::check(expr).map_err(|error| error.to_string())?;
        let is_map = expr.contains("labstat_disk_use_info") || expr.contains("redundancy");
        let whose = if is_map { "instance=\"nas\",serial_number=\"S1\"" } else { "disk=\"S1\"" };
        assert!(expr.contains(whose), "{expr}");
        let found: Vec<Labels> = match expr {
            _ if expr.starts_with("labstat_disk_finding_value") => {
                vec![Labels::new([("evidence", "Current_Pending_Sector (197)")])]
            }
            _ if expr.starts_with("labstat_disk_finding") => {
                let at = [("instance", "nas"), ("device", "sda"), ("code", "pending_sectors")];
                let why = [("reason", "Sectors cannot be read.")];
                vec![Labels::new(at.into_iter().chain(why))]
            }
            _ if expr.contains("labstat_disk_use_info") => vec![
                Labels::new([("kind", "md"), ("name", "md0")]),
                Labels::new([("kind", "mount"), ("name", "/srv")]),
            ],
            _ => vec![Labels::new([("kind", "mount"), ("name", "/srv")])],
        };
        Ok(found.into_iter().map(|labels| (labels, 24.0.into())).collect())
    };
    let labels = [("disk", "S1"), ("serial_number", "S1"), ("model_name", "WDC \"Red\"")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut data = crate::template::Data {
        labels,
        external_labels: BTreeMap::new(),
        external_url: String::new(),
        value: 1.0.into(),
        now_ms: 0,
        query: Some(&query),
    };
    assert_eq!(
        text.render(&data).unwrap().trim(),
        "nas/sda: Sectors cannot be read. Current_Pending_Sector (197): 24. On it: mount /srv, md \
         md0. No other disk has a copy of: mount /srv."
    );
    // Nothing is known of it any more, as when the aggregator has just started.
    let nothing = |_: &str| Ok(Vec::new());
    data.query = Some(&nothing);
    assert_eq!(text.render(&data).unwrap().trim(), "");
}

#[test]
fn a_selector_without_a_name_may_have_any() {
    let any = labstat_promql::selector("{a='b'}").unwrap();
    assert!(may_select(&any, "x"));
    let some = labstat_promql::selector("{__name__=~'a.*'}").unwrap();
    assert!(may_select(&some, "abc") && !may_select(&some, "bca"));
}
