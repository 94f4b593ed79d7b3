//! The Grafana dashboards and provisioning files that labstat ships, embedded in the binary.
//!
//! - [`export`] writes them in the layout of `/etc/grafana`.
//! - [`queries`] gives every PromQL query of every panel, so that tests can hold them to what
//!   labstat's own engine reads and its own agents send.
//!
//! Not here: a Grafana client. Grafana reads files; nothing is sent to it.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The dashboards, by file name.
pub const DASHBOARDS: &[(&str, &str)] = &[
    ("lab-overview.json", include_str!("../grafana/lab-overview.json")),
    ("ceph.json", include_str!("../grafana/ceph.json")),
];

/// The provisioning file of the data source; `@URL@` stands for the aggregator.
const DATASOURCE: &str = include_str!("../provisioning/datasource.yml");

/// What the data source's file says besides when the aggregator wants a token; `@TOKEN_FILE@` stands
/// for its file, which Grafana reads itself.
const DATASOURCE_TOKEN: &str = include_str!("../provisioning/datasource-token.yml");

/// The provisioning file of the dashboards; `@PATH@` stands for their folder.
const PROVIDER: &str = include_str!("../provisioning/dashboards.yml");

/// Below the export's folder: where the dashboards go.
const DASHBOARDS_DIR: &str = "dashboards/labstat";

/// What stands in queries for Grafana's variables when they are read without Grafana, longest
/// first, since one name can begin with another.
const VARIABLES: &[(&str, &str)] = &[
    ("$__rate_interval", "1m"),
    ("$__interval", "15s"),
    ("$__range", "6h"),
    ("$cluster", ".*"),
    ("$node", ".*"),
];

/// Why dashboards could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The folder cannot be made or named.
    #[error("failed to make the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A text that cannot stand in a provisioning file.
    #[error("{what} must not hold quotes, backslashes or control characters: {text:?}")]
    Unquotable {
        /// The URL, the folder or the token file.
        what: &'static str,
        /// The text.
        text: String,
    },
}

/// One query of one panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanelQuery {
    /// The dashboard's file.
    pub dashboard: &'static str,
    /// The panel's title.
    pub panel: String,
    /// The query, with values in place of Grafana's variables.
    pub query: String,
}

/// Writes all dashboards and provisioning files below `dir`, in the layout of `/etc/grafana`, for
/// an aggregator at `url`, which wants the token in `token_file` if there is one. Files of an earlier
/// export are replaced. Gives the files written.
pub fn export(
    dir: &Path,
    url: &str,
    token_file: Option<&Path>,
) -> Result<Vec<PathBuf>, ExportError> {
    let folder = dir.join(DASHBOARDS_DIR);
    make(&folder)?;
    let mut datasource = DATASOURCE.replace("@URL@", quotable("the URL", url)?);
    if let Some(file) = token_file {
        let path = absolute(file)?;
        let token = quotable("the token file", &path)?;
        datasource.push_str(&DATASOURCE_TOKEN.replace("@TOKEN_FILE@", token));
    }
    let path = absolute(&folder)?;
    let provider = PROVIDER.replace("@PATH@", quotable("the folder", &path)?);
    let mut written = vec![
        write(&dir.join("provisioning/datasources"), "labstat.yml", &datasource)?,
        write(&dir.join("provisioning/dashboards"), "labstat.yml", &provider)?,
    ];
    for (name, text) in DASHBOARDS {
        written.push(write(&folder, name, text)?);
    }
    Ok(written)
}

/// Every query of every panel of every dashboard.
pub fn queries() -> Vec<PanelQuery> {
    let mut queries = Vec::new();
    for (dashboard, text) in DASHBOARDS {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        for panel in json.get("panels").and_then(Value::as_array).into_iter().flatten() {
            let word = |name: &str| panel.get(name).and_then(Value::as_str).unwrap_or_default();
            for target in panel.get("targets").and_then(Value::as_array).into_iter().flatten() {
                if let Some(expr) = target.get("expr").and_then(Value::as_str) {
                    let panel = word("title").to_owned();
                    queries.push(PanelQuery { dashboard, panel, query: filled(expr) });
                }
            }
        }
    }
    queries
}

fn filled(expr: &str) -> String {
    VARIABLES.iter().fold(expr.to_owned(), |query, (name, value)| query.replace(name, value))
}

fn quotable<'a>(what: &'static str, text: &'a str) -> Result<&'a str, ExportError> {
    match text.contains(|c: char| c == '"' || c == '\\' || c.is_control()) {
        true => Err(ExportError::Unquotable { what, text: text.to_owned() }),
        false => Ok(text),
    }
}

/// Grafana runs in a folder of its own.
fn absolute(path: &Path) -> Result<String, ExportError> {
    std::path::absolute(path)
        .map(|path| path.display().to_string())
        .map_err(|cause| ExportError::Folder { path: path.to_owned(), cause })
}

fn make(folder: &Path) -> Result<(), ExportError> {
    std::fs::create_dir_all(folder)
        .map_err(|cause| ExportError::Folder { path: folder.to_owned(), cause })
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, ExportError> {
    make(folder)?;
    let path = folder.join(name);
    match std::fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(cause) => Err(ExportError::Write { path, cause }),
    }
}

#[cfg(test)]
mod tests {
    use labstat_model::{Labels, Matcher, Series};
    use labstat_promql::{self as promql, Engine, Options, QueryOptions, Source, SourceError};

    use super::*;

    #[test]
    fn every_query_is_one_our_engine_reads() {
        let queries = queries();
        assert!(queries.len() > 30, "only {} queries found", queries.len());
        for query in queries {
            let checked = labstat_promql::check(&query.query);
            assert!(checked.is_ok(), "{query:?}: {checked:?}");
            assert!(!query.query.contains('$'), "a variable without a value: {query:?}");
        }
    }

    #[test]
    fn files_land_where_grafana_looks() {
        let dir = tempfile::tempdir().unwrap();
        let written = export(dir.path(), "http://nas:5227", None).unwrap();
        assert_eq!(written.len(), 2 + DASHBOARDS.len());
        let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
        let datasource = read("provisioning/datasources/labstat.yml");
        assert!(datasource.contains("url: \"http://nas:5227\""), "{datasource}");
        let provider = read("provisioning/dashboards/labstat.yml");
        let folder = dir.path().join("dashboards/labstat");
        assert!(provider.contains(&format!("path: \"{}\"", folder.display())), "{provider}");
        assert_eq!(read("dashboards/labstat/lab-overview.json"), DASHBOARDS[0].1);
        export(dir.path(), "http://nas:5227", None).expect("a second export replaces the first");
    }

    #[test]
    fn the_token_stays_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("provisioning/datasources/labstat.yml");
        export(dir.path(), "http://nas:5227", Some(Path::new("/etc/labstat/token"))).unwrap();
        let text = std::fs::read_to_string(&source).unwrap();
        let end = "      httpHeaderName1: Authorization\n    secureJsonData:\n      \
                   httpHeaderValue1: \"Bearer $__file{/etc/labstat/token}\"\n";
        assert!(text.ends_with(end), "{text}");
        export(dir.path(), "http://nas:5227", None).unwrap();
        let text = std::fs::read_to_string(&source).unwrap();
        assert!(!text.contains("Authorization"), "{text}");
    }

    #[test]
    fn a_url_cannot_break_out_of_its_quotes() {
        let dir = tempfile::tempdir().unwrap();
        let error = export(dir.path(), "http://x\"\nevil: true", None).unwrap_err();
        assert!(matches!(error, ExportError::Unquotable { what: "the URL", .. }));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dashboards"), "in the way").unwrap();
        let error = export(dir.path(), "http://nas:5227", None).unwrap_err();
        assert!(error.to_string().starts_with("failed to make the folder "), "{error}");
    }

    /// One sample for each series, all at the moment of the question.
    struct Now(Vec<Series>);

    impl Source for Now {
        fn select(&self, all: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
            let found = |series: &&Series| all.iter().all(|m| m.matches_labels(&series.labels));
            Ok(self.0.iter().filter(found).cloned().collect())
        }
    }

    fn disk(metric: &str, device: &str, value: f64) -> Series {
        let labels = [("__name__", metric), ("device", device), ("instance", "nas")];
        let mut series = Series::new(Labels::new(labels));
        series.push(1_000, value);
        series
    }

    fn values(source: &Now, panel: &str, target: usize) -> Vec<(String, f64)> {
        let of_panel = queries().into_iter().filter(|query| query.panel == panel);
        let query = of_panel.map(|query| query.query).nth(target).unwrap();
        let answer = Engine::new(Options::default()).instant(
            source,
            &query,
            1_000,
            &QueryOptions::default(),
        );
        let Ok(promql::Answer { value: promql::Value::Vector(found), .. }) = answer else {
            panic!("{answer:?}")
        };
        let mut values: Vec<_> = found
            .iter()
            .map(|s| (s.labels.get("device").unwrap_or_default().to_owned(), s.sample.value))
            .collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        values
    }

    /// A lab without Ceph sees no clusters; one whose monitors do not answer is not left out.
    #[test]
    fn clusters_are_shown_where_there_are_any() {
        let none = Now(vec![disk("up", "", 1.0)]);
        let panel = || queries().into_iter().filter(|query| query.panel == "Clusters").enumerate();
        assert!(panel().count() > 5);
        for (target, _) in panel() {
            assert_eq!(values(&none, "Clusters", target), [], "{target}");
        }
        let name = "labstat_ceph_reading_success";
        let labels = [("__name__", name), ("instance", "ceph-1"), ("source", "mon")];
        let mut reading = Series::new(Labels::new(labels));
        reading.push(1_000, 0.0);
        let [down, up] = [0.0, 1.0].map(|up| disk("ceph_osd_up", &up.to_string(), up));
        let lab = Now(vec![reading, down, up]);
        assert_eq!(values(&lab, "Clusters", 0), [(String::new(), 3.0)], "unknown");
        assert_eq!(values(&lab, "Clusters", 1), [(String::new(), 2.0)]);
        assert_eq!(values(&lab, "Clusters", 2), [(String::new(), 1.0)], "one is down");
    }

    /// Pools are numbered anew in each cluster, and so are OSDs.
    #[test]
    fn two_clusters_are_told_apart() {
        let of = |metric: &str, instance: &str, more: &[(&str, &str)]| {
            let own = [("__name__", metric), ("cluster", instance), ("instance", instance)];
            let mut series = Series::new(Labels::new(own.iter().chain(more).copied()));
            series.push(500, 0.0);
            series.push(1_000, 5.0);
            series
        };
        let pool = [("pool_id", "1"), ("name", "vms")];
        let osd = [("ceph_daemon", "osd.0")];
        let both = ["lab", "attic"].map(|cluster| {
            [
                of("ceph_pool_metadata", cluster, &pool),
                of("ceph_pool_rd", cluster, &pool[..1]),
                of("labstat_ceph_daemon_up", cluster, &osd),
                of("ceph_osd_op_r_latency_sum", cluster, &osd),
                of("ceph_osd_op_r_latency_count", cluster, &osd),
            ]
        });
        let source = Now(both.into_iter().flatten().collect());
        for (panel, target) in [
            ("Reads and writes of pools", 0),
            ("Pools", 0),
            ("Daemons that answer", 0),
            ("Waiting for reads", 0),
        ] {
            assert_eq!(values(&source, panel, target).len(), 2, "{panel}");
        }
    }

    #[test]
    fn a_disk_that_warns_or_is_not_read_has_not_passed() {
        let status = |device, passed| disk("smartctl_device_smart_status", device, passed);
        let read = |device, success| disk("labstat_smart_read_success", device, success);
        let source = Now(vec![
            status("failing", 0.0),
            read("failing", 0.0),
            status("warns", 1.0),
            disk("smartctl_device_critical_warning", "warns", 4.0),
            status("unread", 1.0),
            read("unread", 0.0),
            status("asleep", 1.0),
            read("asleep", 0.0),
            disk("labstat_smart_power_mode", "asleep", 1.0),
            status("well", 1.0),
            read("well", 1.0),
            disk("smartctl_device_critical_warning", "well", 0.0),
        ]);
        let health =
            [("asleep", 4.0), ("failing", 1.0), ("unread", 2.0), ("warns", 3.0), ("well", 4.0)];
        let health = health.map(|(device, value)| (device.to_owned(), value));
        assert_eq!(values(&source, "Disks and verdicts", 1), health);
        assert_eq!(values(&source, "Failing disks", 0), [(String::new(), 2.0)]);
        let well = Now(vec![status("well", 1.0)]);
        assert_eq!(values(&well, "Failing disks", 0), [(String::new(), 0.0)]);
        assert_eq!(
            values(&Now(Vec::new()), "Failing disks", 0),
            [],
            "none known is not none failing"
        );
    }

    /// A series of a disk with one more label, or with several.
    fn said(metric: &str, device: &str, more: &[(&str, &str)]) -> Series {
        let labels = [("__name__", metric), ("device", device), ("instance", "nas")];
        let labels = labels.into_iter().chain(more.iter().copied());
        let mut series = Series::new(Labels::new(labels));
        series.push(1_000, 1.0);
        series
    }

    #[test]
    fn the_verdict_counts_more_than_the_disks_own_words() {
        let verdict = |device: &'static str, word| {
            let who = [("disk", device), ("serial_number", device), ("verdict", word)];
            said("labstat_disk_verdict", device, &who)
        };
        let status = |device, passed| disk("smartctl_device_smart_status", device, passed);
        let source = Now(vec![
            verdict("acknowledged", "ok"),
            status("acknowledged", 0.0),
            verdict("dying", "act"),
            status("dying", 1.0),
            said("smartctl_device", "dying", &[("serial_number", "dying")]),
            verdict("missing", "silent"),
            disk("labstat_disk_silent_seconds", "missing", 2_000.0),
            verdict("virtual", "silent"),
            status("unjudged", 0.0),
            said("smartctl_device", "unjudged", &[("serial_number", "X")]),
            // Not judged yet, and forgotten though it is still plugged in.
            status("new", 1.0),
            disk("labstat_smart_read_success", "forgotten", 0.0),
            said("labstat_disk_reason", "dying", &[("code", "spare_low"), ("reason", "It ends.")]),
            said("labstat_disk_reason", "acknowledged", &[("code", "healthy"), ("reason", "-")]),
        ]);
        let verdicts = [
            ("acknowledged", 4.0),
            ("dying", 1.0),
            ("missing", 2.0),
            ("unjudged", 1.0),
            ("virtual", 6.0),
        ];
        let verdicts = verdicts.map(|(device, value)| (device.to_owned(), value));
        assert_eq!(values(&source, "Disks and verdicts", 1), verdicts);
        let rows = values(&source, "Disks and verdicts", 0);
        assert_eq!(rows.len(), 5, "each once: {rows:?}");
        assert_eq!(values(&source, "Disks and verdicts", 7), [("dying".to_owned(), 1.0)]);
        assert_eq!(values(&source, "Failing disks", 0), [(String::new(), 2.0)]);
    }

    #[test]
    fn alerts_of_a_disk_are_shown_with_the_node_that_has_it() {
        let alert = |labels: &[(&str, &str)]| {
            let named = [("__name__", "ALERTS"), ("alertstate", "firing")].into_iter();
            let mut series = Series::new(Labels::new(named.chain(labels.iter().copied())));
            series.push(1_000, 1.0);
            series
        };
        let who = [("disk", "S1"), ("model_name", "WDC")];
        let source = Now(vec![
            alert(&[("alertname", "DiskAct"), who[0], who[1]]),
            alert(&[("alertname", "DiskWatch"), ("cause", "wear"), who[0], who[1]]),
            alert(&[("alertname", "NodeDown"), ("instance", "apex")]),
            said("labstat_disk_verdict", "sda", &[who[0], who[1], ("verdict", "act")]),
        ]);
        let sda = || ("sda".to_owned(), 1.0);
        assert_eq!(values(&source, "Alerts", 0), [(String::new(), 1.0), sda(), sda()]);
        assert_eq!(values(&source, "Alerts firing", 0), [(String::new(), 3.0)]);
    }

    #[test]
    fn dashboards_are_portable() {
        for (name, text) in DASHBOARDS {
            let json: Value = serde_json::from_str(text).unwrap();
            assert!((39..=41).contains(&json["schemaVersion"].as_i64().unwrap()), "{name}");
            assert!(json["uid"].as_str().unwrap().starts_with("labstat-"), "{name}");
            for panel in json["panels"].as_array().unwrap() {
                if panel["type"] != "row" {
                    assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
                    assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()));
                }
            }
        }
    }
}
