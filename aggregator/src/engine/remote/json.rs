//! What other engines answer, read as it comes: the lists of the Prometheus API element by element.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use labstat_model::{Kind, Labels, Metadata, Series, stale_marker};
use labstat_store::Stats;
use serde::Deserialize;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::Value;

/// Why an answer was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It breaks off, or is not what it should be.
    #[error("the answer cannot be read")]
    Json(#[from] serde_json::Error),
    /// The engine says what went wrong, with a status of success.
    #[error("{0}")]
    Said(String),
    /// It has more samples than asked for.
    #[error("more than {max} samples (ask for fewer series or a shorter range)")]
    TooManySamples {
        /// The bound.
        max: usize,
    },
}

/// Calls `each` with every element of `data`, or of its `result`, of an answer of the Prometheus
/// API. Its errors end the reading.
pub(super) fn for_each<T: DeserializeOwned>(
    answer: impl Read,
    mut each: impl FnMut(T) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut stopped = None;
    let mut said = None;
    let envelope = Envelope { each: &mut each, stopped: &mut stopped, said: &mut said };
    let mut json = serde_json::Deserializer::from_reader(answer);
    let read = envelope.deserialize(&mut json).and_then(|()| json.end());
    match (stopped, said) {
        (Some(error), _) => Err(error),
        (None, Some(said)) => Err(ReadError::Said(said)),
        (None, None) => Ok(read?),
    }
}

/// `{"status":…,"data":…}`, or `data` itself where that is an object.
struct Envelope<'a, F> {
    each: &'a mut F,
    stopped: &'a mut Option<ReadError>,
    said: &'a mut Option<String>,
}

impl<'a, F> Envelope<'a, F> {
    fn again(&mut self) -> Envelope<'_, F> {
        Envelope { each: self.each, stopped: self.stopped, said: self.said }
    }
}

/// `F` and the type it takes.
struct Typed<'a, F, T>(Envelope<'a, F>, std::marker::PhantomData<T>);

impl<'de, F, T> DeserializeSeed<'de> for Typed<'_, F, T>
where
    T: DeserializeOwned,
    F: FnMut(T) -> Result<(), ReadError>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, F, T> Visitor<'de> for Typed<'_, F, T>
where
    T: DeserializeOwned,
    F: FnMut(T) -> Result<(), ReadError>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, or an object with a result")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if let Err(error) = (self.0.each)(element) {
                let text = error.to_string();
                *self.0.stopped = Some(error);
                return Err(de::Error::custom(text));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "data" | "result" => {
                    let inner: Typed<'_, F, T> = Typed(self.0.again(), std::marker::PhantomData);
                    map.next_value_seed(inner)?;
                }
                "error" => *self.0.said = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<F> Envelope<'_, F> {
    fn deserialize<'de, T, D>(self, from: D) -> Result<(), D::Error>
    where
        T: DeserializeOwned,
        F: FnMut(T) -> Result<(), ReadError>,
        D: Deserializer<'de>,
    {
        Typed(self, std::marker::PhantomData).deserialize(from)
    }
}

/// A label set as an object.
#[derive(Debug, Deserialize)]
pub(super) struct LabelMap(BTreeMap<String, String>);

impl LabelMap {
    /// The set.
    pub(super) fn labels(&self) -> Labels {
        Labels::new(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// An element of a matrix.
#[derive(Debug, Deserialize)]
struct MatrixSeries {
    metric: LabelMap,
    #[serde(default)]
    values: Pairs,
}

/// `[[seconds,"value"],…]` as columns, so that a sample takes sixteen bytes from the start.
#[derive(Debug, Default)]
struct Pairs {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of times and values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pairs, A::Error> {
                let mut pairs = Pairs::default();
                while let Some((seconds, Number(value))) = list.next_element::<(f64, Number)>()? {
                    pairs.times.push(milliseconds(seconds));
                    pairs.values.push(value);
                }
                Ok(pairs)
            }
        }
        from.deserialize_seq(List)
    }
}

fn milliseconds(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let ms = (seconds * 1000.0).round() as i64;
    ms
}

/// A value, which the API has as text.
#[derive(Debug, Clone, Copy)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let number = text.parse().map(Number);
                number.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_str(Text)
    }
}

/// Takes series until there are too many samples.
struct Room {
    left: usize,
    max: usize,
}

impl Room {
    fn take(&mut self, samples: usize) -> Result<(), ReadError> {
        let left = self.left.checked_sub(samples);
        self.left = left.ok_or(ReadError::TooManySamples { max: self.max })?;
        Ok(())
    }
}

/// The series of a query for a range, in the order they come.
pub(super) fn matrix(answer: impl Read, samples_max: usize) -> Result<Vec<Series>, ReadError> {
    let mut all = Vec::new();
    let mut room = Room { left: samples_max, max: samples_max };
    for_each(answer, |series: MatrixSeries| {
        let Pairs { times, values } = series.values;
        room.take(times.len())?;
        all.push(Series { labels: series.metric.labels(), times, values });
        Ok(())
    })?;
    Ok(all)
}

/// The series of VictoriaMetrics' export in the form of the API. It keeps no NaN but the markers of
/// staleness, whose bits the text does not have.
pub(super) fn export(answer: impl Read, samples_max: usize) -> Result<Vec<Series>, ReadError> {
    let mut all = matrix(answer, samples_max)?;
    let values = all.iter_mut().flat_map(|series| &mut series.values);
    values.filter(|value| value.is_nan()).for_each(|value| *value = stale_marker());
    Ok(all)
}

/// What an engine knows of one family.
#[derive(Debug, Deserialize)]
struct FamilyEntry {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    unit: String,
}

/// The families of `/api/v1/metadata`, of each the first entry, by name.
pub(super) fn families(answer: impl Read) -> Result<BTreeMap<String, Metadata>, ReadError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        data: BTreeMap<String, Vec<FamilyEntry>>,
    }
    let answer: Answer = serde_json::from_reader(answer)?;
    let family = |(family, entries): (String, Vec<FamilyEntry>)| {
        let entry = entries.into_iter().next()?;
        let kinds = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary];
        let kind = kinds.into_iter().find(|kind| kind.as_str() == entry.kind);
        let kind = kind.unwrap_or(Kind::Untyped);
        let known = Metadata { family: family.clone(), kind, help: entry.help, unit: entry.unit };
        Some((family, known))
    };
    Ok(answer.data.into_iter().filter_map(family).collect())
}

/// What `/api/v1/status/tsdb` says: Prometheus and Mimir count in `headStats`, VictoriaMetrics
/// beside it.
pub(super) fn cardinalities(answer: impl Read) -> Result<Stats, ReadError> {
    let answer: Value = serde_json::from_reader(answer)?;
    let data = answer.get("data").unwrap_or(&Value::Null);
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let head = data.get("headStats").unwrap_or(&Value::Null);
    let list = |name: &str| -> Vec<(String, usize)> {
        let list = data.get(name).and_then(Value::as_array).into_iter().flatten();
        let entry = |entry: &Value| {
            let name = entry.get("name")?.as_str()?.to_owned();
            Some((name, count(number(entry, "value")?)))
        };
        list.filter_map(entry).collect()
    };
    // An empty head says that its oldest sample is newer than its newest.
    let time = |name: &str| head.get(name).and_then(Value::as_i64);
    let times = time("minTime").zip(time("maxTime")).filter(|(min, max)| min <= max);
    let pairs = list("seriesCountByLabelValuePair").into_iter();
    let series = number(head, "numSeries").or_else(|| number(data, "totalSeries"));
    let label_pairs =
        number(head, "numLabelPairs").or_else(|| number(data, "totalLabelValuePairs"));
    Ok(Stats {
        series: count(series.unwrap_or(0)),
        label_pairs: count(label_pairs.unwrap_or(0)),
        blobs: count(number(head, "chunkCount").unwrap_or(0)),
        oldest_ms: times.map(|(min, _)| min),
        newest_ms: times.map(|(_, max)| max),
        metric_names: list("seriesCountByMetricName"),
        label_names: list("labelValueCountByLabelName"),
        label_bytes: list("memoryInBytesByLabelName"),
        pairs: pairs
            .filter_map(|(pair, len)| {
                let (name, value) = pair.split_once('=')?;
                Some(((name.to_owned(), value.to_owned()), len))
            })
            .collect(),
        ..Stats::default()
    })
}

#[cfg(test)]
mod tests {
    use labstat_model::is_stale;

    use super::*;

    #[test]
    fn a_matrix_is_read_whatever_the_order_of_its_keys() {
        for text in [
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{"__name__":"up","job":"a"},"values":[[1795251045.123,"1"],[1795251046,"-Inf"]]}]}}"#,
            r#"{"data":{"result":[{"values":[[1795251045.123,"1"],[1795251046,"-Inf"]],
                "metric":{"job":"a","__name__":"up"}}],"resultType":"matrix"},"warnings":["x"],"status":"success"}"#,
        ] {
            let found = matrix(text.as_bytes(), 2).unwrap();
            assert_eq!(found[0].labels, Labels::new([("__name__", "up"), ("job", "a")]));
            assert_eq!(found[0].times, [1_795_251_045_123, 1_795_251_046_000]);
            assert_eq!(found[0].values, [1.0, f64::NEG_INFINITY]);
            let error = matrix(text.as_bytes(), 1).unwrap_err();
            assert!(matches!(error, ReadError::TooManySamples { max: 1 }), "{error}");
        }
    }

    #[test]
    fn lists_and_errors_of_the_api() {
        let mut names: Vec<String> = Vec::new();
        let text = r#"{"status":"success","isPartial":false,"data":["a","b"]}"#;
        for_each(text.as_bytes(), |name| {
            names.push(name);
            Ok(())
        })
        .unwrap();
        assert_eq!(names, ["a", "b"]);
        let none = |text: &str| for_each(text.as_bytes(), |_: String| Ok(()));
        none(r#"{"status":"success","data":null}"#).unwrap();
        let said = none(r#"{"status":"error","errorType":"execution","error":"no"}"#).unwrap_err();
        assert_eq!(said.to_string(), "no");
        for bad in ["", "<html>", r#"{"data":[1]}"#, r#"{"data":["a""#, r#"{"data":[]} x"#] {
            assert!(matches!(none(bad), Err(ReadError::Json(_))), "{bad}");
        }
    }

    #[test]
    fn in_an_export_what_is_no_number_is_a_marker() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up"},"values":[[1,"1"],[2,"NaN"],[3,"+Inf"]]}]}}"#;
        let found = export(text.as_bytes(), 3).unwrap();
        assert!(is_stale(found[0].values[1]));
        assert_eq!(found[0].values[2], f64::INFINITY);
        assert!(matches!(export(text.as_bytes(), 2), Err(ReadError::TooManySamples { .. })));
        assert!(export(&text.as_bytes()[..90], 5).is_err(), "cut off");
    }

    #[test]
    fn families_are_read_and_odd_kinds_are_untyped() {
        let text = r#"{"status":"success","data":{"a":[{"type":"gauge","help":"H","unit":""}],
                       "b":[{"type":"stateset"}],"c":[]}}"#;
        let found = families(text.as_bytes()).unwrap();
        let kinds: Vec<Kind> = found.values().map(|family| family.kind).collect();
        assert_eq!(kinds, [Kind::Gauge, Kind::Untyped]);
    }

    #[test]
    fn cardinalities_of_both_kinds() {
        let prometheus = r#"{"data":{"headStats":{"numSeries":7,"numLabelPairs":9,"chunkCount":3,
            "minTime":9223372036854775807,"maxTime":-9223372036854775808},
            "seriesCountByLabelValuePair":[{"name":"job=a=b","value":2}]}}"#;
        let found = cardinalities(prometheus.as_bytes()).unwrap();
        assert_eq!((found.series, found.label_pairs, found.oldest_ms), (7, 9, None));
        assert_eq!(found.pairs, [(("job".to_owned(), "a=b".to_owned()), 2)]);
        let victoria = r#"{"status":"success","data":{"totalSeries":2,"totalLabelValuePairs":4,
            "seriesCountByMetricName":[{"name":"foo","value":2}]}}"#;
        let found = cardinalities(victoria.as_bytes()).unwrap();
        assert_eq!((found.series, found.label_pairs), (2, 4));
        assert_eq!(found.metric_names, [("foo".to_owned(), 2)]);
    }
}
