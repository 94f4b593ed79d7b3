//! Any text is a list of matchers or an error, and matchers that are written are read as the same:
//! all together, each by itself, and as the API has them.
#![no_main]

use labstat_alerts::manners::SilenceMatcher;
use labstat_alerts::manners::matchers::{Matchers, matcher_text};
use libfuzzer_sys::fuzz_target;

/// Longer texts may be too long once they are written with all their escapes.
const TEXT_LEN_MAX: usize = 4 * 1024;

fuzz_target!(|text: &str| {
    let Ok(matchers) = Matchers::parse(text) else { return };
    if text.len() > TEXT_LEN_MAX {
        return;
    }
    let written = matchers.to_string();
    assert_eq!(Matchers::parse(&written).as_ref(), Ok(&matchers), "{written}");
    let each: Vec<String> = matchers.iter().map(matcher_text).collect();
    let all = Matchers::parse_all(each.iter().map(String::as_str));
    assert_eq!(all.as_ref(), Ok(&matchers), "{each:?}");
    for matcher in matchers.iter() {
        let silence = SilenceMatcher::from_matcher(matcher);
        let json = serde_json::to_string(&silence).expect("BUG: it is JSON");
        assert_eq!(serde_json::from_str::<SilenceMatcher>(&json).ok(), Some(silence));
    }
    let labels = matchers.iter().map(|m| (m.name().to_owned(), m.value().to_owned())).collect();
    matchers.matches(&labels);
});
