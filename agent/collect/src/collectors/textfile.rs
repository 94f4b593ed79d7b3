//! Metrics that scripts leave in files.
//!
//! - Reads: `*.prom` in the folders the user names; if none is named, in those that node_exporter's
//!   packages use. A file is read only when it has changed.
//! - Never absent: that there is no bad file is worth saying.
//! - Emits: what the files say; [`MTIME`] of each good file, [`ERROR`] when there is a bad one, and
//!   [`ERROR_INFO`], which names it.
//! - A file is taken whole or not at all. One that is not understood, has a time or a series that an
//!   earlier file has, gives nothing. One that changes while it is read, or was written just now,
//!   keeps saying what it said before until the next round.
//! - Not here: starting the scripts.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;

use labstat_model::{Batch, Family};
use labstat_parse::exposition::{self, Exposition};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::{Host, Stamp};
use crate::options;

/// Folders of the packages of Debian and of those who follow node_exporter's own documents.
const FOLDERS: [&str; 2] =
    ["/var/lib/prometheus/node-exporter", "/var/lib/node_exporter/textfile_collector"];

/// Files of all folders; beyond them something writes a new one each time.
const FILES_MAX: usize = 1024;

/// Samples of all files.
const SAMPLES_MAX: usize = 100_000;

/// How long a file must have been left alone to count as written, in nanoseconds. Scripts should
/// rename a whole file into place; those that do not are mostly done within this time.
const SETTLE_NS: i64 = 250_000_000;

/// When a file was written.
pub static MTIME: Family = Family::gauge(
    "node_textfile_mtime_seconds",
    "When a file was written last, in seconds since the Unix epoch.",
);
/// Whether a file or a folder could not be read.
pub static ERROR: Family = Family::gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise.",
);
/// Which, and why.
pub static ERROR_INFO: Family =
    Family::gauge("labstat_textfile_error_info", "A file that was not taken, and why; always 1.");

/// Metrics in files.
#[derive(Debug)]
pub struct Textfile {
    folders: Vec<String>,
    /// Whether the user named the folders: then each has to be there.
    are_named: bool,
    bytes: Vec<u8>,
    /// The files as they were in the last round, by path.
    files: BTreeMap<String, File>,
}

/// A file as it was read.
#[derive(Debug)]
struct File {
    stamp: Stamp,
    found: Result<Exposition, String>,
}

impl Textfile {
    /// One with these settings.
    pub fn new(options: &options::Textfile) -> Self {
        let are_named = !options.directories.is_empty();
        let folders = if are_named {
            options.directories.clone()
        } else {
            FOLDERS.map(str::to_owned).to_vec()
        };
        Self { folders, are_named, bytes: Vec::new(), files: BTreeMap::new() }
    }
}

impl Collector for Textfile {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut wrong: Vec<(String, String)> = Vec::new();
        let mut before = std::mem::take(&mut self.files);
        for folder in self.folders.clone() {
            let names = match host.list(&folder) {
                Ok(names) => names,
                Err(error) if is_absent(&error) && !self.are_named => continue,
                Err(error) => {
                    wrong.push((folder, words(&error)));
                    continue;
                }
            };
            for name in names.iter().filter(|name| name.ends_with(".prom")) {
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                let known = before.remove(&path);
                if let Some(file) = self.look(host, &path, known) {
                    self.files.insert(path, file);
                }
                if self.files.len() > FILES_MAX {
                    let count = self.files.len();
                    return Err(CollectError::Limit { what: "text files", count, max: FILES_MAX });
                }
            }
        }
        let mut seen = HashSet::new();
        for (path, file) in &self.files {
            match push(file, &mut seen, out) {
                Ok(()) => {
                    let seconds = file.stamp.modified_ns as f64 / 1e9;
                    out.push(&MTIME, &[("file", path)], seconds);
                }
                Err(reason) => wrong.push((path.clone(), reason)),
            }
            if out.len() > SAMPLES_MAX {
                let (what, count) = ("samples of text files", out.len());
                return Err(CollectError::Limit { what, count, max: SAMPLES_MAX });
            }
        }
        for (file, reason) in &wrong {
            out.push(&ERROR_INFO, &[("file", file), ("reason", reason)], 1.0);
        }
        out.push(&ERROR, &[], f64::from(u8::from(!wrong.is_empty())));
        Ok(Status::Collected)
    }
}

impl Textfile {
    /// The file as it is now: as it was before while it is being written, and nothing when that
    /// was not known.
    fn look(&mut self, host: &dyn Host, path: &str, known: Option<File>) -> Option<File> {
        let stamp = match host.stamp(path) {
            Ok(stamp) => stamp,
            // Taken away since the folder was listed.
            Err(error) if is_absent(&error) => return None,
            Err(error) => return Some(bad(path, Stamp::default(), words(&error), known)),
        };
        if known.as_ref().is_some_and(|file| file.stamp == stamp) {
            return known;
        }
        let now_ns = host.now_ms().saturating_mul(1_000_000);
        let age_ns = now_ns.saturating_sub(stamp.modified_ns);
        // A time to come is of another clock, and says nothing.
        if (0..SETTLE_NS).contains(&age_ns) {
            return known;
        }
        if let Err(error) = host.read_into(path, &mut self.bytes) {
            return Some(bad(path, stamp, words(&error), known));
        }
        if host.stamp(path).ok() != Some(stamp) {
            return known;
        }
        match exposition::parse(&self.bytes) {
            Ok(mut found) => {
                found.samples.iter_mut().for_each(|sample| set_apart(&mut sample.labels));
                Some(File { stamp, found: check(found) })
            }
            Err(error) => Some(bad(path, stamp, words(&error), known)),
        }
    }
}

/// A file that gives nothing. It is logged once, not in every round.
fn bad(path: &str, stamp: Stamp, reason: String, known: Option<File>) -> File {
    if known.is_none_or(|file| file.found != Err(reason.clone())) {
        tracing::warn!(path, reason, "text file not taken");
    }
    File { stamp, found: Err(reason) }
}

/// Labels that every series of a node gets: a file's own of these names are told beside them, named
/// as Prometheus does with those of a scrape.
const OURS: [&str; 2] = ["instance", "job"];

fn set_apart(labels: &mut [(String, String)]) {
    for ours in OURS {
        let Some(at) = labels.iter().position(|(name, _)| name == ours) else { continue };
        let mut name = format!("exported_{ours}");
        while labels.iter().any(|(taken, _)| *taken == name) {
            name.insert_str(0, "exported_");
        }
        if let Some(label) = labels.get_mut(at) {
            label.0 = name;
        }
    }
}

/// Names that are ours to give.
fn check(found: Exposition) -> Result<Exposition, String> {
    let taken = [&MTIME, &ERROR, &ERROR_INFO];
    let ours = |name: &str| taken.iter().any(|family| family.name == name);
    match found.families.iter().find(|family| ours(&family.name)) {
        Some(family) => Err(format!("{} is not a file's to give", family.name)),
        None => Ok(found),
    }
}

/// Adds what a file says, unless an earlier one has said any of it.
fn push<'a>(
    file: &'a File,
    seen: &mut HashSet<(&'a str, Vec<&'a (String, String)>)>,
    out: &mut Batch,
) -> Result<(), String> {
    let found = file.found.as_ref().map_err(Clone::clone)?;
    let mut keys = Vec::with_capacity(found.samples.len());
    for sample in &found.samples {
        let Some(family) = found.families.get(sample.family) else { continue };
        let mut labels: Vec<_> = sample.labels.iter().collect();
        labels.sort();
        let key = (&*family.name, labels);
        if seen.contains(&key) {
            return Err(format!("another file has a series of {} that is here too", family.name));
        }
        keys.push(key);
    }
    seen.extend(keys);
    let mut labels = Vec::new();
    for sample in &found.samples {
        let Some(family) = found.families.get(sample.family) else { continue };
        labels.clear();
        labels.extend(sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        out.push(family, &labels, sample.value);
    }
    Ok(())
}

/// What an error and its causes say.
fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use labstat_model::ManualClock;

    use super::*;
    use crate::host::ReplayHost;

    /// A time long after the files of a test were written.
    const LATER_MS: i64 = 4_000_000_000_000;

    fn collector() -> Textfile {
        Textfile::new(&options::Textfile { directories: vec!["/t".to_owned()] })
    }

    fn collect(textfile: &mut Textfile, dir: &Path, now_ms: i64) -> Batch {
        let host = ReplayHost::open(dir, Arc::new(ManualClock::new(now_ms))).unwrap();
        let mut out = Batch::new();
        assert_eq!(textfile.collect(&host, &mut out).unwrap(), Status::Collected);
        out
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("t")).unwrap();
        dir
    }

    fn modified_ms(dir: &Path, name: &str) -> i64 {
        let time = fs::metadata(dir.join("t").join(name)).unwrap().modified().unwrap();
        i64::try_from(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
    }

    #[test]
    fn a_bad_file_is_named_and_takes_no_other_along() {
        let dir = folder();
        let write = |name: &str, text: &str| fs::write(dir.path().join("t").join(name), text);
        write("good.prom", "# TYPE backup_age gauge\nbackup_age{of=\"a\"} 3\n").unwrap();
        write("half.prom", "x 1\ny 2").unwrap();
        write("timed.prom", "z 1 1700000000000\n").unwrap();
        write("again.prom", "w 1\nbackup_age{of=\"a\"} 4\n").unwrap();
        write("ours.prom", "node_textfile_scrape_error 0\n").unwrap();
        write("note.txt", "no metric\n").unwrap();
        fs::create_dir(dir.path().join("t/folder.prom")).unwrap();
        let mut textfile = collector();
        let out = collect(&mut textfile, dir.path(), LATER_MS);
        assert_eq!(out.value("node_textfile_scrape_error", &[]), Some(1.0));
        assert_eq!(out.value("backup_age", &[]), Some(4.0), "that of the first file");
        assert_eq!(out.value("w", &[]), Some(1.0));
        for name in ["x", "y", "z"] {
            assert_eq!(out.value(name, &[]), None, "{name}");
        }
        for name in ["half", "timed", "good", "ours", "folder"] {
            let file = format!("/t/{name}.prom");
            assert_eq!(
                out.value("labstat_textfile_error_info", &[("file", &file)]),
                Some(1.0),
                "{name}"
            );
            assert_eq!(out.value("node_textfile_mtime_seconds", &[("file", &file)]), None);
        }
        for name in ["half", "timed", "again", "ours", "folder"] {
            let path = dir.path().join(format!("t/{name}.prom"));
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        let out = collect(&mut textfile, dir.path(), LATER_MS);
        assert_eq!(out.value("node_textfile_scrape_error", &[]), Some(0.0));
        assert_eq!(out.value("backup_age", &[]), Some(3.0));
    }

    #[test]
    fn labels_that_every_series_gets_are_told_beside_them() {
        let dir = folder();
        let text = "ok{job=\"db\"} 1\nok{job=\"files\",exported_job=\"x\",instance=\"i\"} 0\n";
        fs::write(dir.path().join("t/a.prom"), text).unwrap();
        let out = collect(&mut collector(), dir.path(), LATER_MS);
        assert_eq!(out.value("ok", &[("exported_job", "db")]), Some(1.0));
        let second =
            [("exported_exported_job", "files"), ("exported_instance", "i"), ("exported_job", "x")];
        assert_eq!(out.value("ok", &second), Some(0.0));
        assert!(out.iter().all(|s| OURS.iter().all(|name| s.labels.get(name).is_none())));
    }

    #[test]
    fn a_file_that_was_written_just_now_keeps_what_it_said() {
        let dir = folder();
        let path = dir.path().join("t/a.prom");
        fs::write(&path, "x 1\n").unwrap();
        let written = modified_ms(dir.path(), "a.prom");
        let mut textfile = collector();
        assert_eq!(collect(&mut textfile, dir.path(), written + 1).value("x", &[]), None);
        assert_eq!(collect(&mut textfile, dir.path(), written + 1_000).value("x", &[]), Some(1.0));
        fs::write(&path, "x 22\n").unwrap();
        let written = modified_ms(dir.path(), "a.prom");
        assert_eq!(collect(&mut textfile, dir.path(), written + 1).value("x", &[]), Some(1.0));
        assert_eq!(collect(&mut textfile, dir.path(), written + 1_000).value("x", &[]), Some(22.0));
        fs::remove_file(&path).unwrap();
        assert_eq!(collect(&mut textfile, dir.path(), LATER_MS).value("x", &[]), None);
    }

    #[test]
    fn a_folder_that_was_named_has_to_be_there_and_a_usual_one_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let out = collect(&mut collector(), dir.path(), LATER_MS);
        assert_eq!(out.value("node_textfile_scrape_error", &[]), Some(1.0));
        assert_eq!(out.value("labstat_textfile_error_info", &[("file", "/t")]), Some(1.0));
        let mut usual = Textfile::new(&options::Textfile::default());
        let out = collect(&mut usual, dir.path(), LATER_MS);
        assert_eq!(out.value("node_textfile_scrape_error", &[]), Some(0.0));
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn huge_and_forbidden_files_are_named() {
        let dir = folder();
        let huge = fs::File::create(dir.path().join("t/huge.prom")).unwrap();
        huge.set_len(crate::host::FILE_LEN_MAX as u64 + 1).unwrap();
        fs::write(dir.path().join("t/secret.prom"), "x 1\n").unwrap();
        fs::write(dir.path().join("errors.json"), r#"{"/t/secret.prom": 13}"#).unwrap();
        let out = collect(&mut collector(), dir.path(), LATER_MS);
        for name in ["huge", "secret"] {
            let file = format!("/t/{name}.prom");
            assert_eq!(out.value("labstat_textfile_error_info", &[("file", &file)]), Some(1.0));
        }
        assert_eq!(out.value("x", &[]), None);
    }
}
