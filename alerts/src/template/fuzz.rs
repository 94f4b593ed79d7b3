//! What a fuzzer looks for in templates of messages: they end soon and are no longer than they may be.

use std::collections::BTreeMap;

use super::render::OUTPUT_LEN_MAX;
use super::{MessageTemplate, Object};

/// Any text is refused, or gives the same text each time, of a bounded length.
pub(crate) fn message(text: &str) {
    let Ok(template) = MessageTemplate::parse("body", text) else { return };
    let object = object();
    let rendered = template.render(&object);
    assert_eq!(rendered, template.render(&object));
    let len = rendered.map_or_else(|error| error.len(), |text| text.len());
    assert!(len <= text.len() + 2 * OUTPUT_LEN_MAX, "{len} bytes");
}

/// What a receiver gives to a template, more or less.
fn object() -> Object {
    let pairs = [("alertname", "DiskFails"), ("instance", "nas"), ("note", "<&>\"'{{ é\u{7}")];
    let pairs: BTreeMap<_, _> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let alert = |status: &str| {
        let mut alert = Object::default();
        alert.text("Status", status).texts("Labels", &pairs).texts("Annotations", &pairs);
        alert.float("Value", 1.5).time("StartsAt", 1_795_318_463_128);
        alert
    };
    let mut object = Object::default();
    object.text("Status", "firing").count("Count", 2).texts("CommonLabels", &pairs);
    object.list("Alerts", vec![alert("firing"), alert("resolved")]);
    object
}
