//! Any text is a rule file or a list of its problems, and any text a template or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = labstat_alerts::rules::RuleSet::parse(&[("rules.yml", text)]);
    let _ = labstat_alerts::template::Template::parse("text", text);
});
