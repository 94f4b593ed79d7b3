//! The unit tests of the shipped rules, run by our own engine and state machine: the same verdicts as
//! promtool's, which the tests under `tests/` ask for.

use std::path::Path;

use crate::testing::{self, Options};

#[test]
fn our_verdicts_on_the_shipped_rules_are_promtools() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().ends_with(".test.yml") {
            continue;
        }
        let report = testing::test_file(&path, &Options::default());
        assert!(report.passed(), "{}:\n{report}", path.display());
        cases += report.cases.len();
    }
    assert!(cases >= 15, "{cases} cases");
}

/// A lock is held while steady texts are compared, and a query takes long.
#[test]
fn texts_and_labels_that_ask_are_not_steady() {
    let steady = |place: &str, text: &str| {
        let rule = format!("{{alert: A, expr: up, {place}: {{a: '{text}'}}}}");
        let file = format!("groups: [{{name: g, rules: [{rule}]}}]");
        let rules = crate::rules::RuleSet::parse(&[("r.yml", &file)]).unwrap();
        super::prepare::all(&rules.groups[0], &super::ManagerOptions::default())[0].has_steady_texts
    };
    for place in ["labels", "annotations"] {
        assert!(steady(place, "{{ $labels.instance }}"));
        assert!(!steady(place, "{{ query \"up\" | first | value }}"), "{place}");
    }
}
