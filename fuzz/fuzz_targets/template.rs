//! Any text is a template or an error, of a rule's annotation and of a part of a message; what it
//! gives is bounded, and the same each time.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use labstat_alerts::template::{Data, Template};
use labstat_model::Labels;
use labstat_promql::MixedValue;
use libfuzzer_sys::fuzz_target;

/// Bytes of what a template may add to its own text.
const ADDED_MAX: usize = 128 * 1024;

/// What `query` answers to any expression that is one.
fn query(expr: &str) -> Result<Vec<(Labels, MixedValue)>, String> {
    labstat_promql::check(expr).map_err(|error| error.to_string())?;
    let sample = |instance, value: f64| {
        (Labels::new([("__name__", "up"), ("instance", instance), ("job", "node")]), value.into())
    };
    Ok(vec![sample("b10", 1.5), sample("b9", f64::NAN), sample("a", -1e300), sample("", 0.0)])
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

static LABELS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    texts(&[
        ("alertname", "A"),
        ("instance", "nas:9100"),
        ("device", "/dev/md0"),
        ("odd", "<é>\u{7}\"{{"),
    ])
});

fuzz_target!(|input: (f64, String)| {
    let (value, text) = input;
    labstat_alerts::fuzz::message_template(&text);
    let Ok(template) = Template::parse("text", &text) else { return };
    assert_eq!(template.source(), text);
    let data = Data {
        labels: LABELS.clone(),
        external_labels: texts(&[("site", "lab")]),
        external_url: "http://lab:5227".to_owned(),
        value: value.into(),
        now_ms: 1_795_318_463_128,
        query: Some(&query),
    };
    let rendered = template.render(&data);
    assert_eq!(rendered, template.render(&data));
    let len = rendered.map_or_else(|error| error.len(), |text| text.len());
    assert!(len <= text.len() + ADDED_MAX, "BUG: {len} bytes of a template of {}", text.len());
});
