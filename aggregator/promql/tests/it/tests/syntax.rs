//! Properties of reading queries: no text panics, and a query written tidily is the same query.

use labstat_promql::{check, format, selector, tree_json};
use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces of which queries and near-queries are made.
const PIECES: [&str; 74] = [
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "@",
    "=",
    "=~",
    "!~",
    "!=",
    "==",
    "<",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "</",
    ">/",
    ":",
    "::",
    "#",
    "\n",
    " ",
    "\t",
    "é",
    "\"",
    "'",
    "`",
    "\\",
    ".",
    "_",
    "a",
    "b:c",
    "node_cpu",
    "x",
    "sum",
    "topk",
    "count_values",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "bool",
    "offset",
    "and",
    "unless",
    "atan2",
    "start()",
    "end()",
    "step()",
    "min_of(",
    "anchored",
    "smoothed",
    "fill(",
    "rate(",
    "abs(",
    "time()",
    "5m",
    "1h30m",
    "0x1F",
    "1e3",
    "1_000",
    "017",
    "inf",
    "\"a.b\"",
    "\"\\u00e9\\x00\"",
    "a[5m]",
    "{x=\"y\"}",
];

fn soup() -> impl Strategy<Value = String> {
    vec((prop::sample::select(PIECES.to_vec()), any::<bool>()), 0..24).prop_map(|pieces| {
        let spaced =
            |(piece, space): &(&str, bool)| format!("{piece}{}", if *space { " " } else { "" });
        pieces.iter().map(spaced).collect()
    })
}

fn duration() -> impl Strategy<Value = String> {
    let literal = prop::sample::select(
        ["5m", "1h30m", "90s", "300", "1.5", "1y", "step()", "range()"].map(str::to_owned).to_vec(),
    );
    literal.prop_recursive(3, 12, 2, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a}{op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("max({a},{b})")),
        ]
    })
}

/// What may stand behind a selector, a range or a subquery.
fn shift() -> impl Strategy<Value = String> {
    let at = prop::sample::select(vec!["", " @ 5", "@start()", " @ -1.5", "@ 5m", " @ end ()"]);
    prop_oneof![
        3 => at.clone().prop_map(str::to_owned),
        1 => (at, duration()).prop_map(|(at, offset)| format!("{at} offset ({offset})")),
    ]
}

fn instant() -> impl Strategy<Value = String> {
    let names = ["a", "b:c", "sum", "by", "start", "fill", "node_cpu_seconds_total"];
    let name = prop::sample::select(names.to_vec());
    let braces = prop::sample::select(vec![
        "",
        "{}",
        "{x=\"y\"}",
        "{\"a.b\"=~'z',on!~`\\d`}",
        "{x!=\"\",x=\"\\n\\u200b\",}",
    ]);
    let edges = prop::sample::select(vec!["", "", " anchored", " smoothed"]);
    (name, braces, edges, shift())
        .prop_map(|(name, braces, edges, shift)| format!("{name} {braces}{edges}{shift}"))
}

/// Queries whose types are right, near enough.
fn query() -> impl Strategy<Value = String> {
    let binary = ["+", "- ", "*", "^", "==", "> bool", "and", "or on(x)", "unless ignoring(x)"];
    let more = ["/ on(x,) group_left", "% ignoring() group_right(y)", "atan2", "</", "* fill(0)"];
    let op = prop::sample::select([&binary[..], &more[..]].concat());
    let around = prop::sample::select(vec![
        ("sum by (x, \"a.b\") (", ")"),
        ("avg(", ") without ()"),
        ("topk(3, ", ")"),
        ("count_values(\"v\", ", ")"),
        ("abs(", ")"),
        ("label_replace(", ", 'a', \"$1\", `b`, \"(.*)\")"),
        ("histogram_quantile(.9, ", ")"),
        ("(", ")"),
        ("-", ""),
        ("+ ", ""),
    ]);
    instant().prop_recursive(5, 40, 3, move |inner| {
        prop_oneof![
            3 => (inner.clone(), op.clone(), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            3 => (around.clone(), inner.clone()).prop_map(|((a, b), inner)| format!("{a}{inner}{b}")),
            1 => (inner.clone(), duration(), shift())
                .prop_map(|(a, range, shift)| format!("rate(({a})[{range}:]{shift})")),
            1 => (inner, duration(), duration())
                .prop_map(|(a, range, step)| format!("max_over_time({a} [{range} : {step}])")),
        ]
    })
}

/// The tree of a query with its matchers in order, since tidying sorts them.
fn sorted_tree(query: &str) -> serde_json::Value {
    let mut tree =
        tree_json(query).ok().and_then(|tree| serde_json::from_str(&tree).ok()).unwrap_or_default();
    sort_matchers(&mut tree);
    tree
}

fn sort_matchers(tree: &mut serde_json::Value) {
    if let Some(matchers) = tree.get_mut("matchers").and_then(|found| found.as_array_mut()) {
        matchers.sort_by_key(ToString::to_string);
    }
    match tree {
        serde_json::Value::Array(items) => items.iter_mut().for_each(sort_matchers),
        serde_json::Value::Object(members) => members.values_mut().for_each(sort_matchers),
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![soup(), ".{0,60}", query()]) {
        let _ = check(&text);
        let _ = selector(&text);
        let _ = format(&text);
        prop_assert_eq!(format(&text).is_ok(), tree_json(&text).is_ok());
    }

    #[test]
    fn a_part_of_a_query_does_not_panic(text in query(), from in 0_usize..200, len in 0_usize..200) {
        let part: String = text.chars().skip(from).take(len).collect();
        let _ = check(&part);
        let _ = format(&part);
    }

    #[test]
    fn a_query_written_tidily_is_the_same_query(text in prop_oneof![soup(), query()]) {
        if let Ok(tidy) = format(&text) {
            prop_assert_eq!(format(&tidy).unwrap(), tidy.clone(), "{}", text);
            prop_assert_eq!(sorted_tree(&tidy), sorted_tree(&text), "{}", text);
        }
    }
}

/// A zero has a sign, in units too: `1 / -0` is another infinity.
#[test]
fn a_tidy_zero_keeps_its_sign() {
    for (text, tidy) in [("- 0m", "-0s"), ("-0", "-0"), ("--0m", "0s"), ("a offset -0m", "a")] {
        assert_eq!(format(text).unwrap(), tidy);
        assert_eq!(sorted_tree(tidy), sorted_tree(text), "{text}");
    }
}
