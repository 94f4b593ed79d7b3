//! Any text is a query or an error; a query that is written tidily stays the query it was.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = labstat_promql::check(text);
    let _ = labstat_promql::selector(text);
    let (tidy, tree) = (labstat_promql::format(text), labstat_promql::tree_json(text));
    assert_eq!(tidy.is_ok(), tree.is_ok());
    if let (Ok(tidy), Ok(tree)) = (tidy, tree) {
        assert_eq!(labstat_promql::format(&tidy).ok().as_ref(), Some(&tidy));
        // Tidying sorts matchers and nothing else.
        let again = labstat_promql::tree_json(&tidy).unwrap_or_default();
        assert_eq!(again.len(), tree.len());
    }
});
