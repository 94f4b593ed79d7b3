//! YAML, read as Go reads it.

use super::{Dialect, Reader, Resolved, first, first_within};

fn resolved(text: &str, dialect: Dialect) -> Resolved {
    let node = first(text).unwrap();
    node.map_or(Resolved::Null, |node| node.resolved(dialect).unwrap())
}

#[test]
fn plain_scalars_are_what_go_takes_them_for() {
    for (text, wanted) in [
        ("~", Resolved::Null),
        ("'~'", Resolved::Text),
        ("1_000", Resolved::Integer(1_000)),
        ("010", Resolved::Integer(8)),
        ("-0x1F", Resolved::Integer(-31)),
        ("1.", Resolved::Float(1.0)),
        ("-.5e-1", Resolved::Float(-0.05)),
        ("1e3", Resolved::Float(1_000.0)),
        (".inf", Resolved::Float(f64::INFINITY)),
        ("1e400", Resolved::Text),
        ("NaN", Resolved::Text),
        ("1x", Resolved::Text),
        ("-", Resolved::Text),
        ("yes", Resolved::Text),
        ("True", Resolved::Bool(true)),
        ("!!str 1", Resolved::Text),
        ("!!float 1", Resolved::Float(1.0)),
        ("!!binary YWI=", Resolved::Binary("ab".to_owned())),
        ("!custom 1", Resolved::Text),
    ] {
        // A lone `-` is a list with nothing in it.
        if text != "-" {
            assert_eq!(resolved(text, Dialect::Three), wanted, "{text}");
        }
    }
    assert_eq!(resolved("yes", Dialect::Two), Resolved::Bool(true));
    assert!(matches!(resolved("!!int a", Dialect::Three), Resolved::Wrong(_)));
    assert!(matches!(resolved("!!binary a", Dialect::Three), Resolved::Wrong(_)));
}

#[test]
fn mappings_merge_and_the_own_key_wins() {
    let text = "base: &b {a: 1, b: 2}\nmore: &m {b: 3, c: 4}\nall:\n  <<: [*b, *m]\n  a: 0\n";
    let node = first(text).unwrap().unwrap();
    let mut reader = Reader::new(Dialect::Three, false);
    let fields = reader.fields(&node, &["base", "more", "all"], "test");
    let mut texts: Vec<(String, String)> = reader
        .texts(fields.get("all"), "label")
        .into_iter()
        .map(|(name, text)| (name.value, text.value))
        .collect();
    texts.sort();
    let wanted = [("a", "0"), ("b", "2"), ("c", "4")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(texts, wanted);
    assert!(reader.faults.is_empty(), "{:?}", reader.faults);
}

#[test]
fn what_is_twice_unknown_or_of_another_kind_is_a_fault() {
    for (text, wanted, line) in [
        ("a: 1\na: 2\n", "duplicate key \"a\", given at line 1", 2),
        ("b: 1\n", "unknown key \"b\" in a test", 1),
        ("[a]", "test: a mapping, not a list", 1),
        ("a: [1]\n", "a text, not a list", 1),
        ("a: 1\n<<: 1\n", "a merge takes a mapping or a list of mappings", 2),
    ] {
        let node = first(text).unwrap().unwrap();
        let mut reader = Reader::new(Dialect::Three, false);
        let fields = reader.fields(&node, &["a"], "test");
        if let Some(node) = fields.get("a") {
            reader.text(node);
        }
        let fault = reader.faults.first().unwrap();
        assert_eq!((fault.message.as_str(), fault.line), (wanted, Some(line)), "{text}");
    }
}

#[test]
fn only_the_first_document_counts_and_nothing_grows_without_end() {
    assert_eq!(resolved("--- 1\n---\n]broken\n", Dialect::Three), Resolved::Integer(1));
    assert_eq!(resolved("# nothing\n", Dialect::Three), Resolved::Null);
    let mut laughs = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..40 {
        let last = level - 1;
        laughs.push_str(&format!("a{level}: &a{level} [*a{last}, *a{last}]\n"));
    }
    assert!(first(&laughs).unwrap_err().message.contains("excessive"));
    assert!(first(&"[".repeat(500)).is_err());
    assert!(first("a: &a [*a]\n").is_err());
    assert!(first("a: *b\n").is_err());
}

fn value_of(text: &str) -> Option<String> {
    let node = first(text).ok()??;
    let mut reader = Reader::new(Dialect::Three, false);
    let fields = reader.fields(&node, &["a", "b"], "test");
    let text = reader.text(fields.get("a")?)?;
    Some(format!("{} {}", text.line, text.value))
}

#[test]
fn what_go_forgives_is_forgiven() {
    for (text, wanted) in [
        ("a: \"x\ny\"\n", "1 x y"),
        ("- 1\n", ""),
        ("a: \"x\ny\n\n  z\"\nb: 1\n", "1 x y\nz"),
        ("b: 'p\nq'\na: 'it''s\n so'\n", "3 it's so"),
        ("a: \"x\n\ty\"\n", "1 x y"),
        ("a: \"x \\\ny\"\n", "1 x y"),
        ("a: \"x\"#c\nb: 'y'#d\n", "1 x"),
        ("b: {c: d}#e\na: |#f\n  x\n", "3 x\n"),
        ("a: \"it\\'s \\\\'that\\'\\\"\\n\"\nb: '\\'\n", "1 it's \\'that'\"\n"),
        ("a: \"it\\'s\nso\"\n", "1 it's so"),
    ] {
        assert_eq!(value_of(text).unwrap_or_default(), wanted, "{text:?}");
    }
    let careless = "a: \"x\ny\"#c\n".repeat(20).replace("a:", "-");
    assert_eq!(first(&careless).unwrap().unwrap().size, 21);
    assert!(first_within(&careless, 10 * careless.len()).is_err(), "not for ever");
}

#[test]
fn what_go_refuses_is_refused() {
    for text in [
        "a: &b.c x",
        "a: &\"b\"",
        "a: \"x\\/y\"",
        "a: \"\\ud83d\\ude00\"",
        "a: \"x\n---\ny\"",
        "a: x\n\tb: y",
        "a: \"it\\'s \\q\"",
        "a: \"it\\'s",
        "b: {c: d?e}\na: x",
        "b: [c ? d]\na: x",
        "b: {c: :d}\na: x",
        "a: x\n\t\nb: y",
        "b:\n\t\n  - c\na: x",
        "b:\n  -\tc\na: x",
        "\t# c\na: x",
        "a: x\n\t# c",
        "a: x\u{85}y",
    ] {
        assert_eq!(value_of(text), None, "{text:?}");
    }
    assert_eq!(value_of("a: &b-c_1 \"x\\\\/\"").unwrap(), "1 x\\/");
}

#[test]
fn tabs_are_taken_where_nothing_begins() {
    for (text, wanted) in [
        ("a:\tx\t\nb: y\t# c\n", "1 x"),
        ("b: [\tc,\td\t]\t\na: x", "2 x"),
        ("a: x\n  \ty", "1 x y"),
        ("a: x\n  \t\n", "1 x"),
        ("a: |\n  x\n  \ty\n", "2 x\n\ty\n"),
        ("a: &c-d\tx\nb: *c-d", "1 x"),
        ("---\t# c\na: x", "2 x"),
        ("b: c?d\na: :e", "2 :e"),
        ("a: x #\u{85}b: y", "1 x"),
    ] {
        assert_eq!(value_of(text).as_deref(), Some(wanted), "{text:?}");
    }
    let fault = first("a:\n- x\n# c\n-\ty\n").unwrap_err();
    assert_eq!(fault.line, Some(4), "{fault:?}");
}

#[test]
fn a_quote_that_is_never_closed_is_not_forgiven_for_ever() {
    for text in ["a:\n  - b: 'c\n", "a:\n  - b: 'c\n  d\n", "a:\n\t'b\n"] {
        assert!(first_within(text, usize::MAX).is_err(), "{text:?}");
    }
}

#[test]
fn lines_are_not_moved_far_because_of_another_line() {
    let far = " ".repeat(1_000_000);
    let lines = "y\n".repeat(500_000);
    let comment = format!("{far}#\na: \"x\n{lines}\"\n");
    assert_eq!(value_of(&comment).unwrap(), format!("2 x{} ", " y".repeat(500_000)));

    // A text that goes on that far is refused before the memory for it is taken.
    let text = format!("b: \"\n{far}x\"\na: \"x\n{lines}\"\n");
    assert!(first(&text).is_err());
}
