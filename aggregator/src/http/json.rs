//! JSON as the Prometheus API has it, written straight into a buffer.
//!
//! Results may hold a million samples; a tree of JSON values would take many times their memory.
//! So results are written here, piece by piece, and only small answers go through serde.

use std::ops::Range;

use labstat_model::{Histogram, Labels, Sample, Series, number};
use labstat_promql::{
    Answer, MixedSample, MixedSeries, MixedValue, Value, VectorSample, histogram_buckets,
};

/// Appends `text` as a JSON string.
pub(crate) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    // What need not be escaped, which is nearly always all, is copied as it is.
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = escaped.chars();
        chars.by_ref().take(1).for_each(|c| push_escaped(out, c));
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => {
            out.push_str("\\u00");
            out.push(char::from_digit(u32::from(c) >> 4, 16).unwrap_or('0'));
            out.push(char::from_digit(u32::from(c) & 15, 16).unwrap_or('0'));
        }
    }
}

/// Appends a time as seconds, with three decimals unless they are zero.
pub(crate) fn push_time(out: &mut String, time_ms: i64) {
    let magnitude = time_ms.unsigned_abs();
    if time_ms < 0 {
        out.push('-');
    }
    let mut digits = itoa::Buffer::new();
    out.push_str(digits.format(magnitude / 1000));
    let fraction = magnitude % 1000;
    if fraction != 0 {
        out.push('.');
        // A digit before them keeps leading zeros.
        out.push_str(digits.format(1000 + fraction).get(1..).unwrap_or_default());
    }
}

/// Appends a list, its items separated by commas.
pub(crate) fn push_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

/// Appends labels as an object.
pub(crate) fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

/// Appends `[seconds,"value"]`.
fn push_sample(out: &mut String, sample: Sample) {
    out.push('[');
    push_time(out, sample.time_ms);
    out.push_str(",\"");
    number::push_api(out, sample.value);
    out.push_str("\"]");
}

fn push_element(out: &mut String, element: &VectorSample) {
    out.push_str("{\"metric\":");
    push_labels(out, &element.labels);
    out.push_str(",\"value\":");
    push_sample(out, element.sample);
    out.push('}');
}

fn push_mixed_element(out: &mut String, MixedSample { labels, time_ms, value }: &MixedSample) {
    out.push_str("{\"metric\":");
    push_labels(out, labels);
    match value {
        MixedValue::Number(value) => {
            out.push_str(",\"value\":");
            push_sample(out, Sample { time_ms: *time_ms, value: *value });
        }
        MixedValue::Histogram(histogram) => {
            out.push_str(",\"histogram\":");
            push_histogram(out, *time_ms, histogram);
        }
    }
    out.push('}');
}

fn push_mixed_series(out: &mut String, MixedSeries { numbers, histograms }: &MixedSeries) {
    out.push_str("{\"metric\":");
    push_labels(out, &numbers.labels);
    if !numbers.is_empty() {
        out.push_str(",\"values\":");
        push_list(out, numbers.samples(), push_sample);
    }
    if !histograms.times.is_empty() {
        out.push_str(",\"histograms\":");
        push_list(out, histograms.samples(), |out, (time_ms, histogram)| {
            push_histogram(out, time_ms, histogram);
        });
    }
    out.push('}');
}

/// Appends `[seconds,{"count":"1","sum":"1","buckets":[[boundaries,"lower","upper","count"]]}]`;
/// buckets without observations are left out.
fn push_histogram(out: &mut String, time_ms: i64, histogram: &Histogram) {
    let push_number = |out: &mut String, value: f64| {
        out.push('"');
        number::push_api(out, value);
        out.push('"');
    };
    out.push('[');
    push_time(out, time_ms);
    out.push_str(",{\"count\":");
    push_number(out, histogram.count);
    out.push_str(",\"sum\":");
    push_number(out, histogram.sum);
    let mut buckets = histogram_buckets(histogram).filter(|bucket| bucket.count != 0.0).peekable();
    if buckets.peek().is_some() {
        out.push_str(",\"buckets\":");
        push_list(out, buckets, |out, bucket| {
            out.push('[');
            out.push_str(itoa::Buffer::new().format(bucket.boundaries as u8));
            for value in [bucket.lower, bucket.upper, bucket.count] {
                out.push(',');
                push_number(out, value);
            }
            out.push(']');
        });
    }
    out.push_str("}]");
}

/// Begins the `data` of a query with the type of its result, and writes results that are no list.
fn push_start(out: &mut String, value: &Value) {
    out.push_str("{\"resultType\":\"");
    match value {
        Value::Scalar(sample) => {
            out.push_str("scalar\",\"result\":[");
            push_time(out, sample.time_ms);
            out.push_str(",\"");
            // Other than those of series, as in Prometheus.
            number::push_f(out, sample.value);
            out.push_str("\"]");
        }
        Value::String { time_ms, text } => {
            out.push_str("string\",\"result\":[");
            push_time(out, *time_ms);
            out.push(',');
            push_text(out, text);
            out.push(']');
        }
        Value::Vector(_) | Value::MixedVector(_) => out.push_str("vector\",\"result\":["),
        Value::Matrix(_) | Value::MixedMatrix(_) => out.push_str("matrix\",\"result\":["),
    }
}

/// What is left to write of a list.
#[derive(Debug)]
enum Items {
    Vector(std::vec::IntoIter<VectorSample>),
    /// The series to come, and the one that is being written with the samples it still has: one
    /// series alone may have all the samples of an answer.
    Matrix(std::vec::IntoIter<Series>, Option<(Series, Range<usize>)>),
    MixedVector(std::vec::IntoIter<MixedSample>),
    MixedMatrix(std::vec::IntoIter<MixedSeries>),
}

impl Items {
    /// The memory of all.
    fn bytes(&self) -> usize {
        match self {
            Self::Vector(samples) => samples.as_slice().iter().map(element_bytes).sum(),
            Self::Matrix(series, _) => series.as_slice().iter().map(series_bytes).sum(),
            Self::MixedVector(samples) => samples.as_slice().iter().map(mixed_element_bytes).sum(),
            Self::MixedMatrix(series) => series.as_slice().iter().map(mixed_series_bytes).sum(),
        }
    }

    /// Appends the next item, or the next part of one; false when there is none. `any` says
    /// whether an item came before. What was written whole is taken off `bytes`.
    fn push_next(&mut self, out: &mut String, any: &mut bool, bytes: &mut usize) -> bool {
        match self {
            Self::Vector(samples) => {
                let Some(item) = samples.next() else { return false };
                push_comma(out, std::mem::replace(any, true));
                push_element(out, &item);
                *bytes = bytes.saturating_sub(element_bytes(&item));
            }
            Self::MixedVector(samples) => {
                let Some(item) = samples.next() else { return false };
                push_comma(out, std::mem::replace(any, true));
                push_mixed_element(out, &item);
                *bytes = bytes.saturating_sub(mixed_element_bytes(&item));
            }
            Self::MixedMatrix(series) => {
                let Some(item) = series.next() else { return false };
                push_comma(out, std::mem::replace(any, true));
                push_mixed_series(out, &item);
                *bytes = bytes.saturating_sub(mixed_series_bytes(&item));
            }
            Self::Matrix(_, writing @ Some(_)) => push_samples(out, writing, bytes),
            Self::Matrix(series, writing) => {
                let Some(next) = series.next() else { return false };
                push_comma(out, std::mem::replace(any, true));
                out.push_str("{\"metric\":");
                push_labels(out, &next.labels);
                out.push_str(",\"values\":[");
                let left = 0..next.len();
                *writing = Some((next, left));
            }
        }
        true
    }
}

fn push_comma(out: &mut String, wanted: bool) {
    if wanted {
        out.push(',');
    }
}

/// Appends some samples of a series; the last ones close it and give its memory free.
fn push_samples(out: &mut String, writing: &mut Option<(Series, Range<usize>)>, bytes: &mut usize) {
    let Some((series, left)) = writing else { return };
    for at in left.by_ref().take(SAMPLES_AT_A_TIME) {
        if let (Some(time_ms), Some(value)) = (series.times.get(at), series.values.get(at)) {
            push_comma(out, at > 0);
            push_sample(out, Sample { time_ms: *time_ms, value: *value });
        }
    }
    if left.start >= left.end {
        out.push_str("]}");
        *bytes = bytes.saturating_sub(series_bytes(series));
        *writing = None;
    }
}

/// The memory of labels, as if no others shared it.
fn labels_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
}

fn element_bytes(element: &VectorSample) -> usize {
    size_of::<VectorSample>() + labels_bytes(&element.labels)
}

fn series_bytes(series: &Series) -> usize {
    size_of::<Series>() + labels_bytes(&series.labels) + series.len() * size_of::<Sample>()
}

fn mixed_element_bytes(element: &MixedSample) -> usize {
    let histogram = match &element.value {
        MixedValue::Number(_) => 0,
        MixedValue::Histogram(histogram) => histogram_bytes(histogram),
    };
    size_of::<MixedSample>() + labels_bytes(&element.labels) + histogram
}

fn mixed_series_bytes(series: &MixedSeries) -> usize {
    let histograms = series.histograms.samples().map(|(_, histogram)| histogram_bytes(histogram));
    series_bytes(&series.numbers) + histograms.sum::<usize>()
}

fn histogram_bytes(histogram: &Histogram) -> usize {
    size_of::<Histogram>() + histogram_buckets(histogram).count() * size_of::<Sample>()
}

/// The whole answer to a query, in pieces of [`PIECE_LEN`] or a little more: as text it takes
/// twice the memory of its samples, which are given free as they are written.
#[derive(Debug)]
pub(crate) struct AnswerText {
    start: String,
    items: Option<Items>,
    /// The memory of what is left.
    left_bytes: usize,
    /// Whether an item was written, so that the next needs a comma.
    any: bool,
    end: Option<String>,
}

/// Bytes of a piece of an answer.
const PIECE_LEN: usize = 128 * 1024;

/// Samples that are appended before the length of a piece is looked at.
const SAMPLES_AT_A_TIME: usize = 1024;

impl Iterator for AnswerText {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.end.as_ref()?;
        let mut piece = std::mem::take(&mut self.start);
        if self.any {
            // What follows a whole piece is mostly one, too.
            piece.reserve(PIECE_LEN + PIECE_LEN / 4);
        }
        while piece.len() < PIECE_LEN {
            let (any, left) = (&mut self.any, &mut self.left_bytes);
            if !self.items.as_mut().is_some_and(|items| items.push_next(&mut piece, any, left)) {
                piece.push_str(&self.end.take().unwrap_or_default());
                break;
            }
        }
        Some(piece)
    }
}

impl AnswerText {
    /// The memory of what is not yet written, about.
    pub(crate) fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    /// Whether all is written.
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_none()
    }

    /// The same, with what the query took beside its result.
    pub(crate) fn with_stats(mut self, stats: &str) -> Self {
        if let Some(end) = &mut self.end {
            *end = end.replacen('}', &format!(",\"stats\":{stats}}}"), 1);
        }
        self
    }
}

/// The whole answer to a query. At most `limit` series of it, when that is not 0.
pub(crate) fn answer(answer: Answer, limit: usize) -> AnswerText {
    let Answer { mut value, mut warnings, infos } = answer;
    let cut = limit > 0
        && match &mut value {
            Value::Vector(samples) => truncate(samples, limit),
            Value::Matrix(series) => truncate(series, limit),
            Value::MixedVector(samples) => truncate(samples, limit),
            Value::MixedMatrix(series) => truncate(series, limit),
            Value::Scalar(_) | Value::String { .. } => false,
        };
    if cut {
        warnings.push(TRUNCATED.to_owned());
    }
    let mut start = START.to_owned();
    push_start(&mut start, &value);
    let items = match value {
        Value::Vector(samples) => Some(Items::Vector(samples.into_iter())),
        Value::Matrix(series) => Some(Items::Matrix(series.into_iter(), None)),
        Value::MixedVector(samples) => Some(Items::MixedVector(samples.into_iter())),
        Value::MixedMatrix(series) => Some(Items::MixedMatrix(series.into_iter())),
        Value::Scalar(_) | Value::String { .. } => None,
    };
    let mut end = if items.is_some() { "]}".to_owned() } else { "}".to_owned() };
    push_notes(&mut end, &warnings, &infos);
    let left_bytes = items.as_ref().map_or(0, Items::bytes);
    AnswerText { start, items, left_bytes, any: false, end: Some(end) }
}

/// What Prometheus says when an answer was cut to the limit that was asked for.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// Cuts to `limit` items; whether there were more.
pub(crate) fn truncate<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let cut = items.len() > limit;
    items.truncate(limit);
    cut
}

/// How a successful answer begins.
const START: &str = "{\"status\":\"success\",\"data\":";

/// A successful answer around the data that `push` writes.
pub(crate) fn envelope(
    push: impl FnOnce(&mut String),
    warnings: &[String],
    infos: &[String],
) -> String {
    let mut out = START.to_owned();
    push(&mut out);
    push_notes(&mut out, warnings, infos);
    out
}

/// Ends a successful answer after its data.
fn push_notes(out: &mut String, warnings: &[String], infos: &[String]) {
    for (name, notes) in [("warnings", warnings), ("infos", infos)] {
        if !notes.is_empty() {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            push_list(out, notes, |out, note| push_text(out, note));
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(of: Answer, limit: usize) -> String {
        super::answer(of, limit).collect()
    }

    fn value_answer(value: Value) -> Answer {
        Answer { value, warnings: Vec::new(), infos: Vec::new() }
    }

    #[test]
    fn each_type_has_the_shape_of_prometheus() {
        let sample = Sample { time_ms: 1_767_275_100_500, value: f64::INFINITY };
        let scalar = answer(value_answer(Value::Scalar(sample)), 0);
        assert_eq!(
            scalar,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1767275100.500,"+Inf"]}}"#
        );
        for (value, text) in [(1e-7, "0.0000001"), (-1e22, "-10000000000000000000000")] {
            let scalar = Value::Scalar(Sample { time_ms: 0, value });
            let found = answer(value_answer(scalar), 0);
            assert!(
                found.contains(&format!("[0,\"{text}\"]")),
                "scalars have no exponent: {found}"
            );
        }
        let empty = answer(value_answer(Value::Vector(Vec::new())), 0);
        assert_eq!(empty, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
        let text = Value::String { time_ms: 4000, text: "a\"\n\u{1}".to_owned() };
        assert_eq!(
            answer(value_answer(text), 0),
            r#"{"status":"success","data":{"resultType":"string","result":[4,"a\"\n\u0001"]}}"#
        );
    }

    #[test]
    fn series_and_notes_are_written_and_cut() {
        let mut one = Series::new(Labels::new([("__name__", "up"), ("job", "a")]));
        one.push(-1, 1.0);
        one.push(1000, f64::NAN);
        let two = Series::new(Labels::default());
        let mut full = value_answer(Value::Matrix(vec![one, two]));
        full.infos.push("look".to_owned());
        assert_eq!(
            answer(full, 1),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[-0.001,"1"],[1,"NaN"]]}]},"warnings":["results truncated due to limit"],"infos":["look"]}"#
        );
        let sample = Sample { time_ms: 0, value: 2.0 };
        let vector = Value::Vector(vec![VectorSample { labels: Labels::default(), sample }]);
        assert!(answer(value_answer(vector), 1).contains(r#"[{"metric":{},"value":[0,"2"]}]"#));
    }

    #[test]
    fn histograms_are_written_with_their_buckets() {
        let bucket = |index, count| labstat_model::BucketCount { index, count };
        let histogram = Histogram {
            count: 6.0,
            sum: f64::NAN,
            zero_count: 1.0,
            zero_threshold: 0.5,
            positive: vec![bucket(1, 2.0), bucket(2, 0.0)],
            negative: vec![bucket(3, 3.0)],
            ..Histogram::default()
        };
        let text = r#"{"count":"6","sum":"NaN","buckets":[[1,"-8","-4","3"],[3,"-0.5","0.5","1"],[0,"1","2","2"]]}"#;
        let value = MixedValue::Histogram(histogram.clone().into());
        let labels = Labels::new([("a", "b")]);
        let one = MixedSample { labels: labels.clone(), time_ms: 1500, value };
        let number = MixedValue::Number(2.0);
        let two = MixedSample { labels: Labels::default(), time_ms: 1000, value: number };
        let vector = answer(value_answer(Value::MixedVector(vec![one, two])), 0);
        let wanted = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"a":"b"}},"histogram":[1.500,{text}]}},{{"metric":{{}},"value":[1,"2"]}}]}}}}"#
        );
        assert_eq!(vector, wanted);
        let mut histograms = labstat_model::HistogramSeries::new(labels.clone());
        histograms.push(2000, histogram);
        histograms.push(3000, Histogram::default());
        let mut numbers = Series::new(labels);
        numbers.push(1000, 1.0);
        let one = MixedSeries { numbers, histograms };
        let matrix = answer(value_answer(Value::MixedMatrix(vec![one.clone(), one])), 1);
        let wanted = format!(
            r#""result":[{{"metric":{{"a":"b"}},"values":[[1,"1"]],"histograms":[[2,{text}],[3,{{"count":"0","sum":"0"}}]]}}]}}"#
        );
        assert!(matrix.contains(&wanted), "{matrix}");
    }

    #[test]
    fn long_answers_come_in_pieces_and_are_one_text() {
        let mut series = Series::new(Labels::new([("__name__", "up")]));
        (0..1_000).for_each(|time_ms| series.push(time_ms * 1_000, 0.5));
        let mut long = series.clone();
        (1_000..50_000).for_each(|time_ms| long.push(time_ms * 1_000, 0.5));
        let one: Vec<String> = super::answer(value_answer(Value::Matrix(vec![long])), 0).collect();
        assert!(one.len() > 3 && one.iter().all(|piece| piece.len() < 2 * PIECE_LEN));
        let json: serde_json::Value = serde_json::from_str(&one.concat()).unwrap();
        assert_eq!(json["data"]["result"][0]["values"].as_array().unwrap().len(), 50_000);
        let matrix = value_answer(Value::Matrix(vec![series; 50]));
        let pieces: Vec<String> = super::answer(matrix, 0).collect();
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() < 2 * PIECE_LEN));
        let json: serde_json::Value = serde_json::from_str(&pieces.concat()).unwrap();
        let result = json["data"]["result"].as_array().unwrap();
        assert_eq!(result.len(), 50);
        assert!(result.iter().all(|series| series["values"].as_array().unwrap().len() == 1_000));
    }

    #[test]
    fn times_are_seconds_with_all_their_milliseconds() {
        for (time_ms, text) in [
            (0, "0"),
            (1_111, "1.111"),
            (-1_001, "-1.001"),
            (999, "0.999"),
            (10, "0.010"),
            (1_767_275_100_000, "1767275100"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            let mut out = String::new();
            push_time(&mut out, time_ms);
            assert_eq!(out, text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_valid_json(text in any::<String>()) {
            let mut out = String::new();
            push_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
