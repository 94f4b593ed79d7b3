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
pub const DASHBOARDS: &[(&str, &str)] =
    &[("lab-overview.json", include_str!("../grafana/lab-overview.json"))];

/// The provisioning file of the data source; `@URL@` stands for the aggregator.
const DATASOURCE: &str = include_str!("../provisioning/datasource.yml");

/// The provisioning file of the dashboards; `@PATH@` stands for their folder.
const PROVIDER: &str = include_str!("../provisioning/dashboards.yml");

/// Below the export's folder: where the dashboards go.
const DASHBOARDS_DIR: &str = "dashboards/labstat";

/// What stands in queries for Grafana's variables when they are read without Grafana, longest
/// first, since one name can begin with another.
const VARIABLES: &[(&str, &str)] =
    &[("$__rate_interval", "1m"), ("$__interval", "15s"), ("$__range", "6h"), ("$node", ".*")];

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
        /// The URL or the folder.
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
/// an aggregator at `url`. Files of an earlier export are replaced. Gives the files written.
pub fn export(dir: &Path, url: &str) -> Result<Vec<PathBuf>, ExportError> {
    let folder = dir.join(DASHBOARDS_DIR);
    make(&folder)?;
    let absolute = std::path::absolute(&folder)
        .map_err(|cause| ExportError::Folder { path: folder.clone(), cause })?;
    let datasource = DATASOURCE.replace("@URL@", quotable("the URL", url)?);
    let provider =
        PROVIDER.replace("@PATH@", quotable("the folder", &absolute.display().to_string())?);
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
        let written = export(dir.path(), "http://nas:5227").unwrap();
        assert_eq!(written.len(), 2 + DASHBOARDS.len());
        let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
        let datasource = read("provisioning/datasources/labstat.yml");
        assert!(datasource.contains("url: \"http://nas:5227\""), "{datasource}");
        let provider = read("provisioning/dashboards/labstat.yml");
        let folder = dir.path().join("dashboards/labstat");
        assert!(provider.contains(&format!("path: \"{}\"", folder.display())), "{provider}");
        assert_eq!(read("dashboards/labstat/lab-overview.json"), DASHBOARDS[0].1);
        export(dir.path(), "http://nas:5227").expect("a second export replaces the first");
    }

    #[test]
    fn a_url_cannot_break_out_of_its_quotes() {
        let dir = tempfile::tempdir().unwrap();
        let error = export(dir.path(), "http://x\"\nevil: true").unwrap_err();
        assert!(matches!(error, ExportError::Unquotable { what: "the URL", .. }));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dashboards"), "in the way").unwrap();
        let error = export(dir.path(), "http://nas:5227").unwrap_err();
        assert!(error.to_string().starts_with("failed to make the folder "), "{error}");
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
