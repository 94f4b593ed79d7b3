//! A disk as the aggregator tells of it: verdict, reasons, where it is, when it will be worn out.

use std::fmt::Write;

use jiff::Timestamp;
use labstat_disks::Verdict;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, Reply, path_part};
use crate::failure::Failure;
use crate::human;
use crate::table::printable;

/// A time of the API, RFC 3339, in Unix seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) f64);

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        let time: Timestamp = text.parse()?;
        Ok(Self(time.as_millisecond() as f64 / 1000.0))
    }
}

/// A disk as the aggregator tells of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    #[serde(default)]
    pub(super) serial_number: String,
    /// Another disk has the same one, so that it does not name this one.
    #[serde(default)]
    pub(super) serial_number_shared: bool,
    /// NVMe namespace, where a disk is reported by namespace.
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) model_name: String,
    #[serde(default)]
    pub(super) model_family: String,
    #[serde(default)]
    pub(super) firmware_version: String,
    pub(super) instance: String,
    pub(super) device: String,
    #[serde(default)]
    pub(super) also: Vec<String>,
    pub(super) verdict: Verdict,
    pub(super) verdict_since: Time,
    pub(super) reasons: Vec<Reason>,
    pub(super) first_seen: Time,
    pub(super) last_answered: Time,
    pub(super) last_read: Option<Time>,
    pub(super) interval_seconds: Option<f64>,
    pub(super) silent_since: Option<Time>,
    #[serde(default)]
    pub(super) node_down: bool,
    pub(super) capacity_bytes: Option<f64>,
    pub(super) power_on_hours: Option<f64>,
    pub(super) wear_ratio: Option<f64>,
    pub(super) available_spare_percent: Option<f64>,
    pub(super) acknowledged: Option<Acknowledged>,
    pub(super) wear_out: Option<Projection>,
    pub(super) spare_out: Option<Projection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reason {
    pub(super) verdict: Verdict,
    pub(super) text: String,
    #[serde(default)]
    pub(super) evidence: Vec<Evidence>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Evidence {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) before: Option<Value>,
    pub(super) limit: Option<Value>,
    pub(super) source: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Acknowledged {
    pub(super) at: Time,
    #[serde(default)]
    pub(super) note: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Projection {
    pub(super) at: Time,
    pub(super) earliest: Time,
    pub(super) latest: Option<Time>,
    pub(super) confidence: String,
}

pub(super) fn path(disk: &str) -> String {
    format!("/api/labstat/v1/disks/{}", path_part(disk))
}

/// The disk that the aggregator answers with.
pub(super) fn read(client: &Client, reply: Result<Reply, Failure>) -> Result<Told, Failure> {
    serde_json::from_value(reply?.data).map_err(|error| {
        Failure::new(format!("{} gave an answer we cannot read", client.base())).because(&error)
    })
}

pub(super) fn named(told: &Told) -> String {
    let words = [&*told.model_name, &*told.serial_number].map(printable);
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    let place = printable(&format!("{}/{}", told.instance, told.device));
    if words.is_empty() { place } else { format!("{} ({place})", words.join(" ")) }
}

impl Evidence {
    /// `Reallocated_Sector_Ct 16, before 8, counts from 10 (source)`.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {}", self.name, word(&self.value));
        for (name, value) in [("before", &self.before), ("counts from", &self.limit)] {
            if let Some(value) = value {
                let _ = write!(text, ", {name} {}", word(value));
            }
        }
        if let Some(source) = &self.source {
            let _ = write!(text, " ({source})");
        }
        printable(&text)
    }
}

impl Projection {
    /// `about 2028-05-01 (2027-11-02 to 2029-01-30; confidence fair)`.
    pub(super) fn text(&self) -> String {
        let day = |time: Time| human::day(time.0);
        let latest = self.latest.map_or("never".to_owned(), day);
        let (at, earliest) = (day(self.at), day(self.earliest));
        format!("about {at} ({earliest} to {latest}; confidence {})", self.confidence)
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(String::new, human::plain),
        other => other.to_string(),
    }
}
