//! Files of tests, right and wrong; what Prometheus says of them is in `tests/rules`.

use std::path::Path;

use labstat_model::ResetHint;
use labstat_promql::{Engine, Source};

use super::memory::Memory;
use super::series::{self, Described, Point, Room, VALUES_MAX};
use super::{FileReport, Options};
use crate::manager::{Manager, ManagerOptions};
use crate::rules::RuleSet;
use crate::views::{RuleView, RulesFilter};

const RULES: &str = r#"
groups:
  - name: lab
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: Down
        expr: job:up:sum < 2
        for: 2m
        labels: {severity: page}
        annotations: {summary: "{{ $labels.job }} has {{ $value }} at {{ $externalLabels.site }}"}
"#;

fn run(tests: &str, options: &Options) -> FileReport {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
    let mut report = FileReport {
        file: "test.yml".to_owned(),
        warnings: Vec::new(),
        aborted: None,
        cases: Vec::new(),
    };
    super::test_text(tests, dir.path(), options, &mut report);
    report
}

fn read(text: &str, values_max: u64) -> Result<Described, String> {
    series::read(text, &mut Room::new(values_max))
}

fn numbers(text: &str) -> Vec<Option<f64>> {
    let number = |point: &Point| match point {
        Point::Number(value) => Some(*value),
        _ => None,
    };
    read(text, VALUES_MAX).unwrap().values.iter().map(number).collect()
}

#[test]
fn values_are_written_short() {
    let some = |list: &[f64]| list.iter().map(|value| Some(*value)).collect::<Vec<_>>();
    assert_eq!(numbers("a 1 2.5 -3 +4 1e2 .5"), some(&[1.0, 2.5, -3.0, 4.0, 100.0, 0.5]));
    assert_eq!(
        numbers("a{x=\"}\"} 1x2 1+2x2 5-2x1 -1-1x1"),
        some(&[1.0, 1.0, 1.0, 1.0, 3.0, 5.0, 5.0, 3.0, -1.0, -2.0])
    );
    assert_eq!(numbers("a _ _x2 1 _x0"), [None, None, None, Some(1.0)]);
    assert_eq!(numbers("a 010 08 1_000"), some(&[8.0, 8.0, 1000.0]));
    assert_eq!(numbers("{\"b.c\"} Inf -inf"), some(&[f64::INFINITY, f64::NEG_INFINITY]));
    assert!(numbers("a NaN stale").iter().all(|value| value.unwrap().is_nan()));
    for bad in [
        "a 1+2",
        "a 1,2",
        "a 0x1F y",
        "a 1x",
        "a x5",
        "a 1_",
        "a 1__0",
        "a 1_.5",
        "a 1e_5",
        "a 9e999",
        "a infinity",
        "a 1e",
        "{ 1",
        "a{b=~\"c\"} 1",
        "a {b=\"c\"} 1",
        "a{b=\"c\",b=\"d\"} 1",
    ] {
        assert!(read(bad, VALUES_MAX).is_err(), "{bad}");
    }
    let refused = |text: &str, values_max| read(text, values_max).unwrap_err();
    assert!(refused("a 1x99999999999", u64::MAX).contains("more than 5000000 values"));
    assert_eq!(refused("a 1 2x3", 4), "more than 4 values");
}

#[test]
fn histograms_are_read_and_written() {
    for (text, wanted) in [
        ("{{}}", "{{}}"),
        (
            "{{schema:1 sum:2.5 count:6 z_bucket:1 z_bucket_w:0.1 buckets:[0 2 0 3 0] offset:-2 n_buckets:[1]}}",
            "{{schema:1 count:6 sum:2.5 z_bucket:1 z_bucket_w:0.1 offset:-1 buckets:[2 0 3] n_buckets:[1]}}",
        ),
        (
            "{{schema:-53 custom_values:[1 2] buckets:[1 1 1] counter_reset_hint:gauge}}",
            "{{schema:-53 custom_values:[1 2] counter_reset_hint:gauge buckets:[1 1 1]}}",
        ),
    ] {
        let histogram = series::one_histogram(text).unwrap();
        assert_eq!(super::histograms::text(&histogram), wanted);
    }
    let steps = "a {{count:1 buckets:[1]}}+{{count:2 buckets:[2]}}x2";
    let steps = read(steps, VALUES_MAX).unwrap().values;
    let Some(Point::Histogram(last)) = steps.last() else { panic!("a histogram") };
    assert_eq!((steps.len(), last.count), (3, 5.0));
    for bad in [
        "{{",
        "{{x:1}}",
        "{{sum:}}",
        "{{sum:1 sum:2}}",
        "{{buckets:[a]}}",
        "{{schema:1}}+1x2",
        "{{buckets:[]}}",
        "{{buckets:[ 1]}}",
        "{{buckets:1}}",
        "{{ sum:1}}",
        "{{sum:+1}}",
        "{{sum:.5}}",
        "{{offset:+1}}",
        "{{z_bucket_w:-1}}",
        "{{schema:99}}",
        "{{offset:2147483647 buckets:[1 1]}}",
        "{{sum:1}}+{{sum:1}}x600000",
    ] {
        assert!(read(&format!("a {bad}"), VALUES_MAX).is_err(), "{bad}");
    }
}

#[test]
fn histograms_that_no_storage_takes_fail_the_test() {
    for (values, wanted) in [
        ("{{buckets:[1 -2]}}", "less than nothing"),
        ("{{custom_values:[1 2]}}", "need schema -53"),
        ("{{schema:-53 custom_values:[2 1]}}", "must ascend"),
        ("{{schema:-53 custom_values:[1 2] z_bucket:1}}", "above zero only"),
        ("{{schema:-53 custom_values:[1] buckets:[1 1 1]}}", "more buckets than bounds"),
    ] {
        let tests = format!(
            "tests: [{{input_series: [{{series: a, values: '{values}'}}], promql_expr_test: [{{expr: '1', \
             exp_samples: [{{value: 1}}]}}]}}]"
        );
        let report = run(&tests, &Options::default());
        assert!(report.to_string().contains(wanted), "{values}: {report}");
    }
}

#[test]
fn what_a_rule_gives_the_next_one_sees_at_once() {
    let report = run(
        "rule_files: [rules.yml]\ntests:\n  - interval: 1m\n    external_labels: {site: home}\n    \
         input_series:\n      - {series: 'up{job=\"a\",i=\"1\"}', values: '1 0x9'}\n      \
         - {series: 'up{job=\"a\",i=\"2\"}', values: '1x9'}\n    alert_rule_test:\n      \
         - {eval_time: 2m59s, alertname: Down}\n      - eval_time: 3m\n        alertname: Down\n        \
         exp_alerts:\n          - exp_labels: {job: a, severity: page}\n            \
         exp_annotations: {summary: a has 1 at home}\n    promql_expr_test:\n      \
         - expr: job:up:sum\n        eval_time: 1m\n        exp_samples:\n          \
         - {labels: 'job:up:sum{job=\"a\"}', value: 1}\n",
        &Options::default(),
    );
    assert!(report.passed(), "{report}");
    assert_eq!(report.cases[0].evaluations, 4);
}

#[test]
fn what_differs_is_told_with_its_line() {
    let tests = "rule_files: [rules.yml, 'none*.yml']\ntests:\n  - name: first\n    interval: 1m\n    \
         input_series:\n      - {series: 'up{job=\"a\"}', values: '0x9'}\n    alert_rule_test:\n      \
         - eval_time: 5m\n        alertname: Down\n        exp_alerts:\n          \
         - exp_labels: {job: b, severity: page}\n          - exp_labels: {job: a, severity: page}\n            \
         exp_annotations: {summary: a has 1 at}\n    promql_expr_test:\n      - expr: up\n        \
         eval_time: 5m\n        exp_samples: [{labels: 'up{job=\"a\"}', value: 1}]\n  \
         - name: second\n    input_series: [{series: up, values: '1,2'}]\n";
    let report = run(tests, &Options::default());
    let text = report.to_string();
    for wanted in [
        "warning: no file matches the pattern",
        "line 8: test first: alert Down at 5m: expected 2 firing, got 1\n",
        "expected, but does not fire: {alertname=\"Down\", job=\"b\", severity=\"page\"}",
        "fires with other annotations: {alertname=\"Down\", job=\"a\", severity=\"page\"}",
        "expected: \"a has 1 at\"\n",
        "got: \"a has 0 at \"\n",
        "line 15: test first: up at 5m\n",
        "expected: up{job=\"a\"} 1\n",
        "got: up{job=\"a\"} 0\n",
        "test second: series up: unexpected",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is missing in:\n{text}");
    }
    let diff = report.cases[0].failures[0].diff();
    assert!(diff.iter().any(|line| line.starts_with("- {")), "{diff:?}");
    assert!(diff.iter().any(|line| line.starts_with("+   summary")), "{diff:?}");
    let xml = super::junit(std::slice::from_ref(&report));
    assert!(xml.contains("tests=\"2\" failures=\"2\" errors=\"0\""), "{xml}");
    assert!(xml.contains("{alertname=&quot;Down&quot;"), "{xml}");
    let run_pattern = regex::Regex::new("^sec").unwrap();
    let one = run(tests, &Options { run: vec![run_pattern], ..Options::default() });
    assert_eq!(one.cases.len(), 1);
}

#[test]
fn all_series_of_a_test_have_bounded_values_together() {
    let text = "tests: [{input_series: [{series: a, values: 1x5}, {series: b, values: 1x5}]}]";
    let file = super::file::read(text).unwrap();
    let inputs = |values_max| super::run::inputs(&file.tests[0], Room::new(values_max));
    assert_eq!(inputs(12).map(|all| all.len()), Ok(2));
    assert_eq!(inputs(11).unwrap_err().1, "series b: more than 5 values");
}

#[test]
fn the_steps_of_all_histograms_of_a_test_are_bounded_together() {
    let wide = format!("{{{{buckets:[{}]}}}}", "1 ".repeat(9_999) + "1");
    let text = |series: usize, times: usize| {
        let item = format!("{wide}+{wide}x{times}");
        let input = |at| format!("    - {{series: 's{at}', values: '{item} {item}'}}\n");
        let inputs: String = (0..series).map(input).collect();
        format!("tests:\n- input_series:\n{inputs}")
    };
    let inputs = |text: &str| {
        let file = super::file::read(text).unwrap();
        super::run::inputs(&file.tests[0], Room::new(VALUES_MAX))
    };
    assert_eq!(inputs(&text(2, 10)).map(|all| all.len()), Ok(2));
    for too_many in [text(1, 40), text(3, 10)] {
        assert!(inputs(&too_many).unwrap_err().1.contains("more than 1000000 buckets"));
    }
}

#[test]
fn a_histogram_that_is_repeated_is_in_memory_once() {
    for hint in ["unknown", "reset", "not_reset", "gauge"] {
        let text = format!("a {{{{count:2 buckets:[1 1] counter_reset_hint:{hint}}}}}x9");
        let described = read(&text, VALUES_MAX).unwrap();
        let mut memory = Memory::default();
        for (time_ms, point) in (0_i64..).zip(&described.values) {
            memory.push(&described.labels, time_ms, point).unwrap();
        }
        let found = memory.histograms(&[], 0, 9).unwrap();
        let values = &found.first().unwrap().values;
        assert_eq!(values.len(), 10);
        let again = match hint {
            "gauge" => ResetHint::Gauge,
            "reset" => ResetHint::Unknown,
            _ => ResetHint::Continued,
        };
        for value in &values[1..] {
            assert_eq!(value.hint, again, "{hint}");
            assert!(std::sync::Arc::ptr_eq(value, &values[1]), "{hint}");
        }
    }
}

#[test]
fn bad_files_of_tests_are_refused() {
    for (text, wanted) in [
        ("tests: [{nme: x}]", "unknown key \"nme\" in a test"),
        ("tests: 1", "tests: a list"),
        ("evaluation_interval: soon", "evaluation_interval: not a duration"),
        ("group_eval_order: [a, b, a]", "group name repeated in evaluation order: a"),
        ("tests: [{promql_expr_test: [{exp_samples: [{value: NaN}]}]}]", "is not a number"),
        ("fuzzy_compare: 1", "true or false"),
        ("a: [", "line "),
    ] {
        let report = run(text, &Options::default());
        assert!(
            report.aborted.as_ref().is_some_and(|why| why.contains(wanted)),
            "{text}: {report:?}"
        );
        assert!(!report.passed());
    }
    for (text, wanted) in [
        ("tests: [{alert_rule_test: [{eval_time: 1m}]}]", "needs an alertname"),
        ("rule_files: ['.']\ntests: [{}]", "cannot be loaded"),
        ("tests: [{promql_expr_test: [{expr: 'up[5m]'}]}]", "not a vector or scalar"),
        (
            "tests: [{promql_expr_test: [{expr: 'up'}, {expr: '1', exp_samples: [{labels: '{a}'}]}]}]",
            "labels",
        ),
        ("tests: [{promql_expr_test: [{expr: '1', eval_time: 100y}]}]", "evaluations"),
    ] {
        let report = run(text, &Options::default());
        assert!(report.to_string().contains(wanted), "{text}: {report}");
    }
    assert!(super::test_file(Path::new("/none.yml"), &Options::default()).aborted.is_some());
    assert!(run("", &Options::default()).passed());
    let strict = Options {
        reading: crate::rules::Reading { strict: true, ..Default::default() },
        ..Options::default()
    };
    let tests = "tests: [{promql_expr_test: [{expr: 'min_of(1, 2)', exp_samples: [{value: 1}]}]}]";
    assert!(run(tests, &Options::default()).passed());
    assert!(run(tests, &strict).to_string().contains("not enabled"));
}

/// As in Prometheus: the rule has failed, and what can be kept of its result is.
#[test]
fn a_histogram_that_counts_less_than_nothing_is_not_recorded_and_the_others_are() {
    let text = "groups: [{name: g, rules: [{record: x, expr: h - on (n) less}]}]";
    let manager =
        Manager::new(RuleSet::parse(&[("r.yml", text)]).unwrap(), ManagerOptions::default(), -1);
    let mut memory = Memory::default();
    let four = "{{count:4 buckets:[4]}}";
    for (name, values) in [
        ("h{n=\"a\"}", four),
        ("h{n=\"b\"}", four),
        ("less{n=\"a\"}", four),
        ("less{n=\"b\"}", "{{count:5 buckets:[5]}}"),
    ] {
        let series = read(&format!("{name} {values}"), VALUES_MAX).unwrap();
        memory.push(&series.labels, 0, &series.values[0]).unwrap();
    }
    let due = manager.all_at(0);
    let out = manager.evaluate(&due[0], &Engine::default(), &memory);
    let kept = out.write.histograms.iter().map(|series| series.labels.to_string());
    assert_eq!(kept.collect::<Vec<_>>(), ["x{n=\"a\"}"]);
    assert_eq!(out.write.samples_len(), 1);
    let view = manager.rules_view(&RulesFilter::default());
    let RuleView::Recording(rule) = &view.groups[0].rules[0] else { panic!("it records") };
    let error = rule.last_error.as_deref().unwrap_or_default();
    assert!(error.contains("x{n=\"b\"}") && error.contains("negative"), "{error}");
}
