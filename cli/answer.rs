//! Answers of the Prometheus API, read strictly: a number that is not one is an error.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// The labels of a series.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} expected, found {found}")]
pub(crate) struct AnswerError {
    what: &'static str,
    found: String,
}

/// One value at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Seconds since the Unix epoch.
    pub(crate) time: f64,
    /// The value.
    pub(crate) value: f64,
}

/// A series and one or more of its points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// Its labels.
    pub(crate) labels: LabelMap,
    /// Its points, times ascending; exactly one in the answer of an instant query.
    pub(crate) points: Vec<Point>,
}

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// One number.
    Scalar(Point),
    /// A text.
    Text(String),
    /// One point for each series.
    Vector(Vec<Found>),
    /// Many points for each series.
    Matrix(Vec<Found>),
}

impl Found {
    /// A label, empty when it is not there.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The latest value.
    pub(crate) fn value(&self) -> Option<f64> {
        self.points.last().map(|point| point.value)
    }
}

impl Answer {
    /// Reads the `data` of an answer.
    pub(crate) fn read(data: &Json) -> Result<Self, AnswerError> {
        let result = data.get("result").unwrap_or(&Json::Null);
        match data.get("resultType").and_then(Json::as_str) {
            Some("scalar") => Ok(Self::Scalar(point(result)?)),
            Some("string") => Ok(Self::Text(text(result.get(1))?)),
            Some("vector") => list(result, |row| {
                Ok(Found { labels: labels(row)?, points: vec![point(field(row, "value"))?] })
            })
            .map(Self::Vector),
            Some("matrix") => list(result, |row| {
                Ok(Found { labels: labels(row)?, points: list(field(row, "values"), point)? })
            })
            .map(Self::Matrix),
            other => Err(AnswerError { what: "a resultType", found: format!("{other:?}") }),
        }
    }
}

fn field<'a>(row: &'a Json, name: &str) -> &'a Json {
    row.get(name).unwrap_or(&Json::Null)
}

fn error(what: &'static str, found: &Json) -> AnswerError {
    // Enough to recognize it by; an answer can be megabytes.
    AnswerError { what, found: found.to_string().chars().take(80).collect() }
}

fn list<T>(
    json: &Json,
    mut read: impl FnMut(&Json) -> Result<T, AnswerError>,
) -> Result<Vec<T>, AnswerError> {
    let rows = json.as_array().ok_or_else(|| error("a list", json))?;
    rows.iter().map(&mut read).collect()
}

fn text(json: Option<&Json>) -> Result<String, AnswerError> {
    let json = json.unwrap_or(&Json::Null);
    json.as_str().map(str::to_owned).ok_or_else(|| error("a text", json))
}

fn labels(row: &Json) -> Result<LabelMap, AnswerError> {
    let metric = field(row, "metric");
    let pairs = metric.as_object().ok_or_else(|| error("labels", metric))?;
    pairs.iter().map(|(name, value)| Ok((name.clone(), text(Some(value))?))).collect()
}

fn point(json: &Json) -> Result<Point, AnswerError> {
    let time = json.get(0).and_then(Json::as_f64);
    // Go's spelling of the infinities and NaN is among those Rust reads.
    let value = json.get(1).and_then(Json::as_str).and_then(|text| text.parse().ok());
    match (time, value) {
        (Some(time), Some(value)) => Ok(Point { time, value }),
        _ => Err(error("[time, \"value\"]", json)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_four_types() {
        let scalar = Answer::read(&json!({"resultType": "scalar", "result": [1.5, "+Inf"]}));
        assert_eq!(scalar.unwrap(), Answer::Scalar(Point { time: 1.5, value: f64::INFINITY }));
        let text = Answer::read(&json!({"resultType": "string", "result": [1, "hello"]}));
        assert_eq!(text.unwrap(), Answer::Text("hello".into()));
        let vector = Answer::read(&json!({"resultType": "vector", "result": [
            {"metric": {"a": "b"}, "value": [1, "2"]},
        ]}));
        let Answer::Vector(rows) = vector.unwrap() else { panic!() };
        assert_eq!((rows[0].label("a"), rows[0].label("x"), rows[0].value()), ("b", "", Some(2.0)));
        let matrix = Answer::read(&json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[1, "2"], [2, "NaN"]]},
        ]}));
        let Answer::Matrix(rows) = matrix.unwrap() else { panic!() };
        assert!(rows[0].value().unwrap().is_nan());
    }

    #[test]
    fn anything_else_is_an_error() {
        for data in [
            json!(null),
            json!({"resultType": "histogram", "result": []}),
            json!({"resultType": "vector", "result": null}),
            json!({"resultType": "vector", "result": [{"value": [1, "2"]}]}),
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, 2]}]}),
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, "two"]}]}),
            json!({"resultType": "vector", "result": [{"metric": {"a": 1}, "value": [1, "2"]}]}),
            json!({"resultType": "matrix", "result": [{"metric": {}}]}),
        ] {
            assert!(Answer::read(&data).is_err(), "{data}");
        }
    }
}
