//! Answers in one form, whoever gave them, and what is different between two.

use std::collections::BTreeMap;

use labstat_model::Sample;
use serde_json::Value as Json;

/// Values may differ by this part of themselves: sums are taken in different orders, and
/// logarithms come from different libraries.
pub(crate) const TOLERANCE: f64 = 1e-9;

pub(crate) type Pairs = BTreeMap<String, String>;

/// What a side says to a query.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `vector`, `matrix`, … or the error's type.
    pub(crate) kind: Result<String, String>,
    /// The status, where HTTP was spoken.
    pub(crate) status: Option<u16>,
    /// The text of an error.
    pub(crate) error: String,
    pub(crate) series: Vec<(Pairs, Vec<Sample>)>,
    pub(crate) text: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Answer {
    pub(crate) fn failed(kind: &str, error: String) -> Self {
        Self { kind: Err(kind.to_owned()), error, ..Self::empty(String::new()) }
    }

    pub(crate) fn empty(kind: String) -> Self {
        Self {
            kind: Ok(kind),
            status: None,
            error: String::new(),
            series: Vec::new(),
            text: String::new(),
            warnings: Vec::new(),
            infos: Vec::new(),
        }
    }

    /// The body of an answer of the Prometheus API.
    pub(crate) fn of_json(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<Json>(body) else {
            return Self::failed("no JSON", String::from_utf8_lossy(body).into_owned());
        };
        if json["status"] != "success" {
            return Self::failed(&text(&json["errorType"]), text(&json["error"]));
        }
        let data = &json["data"];
        let mut answer = Self::empty(text(&data["resultType"]));
        match data["resultType"].as_str() {
            Some("scalar") => answer.series.push((Pairs::new(), vec![sample(&data["result"])])),
            Some("string") => answer.text = text(&data["result"][1]),
            _ => {
                for series in data["result"].as_array().into_iter().flatten() {
                    let samples = match series["values"].as_array() {
                        Some(values) => values.iter().map(sample).collect(),
                        None => vec![sample(&series["value"])],
                    };
                    answer.series.push((pairs(&series["metric"]), samples));
                }
            }
        }
        answer.warnings = texts(&json["warnings"]);
        answer.infos = texts(&json["infos"]);
        answer
    }
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn texts(json: &Json) -> Vec<String> {
    json.as_array().into_iter().flatten().map(text).collect()
}

fn pairs(json: &Json) -> Pairs {
    let pair = |(name, value): (&String, &Json)| (name.clone(), text(value));
    json.as_object().into_iter().flatten().map(pair).collect()
}

fn sample(json: &Json) -> Sample {
    let time_ms = (json[0].as_f64().unwrap_or(f64::NAN) * 1000.0).round() as i64;
    let value = match json[1].as_str().unwrap_or("?") {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
    };
    Sample { time_ms, value }
}

/// Which order of a vector's elements counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    None,
    /// That of the label sets.
    Labels,
    /// That of the values: which of two equal ones comes first is nobody's promise.
    Values,
}

/// How much alike two answers have to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Values may differ by this part of themselves; by no bit where it is zero.
    pub(crate) tolerance: f64,
    pub(crate) order: Order,
    /// Whether errors of execution have the same words, down to the first brace: what stands in it
    /// depends on which series is looked at first.
    pub(crate) words: bool,
}

/// What stands before the error of a query where it came over HTTP.
const PARAMETER: &str = "invalid parameter \"query\": ";

/// What is wrong with a query, in the words that are compared.
fn read(answer: &Answer) -> String {
    let error = answer.error.rsplit(PARAMETER).next().unwrap_or_default();
    // The place of the operator, which Prometheus 3.5 loses after parentheses in a duration.
    if ["must not occur in ON and GROUP clause at once", "must use BOOL modifier"]
        .iter()
        .any(|end| error.ends_with(end))
    {
        return error.split("parse error").last().unwrap_or_default().to_owned();
    }
    // A token that has no name there: `"<Item 57400>" <op:@>`.
    match (error.find("\"<Item "), error.find(">\" ")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &error[..from], &error[to + 3..]),
        _ => error.to_owned(),
    }
}

/// Where Prometheus 3.5 fails at a query, or reads one that is none: its parser broke down; it
/// loses a text in parentheses; it takes any character behind a range for a colon; and NaN or less
/// than a millisecond for a duration. And a comma at the wrong place, of which it speaks now so,
/// now so.
fn is_oddity(wanted: &Answer, found: &Answer) -> bool {
    wanted.error.ends_with("parameter \"query\": unexpected error")
        || wanted.error.contains("unexpected result in StepInvariantExpr evaluation")
        || wanted.error.ends_with("unexpected character in duration expression: ','")
        || found.error.ends_with("expected ':'")
        || ((found.error.ends_with("duration out of range")
            || found.error.ends_with("duration must be greater than 0"))
            && !wanted.error.contains("parse error"))
}

/// What is different, one line each; nothing when the two are equal.
pub(crate) fn differences(rules: Rules, wanted: &Answer, found: &Answer) -> Vec<String> {
    let tolerance = rules.tolerance;
    if is_oddity(wanted, found) {
        return Vec::new();
    }
    if wanted.kind != found.kind {
        return vec![format!(
            "wanted {:?} {}, found {:?} {}",
            wanted.kind, wanted.error, found.kind, found.error
        )];
    }
    let mut lines = Vec::new();
    let words = |answer: &Answer| match rules.words {
        true => answer.error.clone(),
        false => answer.error.split('{').next().unwrap_or_default().to_owned(),
    };
    // labstat may go on to say what to write instead.
    if wanted.kind == Err("bad_data".to_owned()) && !read(found).starts_with(&read(wanted)) {
        lines.push(format!("wanted {:?}, found {:?}", wanted.error, found.error));
    }
    // Which of the two it is depends on the step that is looked at first.
    let is_many = |answer: &Answer| {
        ["multiple matches for labels: many", "found duplicate series for the match group"]
            .iter()
            .any(|text| answer.error.starts_with(text))
    };
    let excused = !rules.words && is_many(wanted) && is_many(found);
    if wanted.kind == Err("execution".to_owned()) && words(wanted) != words(found) && !excused {
        lines.push(format!("wanted {:?}, found {:?}", wanted.error, found.error));
    }
    if let (Some(wanted), Some(found)) = (wanted.status, found.status)
        && wanted != found
    {
        lines.push(format!("wanted status {wanted}, found {found}"));
    }
    if wanted.text != found.text {
        lines.push(format!("wanted {:?}, found {:?}", wanted.text, found.text));
    }
    for (what, wanted, found) in
        [("warnings", &wanted.warnings, &found.warnings), ("infos", &wanted.infos, &found.infos)]
    {
        let (mut wanted, mut found) = (wanted.clone(), found.clone());
        // In a range Prometheus forgets the name of a metric after the first step and then makes
        // the same remark about no name.
        for remarks in [&mut wanted, &mut found] {
            remarks.retain(|remark| !remark.contains("for metric name \"\""));
        }
        // Of many remarks Prometheus says ten, whichever. Those about a parameter it makes only at
        // steps at which there is something to apply it to.
        if let (wanted, Some(_)) = remarks_len(&wanted) {
            let (found, _) = remarks_len(&found);
            if found < wanted {
                lines.push(format!("{what}: wanted {wanted} in all, found {found}"));
            }
            continue;
        }
        wanted.sort();
        found.sort();
        if wanted != found {
            lines.push(format!("{what}: wanted {wanted:?}, found {found:?}"));
        }
    }
    let labels = |answer: &Answer| answer.series.iter().map(|(l, _)| l.clone()).collect::<Vec<_>>();
    let by_labels = rules.order == Order::Labels || wanted.kind.as_deref() == Ok("matrix");
    if by_labels && labels(wanted) != labels(found) {
        lines.push(format!("order: wanted {:?}, found {:?}", labels(wanted), labels(found)));
    }
    let values = |answer: &Answer| -> Vec<f64> {
        answer.series.iter().flat_map(|(_, samples)| samples.iter().map(|s| s.value)).collect()
    };
    let in_turn = |(a, b): (&f64, &f64)| close(tolerance, *a, *b);
    if rules.order == Order::Values && !values(wanted).iter().zip(&values(found)).all(in_turn) {
        lines.push(format!("order: wanted {:?}, found {:?}", values(wanted), values(found)));
    }
    lines.extend(series_differences(tolerance, wanted, found));
    lines
}

/// How many remarks there are with those left out, and how many those are, if any.
fn remarks_len(remarks: &[String]) -> (usize, Option<usize>) {
    let omitted = |remark: &String| -> Option<usize> {
        remark.contains("annotations omitted").then(|| remark.split(' ').next()?.parse().ok())?
    };
    match remarks.iter().find_map(omitted) {
        Some(omitted) => (remarks.len() - 1 + omitted, Some(omitted)),
        None => (remarks.len(), None),
    }
}

fn series_differences(tolerance: f64, wanted: &Answer, found: &Answer) -> Vec<String> {
    let index = |answer: &Answer| answer.series.iter().cloned().collect::<BTreeMap<_, _>>();
    let (left, right) = (index(wanted), index(found));
    let mut lines = Vec::new();
    if right.len() != found.series.len() {
        lines.push("a label set appears twice".to_owned());
    }
    for (labels, samples) in &left {
        match right.get(labels) {
            None => lines.push(format!("missing {labels:?} of {} samples", samples.len())),
            Some(other) => lines.extend(sample_difference(tolerance, labels, samples, other)),
        }
    }
    let surplus = right.keys().filter(|labels| !left.contains_key(*labels));
    lines.extend(surplus.map(|labels| format!("surplus {labels:?}")));
    lines
}

fn sample_difference(
    tolerance: f64,
    labels: &Pairs,
    wanted: &[Sample],
    found: &[Sample],
) -> Option<String> {
    if wanted.len() != found.len() {
        let (wanted, found) = (wanted.len(), found.len());
        return Some(format!("{labels:?}: wanted {wanted} samples, found {found}"));
    }
    let differs =
        |(a, b): &(&Sample, &Sample)| a.time_ms != b.time_ms || !close(tolerance, a.value, b.value);
    let (a, b) = wanted.iter().zip(found).find(differs)?;
    Some(format!(
        "{labels:?}: wanted {} at {}, found {} at {}",
        a.value, a.time_ms, b.value, b.time_ms
    ))
}

fn close(tolerance: f64, a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if tolerance == 0.0 {
        return a.to_bits() == b.to_bits();
    }
    a == b || (a - b).abs() <= tolerance * a.abs().max(b.abs())
}
