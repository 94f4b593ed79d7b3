//! Texts that were compared with Prometheus 3.5, letter by letter, and bounds of our own.

use super::*;

fn error(query: &str) -> String {
    match parse(query) {
        Ok(_) => format!("no error in {query}"),
        Err(error) => error.to_string(),
    }
}

/// The query in one line, and read again.
fn tidy(query: &str) -> String {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let line = printer::one_line(&expr);
    let again = parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(sorted_tree(&again), sorted_tree(&expr), "{query}");
    line
}

/// The tree with its matchers in the order in which they are printed.
fn sorted_tree(expr: &Expr) -> serde_json::Value {
    let mut tree = serde_json::from_str(&json::tree(expr)).unwrap();
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

/// A query and its error per two lines.
const ERRORS: &str = include_str!("errors.txt");

#[test]
fn errors_say_what_prometheus_says() {
    let mut lines = ERRORS.lines().filter(|line| !line.starts_with("# "));
    let mut count = 0;
    while let (Some(query), Some(wanted)) = (lines.next(), lines.next()) {
        count += 1;
        assert_eq!(error(query), wanted.trim_start(), "{query}");
    }
    assert!(count > 250, "{count} errors");
}

#[test]
fn an_empty_text_has_no_places() {
    assert_eq!(error(""), "unknown position: parse error: no expression found in input");
    assert_eq!(error(" # x"), "1:1: parse error: no expression found in input");
    assert_eq!(error("a +\n  b c"), "2:5: parse error: unexpected identifier \"c\"");
}

#[test]
fn what_is_newer_than_that_prometheus_has_errors_of_its_own() {
    for (query, wanted) in [
        (
            "holt_winters(a[5m],1,1)",
            "1:1: parse error: unknown function with name \"holt_winters\", it is \
             \"double_exponential_smoothing\" since Prometheus 3.0",
        ),
        ("a[5 m]", "1:5: parse error: unexpected character: 'm', expected ':'"),
        (
            "a[step]",
            "1:7: parse error: unexpected \"]\" in subquery selector, expected number or duration",
        ),
        (
            "a anchored smoothed",
            "1:1: parse error: anchored and smoothed modifiers cannot be used together",
        ),
        ("a[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("sum(a) smoothed", "1:1: parse error: smoothed modifier not implemented"),
        (
            "a + fill(x) b",
            "1:10: parse error: unexpected identifier \"x\" in fill, expected number",
        ),
        ("a + fill(1 b", "1:12: parse error: unexpected identifier \"b\" in fill, expected \")\""),
        ("a + fill(1) fill(2) b", "1:13: parse error: unexpected <fill>"),
        (
            "a and fill(1) b",
            "1:1: parse error: filling in missing series not allowed for set operators",
        ),
        (
            "a + fill(1) 2",
            "1:1: parse error: filling in missing series only allowed between instant vectors",
        ),
        ("fill(1)", "1:1: parse error: unexpected <fill>"),
        ("\"\\xff\"", "1:1: parse error: string is not valid UTF-8"),
        ("a offset (5m*2) [5m]", "1:17: parse error: no offset modifiers allowed before range"),
    ] {
        assert_eq!(error(query), wanted, "{query}");
    }
}

#[test]
fn queries_print_as_prometheus_prints_them() {
    for (query, wanted) in [
        ("a[5m*2]", "a[5m * 2]"),
        ("a[(5m)]", "a[5m]"),
        ("a[-(-5m)]", "a[5m]"),
        ("a[2 + (3 * 4)^2]", "a[2 + (3 * 4) ^ 2]"),
        ("a[300]", "a[5m]"),
        ("a[90s:1.5]", "a[1m30s:1s500ms]"),
        ("a[5m:5m] @ end() offset -1h", "a[5m:5m] @ end() offset -1h"),
        ("a offset 5m @ 5.0005", "a @ 5.001 offset 5m"),
        ("a @ -5", "a @ -5.000"),
        ("a offset 0", "a"),
        ("a offset 0 offset 5m", "a offset 5m"),
        ("a offset -(-(5m))", "a offset 5m"),
        ("a offset (1h*2)*3", "a offset (1h * 2) * 3"),
        ("a offset -2^2", "a offset -2s ^ 2"),
        ("a offset -(5m * 2)", "a offset -(5m * 2)"),
        ("a @ start()[5m]", "a[5m] @ start()"),
        ("+2", "2"),
        ("--2", "2"),
        ("- a", "-a"),
        ("-(2)", "-(2)"),
        ("-5m", "-5m"),
        ("1e-10", "0.0000000001"),
        ("-inf", "-Inf"),
        ("{\"a.b\", \"l.x\"=\"y\", z=~\"\\\\d\"}", r#"{"l.x"="y",__name__="a.b",z=~"\\d"}"#),
        ("a{z=\"1\",b!=\"2\",c!~\"3\"}", r#"a{b!="2",c!~"3",z="1"}"#),
        ("a{}", "a"),
        ("sum(a) by (x, y)", "sum by (x, y) (a)"),
        ("sum without () (a)", "sum without () (a)"),
        ("sum by () (a)", "sum(a)"),
        ("sum by (\"a b\",) (a)", "sum by (\"a b\") (a)"),
        ("a AND ignoring() b", "a and b"),
        ("a + on(x) group_left b", "a + on (x) group_left () b"),
        ("a == bool on(x) b", "a == bool on (x) b"),
        ("a + on() 1", "a + 1"),
        ("a ^ b ^ c", "a ^ b ^ c"),
        ("SUM(a)", "sum(a)"),
        ("time( )", "time()"),
        ("sum + by", "sum + by"),
        // Newer than Prometheus 3.5.
        ("a[step()*2:range()/100]", "a[step() * 2:range() / 100]"),
        ("a offset min_of(5m, step())", "a offset min(5m, step())"),
        ("a[max(5m, -step() + 1h)]", "a[max(5m, -step() + 1h)]"),
        ("a[5m] anchored offset 1m", "a[5m] anchored offset 1m"),
        ("a @ 5 smoothed", "a @ 5.000 smoothed"),
        ("a + fill (0) b", "a + fill (0) b"),
        (
            "a * on(x) group_left fill_right(-1) fill_left(2) b",
            "a * on (x) group_left () fill_left (2) fill_right (-1) b",
        ),
        ("fill + fill_left", "fill + fill_left"),
        ("a </ 5 >/ b", "a </ 5 >/ b"),
        ("a * ignoring(\"a.b\") b", "a * ignoring (\"a.b\") b"),
    ] {
        assert_eq!(tidy(query), wanted, "{query}");
    }
}

#[test]
fn long_queries_are_split_over_lines() {
    let (long, longer) = ("a".repeat(96), "b".repeat(101));
    let query =
        format!("topk(5, rate({long}[5m])) + on(x) -({long} + {longer}) * (1 + {longer}[5m:]@5)");
    let printed = match format_unchecked(&query) {
        Ok(printed) => printed,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(
        printed,
        format!(
            "  topk(\n    5,\n    rate(\n      {long}[5m]\n    )\n  )\n+ on (x)\n    -(\n        \
             {long}\n      +\n        {longer}\n    )\n  *\n    (\n        1\n      +\n        \
             {longer}[5m:] @ 5.000\n    )"
        )
    );
}

/// As [`format`], types aside.
fn format_unchecked(query: &str) -> Result<String, QueryError> {
    let expr = parser::query(query).map_err(|error| error.in_query(query))?;
    Ok(printer::pretty(&expr))
}

#[test]
fn trees_are_told_as_prometheus_tells_them() {
    let selector = |name: &str| {
        format!(
            "{{\"matchers\":[{{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"{name}\"}}],\
             \"name\":\"{name}\",\"offset\":0,\"startOrEnd\":null,\"timestamp\":null,\
             \"type\":\"vectorSelector\"}}"
        )
    };
    let (a, b) = (selector("a"), selector("b"));
    for (query, wanted) in [
        (
            "a < bool 1",
            format!(
                "{{\"bool\":true,\"lhs\":{a},\"matching\":null,\"op\":\"\\u003c\",\"rhs\":\
                 {{\"type\":\"numberLiteral\",\"val\":\"1\"}},\"type\":\"binaryExpr\"}}"
            ),
        ),
        (
            "a and on(x) b",
            format!(
                "{{\"bool\":false,\"lhs\":{a},\"matching\":{{\"card\":\"many-to-many\",\
                 \"include\":[],\"labels\":[\"x\"],\"on\":true}},\"op\":\"and\",\"rhs\":{b},\
                 \"type\":\"binaryExpr\"}}"
            ),
        ),
        (
            "a + fill_left(2) b",
            format!(
                "{{\"bool\":false,\"lhs\":{a},\"matching\":{{\"card\":\"one-to-one\",\
                 \"fillValues\":{{\"lhs\":2,\"rhs\":null}},\"include\":[],\"labels\":[],\
                 \"on\":false}},\"op\":\"+\",\"rhs\":{b},\"type\":\"binaryExpr\"}}"
            ),
        ),
        (
            "round(-a)",
            format!(
                "{{\"args\":[{{\"expr\":{a},\"op\":\"-\",\"type\":\"unaryExpr\"}}],\"func\":\
                 {{\"argTypes\":[\"vector\",\"scalar\"],\"name\":\"round\",\"returnType\":\
                 \"vector\",\"variadic\":1}},\"type\":\"call\"}}"
            ),
        ),
        (
            "topk by (x) (1, (a)[5m:1m] @ end() offset -1h)",
            String::new(),
        ),
        (
            "a[5m*2] @ 5 offset 1m",
            "{\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"a\"}],\"name\":\"a\",\
             \"offset\":60000,\"range\":0,\"startOrEnd\":null,\"timestamp\":5000,\
             \"type\":\"matrixSelector\"}"
                .to_owned(),
        ),
        (
            "\"<>&\\u2028é\\t\\x00\\\"\"",
            "{\"type\":\"stringLiteral\",\"val\":\"\\u003c\\u003e\\u0026\\u2028é\\t\\u0000\\\"\"}"
                .to_owned(),
        ),
    ] {
        match tree_json(query) {
            Ok(tree) => assert_eq!(tree, wanted, "{query}"),
            // The one with a wrong type.
            Err(_) => assert!(wanted.is_empty(), "{query}"),
        }
    }
}

#[test]
fn keywords_are_names_where_nothing_else_could_stand() {
    for query in [
        "sum",
        "sum + by",
        "offset offset 5m",
        "and and and",
        "start",
        "end{on=\"x\",by=\"y\",inf=\"z\"}",
        "range",
        "step",
        "anchored",
        "sum by (on, bool, sum, atan2, offset, start, fill, anchored) (a)",
        "a * on (by) group_left (on) b",
        ":a",
        "a::b",
    ] {
        tidy(query);
    }
    for query in ["bool", "on", "ignoring", "group_left", "atan2", "sum by (inf) (a)"] {
        assert!(parse(query).is_err(), "{query}");
    }
}

#[test]
fn no_text_exhausts_the_stack_or_the_time() {
    let deep = || {
        let nested = |open: &str, inner: &str, close: &str, count: usize| {
            format!("{}{inner}{}", open.repeat(count), close.repeat(count))
        };
        let many = 100_000;
        for query in [
            nested("(", "a", ")", many / 2),
            nested("-", "a", "", many),
            nested("-(", "a", ")", many / 2),
            nested("abs(", "a", ")", many / 5),
            nested("sum by (x) (", "a", ")", many / 8),
            nested("", "a", "[5m:]", many / 5),
            nested("", "a", "+a", many),
            nested("", "2", "^2", many),
            format!("a[{}", nested("(", "5m", ")", many / 2)),
            format!("a[{}]", nested("-", "5m", "", many)),
            format!("a[{}]", nested("", "5m", "+5m", many / 4)),
            format!("a[{}]", nested("", "5m", "^2", many / 4)),
            format!("a[{}", nested("min(1,", "5m", ")", many / 8)),
            format!("a offset {}", nested("-", "5m", "", many)),
        ] {
            assert!(error(&query).contains("nested deeper"), "{:?}", query.get(..20));
        }
        for query in [
            format!("a{{{}}}", "x=\"y\",".repeat(many / 4)),
            format!("sum by ({}) (a)", "x,".repeat(many)),
            format!("sort_by_label(a{})", ",\"x\"".repeat(many / 4)),
        ] {
            assert!(parse(&query).is_ok());
        }
        let long = " ".repeat(QUERY_LEN_MAX + 1);
        assert!(error(&long).contains("over the limit"));
        let depth = DEPTH_MAX - 1;
        assert!(parse(&nested("(", "a", ")", depth)).is_ok());
        assert!(parse(&nested("", "a", "+a", depth)).is_ok());
    };
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(deep);
    assert!(thread.unwrap().join().is_ok());
}

#[test]
fn a_selector_stands_by_itself() {
    let of = |text: &str| match selector(text, false, &mut PatternRoom::default()) {
        Ok(_) => "a selector".to_owned(),
        Err(error) => error.to_string(),
    };
    for (text, wanted) in [
        ("up{job=\"x\"}", "a selector"),
        ("{\"a.b\"}", "a selector"),
        ("sum", "a selector"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("up+1", "1:3: parse error: unexpected <op:+>"),
        ("1", "1:1: parse error: unexpected number \"1\""),
        ("sum(a)", "1:4: parse error: unexpected \"(\""),
        ("", "unknown position: parse error: unexpected end of input"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ] {
        assert_eq!(of(text), wanted, "{text}");
    }
    for all in ["{}", "{a=~\".*\"}"] {
        assert!(selector(all, true, &mut PatternRoom::default()).is_ok(), "{all}");
    }
}
