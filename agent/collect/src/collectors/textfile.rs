//! Metrics that scripts leave in files.
//!
//! - Reads: `*.prom` in the folders the user names; if none is named, in those that node_exporter's
//!   packages use. The kernel tells when something in a folder has changed (inotify), and only then, and
//!   once a minute for what it cannot tell, is the folder looked at; where it tells nothing, and where a
//!   file is a link, whose target may change elsewhere, in every round. A file is read only when it has
//!   changed.
//! - Never absent: that there is no bad file is worth saying.
//! - Emits: what the files say; [`MTIME`] of each good file, [`ERROR`] when there is a bad one, and
//!   [`ERROR_INFO`], which names it.
//! - A file is taken whole or not at all. One that is not understood, has a time, a series that an
//!   earlier file has, or a family that another collector tells of, gives nothing. One that changes
//!   while it is read, or was written just now, keeps saying what it said before until the next round.
//! - Not here: starting the scripts.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use labstat_model::{Batch, Family, error_chain};
use labstat_parse::exposition::{self, Exposition};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::{Host, Stamp, Watch};
use crate::options;
use crate::told::Told;

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

/// How long nothing is looked at of which the kernel tells no change. It does not tell of what another
/// machine writes over the network, or a program through a mapping.
const QUIET_MAX_MS: i64 = 60_000;

/// This collector's name.
const OWN: &str = "textfile";

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
    folders: Vec<Folder>,
    /// Whether the user named the folders: then each has to be there.
    are_named: bool,
    /// What other collectors tell of, and how often that had changed when the files were checked.
    told: Told,
    told_changes: u64,
    bytes: Vec<u8>,
}

/// A folder as it was looked at last.
#[derive(Default)]
struct Folder {
    path: String,
    /// Absent where the kernel does not tell of changes.
    watch: Option<Box<dyn Watch>>,
    /// When it was last tried to have that.
    tried_ms: Option<i64>,
    looked_ms: Option<i64>,
    /// Whether a file could not be taken as it is yet, or may change without a word.
    is_restless: bool,
    /// Why it could not be looked at.
    wrong: Option<String>,
    files: BTreeMap<String, File>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Folder");
        shown.field("path", &self.path).field("is_watched", &self.watch.is_some());
        shown.field("files", &self.files).finish_non_exhaustive()
    }
}

/// A file as it was read.
#[derive(Debug)]
struct File {
    stamp: Stamp,
    /// Whether it may change without a change in its folder.
    is_restless: bool,
    found: Result<Exposition, String>,
    /// What it has that somebody else tells of.
    clash: Option<String>,
}

/// What a look at a file gave.
enum Looked {
    /// What is known of it is true.
    Same(File),
    /// It is another, or another one.
    New(File),
    /// It is being written; what was known of it, if it was.
    Later(Option<File>),
    /// It is not there any more.
    Gone,
}

impl Textfile {
    /// One with these settings.
    pub fn new(options: &options::Textfile) -> Self {
        let are_named = !options.directories.is_empty();
        let mut paths = if are_named {
            options.directories.clone()
        } else {
            FOLDERS.map(str::to_owned).to_vec()
        };
        let mut seen = HashSet::new();
        paths.retain(|path| seen.insert(path.trim_end_matches('/').to_owned()));
        let folders = paths.into_iter().map(|path| Folder { path, ..Folder::default() }).collect();
        Self { folders, are_named, told: options.told.clone(), told_changes: 0, bytes: Vec::new() }
    }
}

impl Collector for Textfile {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let now_ms = host.now_ms();
        let mut is_new = false;
        for folder in &mut self.folders {
            if folder.is_due(now_ms) {
                is_new |= folder.look(host, now_ms, self.are_named, &mut self.bytes);
            }
        }
        let count: usize = self.folders.iter().map(|folder| folder.files.len()).sum();
        if count > FILES_MAX {
            return Err(CollectError::Limit { what: "text files", count, max: FILES_MAX });
        }
        let told_changes = self.told.changes();
        if is_new || told_changes != self.told_changes {
            self.told_changes = told_changes;
            self.find_clashes();
        }
        self.push(out)?;
        Ok(Status::Collected)
    }
}

impl Textfile {
    /// Finds what other collectors or earlier files tell of.
    fn find_clashes(&mut self) {
        let mut seen = HashSet::new();
        let files = || self.folders.iter().flat_map(|folder| &folder.files);
        let clashes: Vec<Option<String>> =
            files().map(|(_, file)| clash(file, &self.told, &mut seen)).collect();
        let files = self.folders.iter_mut().flat_map(|folder| &mut folder.files);
        for ((path, file), clash) in files.zip(clashes) {
            if let Some(reason) = clash.as_ref().filter(|_| file.clash != clash) {
                tracing::warn!(path, reason, "text file not taken");
            }
            file.clash = clash;
        }
    }

    fn push(&self, out: &mut Batch) -> Result<(), CollectError> {
        let mut wrong: Vec<(&str, &str)> = Vec::new();
        for folder in &self.folders {
            if let Some(reason) = &folder.wrong {
                wrong.push((&folder.path, reason));
            }
            for (path, file) in &folder.files {
                match (&file.found, &file.clash) {
                    (Err(reason), _) | (Ok(_), Some(reason)) => wrong.push((path, reason)),
                    (Ok(found), None) => {
                        push(found, out);
                        let seconds = file.stamp.modified_ns as f64 / 1e9;
                        out.push(&MTIME, &[("file", path)], seconds);
                    }
                }
                if out.len() > SAMPLES_MAX {
                    let (what, count) = ("samples of text files", out.len());
                    return Err(CollectError::Limit { what, count, max: SAMPLES_MAX });
                }
            }
        }
        for (file, reason) in &wrong {
            out.push(&ERROR_INFO, &[("file", file), ("reason", reason)], 1.0);
        }
        out.push(&ERROR, &[], f64::from(u8::from(!wrong.is_empty())));
        Ok(())
    }
}

impl Folder {
    /// Whether it has to be looked at.
    fn is_due(&mut self, now_ms: i64) -> bool {
        let is_recent = |ms: Option<i64>| ms.is_some_and(|ms| is_within(ms, now_ms));
        let has_changed = match &mut self.watch {
            Some(watch) => watch.wait(Duration::ZERO),
            None => Ok(true),
        };
        if has_changed.is_err() {
            // The folder is gone, or another one stands in its place.
            (self.watch, self.tried_ms) = (None, None);
        }
        has_changed.unwrap_or(true) || self.is_restless || !is_recent(self.looked_ms)
    }

    /// Looks at all files; whether any is another than before.
    fn look(&mut self, host: &dyn Host, now_ms: i64, is_named: bool, bytes: &mut Vec<u8>) -> bool {
        let is_recent = |ms: Option<i64>| ms.is_some_and(|ms| is_within(ms, now_ms));
        (self.looked_ms, self.is_restless) = (Some(now_ms), false);
        let mut names = host.list(&self.path);
        if names.is_ok() && self.watch.is_none() && !is_recent(self.tried_ms) {
            (self.watch, self.tried_ms) = (host.watch_folder(&self.path).ok(), Some(now_ms));
            if self.watch.is_some() {
                // What changed before it was watched is in a list of after that.
                names = host.list(&self.path);
            }
        }
        let mut before = std::mem::take(&mut self.files);
        let names = match names {
            Ok(names) => {
                self.wrong = None;
                names
            }
            Err(error) => {
                (self.watch, self.tried_ms) = (None, None);
                let is_wrong = is_named || !is_absent(&error);
                self.wrong = is_wrong.then(|| error_chain(&error));
                return !before.is_empty();
            }
        };
        let mut is_new = false;
        // Beyond so many the whole run fails.
        let texts = names.iter().filter(|name| name.ends_with(".prom")).take(FILES_MAX + 1);
        for name in texts {
            let path = format!("{}/{name}", self.path.trim_end_matches('/'));
            let file = match look(host, &path, before.remove(&path), bytes) {
                Looked::Same(file) => Some(file),
                Looked::New(file) => {
                    is_new = true;
                    Some(file)
                }
                Looked::Later(file) => {
                    self.is_restless = true;
                    file
                }
                Looked::Gone => {
                    is_new = true;
                    None
                }
            };
            if let Some(file) = file {
                self.is_restless |= file.is_restless;
                self.files.insert(path, file);
            }
        }
        is_new || !before.is_empty()
    }
}

/// Whether this was just now; a time to come is of a clock that was set.
fn is_within(ms: i64, now_ms: i64) -> bool {
    (0..QUIET_MAX_MS).contains(&now_ms.saturating_sub(ms))
}

/// The file as it is now: as it was before while it is being written.
fn look(host: &dyn Host, path: &str, known: Option<File>, bytes: &mut Vec<u8>) -> Looked {
    let stamp = match host.stamp(path) {
        Ok(stamp) => stamp,
        // Taken away since the folder was listed; a link that leads nowhere is there.
        Err(error) if is_absent(&error) && host.link(path).is_err() => return Looked::Gone,
        Err(error) => {
            return bad(path, Stamp::default(), true, error_chain(&error), known.as_ref());
        }
    };
    let known = match known {
        Some(file) if file.stamp == stamp => return Looked::Same(file),
        known => known,
    };
    let now_ns = host.now_ms().saturating_mul(1_000_000);
    let age_ns = now_ns.saturating_sub(stamp.modified_ns);
    // A time to come is of another clock, and says nothing.
    if (0..SETTLE_NS).contains(&age_ns) {
        return Looked::Later(known);
    }
    let is_restless = host.link(path).is_ok();
    if let Err(error) = host.read_into(path, bytes) {
        // Rights and faults of a disk change without its stamp.
        let is_of_file = error.kind() == ErrorKind::FileTooLarge;
        let stamp = if is_of_file { stamp } else { Stamp::default() };
        return bad(path, stamp, is_restless || !is_of_file, error_chain(&error), known.as_ref());
    }
    if host.stamp(path).ok() != Some(stamp) {
        return Looked::Later(known);
    }
    match exposition::parse(bytes) {
        Ok(mut found) => {
            found.samples.iter_mut().for_each(|sample| set_apart(&mut sample.labels));
            Looked::New(File { stamp, is_restless, found: check(found), clash: None })
        }
        Err(error) => bad(path, stamp, is_restless, error_chain(&error), known.as_ref()),
    }
}

/// A file that gives nothing. It is logged once, not in every round.
fn bad(
    path: &str,
    stamp: Stamp,
    is_restless: bool,
    reason: String,
    known: Option<&File>,
) -> Looked {
    if known.is_none_or(|file| file.found != Err(reason.clone())) {
        tracing::warn!(path, reason, "text file not taken");
    }
    Looked::New(File { stamp, is_restless, found: Err(reason), clash: None })
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

/// What of a file an earlier one, or another collector, tells of; what it has itself is added to `seen`.
fn clash<'a>(
    file: &'a File,
    told: &Told,
    seen: &mut HashSet<(&'a str, Vec<&'a (String, String)>)>,
) -> Option<String> {
    let found = file.found.as_ref().ok()?;
    for family in &found.families {
        if let Some(by) = told.by(&family.name).filter(|by| *by != OWN) {
            return Some(format!("{} is what the collector {by} tells", family.name));
        }
    }
    let mut keys = Vec::with_capacity(found.samples.len());
    for sample in &found.samples {
        let Some(family) = found.families.get(sample.family) else { continue };
        let mut labels: Vec<_> = sample.labels.iter().collect();
        labels.sort();
        let key = (&*family.name, labels);
        if seen.contains(&key) {
            return Some(format!("another file has a series of {} that is here too", family.name));
        }
        keys.push(key);
    }
    seen.extend(keys);
    None
}

/// Adds what a file says.
fn push(found: &Exposition, out: &mut Batch) {
    let mut labels = Vec::new();
    for sample in &found.samples {
        let Some(family) = found.families.get(sample.family) else { continue };
        labels.clear();
        labels.extend(sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        out.push(family, &labels, sample.value);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use labstat_model::ManualClock;

    use super::*;
    use crate::host::{
        Counts, FilesystemSize, Framing, Output, RealHost, ReplayHost, RunError, Uname,
    };

    /// A time long after the files of a test were written.
    const LATER_MS: i64 = 4_000_000_000_000;

    fn collector() -> Textfile {
        Textfile::new(&options::Textfile {
            directories: vec!["/t".to_owned()],
            ..options::Textfile::default()
        })
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

    /// The machine, whose looks at folders and files are counted.
    #[derive(Debug)]
    struct Counted {
        host: RealHost,
        looks: AtomicUsize,
        has_watches: bool,
    }

    impl Counted {
        fn new(clock: &Arc<ManualClock>, has_watches: bool) -> Self {
            let clock: Arc<dyn labstat_model::Clock> = Arc::clone(clock) as _;
            Self { host: RealHost::new(clock), looks: AtomicUsize::new(0), has_watches }
        }

        fn looks(&self) -> usize {
            self.looks.swap(0, Ordering::Relaxed)
        }
    }

    impl Host for Counted {
        fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
            self.host.read_into(path, into)
        }
        fn read_all(&self, paths: &[String], deadline: Duration) -> Vec<io::Result<Vec<u8>>> {
            self.host.read_all(paths, deadline)
        }
        fn list(&self, dir: &str) -> io::Result<Vec<String>> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.host.list(dir)
        }
        fn link(&self, path: &str) -> io::Result<String> {
            self.host.link(path)
        }
        fn canonical(&self, path: &str) -> io::Result<String> {
            self.host.canonical(path)
        }
        fn run(
            &self,
            program: &str,
            args: &[&str],
            deadline: Duration,
        ) -> Result<Output, RunError> {
            self.host.run(program, args, deadline)
        }
        fn statvfs(
            &self,
            points: &[String],
            deadline: Duration,
        ) -> Vec<io::Result<FilesystemSize>> {
            self.host.statvfs(points, deadline)
        }
        fn socket_request(
            &self,
            path: &str,
            request: &[u8],
            framing: Framing,
            deadline: Duration,
        ) -> io::Result<Vec<u8>> {
            self.host.socket_request(path, request, framing, deadline)
        }
        fn watch_folder(&self, dir: &str) -> io::Result<Box<dyn Watch>> {
            match self.has_watches {
                true => self.host.watch_folder(dir),
                false => Err(ErrorKind::Unsupported.into()),
            }
        }
        fn uname(&self) -> io::Result<Uname> {
            self.host.uname()
        }
        fn stamp(&self, path: &str) -> io::Result<Stamp> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.host.stamp(path)
        }
        fn page_size_bytes(&self) -> Option<u64> {
            self.host.page_size_bytes()
        }
        fn now_ms(&self) -> i64 {
            self.host.now_ms()
        }
        fn counts(&self) -> Counts {
            self.host.counts()
        }
        fn stop(&self) {
            self.host.stop();
        }
    }

    fn value(textfile: &mut Textfile, host: &Counted, name: &str) -> Option<f64> {
        let mut out = Batch::new();
        textfile.collect(host, &mut out).unwrap();
        out.value(name, &[])
    }

    fn of(dir: &Path) -> Textfile {
        let directories = vec![dir.to_str().unwrap().to_owned()];
        Textfile::new(&options::Textfile { directories, ..options::Textfile::default() })
    }

    #[test]
    fn a_folder_in_which_nothing_changes_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.prom");
        fs::write(&path, "x 1\n").unwrap();
        let clock = Arc::new(ManualClock::new(LATER_MS));
        let (host, mut textfile) = (Counted::new(&clock, true), of(dir.path()));
        assert_eq!(value(&mut textfile, &host, "x"), Some(1.0));
        assert!(host.looks() > 0);
        assert_eq!(value(&mut textfile, &host, "x"), Some(1.0));
        assert_eq!(host.looks(), 0, "nothing has changed");
        fs::write(&path, "x 22\n").unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), Some(22.0));
        fs::write(dir.path().join("new"), "y 3\n").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("new.prom")).unwrap();
        assert_eq!(value(&mut textfile, &host, "y"), Some(3.0));
        fs::remove_file(&path).unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), None);
        host.looks();
        value(&mut textfile, &host, "y");
        assert_eq!(host.looks(), 0);
        clock.set_ms(LATER_MS + QUIET_MAX_MS);
        value(&mut textfile, &host, "y");
        assert!(host.looks() > 0, "of some changes the kernel does not tell");
    }

    #[test]
    fn a_folder_that_comes_and_goes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("t");
        let clock = Arc::new(ManualClock::new(LATER_MS));
        let (host, mut textfile) = (Counted::new(&clock, true), of(&folder));
        for number in [1.0, 2.0] {
            assert_eq!(value(&mut textfile, &host, "node_textfile_scrape_error"), Some(1.0));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a.prom"), format!("x {number}\n")).unwrap();
            assert_eq!(value(&mut textfile, &host, "x"), Some(number));
            // Another one in its place.
            fs::rename(&folder, dir.path().join("away")).unwrap();
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a.prom"), "x 7\n").unwrap();
            assert_eq!(value(&mut textfile, &host, "x"), Some(7.0));
            fs::remove_dir_all(&folder).unwrap();
            fs::remove_dir_all(dir.path().join("away")).unwrap();
        }
        assert_eq!(value(&mut textfile, &host, "x"), None);
    }

    #[test]
    fn what_the_kernel_does_not_tell_of_is_looked_at_in_every_round() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("x");
        fs::write(&target, "x 1\n").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("a.prom")).unwrap();
        let clock = Arc::new(ManualClock::new(LATER_MS));
        let (host, mut textfile) = (Counted::new(&clock, true), of(dir.path()));
        assert_eq!(value(&mut textfile, &host, "x"), Some(1.0));
        fs::write(&target, "x 22\n").unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), Some(22.0), "behind a link");
        fs::write(&target, "x 3").unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), None, "half a file");
        fs::write(&target, "x 333\n").unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), Some(333.0), "whole again");
        fs::remove_file(&target).unwrap();
        assert_eq!(value(&mut textfile, &host, "node_textfile_scrape_error"), Some(1.0));
        fs::write(&target, "x 4\n").unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), Some(4.0), "it leads somewhere again");
        fs::remove_file(dir.path().join("a.prom")).unwrap();
        fs::write(dir.path().join("a.prom"), "x 1\n").unwrap();
        let (host, mut textfile) = (Counted::new(&clock, false), of(dir.path()));
        assert_eq!(value(&mut textfile, &host, "x"), Some(1.0));
        fs::write(dir.path().join("a.prom"), "x 333\n").unwrap();
        assert_eq!(value(&mut textfile, &host, "x"), Some(333.0), "without inotify");
    }

    #[test]
    fn what_another_collector_tells_is_not_a_files_to_tell() {
        let dir = folder();
        let write = |name: &str, text: &str| fs::write(dir.path().join("t").join(name), text);
        write("load.prom", "node_load1 7\nbackup_age 3\n").unwrap();
        write("other.prom", "other 1\n").unwrap();
        let told = Told::default();
        let mut textfile = Textfile::new(&options::Textfile {
            directories: vec!["/t".to_owned()],
            told: told.clone(),
        });
        let file = [("file", "/t/load.prom")];
        let out = collect(&mut textfile, dir.path(), LATER_MS);
        assert_eq!(out.value("node_load1", &[]), Some(7.0), "nobody else has it");
        // Its own are written down, too.
        told.set(OWN, out.families());
        static LOAD: Family = Family::gauge("node_load1", "1m load average.");
        told.set("loadavg", std::slice::from_ref(&LOAD));
        let out = collect(&mut textfile, dir.path(), LATER_MS);
        for name in ["node_load1", "backup_age"] {
            assert_eq!(out.value(name, &[]), None, "{name}");
        }
        assert_eq!(out.value("other", &[]), Some(1.0));
        let reason = ("reason", "node_load1 is what the collector loadavg tells");
        assert_eq!(out.value("labstat_textfile_error_info", &[file[0], reason]), Some(1.0));
        assert_eq!(out.value("node_textfile_scrape_error", &[]), Some(1.0));
        told.set("loadavg", &[]);
        let out = collect(&mut textfile, dir.path(), LATER_MS);
        assert_eq!(out.value("node_load1", &[]), Some(7.0), "it is gone");
    }
}
