//! The text exposition format 0.0.4, written.
//!
//! Whatever order samples come in, the text is the same: families ascend by name, each under its
//! `# HELP` and `# TYPE`, and the lines of a family ascend by their labels, buckets and quantiles
//! by their number. The format asks that a family stands in one block and each series once; both
//! are seen to here, since a scraper refuses a whole page that breaks them.
//!
//! The format knows only classic names. Characters that it does not know become `_`, as
//! Prometheus itself escapes names for scrapers that know no others. Names that are the same then
//! count as the same.
//!
//! Source: the Prometheus documentation, "Exposition formats".

use std::borrow::Cow;
use std::cmp::Ordering;

use labstat_model::{
    Batch, BatchSample, Family, Kind, LabelsRef, METRIC_NAME, is_label_name, is_metric_name,
    is_stale, number,
};

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One line of the text.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The family it stands under.
    pub family: &'a Family,
    /// The labels. Where they hold a `__name__`, the line has that name (`x_bucket` of a family
    /// `x`), else the family's.
    pub labels: LabelsRef<'a>,
    /// The value. A stale marker is no value: its row is left out.
    pub value: f64,
    /// When the value was measured, in milliseconds since the Unix epoch; `None` means now and
    /// writes nothing.
    pub time_ms: Option<i64>,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Lines written.
    pub samples: usize,
    /// Rows left out because their series was written already.
    pub duplicates: usize,
}

impl<'a> Row<'a> {
    /// The name its line has.
    fn name(&self) -> Cow<'a, str> {
        classic(self.labels.get(METRIC_NAME).unwrap_or(&self.family.name), is_metric_name)
    }

    /// The name its family's header has.
    fn family_name(&self) -> Cow<'a, str> {
        classic(&self.family.name, is_metric_name)
    }

    /// The labels its line has. Of two whose names are the same once escaped, the one that needs
    /// no escape is kept, or else the first.
    fn labels(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        let all = self.labels;
        all.iter().filter(|(name, _)| *name != METRIC_NAME).filter_map(move |(name, value)| {
            let escaped = classic(name, is_label_name);
            let is_taken = || {
                let mut before = all.iter().take_while(|(other, _)| *other != name);
                all.get(&escaped).is_some()
                    || before.any(|(other, _)| classic(other, is_label_name) == escaped)
            };
            let is_superseded = matches!(escaped, Cow::Owned(_)) && is_taken();
            (!is_superseded).then_some((escaped, value))
        })
    }
}

impl<'a> From<BatchSample<'a>> for Row<'a> {
    fn from(sample: BatchSample<'a>) -> Self {
        let BatchSample { family, labels, value } = sample;
        Self { family, labels, value, time_ms: None }
    }
}

/// Appends the samples of `batches` to `out`.
pub fn write_batches<'a>(
    out: &mut String,
    batches: impl IntoIterator<Item = &'a Batch>,
) -> Written {
    write(out, batches.into_iter().flat_map(Batch::iter).map(Row::from))
}

/// Appends `rows` to `out`. Of two rows of the same series the first is written; help and type of
/// a family are those of its first row, or of the first that has a help text.
pub fn write<'a>(out: &mut String, rows: impl IntoIterator<Item = Row<'a>>) -> Written {
    write_with(out, rows, None)
}

/// As [`write()`], but a line that has no label of the name `wanted` gets an empty one: so a scraper
/// that would add that label of its own is told not to.
pub fn write_with<'a>(
    out: &mut String,
    rows: impl IntoIterator<Item = Row<'a>>,
    wanted: Option<&str>,
) -> Written {
    let rows: Vec<Row<'_>> = rows.into_iter().filter(|row| !is_stale(row.value)).collect();
    // Rows of one family mostly come in a row, so that whole blocks are sorted by the name.
    let mut blocks: Vec<(Cow<'_, str>, &[Row<'_>])> = rows
        .chunk_by(|a, b| a.family.name == b.family.name)
        .filter_map(|block| Some((block.first()?.family_name(), block)))
        .collect();
    // Both sorts are stable: what decides between equal rows is the order they came in.
    blocks.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut written = Written::default();
    let mut family: Vec<Row<'_>> = Vec::new();
    for blocks in blocks.chunk_by(|(a, _), (b, _)| a == b) {
        family.clear();
        family.extend(blocks.iter().flat_map(|(_, block)| *block));
        family.sort_by(compare);
        write_header(out, &family);
        let mut last: Option<&Row<'_>> = None;
        for row in &family {
            if last.is_some_and(|last| compare(last, row) == Ordering::Equal) {
                written.duplicates += 1;
                continue;
            }
            write_line(out, row, wanted);
            written.samples += 1;
            last = Some(row);
        }
    }
    written
}

fn write_header(out: &mut String, rows: &[Row<'_>]) {
    let Some(first) = rows.first() else { return };
    let family = rows.iter().map(|row| row.family).find(|family| !family.help.is_empty());
    let Family { name, kind, help } = family.unwrap_or(first.family);
    let name = classic(name, is_metric_name);
    if !help.is_empty() {
        out.push_str("# HELP ");
        out.push_str(&name);
        out.push(' ');
        push_escaped(out, help, false);
        out.push('\n');
    }
    out.push_str("# TYPE ");
    out.push_str(&name);
    out.push(' ');
    out.push_str(kind.as_str());
    out.push('\n');
}

fn write_line(out: &mut String, row: &Row<'_>, wanted: Option<&str>) {
    out.push_str(&row.name());
    let mut opened = false;
    let wanted = wanted.filter(|name| row.labels.get(name).is_none());
    for (name, value) in row.labels().chain(wanted.map(|name| (Cow::Borrowed(name), ""))) {
        out.push(if opened { ',' } else { '{' });
        opened = true;
        out.push_str(&name);
        out.push_str("=\"");
        push_escaped(out, value, true);
        out.push('"');
    }
    if opened {
        out.push('}');
    }
    out.push(' ');
    number::push_g(out, row.value);
    if let Some(time_ms) = row.time_ms {
        out.push(' ');
        out.push_str(&time_ms.to_string());
    }
    out.push('\n');
}

/// The order of a family's lines; equal for lines of the same series.
fn compare(a: &Row<'_>, b: &Row<'_>) -> Ordering {
    // Buckets of one histogram stand together and ascend by their bound, as a number.
    let bound = match a.family.kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        Kind::Counter | Kind::Gauge | Kind::Untyped => METRIC_NAME,
    };
    let own = |(name, _): &(Cow<'_, str>, &str)| name != bound;
    a.name()
        .cmp(&b.name())
        .then_with(|| a.labels().filter(own).cmp(b.labels().filter(own)))
        .then_with(|| match bound {
            METRIC_NAME => Ordering::Equal,
            _ => compare_numbers(a.labels.get(bound), b.labels.get(bound)),
        })
}

fn compare_numbers(a: Option<&str>, b: Option<&str>) -> Ordering {
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    number(a).total_cmp(&number(b)).then_with(|| a.cmp(&b))
}

/// `name` where it has the classic form, else with `_` for each character that breaks it.
fn classic(name: &str, is_classic: fn(&str) -> bool) -> Cow<'_, str> {
    if is_classic(name) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 1);
    for c in name.chars() {
        let mut utf8 = [0; 4];
        // A digit is fine anywhere but in front, so it is asked about behind a letter.
        let fine =
            c.is_ascii_digit() && !escaped.is_empty() || is_classic(c.encode_utf8(&mut utf8));
        escaped.push(if fine { c } else { '_' });
    }
    if escaped.is_empty() {
        escaped.push('_');
    }
    Cow::Owned(escaped)
}

fn push_escaped(out: &mut String, text: &str, quote: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quote => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use labstat_model::{Labels, stale_marker};
    use proptest::prelude::*;

    use super::*;

    static LOAD: Family = Family::gauge("demo_load", "Load, in \"tasks\"\\s.\nSecond line.");
    static BYTES: Family = Family::counter("demo_bytes_total", "Bytes.");

    fn text(rows: &[Row<'_>]) -> String {
        let mut out = String::new();
        write(&mut out, rows.iter().copied());
        out
    }

    #[test]
    fn families_stand_together_and_ascend() {
        let mut one = Batch::new();
        one.push(&LOAD, &[], 0.5);
        one.push(&BYTES, &[("dev", "b\"\\\n")], 1e6);
        let mut two = Batch::new();
        two.push(&BYTES, &[("dev", "a")], 3.0);
        let mut out = String::new();
        let written = write_batches(&mut out, [&one, &two]);
        assert_eq!(
            out,
            "# HELP demo_bytes_total Bytes.\n\
             # TYPE demo_bytes_total counter\n\
             demo_bytes_total{dev=\"a\"} 3\n\
             demo_bytes_total{dev=\"b\\\"\\\\\\n\"} 1e+06\n\
             # HELP demo_load Load, in \"tasks\"\\\\s.\\nSecond line.\n\
             # TYPE demo_load gauge\n\
             demo_load 0.5\n"
        );
        assert_eq!(written, Written { samples: 3, duplicates: 0 });
    }

    #[test]
    fn a_series_is_written_once_and_an_ended_one_not_at_all() {
        let mut batch = Batch::new();
        batch.push(&LOAD, &[("a", "1")], 1.0);
        batch.push(&LOAD, &[("a", "2")], stale_marker());
        batch.push(&LOAD, &[("a", "1")], 2.0);
        let mut out = String::new();
        let written = write_batches(&mut out, [&batch]);
        assert!(out.ends_with("\ndemo_load{a=\"1\"} 1\n"), "{out}");
        assert_eq!(written, Written { samples: 1, duplicates: 1 });
        let mut out = String::new();
        batch.clear();
        batch.push(&BYTES, &[], stale_marker());
        write_batches(&mut out, [&batch]);
        assert_eq!(out, "", "no header without a line");
    }

    #[test]
    fn rows_carry_their_own_name_and_time() {
        let family = Family::untyped("demo", "");
        let labels = Labels::new([("__name__", "demo_sum"), ("job", "x")]);
        let row = Row {
            family: &family,
            labels: labels.as_ref(),
            value: f64::NAN,
            time_ms: Some(1_700_000_000_123),
        };
        assert_eq!(text(&[row]), "# TYPE demo untyped\ndemo_sum{job=\"x\"} NaN 1700000000123\n");
    }

    #[test]
    fn buckets_ascend_by_number() {
        let family = Family::dynamic("h".to_owned(), Kind::Histogram, "H.");
        let labels: Vec<Labels> = [("+Inf", "a"), ("10", "b"), ("9", "a"), ("10", "a")]
            .iter()
            .map(|(le, z)| Labels::new([("__name__", "h_bucket"), ("le", *le), ("z", *z)]))
            .collect();
        let rows: Vec<Row<'_>> = labels
            .iter()
            .map(|labels| Row {
                family: &family,
                labels: labels.as_ref(),
                value: 1.0,
                time_ms: None,
            })
            .collect();
        let text = text(&rows);
        let order: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            order,
            [
                "h_bucket{le=\"9\",z=\"a\"} 1",
                "h_bucket{le=\"10\",z=\"a\"} 1",
                "h_bucket{le=\"+Inf\",z=\"a\"} 1",
                "h_bucket{le=\"10\",z=\"b\"} 1",
            ]
        );
    }

    #[test]
    fn names_outside_the_format_are_escaped() {
        let family = Family::untyped("2.http·x:y", "");
        let labels = Labels::new([("a.b", "1"), ("1", "2")]);
        let row = Row { family: &family, labels: labels.as_ref(), value: 1.0, time_ms: None };
        assert_eq!(
            text(&[row]),
            "# TYPE _.http_x:y untyped\n_.http_x:y{_=\"2\",a_b=\"1\"} 1\n".replace('.', "_")
        );
    }

    /// A scraper refuses a whole page for one family or series that is there twice.
    #[test]
    fn names_that_are_the_same_once_escaped_are_the_same() {
        let families = [Family::untyped("a.b", ""), Family::untyped("a_b", "")];
        let labels = [
            Labels::new([("x.y", "1")]),
            Labels::new([("x_y", "1")]),
            Labels::new([("x.y", "2"), ("x-y", "3"), ("x_y", "4")]),
            Labels::new([("x.y", "5"), ("x-y", "6")]),
        ];
        let rows: Vec<Row<'_>> = families
            .iter()
            .flat_map(|family| {
                labels.iter().map(move |labels| Row {
                    family,
                    labels: labels.as_ref(),
                    value: 1.0,
                    time_ms: None,
                })
            })
            .collect();
        assert_eq!(
            text(&rows),
            "# TYPE a_b untyped\na_b{x_y=\"1\"} 1\na_b{x_y=\"4\"} 1\na_b{x_y=\"6\"} 1\n"
        );
    }

    /// promtool, where it is installed or was fetched by `.ci/peers`.
    fn promtool() -> Option<PathBuf> {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/bin/promtool");
        [PathBuf::from("/usr/bin/promtool"), fetched].into_iter().find(|path| path.exists())
    }

    #[test]
    fn promtool_finds_nothing_wrong() {
        let Some(promtool) = promtool() else {
            println!("SKIPPED: promtool is not here (package prometheus, or .ci/peers)");
            return;
        };
        static SECONDS: Family = Family::gauge("demo_seconds", "Tab\tand \\ and \"quotes\".");
        let histogram =
            Family::dynamic("demo_latency_seconds".to_owned(), Kind::Histogram, "Latency.");
        let mut batch = Batch::new();
        for (value, label) in [(f64::NAN, "ä\n\"\\"), (f64::INFINITY, "x"), (1e-9, "{},=")] {
            batch.push(&SECONDS, &[("label", label)], value);
            batch.push(&BYTES, &[("device", label)], value);
        }
        let lines =
            [("bucket", "0.5", 1.0), ("bucket", "+Inf", 2.0), ("sum", "", 2.5), ("count", "", 2.0)];
        let labels = lines.map(|(part, le, value)| {
            let name = format!("demo_latency_seconds_{part}");
            (Labels::new([("__name__", &*name), ("le", le)]), value)
        });
        let rows = labels.iter().map(|(labels, value)| Row {
            family: &histogram,
            labels: labels.as_ref(),
            value: *value,
            time_ms: None,
        });
        let mut out = String::new();
        write(&mut out, batch.iter().map(Row::from).chain(rows));

        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(out.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}\n{out}");
    }

    proptest! {
        /// The order rows come in does not show, and a line is a line whatever the labels hold.
        #[test]
        fn order_does_not_matter(
            rows in prop::collection::btree_map(("[ab]{1,2}", "\\PC{0,5}\n?"), any::<f64>(), 0..12),
        ) {
            let rows: Vec<_> = rows
                .into_iter()
                .filter(|(_, value)| !is_stale(*value))
                .map(|((name, label), value)| {
                    (Family::dynamic(name, Kind::Gauge, "X."), Labels::new([("l", &*label)]), value)
                })
                .collect();
            let row = |(family, labels, value): &'_ (Family, Labels, f64)| {
                (family.clone(), labels.clone(), *value)
            };
            let shuffled: Vec<_> = rows.iter().rev().map(row).collect();
            let write_all = |rows: &[(Family, Labels, f64)]| {
                let mut out = String::new();
                let written = write(&mut out, rows.iter().map(|(family, labels, value)| {
                    Row { family, labels: labels.as_ref(), value: *value, time_ms: None }
                }));
                (out, written)
            };
            let (text, written) = write_all(&rows);
            prop_assert_eq!(&text, &write_all(&shuffled).0);
            prop_assert_eq!(written.samples, rows.len());
            let lines = text.lines().filter(|line| !line.starts_with('#')).count();
            prop_assert_eq!(lines, rows.len());
        }
    }
}
