//! Writes a machine as a folder that can be replayed.
//!
//! Every collector runs once on a host that notes what is asked and answered; what collectors read
//! is what the folder holds, no more and no less, so a replay gives the same samples. Nothing is
//! left out of what is written: it has serial numbers, addresses and names in it, and Ceph's
//! configuration file (which holds no keys). A folder that is made here is its owner's alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labstat_model::Batch;
use serde_json::{Map, Value, json};

use super::replay::{
    COMMANDS, ERRORS, HOST, SOCKETS, STATVFS, command_dir, nvme_dir, request_name, size_json,
    socket_dir, uname_json,
};
use super::{
    Counts, FilesystemSize, Framing, Host, NvmePage, Output, RunError, Stamp, Timex, Uname,
};
use crate::options::Options;
use crate::registry::registry;

/// Bytes a capture may have. A machine has a few MiB.
const CAPTURE_LEN_MAX: usize = 256 * 1024 * 1024;

/// Links followed in one path, as the kernel does.
const LINKS_MAX: usize = 40;

/// What a capture holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureReport {
    /// Files and links of the machine.
    pub files: usize,
    /// Commands run.
    pub commands: usize,
    /// Sockets asked.
    pub sockets: usize,
    /// Bytes written.
    pub size_bytes: usize,
    /// Collectors that failed, and why; their inputs are captured as far as they were read.
    pub failed: Vec<(&'static str, String)>,
}

/// Why a capture was not written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The folder has something in it already.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// The folder or a file in it could not be written.
    #[error("failed to write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The machine says more than a capture may hold.
    #[error("the capture has over {CAPTURE_LEN_MAX} bytes")]
    TooLarge,
}

/// Captures what all collectors read of `host` into the folder `dir`, which is made if need be and
/// must be empty.
pub fn capture(
    host: &dyn Host,
    options: &Options,
    dir: &Path,
) -> Result<CaptureReport, CaptureError> {
    make_private(dir).map_err(write_error(dir))?;
    if std::fs::read_dir(dir).map_err(write_error(dir))?.next().is_some() {
        return Err(CaptureError::NotEmpty(dir.to_owned()));
    }
    let recorder = Recorder { host, notes: Mutex::default() };
    let mut failed = Vec::new();
    let mut batch = Batch::new();
    for entry in registry() {
        batch.clear();
        if let Err(error) = (entry.make)(options).collect(&recorder, &mut batch) {
            failed.push((entry.name, error.to_string()));
        }
    }
    let mut facts = Map::from_iter([("now_ms".to_owned(), json!(host.now_ms()))]);
    if let Some(bytes) = host.page_size_bytes() {
        facts.insert("page_size_bytes".to_owned(), json!(bytes));
    }
    let notes = recorder.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut report = notes.write(dir, facts)?;
    report.failed = failed;
    Ok(report)
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> CaptureError {
    move |cause| CaptureError::Write { path: path.to_owned(), cause }
}

/// Makes the folder for its owner alone: an ordinary user could not read all that is put there.
fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A host that notes what is asked of another.
#[derive(Debug)]
struct Recorder<'a> {
    host: &'a dyn Host,
    notes: Mutex<Notes>,
}

/// What was asked and answered.
#[derive(Debug, Default)]
struct Notes {
    /// Path below the folder to its bytes.
    files: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
    dirs: BTreeSet<String>,
    /// Names seen in a listing: files unless something turns out to lie below them.
    listed: BTreeSet<String>,
    errors: BTreeMap<String, i32>,
    sizes: BTreeMap<String, Value>,
    uname: Option<Uname>,
    timex: Option<Timex>,
    modified_ns: Map<String, Value>,
}

impl Recorder<'_> {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `path` leads when every link on the way is followed, each of them noted. A link of
    /// more than [`LINKS_MAX`] steps leads nowhere.
    fn follow(&self, path: &str) -> Option<String> {
        let mut todo: Vec<String> = parts(path).map(str::to_owned).collect();
        todo.reverse();
        let mut done = String::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{done}/{part}");
            let Ok(target) = self.host.link(&next) else {
                done = next;
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            if target.starts_with('/') {
                done.clear();
            }
            todo.extend(parts(&target).rev().map(str::to_owned));
            self.notes().links.insert(next, target);
        }
        Some(done)
    }

    fn note_file(&self, path: &str, result: Result<&[u8], &io::Error>) {
        match result {
            Ok(bytes) => {
                if let Some(real) = self.follow(path) {
                    self.notes().files.insert(real, bytes.to_vec());
                }
            }
            Err(error) => self.note_error(path, error),
        }
    }

    /// What is not there needs no note.
    fn note_error(&self, path: &str, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound
            && let Some(code) = code_of(error)
        {
            self.notes().errors.insert(path.to_owned(), code);
        }
    }
}

/// The names in a path, without empty ones and `.`.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

impl Host for Recorder<'_> {
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        let result = self.host.read_into(path, into);
        self.note_file(path, result.as_ref().map(|()| into.as_slice()));
        result
    }

    fn read_all(&self, paths: &[String], deadline: Duration) -> Vec<io::Result<Vec<u8>>> {
        let results = self.host.read_all(paths, deadline);
        for (path, result) in paths.iter().zip(&results) {
            self.note_file(path, result.as_ref().map(Vec::as_slice));
        }
        results
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let result = self.host.list(dir);
        match &result {
            Err(error) => self.note_error(dir, error),
            Ok(names) => {
                if let Some(real) = self.follow(dir) {
                    for name in names {
                        // A listed link must be a link in the replay too.
                        let _ = self.link(&format!("{real}/{name}"));
                    }
                    let mut notes = self.notes();
                    notes.listed.extend(names.iter().map(|name| format!("{real}/{name}")));
                    notes.dirs.insert(real);
                }
            }
        }
        result
    }

    fn link(&self, path: &str) -> io::Result<String> {
        let target = self.host.link(path)?;
        if let Some((dir, name)) = path.rsplit_once('/')
            && let Some(real) = self.follow(dir)
        {
            self.notes().links.insert(format!("{real}/{name}"), target.clone());
        }
        Ok(target)
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        let result = self.host.canonical(path);
        if let (Ok(_), Some(real)) = (&result, self.follow(path)) {
            self.notes().listed.insert(real);
        }
        result
    }

    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<Output, RunError> {
        let result = self.host.run(program, args, deadline);
        let status = match &result {
            Ok(output) => output.status.map_or_else(|| "signal".to_owned(), |s| s.to_string()),
            Err(RunError::NotFound) => "not-found".to_owned(),
            Err(_) => "timed-out".to_owned(),
        };
        let dir = command_dir(program, args);
        let mut notes = self.notes();
        notes.files.insert(format!("/{dir}/status"), status.into_bytes());
        if let Ok(output) = &result {
            notes.files.insert(format!("/{dir}/stdout"), output.stdout.clone());
            notes.files.insert(format!("/{dir}/stderr"), output.stderr.clone());
        }
        drop(notes);
        result
    }

    fn statvfs(
        &self,
        mount_points: &[String],
        deadline: Duration,
    ) -> Vec<io::Result<FilesystemSize>> {
        let results = self.host.statvfs(mount_points, deadline);
        let mut notes = self.notes();
        for (point, result) in mount_points.iter().zip(&results) {
            let value = match result {
                Ok(size) => size_json(size),
                Err(error) => match code_of(error) {
                    Some(code) => json!(code),
                    None => continue,
                },
            };
            notes.sizes.insert(point.clone(), value);
        }
        drop(notes);
        results
    }

    fn socket_request(
        &self,
        path: &str,
        request: &[u8],
        framing: Framing,
        deadline: Duration,
    ) -> io::Result<Vec<u8>> {
        let result = self.host.socket_request(path, request, framing, deadline);
        match &result {
            Ok(answer) => {
                let file = format!("/{}/{}", socket_dir(path), request_name(request));
                self.notes().files.insert(file, answer.clone());
            }
            // One request may fail and the next be answered.
            Err(error) => self.note_error(&format!("{path} {}", request_name(request)), error),
        }
        result
    }

    fn nvme_page(&self, device: &str, page: NvmePage, deadline: Duration) -> io::Result<Vec<u8>> {
        let result = self.host.nvme_page(device, page, deadline);
        match &result {
            Ok(bytes) => {
                let file = format!("/{}/{}", nvme_dir(device), page.name());
                self.notes().files.insert(file, bytes.clone());
            }
            Err(error) => self.note_error(&format!("{device} {}", page.name()), error),
        }
        result
    }

    fn uname(&self) -> io::Result<Uname> {
        let uname = self.host.uname()?;
        self.notes().uname = Some(uname.clone());
        Ok(uname)
    }

    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        let result = self.host.stamp(path);
        match &result {
            Ok(stamp) => {
                self.notes().modified_ns.insert(path.to_owned(), json!(stamp.modified_ns));
            }
            Err(error) => self.note_error(path, error),
        }
        result
    }

    fn timex(&self) -> io::Result<Timex> {
        let timex = self.host.timex()?;
        self.notes().timex = Some(timex);
        Ok(timex)
    }

    fn page_size_bytes(&self) -> Option<u64> {
        self.host.page_size_bytes()
    }

    fn now_ms(&self) -> i64 {
        self.host.now_ms()
    }

    fn is_live(&self) -> bool {
        self.host.is_live()
    }

    fn stop(&self) {
        self.host.stop();
    }

    fn counts(&self) -> Counts {
        self.host.counts()
    }
}

/// The number that stands for an error in the capture; our own bounds have those the kernel would
/// give. An error that only says that a capture does not know has none.
fn code_of(error: &io::Error) -> Option<i32> {
    use rustix::io::Errno;

    error.raw_os_error().or(match error.kind() {
        io::ErrorKind::TimedOut => Some(Errno::TIMEDOUT.raw_os_error()),
        io::ErrorKind::FileTooLarge => Some(Errno::FBIG.raw_os_error()),
        io::ErrorKind::InvalidInput => Some(Errno::INVAL.raw_os_error()),
        _ => None,
    })
}

impl Notes {
    fn write(
        mut self,
        dir: &Path,
        facts: Map<String, Value>,
    ) -> Result<CaptureReport, CaptureError> {
        let count = |prefix: &str, depth: usize, files: &BTreeMap<String, Vec<u8>>| {
            let of_kind = |path: &&String| parts(path).next() == Some(prefix);
            let heads = files
                .keys()
                .filter(of_kind)
                .map(|path| parts(path).take(depth).collect::<Vec<_>>().join("/"));
            heads.collect::<BTreeSet<_>>().len()
        };
        let mut report = CaptureReport {
            commands: count(COMMANDS, 3, &self.files),
            sockets: count(SOCKETS, 2, &self.files),
            ..CaptureReport::default()
        };
        self.note_own_files(facts);
        report.size_bytes = self.files.values().map(Vec::len).sum();
        if report.size_bytes > CAPTURE_LEN_MAX {
            return Err(CaptureError::TooLarge);
        }
        report.files = self.files.len() + self.links.len();
        for path in self.dirs.iter().chain(&self.listed) {
            self.write_listed(dir, path)?;
        }
        for (path, bytes) in &self.files {
            write_file(&below(dir, path), bytes)?;
        }
        for (path, target) in &self.links {
            let link = below(dir, path);
            make_parent(&link)?;
            std::os::unix::fs::symlink(target, &link).map_err(write_error(&link))?;
        }
        Ok(report)
    }

    /// The files that are ours and not the machine's.
    fn note_own_files(&mut self, mut facts: Map<String, Value>) {
        if let Some(uname) = &self.uname {
            facts.insert("uname".to_owned(), uname_json(uname));
        }
        if !self.modified_ns.is_empty() {
            let files = std::mem::take(&mut self.modified_ns);
            facts.insert("modified_ns".to_owned(), Value::Object(files));
        }
        if let Some(timex) = self.timex {
            facts.insert("timex".to_owned(), timex.to_json());
        }
        let sizes: Map<String, Value> = std::mem::take(&mut self.sizes).into_iter().collect();
        let errors: Map<String, Value> =
            self.errors.iter().map(|(path, code)| (path.clone(), json!(code))).collect();
        for (name, object) in [(HOST, facts), (STATVFS, sizes), (ERRORS, errors)] {
            if !object.is_empty() {
                let text = format!("{:#}\n", Value::Object(object));
                self.files.insert(format!("/{name}"), text.into_bytes());
            }
        }
    }

    /// A folder, or an empty file for what was only seen in a listing and has nothing below it.
    fn write_listed(&self, dir: &Path, path: &str) -> Result<(), CaptureError> {
        if self.links.contains_key(path) || self.files.contains_key(path) {
            return Ok(());
        }
        let full = below(dir, path);
        let prefix = format!("{path}/");
        let holds = |mut keys: Box<dyn Iterator<Item = &String> + '_>| {
            keys.next().is_some_and(|key| key.starts_with(&prefix))
        };
        let is_dir = self.dirs.contains(path)
            || holds(Box::new(self.files.range(prefix.clone()..).map(|(key, _)| key)))
            || holds(Box::new(self.links.range(prefix.clone()..).map(|(key, _)| key)))
            || holds(Box::new(self.listed.range(prefix.clone()..)));
        if is_dir {
            return std::fs::create_dir_all(&full).map_err(write_error(&full));
        }
        write_file(&full, b"")
    }
}

fn below(dir: &Path, path: &str) -> PathBuf {
    dir.join(path.trim_start_matches('/'))
}

fn make_parent(path: &Path) -> Result<(), CaptureError> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(write_error(parent)),
        None => Ok(()),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CaptureError> {
    make_parent(path)?;
    std::fs::write(path, bytes).map_err(write_error(path))
}
