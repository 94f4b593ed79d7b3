//! Templates against what Go and Prometheus are documented to do.

use std::collections::BTreeMap;

use labstat_model::Labels;

use super::format::sprintf;
use labstat_promql::MixedValue;

use super::render::OUTPUT_LEN_MAX;
use super::value::Value;
use super::{Data, Template};

fn query(expr: &str) -> Result<Vec<(Labels, MixedValue)>, String> {
    match expr {
        "none" => Ok(Vec::new()),
        "bad" => Err("parse error".to_owned()),
        _ => Ok(vec![
            (Labels::new([("__name__", "m"), ("instance", "b")]), 11.0.into()),
            (Labels::new([("__name__", "m"), ("instance", "a")]), 21.0.into()),
        ]),
    }
}

fn data(value: f64) -> Data<'static> {
    let pairs = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    };
    Data {
        labels: pairs(&[("instance", "vertex:9100"), ("job", "node"), ("n", "7")]),
        external_labels: pairs(&[("lab", "home")]),
        external_url: "http://lab.test/prefix".to_owned(),
        value: value.into(),
        now_ms: 1_500,
        query: Some(&query),
    }
}

fn render(text: &str, value: f64) -> Result<String, String> {
    let template = Template::parse("t", text).map_err(|error| error.to_string())?;
    template.render(&data(value))
}

#[track_caller]
fn check(value: f64, cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        let got = render(text, value);
        assert_eq!(got.as_deref(), Ok(*wanted), "{text}");
    }
}

#[test]
fn data_and_variables() {
    check(
        0.5,
        &[
            ("plain }} text", "plain }} text"),
            ("{{ $labels.job }} {{ .Labels.job }} {{$labels.none}}.", "node node ."),
            ("{{ $value }} {{ .Value }}", "0.5 0.5"),
            ("{{ $externalLabels.lab }} {{ .ExternalLabels.lab }}", "home home"),
            (
                "{{ $externalURL }} {{ externalURL }} {{ pathPrefix }}",
                "http://lab.test/prefix http://lab.test/prefix /prefix",
            ),
            ("{{ $x := 1 }}{{ $x }}{{ $x = 2 }}{{ $x }}", "12"),
            ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
            ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
            ("{{ $labels }}", "map[instance:vertex:9100 job:node n:7]"),
            (
                "{{ $ }}{{ $.Value }}",
                "{map[instance:vertex:9100 job:node n:7] map[lab:home] http://lab.test/prefix 0.5}0.5",
            ),
        ],
    );
}

#[test]
fn trimming_and_comments() {
    check(
        1.0,
        &[
            ("a {{- 1 -}} b", "a1b"),
            ("a\n\t{{- /* c */ -}}\n b", "ab"),
            ("a {{/* c }} */}} b", "a  b"),
            ("a {{ -1 }} b", "a -1 b"),
            ("{{ `raw \"text\"\\n` }}{{ \"a\\tb\\u00b0\\x41\" }}", "raw \"text\"\\na\tb°A"),
        ],
    );
}

#[test]
fn branches_and_loops() {
    check(
        5.0,
        &[
            ("{{ if gt $value 4.0 }}high{{ else }}low{{ end }}", "high"),
            (
                "{{ if eq $labels.job \"x\" }}1{{ else if eq $labels.job \"node\" }}2{{ else }}3{{ end }}",
                "2",
            ),
            (
                "{{ with $labels.job }}[{{ . }}]{{ end }}{{ with $labels.none }}x{{ else }}-{{ end }}",
                "[node]-",
            ),
            (
                "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
                "instance=vertex:9100;job=node;n=7;",
            ),
            ("{{ range query \"m\" }}{{ .Labels.instance }}:{{ .Value }} {{ end }}", "b:11 a:21 "),
            ("{{ range $i, $s := query \"m\" }}{{ $i }}{{ end }}", "01"),
            ("{{ range query \"none\" }}x{{ else }}nothing{{ end }}", "nothing"),
            (
                "{{ range query \"m\" }}{{ break }}x{{ end }}.{{ range query \"m\" }}{{ continue }}x{{ end }}.",
                "..",
            ),
            ("{{ range 3 }}{{ . }}{{ end }}", "012"),
            ("{{ if and true (or false 0 \"\" 1) (not false) }}y{{ end }}", "y"),
            ("{{ and 1 0 2 }}{{ or 0 3 4 }}", "03"),
            ("{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" $labels.job }}", "<node>"),
        ],
    );
}

#[test]
fn queries() {
    check(
        1.0,
        &[
            ("{{ query \"m\" | first | value }}", "11"),
            ("{{ query \"m\" | first | label \"instance\" }}", "b"),
            ("{{ query \"m\" | sortByLabel \"instance\" | first | label \"instance\" }}", "a"),
            ("{{ (query \"m\" | first).Value | humanize }}", "11"),
            ("{{ (index (query \"m\") 1).Labels.instance }}", "a"),
            ("{{ len (query \"m\") }}{{ len $labels }}{{ len \"abc\" }}", "233"),
            ("{{ with query \"m\" }}{{ . | first | value }}{{ end }}", "11"),
            (
                "{{ printf \"m{x=%q}\" $labels.job | query | first | value | printf \"%.1f\" }}",
                "11.0",
            ),
        ],
    );
    assert!(render("{{ query \"none\" | first }}", 1.0).unwrap_err().contains("no elements"));
    assert!(render("{{ query \"bad\" }}", 1.0).unwrap_err().contains("parse error"));
}

#[test]
fn humanized() {
    for (text, value, wanted) in [
        ("humanize", 0.0, "0"),
        ("humanize", 1_234_567.0, "1.235M"),
        ("humanize", -1e12, "-1T"),
        ("humanize", 0.0123, "12.3m"),
        ("humanize", 999.96, "1000"),
        ("humanize", f64::NAN, "NaN"),
        ("humanize", f64::INFINITY, "+Inf"),
        ("humanize1024", 1_048_576.0, "1Mi"),
        ("humanize1024", 1.0, "1"),
        ("humanize1024", 0.5, "0.5"),
        ("humanizeDuration", 0.0, "0s"),
        ("humanizeDuration", 0.1, "100ms"),
        ("humanizeDuration", 59.5, "59.5s"),
        ("humanizeDuration", 60.0, "1m 0s"),
        ("humanizeDuration", 3_600.0, "1h 0m 0s"),
        ("humanizeDuration", -86_400.0, "-1d 0h 0m 0s"),
        ("humanizeDuration", 0.0001, "100us"),
        ("humanizePercentage", 0.1234, "12.34%"),
        ("humanizePercentage", 1.0, "100%"),
        ("humanizeTimestamp", 1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("humanizeTimestamp", f64::NEG_INFINITY, "-Inf"),
        ("toTime", 0.0, "1970-01-01 00:00:00 +0000 UTC"),
        ("toDuration", 90.5, "1m30.5s"),
    ] {
        let got = render(&format!("{{{{ $value | {text} }}}}"), value);
        assert_eq!(got.as_deref(), Ok(wanted), "{text} {value}");
    }
    check(1.0, &[("{{ humanize \"1500\" }} {{ humanize 1500 }}", "1.5k 1.5k")]);
}

#[test]
fn texts() {
    check(
        1.0,
        &[
            (
                "{{ title \"hello wORLD\" }} {{ toUpper \"aß\" }} {{ toLower \"ÄB\" }}",
                "Hello WORLD Aß äb",
            ),
            ("{{ reReplaceAll \"(.*):\\\\d+\" \"host $1\" $labels.instance }}", "host vertex"),
            ("{{ if match \"^ver\" $labels.instance }}y{{ end }}", "y"),
            (
                "{{ stripPort \"a.b:80\" }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"a\" }}",
                "a.b ::1 a",
            ),
            ("{{ stripDomain \"a.b.c:80\" }} {{ stripDomain \"10.0.0.1\" }}", "a:80 10.0.0.1"),
            ("{{ index $labels \"job\" }} {{ index $labels \"none\" }}|", "node |"),
            ("{{ slice \"abcdef\" 1 3 }}", "bc"),
            ("{{ print 1 2 \"a\" \"b\" 3 }}", "1 2ab3"),
            ("{{ (args 1 \"x\").arg1 }}", "x"),
            ("{{ urlquery \"a b&c\" }} {{ \"<a>\" | html }}", "a+b%26c &lt;a&gt;"),
            ("{{ graphLink \"up == 0\" }}", "/graph?g0.expr=up+%3D%3D+0&g0.tab=0"),
            ("{{ parseDuration \"1h30m\" }}", "5400"),
            ("{{ now }}", "1.5"),
        ],
    );
}

#[test]
fn printf_verbs() {
    check(
        1_234.567,
        &[
            (
                "{{ printf \"%.2f|%8.1f|%-8.1f|%08.1f\" $value $value $value $value }}",
                "1234.57|  1234.6|1234.6  |001234.6",
            ),
            ("{{ printf \"%s %q %v %d%%\" \"a\" \"b\" $value 5 }}", "a \"b\" 1234.567 5%"),
            ("{{ printf \"%g %e %.3g\" $value $value $value }}", "1234.567 1.234567e+03 1.23e+03"),
            ("{{ printf \"%5s|%-5s|%.2s\" \"ab\" \"ab\" \"abc\" }}", "   ab|ab   |ab"),
            ("{{ printf \"%x %X %o %c %t %+d\" 255 255 8 65 true 3 }}", "ff FF 10 A true +3"),
            ("{{ printf \"%d %s\" $value }}", "%!d(float64=1234.567) %!s(MISSING)"),
            ("{{ printf \"a\" 1 }}", "a%!(EXTRA int=1)"),
            ("{{ printf \"%*d\" 4 7 }}", "   7"),
            ("{{ $value | printf \"%.0f\" }}", "1235"),
        ],
    );
}

#[test]
fn texts_are_quoted_as_go_quotes_them() {
    for (verb, text, expected) in [
        ("q", "a'\\\"\\\\b", r#""a'\"\\b""#),
        ("q", "\\x00\\a\\b\\f\\n\\r\\t\\v\\x1b\\x7f", r#""\x00\a\b\f\n\r\t\v\x1b\x7f""#),
        ("q", "\\u0085\\u00a0\\u202e\\ufeff\\U000e0001", r#""\u0085\u00a0\u202e\ufeff\U000e0001""#),
        ("q", "\\u0301é日😀", "\"\u{301}é日😀\""),
        ("+q", "é😀a", r#""\u00e9\U0001f600a""#),
        ("#q", "a\\tb", "`a\tb`"),
        ("#q", "a`\\x7f", r#""a`\x7f""#),
        ("#v", "a\\x7f\\u202e", r#""a\x7f\u202e""#),
        (".2q", "a\\x7fb", r#""a\x7f""#),
    ] {
        let template = format!("{{{{ printf \"%{verb}\" \"{text}\" }}}}");
        check(1.0, &[(&template, expected)]);
    }
}

#[test]
fn comparisons_are_strict_about_kinds() {
    check(
        2.0,
        &[(
            "{{ eq 1 2 1 }}{{ ne \"a\" \"b\" }}{{ lt 1 2 }}{{ ge $value 2.0 }}{{ le \"a\" \"b\" }}",
            "truetruetruetruetrue",
        )],
    );
    for text in ["{{ eq $value 2 }}", "{{ gt $value 1 }}", "{{ lt \"a\" 1 }}"] {
        let error = render(text, 2.0).unwrap_err();
        assert!(error.contains("incompatible types for comparison"), "{text}: {error}");
    }
}

#[test]
fn bad_templates_are_refused_with_their_line() {
    for (text, wanted) in [
        ("a\n{{ $foo }}", "template: t:2: undefined variable \"$foo\""),
        ("{{ nofunc 1 }}", "template: t:1: function \"nofunc\" not defined"),
        ("{{ if }}x{{ end }}", "template: t:1: missing value for if"),
        ("{{ if true }}", "template: t:1: unexpected EOF: {{if}} is not closed"),
        ("\n\n{{ end }}", "template: t:3: unexpected {{end}}"),
        ("{{ else }}", "template: t:1: unexpected {{else}}"),
        ("{{ $labels.x", "template: t:1: unclosed action"),
        ("{{ (1 }}", "template: t:1: unclosed left paren"),
        ("{{ 1 ) }}", "template: t:1: unexpected right paren"),
        ("{{ \"abc }}", "template: t:1: unterminated quoted string"),
        ("{{ }}", "template: t:1: missing value for command"),
        ("{{ 1 | 2 }}", "template: t:1: non executable command in pipeline stage 2"),
        ("{{ break }}", "template: t:1: {{break}} outside {{range}}"),
        ("{{ 1x }}", "template: t:1: bad number syntax: \"1x\""),
        ("{{/* a", "template: t:1: unclosed comment"),
        ("{{ range $a, $b, $c := . }}{{ end }}", "template: t:1: too many declarations in range"),
    ] {
        let error = Template::parse("t", text).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), wanted, "{text}");
    }
}

#[test]
fn errors_while_rendering_become_text() {
    let template = Template::parse("__alert_A", "{{ .Labels.a.b }}").unwrap();
    assert_eq!(
        template.expand(&data(1.0)),
        "<error expanding template: error executing template __alert_A: \
         can't evaluate field b in type string>"
    );
}

#[test]
fn no_template_runs_or_grows_without_end() {
    for text in [
        "{{ range 1000000 }}{{ range 1000000 }}x{{ end }}{{ end }}",
        "{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}",
        "{{ range 99999 }}{{ printf \"%1000d\" 1 }}{{ end }}",
    ] {
        assert!(render(text, 1.0).is_err(), "{text}");
    }
    let deep = "{{ if true }}".repeat(100) + &"{{ end }}".repeat(100);
    assert!(Template::parse("t", &deep).is_err());
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(1000), ")".repeat(1000));
    assert!(Template::parse("t", &deep).is_err());
}

#[test]
fn any_text_is_parsed_without_a_panic() {
    // Every prefix and every cut of a text with all there is.
    let text = "a{{- /* c */ -}}{{ with $x := query \"é\\u00b0\" | first }}{{ $x.Value | printf `%.2f` }}{{ else }}{{ index .Labels 'a' 0x1F }}{{ end }}";
    for (start, _) in text.char_indices() {
        let _ = Template::parse("t", &text[start..]).map(|t| t.expand(&data(1.0)));
        let _ = Template::parse("t", &text[..start]).map(|t| t.expand(&data(1.0)));
    }
}

proptest::proptest! {
    /// Whatever stands in a rule file, parsing and rendering it end, without a panic.
    #[test]
    fn any_mix_of_pieces_ends(parts in proptest::collection::vec(0..PIECES.len(), 0..25)) {
        let text: String = parts.iter().map(|at| PIECES[*at]).collect();
        if let Ok(template) = Template::parse("t", &text) {
            let _ = template.expand(&data(0.5));
        }
    }
}

const PIECES: [&str; 30] = [
    "{{",
    "}}",
    "{{-",
    " -}}",
    " ",
    "if ",
    "else",
    "{{end}}",
    "range ",
    "with ",
    "$labels",
    "$x := ",
    ".Value",
    ".a",
    "(",
    ")",
    " | ",
    "printf ",
    "\"%5.2f\"",
    "\"é\\n",
    "`",
    "/*",
    "*/",
    "1e3",
    "-0x1",
    "'a'",
    "index ",
    "eq ",
    "humanize ",
    "query \"m\"",
];

#[test]
fn what_is_too_long_is_not_printed_to_its_end() {
    let text = || Value::Text("x".repeat(OUTPUT_LEN_MAX / 2));
    let list = Value::List((0..9).map(|_| text()).collect());
    let map = Value::Map((0..9).map(|at| (at.to_string(), text())).collect());
    for value in [list, map] {
        let len = value.printed().len();
        assert!((OUTPUT_LEN_MAX + 1..=OUTPUT_LEN_MAX * 2).contains(&len), "{len}");
        let len = sprintf("%v %v", &[value.clone(), value]).len();
        assert!((OUTPUT_LEN_MAX + 1..=OUTPUT_LEN_MAX * 2).contains(&len), "{len}");
    }
}

#[test]
fn no_template_takes_the_memory_or_the_stack() {
    let doubling = "{{ $x := \"ab\" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}";
    assert!(render(doubling, 1.0).unwrap_err().contains("bytes of text"));
    let blown_up = "{{ $x := printf \"%900s\" \"\" }}{{ range 6 }}{{ $x = print $x $x }}{{ end }}\
                    {{ reReplaceAll \"\" $x $x }}";
    assert!(render(blown_up, 1.0).unwrap_err().contains("bytes of text"));
    let long = "{{ $x := printf \"%1000s\" \"\" }}{{ range 6 }}{{ $x = print $x $x }}{{ end }}";
    let printed = format!("{long}{{{{ args $x $x }}}}");
    assert!(render(&printed, 1.0).unwrap_err().contains("bytes of text"));
    let held = format!("{long}{{{{ $y := args {} }}}}", "$x ".repeat(5_000));
    assert!(render(&held, 1.0).unwrap_err().contains("bytes of values"));
    let mut wide = data(1.0);
    wide.labels.insert("wide".to_owned(), "x".repeat(60_000));
    let parts = 2_500;
    for text in [
        // Texts that functions give, labels, and variables that keep them.
        format!("{{{{ $x := args {} }}}}", "(print $labels.wide) ".repeat(parts)),
        format!("{{{{ $x := args {} }}}}", ".Labels ".repeat(parts)),
        "{{ $x := .Labels.wide }}".repeat(parts),
    ] {
        let template = Template::parse("t", &text).unwrap();
        let refused = template.render(&wide).unwrap_err();
        assert!(refused.contains("bytes of values"), "{text:.40}: {refused}");
    }
    let (open, close) = ("{{ if true }}".repeat(45), "{{ end }}".repeat(45));
    let endless = format!(
        "{{{{ define \"t\" }}}}{open}{{{{ template \"t\" . }}}}{close}{{{{ end }}}}{{{{ template \"t\" . }}}}"
    );
    assert!(render(&endless, 1.0).unwrap_err().contains("depth"));
}
