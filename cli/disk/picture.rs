//! What the series say of a disk: where it is, what stands on it, what it counts now and has counted
//! since it was first seen, at whatever place.

use std::collections::BTreeMap;

use serde_json::Value;

use super::told::{Projection, Time, Told};
use crate::answer::{Answer, Point};
use crate::client::Client;
use crate::failure::Failure;
use crate::graph::sparkline;
use crate::human::Unit;
use crate::view::Answers;

/// Points of a history, one for each cell of its line.
const HISTORY_CELLS: usize = 40;

/// The least history that is asked for, in seconds: less has too few readings.
const HISTORY_SECONDS_MIN: f64 = 3_600.0;

/// What is asked of the disk `{…}` by its labels; `$` stands for them.
const QUESTIONS: [(&str, &str); 9] = [
    ("where", "labstat_disk_info{$}"),
    ("use", "labstat_disk_use_info{$}"),
    ("redundancy", "labstat_disk_redundancy{$}"),
    ("attribute", "smartctl_device_attribute{$}"),
    ("decoded", "labstat_smart_attribute{$}"),
    ("test_passed", "labstat_smart_self_test_passed{$}"),
    ("test_hours", "labstat_smart_self_test_power_on_hours{$}"),
    ("test_status", "labstat_smart_self_test_status_info{$}"),
    ("test_progress", "labstat_smart_self_test_progress_ratio{$}"),
];

/// Numbers that are no attributes: family, name, and what they count.
pub(super) const NUMBERS: [(&str, &str, Unit); 19] = [
    ("smartctl_device_temperature", "Temperature", Unit::Celsius),
    ("smartctl_device_power_on_seconds", "Power on", Unit::Seconds),
    ("smartctl_device_power_cycle_count", "Power cycles", Unit::Plain),
    ("labstat_smart_wear_ratio", "Wear", Unit::Ratio),
    ("smartctl_device_percentage_used", "Used, %", Unit::Plain),
    ("smartctl_device_available_spare", "Available spare, %", Unit::Plain),
    ("smartctl_device_critical_warning", "Critical warnings", Unit::Plain),
    ("smartctl_device_media_errors", "Media errors", Unit::Plain),
    ("smartctl_device_num_err_log_entries", "Error log entries", Unit::Plain),
    ("labstat_smart_nvme_unsafe_shutdowns_total", "Unsafe shutdowns", Unit::Plain),
    ("labstat_smart_nvme_warning_temperature_minutes_total", "Minutes too warm", Unit::Plain),
    ("labstat_smart_nvme_critical_temperature_minutes_total", "Minutes too hot", Unit::Plain),
    ("smartctl_scsi_grown_defect_list", "Grown defects", Unit::Plain),
    ("smartctl_read_total_uncorrected_errors", "Uncorrected reads", Unit::Plain),
    ("smartctl_write_total_uncorrected_errors", "Uncorrected writes", Unit::Plain),
    ("labstat_smart_scsi_verify_uncorrected_errors_total", "Uncorrected verifies", Unit::Plain),
    ("labstat_smart_scsi_non_medium_errors_total", "Non-medium errors", Unit::Plain),
    ("smartctl_device_bytes_written", "Written", Unit::Bytes),
    ("smartctl_device_error_log_count", "Logged errors", Unit::Plain),
];

/// Everything that is shown of one disk.
pub(super) struct Picture {
    pub(super) told: Told,
    pub(super) answers: Answers,
    /// The course of each number of [`NUMBERS`], and of each attribute by its id.
    pub(super) courses: BTreeMap<String, Vec<Point>>,
    pub(super) span: (f64, f64),
    pub(super) now: f64,
}

impl Picture {
    pub(super) async fn ask(client: &Client, told: Told) -> Result<Self, Failure> {
        let here = place(&told);
        // What stands on a disk is said by an agent, which calls it as the disk does.
        let questions = QUESTIONS.map(|(name, query)| (name, query.replace('$', &here)));
        let numbers: Vec<&str> = NUMBERS.iter().map(|(family, ..)| *family).collect();
        let numbers = format!(
            "{{__name__=~\"{}\",temperature_type=~\"current|\",{here}}}",
            numbers.join("|")
        );
        let mut asked: Vec<(&str, &str)> =
            questions.iter().map(|(name, query)| (*name, query.as_str())).collect();
        asked.push(("number", &numbers));
        let answers = Answers::ask(client, &asked).await?;
        let now = answers.now().unwrap_or_default();
        let oldest = oldest(client, &told, now).await;
        let first = oldest.map_or(told.first_seen.0, |oldest| oldest.min(told.first_seen.0));
        let span = (first.min(now - HISTORY_SECONDS_MIN), now);
        let mut picture = Self { told, answers, courses: BTreeMap::new(), span, now };
        picture.ask_courses(client, &numbers).await?;
        Ok(picture)
    }

    /// The course of all numbers since the disk was first seen, wherever it was.
    async fn ask_courses(&mut self, client: &Client, numbers: &str) -> Result<(), Failure> {
        let raw = "attribute_value_type=\"raw\"";
        let (attributes, numbers) = match was_it(&self.told) {
            None => {
                let here = place(&self.told);
                (format!("smartctl_device_attribute{{{raw},{here}}}"), numbers.to_owned())
            }
            Some(was_it) => {
                let who = format!(
                    "* on (instance, job, device) group_left () max by (instance, job, device) \
                     ({was_it})"
                );
                let families: Vec<&str> = NUMBERS.iter().map(|(family, ..)| *family).collect();
                // A product has no name; so it goes along as a label.
                let all = format!(
                    "label_replace({{__name__=~\"{}\",temperature_type=~\"current|\"}}, \
                     \"family\", \"$1\", \"__name__\", \"(.*)\")",
                    families.join("|")
                );
                (format!("smartctl_device_attribute{{{raw}}} {who}"), format!("{all} {who}"))
            }
        };
        let (start_ms, end_ms, step_ms) = steps(self.span);
        for query in [attributes, numbers] {
            // Without a history the rest is still worth showing.
            let Ok(reply) = client.range(&query, (start_ms, end_ms), step_ms).await else {
                continue;
            };
            let Answer::Matrix(found) = reply.answer(client.base())? else { continue };
            for one in found {
                let key = ["attribute_id", "family", "__name__"];
                let key = key.iter().map(|name| one.label(name)).find(|key| !key.is_empty());
                let course = self.courses.entry(key.unwrap_or_default().to_owned()).or_default();
                course.extend(one.points);
            }
        }
        self.add_present();
        // A disk that has moved has a course from each of its places.
        for course in self.courses.values_mut() {
            course.sort_by(|a, b| a.time.total_cmp(&b.time));
        }
        Ok(())
    }

    /// When its flash will be worn out: as the aggregator reckons that has watched it, or else by
    /// what the history has from before.
    pub(super) fn wear_out(&self) -> Option<Projection> {
        if let Some(told) = &self.told.wear_out {
            return Some(told.clone());
        }
        let used = [("labstat_smart_wear_ratio", 1.0), ("smartctl_device_percentage_used", 100.0)];
        used.into_iter().find_map(|(family, end)| {
            let points = self.courses.get(family)?.iter().map(|point| (point.time, point.value));
            let found = labstat_disks::project(&points.collect::<Vec<_>>(), end)?;
            Some(Projection {
                at: Time(found.at_seconds),
                earliest: Time(found.earliest_seconds),
                latest: found.latest_seconds.map(Time),
                confidence: found.confidence.as_str().to_owned(),
            })
        })
    }

    /// The last point of each course is what it is now.
    fn add_present(&mut self) {
        let raw = [("attribute_value_type", "raw")];
        let raw = self.answers.with("attribute", &raw).map(|it| (it.label("attribute_id"), it));
        let numbers = self.answers.all("number").iter().map(|it| (it.label("__name__"), it));
        for (key, found) in raw.chain(numbers) {
            if let (Some(course), Some(value)) = (self.courses.get_mut(key), found.value()) {
                course.push(Point { time: self.now, value });
            }
        }
    }

    /// What a number has grown by since it was first seen, and its course in one line.
    pub(super) fn course(&self, key: &str) -> (Option<f64>, String) {
        let Some(points) = self.courses.get(key) else { return (None, String::new()) };
        let mut known = points.iter().map(|point| point.value).filter(|value| value.is_finite());
        let first = known.next();
        let change = first.and_then(|first| Some(known.next_back()? - first));
        (change.filter(|change| *change != 0.0), sparkline(points, self.span, HISTORY_CELLS))
    }
}

fn label(name: &str, value: &str) -> String {
    // JSON's strings are strings of PromQL too.
    format!("{name}={}", Value::from(value))
}

/// The labels of where the disk is.
fn place(told: &Told) -> String {
    [label("instance", &told.instance), label("device", &told.device)].join(",")
}

/// The selectors of the series that say of a place that the disk was there: the same model and
/// serial number, wherever, or only where it is now when another disk has the same serial number.
/// None without a serial number.
fn selectors(told: &Told) -> Vec<String> {
    if told.serial_number.is_empty() {
        return Vec::new();
    }
    let mut labels = vec![label("serial_number", &told.serial_number)];
    // The name of a device tells the namespace, and the first one is the disk.
    if !told.namespace.is_empty() {
        labels.push(format!("device=~\"nvme[0-9]+n{}\"", told.namespace));
    } else if told.device.starts_with("nvme") {
        labels.push("device!~\"nvme[0-9]+n([2-9]|[1-9][0-9]+)\"".to_owned());
    }
    if told.serial_number_shared {
        labels.push(place(told));
    }
    // SCSI disks have a product instead of a model.
    let models = match told.model_name.is_empty() {
        true => vec![None],
        false => vec![Some("model_name"), Some("scsi_product")],
    };
    let models = models.into_iter().map(|name| {
        let model = name.map(|name| label(name, &told.model_name));
        let labels: Vec<String> = labels.iter().cloned().chain(model).collect();
        format!("smartctl_device{{{}}}", labels.join(","))
    });
    models.collect()
}

/// The expression that has a series wherever and while the disk was there.
fn was_it(told: &Told) -> Option<String> {
    let selectors = selectors(told);
    (!selectors.is_empty()).then(|| selectors.join(" or "))
}

/// Since when the history has the disk, in Unix seconds; nothing when it cannot say so.
async fn oldest(client: &Client, told: &Told, now: f64) -> Option<f64> {
    let first = |it: String| format!("ts_of_first_over_time({it}[87600h])");
    let first: Vec<String> = selectors(told).into_iter().map(first).collect();
    if first.is_empty() {
        return None;
    }
    let query = format!("min({})", first.join(" or "));
    // On the edge of a bucket, ten years cost no more than a moment.
    #[expect(clippy::cast_possible_truncation, reason = "a time of today")]
    let edge_ms = (now as i64).div_euclid(3_600) * 3_600_000;
    let reply = client.instant(&query, Some(edge_ms)).await.ok()?;
    match reply.answer(client.base()).ok()? {
        Answer::Vector(found) => found.first()?.value(),
        _ => None,
    }
}

/// Start, end and step in milliseconds of the course over a span of seconds. On whole multiples of
/// the buckets that the history keeps, so that years cost no more than a day.
fn steps((start, end): (f64, f64)) -> (i64, i64, i64) {
    #[expect(clippy::cast_possible_truncation, reason = "times of today")]
    let (start_ms, end_ms) = ((start * 1000.0) as i64, (end * 1000.0) as i64);
    let cells = i64::try_from(HISTORY_CELLS).unwrap_or(i64::MAX);
    let step_ms = ((end_ms - start_ms) / cells).max(1_000);
    let bucket_ms = [3_600_000, 300_000].into_iter().find(|bucket_ms| step_ms > *bucket_ms);
    let Some(bucket_ms) = bucket_ms else { return (start_ms, end_ms, step_ms) };
    let step_ms = step_ms.div_euclid(bucket_ms) * bucket_ms;
    let floor = |ms: i64| ms.div_euclid(step_ms) * step_ms;
    (floor(start_ms), floor(end_ms), step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(more: &Value) -> Told {
        let mut told = serde_json::json!({
            "serialNumber": "WD-1", "modelName": "WDC \"Red\"", "instance": "nas", "device": "sda",
            "verdict": "ok", "verdictSince": "2026-11-20T05:43:00Z", "reasons": [],
            "firstSeen": "2026-01-01T00:00:00Z", "lastAnswered": "2026-11-21T09:09:50Z",
        });
        let fields = more.as_object().cloned().unwrap_or_default();
        told.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(told).unwrap()
    }

    #[test]
    fn a_history_is_of_one_disk() {
        let all = was_it(&told(&Value::Null)).unwrap();
        assert_eq!(
            all,
            "smartctl_device{serial_number=\"WD-1\",model_name=\"WDC \\\"Red\\\"\"} or \
             smartctl_device{serial_number=\"WD-1\",scsi_product=\"WDC \\\"Red\\\"\"}"
        );
        // Two bridges that say the same number have a history each.
        let shared = told(&serde_json::json!({ "serialNumberShared": true, "modelName": "" }));
        assert_eq!(
            was_it(&shared).unwrap(),
            "smartctl_device{serial_number=\"WD-1\",instance=\"nas\",device=\"sda\"}"
        );
        let space = told(&serde_json::json!({ "namespace": "2", "modelName": "" }));
        assert_eq!(
            was_it(&space).unwrap(),
            "smartctl_device{serial_number=\"WD-1\",device=~\"nvme[0-9]+n2\"}"
        );
        let first = told(&serde_json::json!({ "device": "nvme0", "modelName": "" }));
        assert!(was_it(&first).unwrap().contains("device!~"), "{:?}", was_it(&first));
        assert_eq!(was_it(&told(&serde_json::json!({ "serialNumber": "" }))), None);
        for told in [told(&Value::Null), shared, space, first] {
            labstat_promql::check(&was_it(&told).unwrap()).unwrap();
        }
    }

    #[test]
    fn long_courses_lie_on_the_edges_of_buckets() {
        let day = 86_400.0;
        let (start_ms, end_ms, step_ms) = steps((1_000_000_007.5, 1_000_000_007.5 + 365.0 * day));
        assert_eq!([start_ms % 3_600_000, end_ms % 3_600_000, step_ms % 3_600_000], [0, 0, 0]);
        assert!((40..45).contains(&((end_ms - start_ms) / step_ms)), "{step_ms}");
        let (start_ms, _, step_ms) = steps((1_000_000_007.0, 1_000_000_007.0 + day / 2.0));
        assert_eq!((start_ms % 300_000, step_ms), (0, 900_000));
        assert_eq!(steps((0.0, 3_600.0)), (0, 3_600_000, 90_000), "a new disk has each reading");
    }
}
