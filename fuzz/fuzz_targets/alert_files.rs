//! Any text is a rule file or a list of its problems, which stand on its lines. What is read strictly is
//! read in all other ways too, as the same rules; and what a rule file has can be looked over.
#![no_main]

use std::collections::BTreeSet;

use labstat_alerts::rules::{Reading, Rule, RuleKind, RuleSet, duplicates, lint, unused};
use labstat_alerts::{Problem, Problems};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines_len = text.split(['\n', '\r']).count() + 1;
    let sound = |problem: &Problem| {
        assert_eq!(problem.file, "r.yml");
        assert!(!problem.message.is_empty());
        assert!(problem.line.is_none_or(|line| (1..=lines_len).contains(&line)), "{problem}");
    };
    let read = |strict, ignore_unknown| {
        RuleSet::read(&[("r.yml", text)], Reading { ignore_unknown, strict })
    };
    let default = read(false, false);
    for (strict, ignore_unknown) in [(false, true), (true, false), (true, true)] {
        // The stricter of two ways, and the other.
        let other = read(strict, ignore_unknown);
        let (narrow, wide) =
            if strict && !ignore_unknown { (&other, &default) } else { (&default, &other) };
        if let (Ok(narrow), false) = (narrow, strict && ignore_unknown) {
            let wide = wide.as_ref().expect("BUG: what is read strictly is read");
            assert_eq!(format!("{narrow:?}"), format!("{wide:?}"), "BUG: other rules");
        }
    }
    match default {
        Ok(set) => {
            looked_over(&set);
            let doubts = [lint(&set), duplicates(&set), unused(&set)];
            doubts.iter().flatten().for_each(sound);
        }
        Err(Problems(problems)) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(sound);
        }
    }
});

fn looked_over(set: &RuleSet) {
    let names: BTreeSet<&str> = set.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names.len(), set.groups.len(), "BUG: two groups of one name");
    let rules: Vec<&Rule> = set.groups.iter().flat_map(|group| &group.rules).collect();
    assert_eq!(rules.len(), set.rules_len());
    for rule in rules {
        assert!(!rule.name.is_empty() && rule.line > 0);
        labstat_promql::check(&rule.expr).expect("BUG: it was checked");
        rule.selectors();
        if let RuleKind::Alert(alert) = &rule.kind {
            assert!(alert.for_ms >= 0 && alert.keep_firing_for_ms >= 0);
            assert!(alert.labels.is_sorted_by(|a, b| a.0 < b.0), "BUG: labels not in order");
            assert!(alert.annotations.is_sorted_by(|a, b| a.0 < b.0), "BUG: texts not in order");
        }
    }
    assert!(
        set.groups.iter().all(|group| group.interval_ms >= 1_000 && group.query_offset_ms >= 0)
    );
}
