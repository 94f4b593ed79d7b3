//! A captured machine: a folder that holds the files of one, as [`capture`](super::capture())
//! writes it or as anyone lays it out by hand.
//!
//! Files and links lie as on the machine (`proc/stat`, `sys/class/net/…`). What is not a file on
//! the machine has a place of its own, each of them optional:
//!
//! - `commands/PROGRAM/ARGUMENTS/{stdout,stderr,status}`: what a command printed. `status` is the
//!   exit status, or `not-found`, `timed-out`, `signal`; without one it is 0. A command that is not
//!   there is looked up on PATH and run.
//! - `sockets/PATH/REQUEST`: what a socket answered. A socket that is not there is asked where it
//!   lies in the tree, if it is a real one; one that is there knows no other requests.
//! - `nvme/PATH/{identity,health,self-tests}`: pages of an NVMe controller, as they are.
//! - `statvfs.json`: mount point to sizes, or to an error number.
//! - `errors.json`: path to the error number that reading it gave (a file without rights, a sensor
//!   that is off); for a socket also path, space and REQUEST.
//! - `host.json`: the time of the capture (`now_ms`), `page_size_bytes`, the `uname` and what the kernel knows of
//!   its clock (`timex`), and when files were written (`modified_ns`, by path). Without it the time is the clock's and the names are those of `proc/sys/kernel`.
//!
//! ARGUMENTS (joined by spaces), PATH and REQUEST are file names as [`file_name`] makes them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labstat_model::Clock;
use serde_json::{Value, json};

use super::begun::{self, Begun, Ended};
use super::command::Commands;
use super::patience::Patience;
use super::tree::Tree;
use super::{
    Counts, FilesystemSize, Framing, Host, NvmePage, Output, RunError, Stamp, Timex, Uname, socket,
};

pub(super) const COMMANDS: &str = "commands";
pub(super) const SOCKETS: &str = "sockets";
pub(super) const NVME: &str = "nvme";
pub(super) const STATVFS: &str = "statvfs.json";
pub(super) const ERRORS: &str = "errors.json";
pub(super) const HOST: &str = "host.json";

/// Bytes of a file name that most filesystems take.
const NAME_LEN_MAX: usize = 255;

/// A folder that stands for a machine.
#[derive(Debug)]
pub struct ReplayHost {
    tree: Arc<Tree>,
    clock: Arc<dyn Clock>,
    sizes: BTreeMap<String, Result<FilesystemSize, i32>>,
    errors: BTreeMap<String, i32>,
    now_ms: Option<i64>,
    page_size_bytes: Option<u64>,
    uname: Option<Uname>,
    timex: Option<Timex>,
    modified_ns: BTreeMap<String, i64>,
    patience: Patience,
    commands: Arc<Commands>,
    reads: AtomicU64,
}

impl ReplayHost {
    /// The machine in `dir`; `clock` tells the time if the capture does not. Fails when there is
    /// no such folder or when one of its own files (not the machine's) is damaged.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let tree = Tree::folder(dir)?;
        let facts = object(&tree, HOST)?;
        let sizes = object(&tree, STATVFS)?;
        let errors = object(&tree, ERRORS)?;
        Ok(Self {
            clock,
            sizes: sizes.into_iter().filter_map(|(path, v)| Some((path, size_of(&v)?))).collect(),
            errors: errors.into_iter().filter_map(|(path, v)| Some((path, errno(&v)?))).collect(),
            now_ms: facts.get("now_ms").and_then(Value::as_i64),
            page_size_bytes: facts.get("page_size_bytes").and_then(Value::as_u64),
            uname: facts.get("uname").map(uname_of),
            timex: facts.get("timex").and_then(Timex::from_json),
            modified_ns: modified_of(&facts),
            tree: Arc::new(tree),
            patience: Patience::default(),
            commands: Arc::default(),
            reads: AtomicU64::new(0),
        })
    }

    fn recorded_error(&self, path: &str) -> io::Result<()> {
        match self.errors.get(path) {
            Some(&code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(()),
        }
    }

    fn recorded_file(&self, dir: &str, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.tree.read_into(&format!("{dir}/{name}"), &mut bytes)?;
        Ok(bytes)
    }

    fn recorded_run(&self, dir: &str, deadline: Duration) -> Result<Output, RunError> {
        let optional = |name: &str| match self.recorded_file(dir, name) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(RunError::Read(error)),
        };
        let status = String::from_utf8_lossy(&optional("status")?).trim().to_owned();
        let status = match status.as_str() {
            "not-found" => return Err(RunError::NotFound),
            "timed-out" => return Err(RunError::TimedOut(deadline)),
            "signal" => None,
            "" => Some(0),
            number => Some(number.parse().map_err(|_| {
                let reason = format!("{dir}/status is no exit status: {number:?}");
                RunError::Read(io::Error::new(io::ErrorKind::InvalidData, reason))
            })?),
        };
        Ok(Output { status, stdout: optional("stdout")?, stderr: optional("stderr")? })
    }
}

impl Host for ReplayHost {
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.recorded_error(path)?;
        self.tree.read_into(path, into)
    }

    fn read_all(&self, paths: &[String], _: Duration) -> Vec<io::Result<Vec<u8>>> {
        paths.iter().map(|path| self.read(path)).collect()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.recorded_error(dir)?;
        self.tree.list(dir)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.tree.link(path)
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        self.tree.canonical(path)
    }

    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<Output, RunError> {
        let dir = command_dir(program, args);
        if self.tree.exists(&dir) {
            return self.recorded_run(&dir, deadline);
        }
        self.commands.run(program, args, deadline)
    }

    fn begin(&self, program: &str, args: &[&str], deadline: Duration) -> Begun {
        let dir = command_dir(program, args);
        if self.tree.exists(&dir) {
            let result = self.recorded_run(&dir, deadline);
            return Begun::ended(Ended { result, took: None });
        }
        begun::begin(&self.commands, program, args, deadline)
    }

    fn statvfs(&self, mount_points: &[String], _: Duration) -> Vec<io::Result<FilesystemSize>> {
        let size = |point: &String| match self.sizes.get(point) {
            Some(Ok(size)) => Ok(*size),
            Some(Err(code)) => Err(io::Error::from_raw_os_error(*code)),
            // The capture does not say: neither a size nor a fault of the filesystem.
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        mount_points.iter().map(size).collect()
    }

    fn socket_request(
        &self,
        path: &str,
        request: &[u8],
        framing: Framing,
        deadline: Duration,
    ) -> io::Result<Vec<u8>> {
        self.recorded_error(path)?;
        self.recorded_error(&format!("{path} {}", request_name(request)))?;
        match self.recorded_file(&socket_dir(path), &request_name(request)) {
            Err(error) if super::super::collector::is_absent(&error) => {}
            answer => return answer,
        }
        if framing == Framing::LengthPrefix && self.tree.list(&socket_dir(path)).is_ok() {
            return Ok(unrecorded());
        }
        if !path.starts_with('/') {
            // A captured machine has no network.
            return Err(io::ErrorKind::NotFound.into());
        }
        let (handle, name) = self.tree.handle(path)?;
        let request = request.to_vec();
        let ask = move |name: &str| {
            // The handle lives as long as the name is used.
            let _handle = &handle;
            socket::ask(name, &request, framing, deadline)
        };
        let answers = self.patience.all(&[name], deadline, ask);
        answers.into_iter().next().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    fn nvme_page(&self, device: &str, page: NvmePage, _: Duration) -> io::Result<Vec<u8>> {
        self.recorded_error(&format!("{device} {}", page.name()))?;
        match self.recorded_file(&nvme_dir(device), page.name()) {
            Err(error) if super::super::collector::is_absent(&error) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            answer => answer,
        }
    }

    fn uname(&self) -> io::Result<Uname> {
        if let Some(uname) = &self.uname {
            return Ok(uname.clone());
        }
        let kernel = |name: &str| match self.text(&format!("/proc/sys/kernel/{name}")) {
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        };
        let release = kernel("osrelease")?;
        if release.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Uname {
            release,
            sysname: kernel("ostype")?,
            version: kernel("version")?,
            machine: kernel("arch")?,
            nodename: kernel("hostname")?,
            domainname: kernel("domainname")?,
        })
    }

    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        self.recorded_error(path)?;
        let stamp = self.tree.stamp(path)?;
        let modified_ns = self.modified_ns.get(path).copied().unwrap_or(stamp.modified_ns);
        Ok(Stamp { modified_ns, ..stamp })
    }

    fn timex(&self) -> io::Result<Timex> {
        self.timex.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn page_size_bytes(&self) -> Option<u64> {
        self.page_size_bytes
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.unwrap_or_else(|| self.clock.now_ms())
    }

    fn is_live(&self) -> bool {
        false
    }

    fn stop(&self) {
        self.commands.stop();
    }

    fn counts(&self) -> Counts {
        let (commands, commands_killed) = self.commands.counts();
        let reads = self.reads.load(Ordering::Relaxed);
        let hung = (self.patience.hung() + self.commands.hung()) as u64;
        Counts { reads, commands, commands_killed, hung }
    }
}

/// The folder of a recorded command.
pub(super) fn command_dir(program: &str, args: &[&str]) -> String {
    format!("{COMMANDS}/{}/{}", file_name(program), file_name(&args.join(" ")))
}

/// The folder of a recorded socket.
pub(super) fn socket_dir(path: &str) -> String {
    format!("{SOCKETS}/{}", file_name(path))
}

/// What a recorded socket answers to a request that was not recorded: it does not know it, in the
/// words of those sockets that answer in frames.
fn unrecorded() -> Vec<u8> {
    let text = b"ERROR: (22) Invalid argument\nnot in the capture";
    let len = u32::try_from(text.len()).unwrap_or(0).to_be_bytes();
    [&len, text.as_slice()].concat()
}

/// The folder of a recorded NVMe controller.
pub(super) fn nvme_dir(device: &str) -> String {
    format!("{NVME}/{}", file_name(device))
}

/// The file of a recorded request.
pub(super) fn request_name(request: &[u8]) -> String {
    file_name(String::from_utf8_lossy(request).trim_end_matches('\0'))
}

/// `text` as a file name that can be read: `%`, `/` and control characters as `%` and two hex
/// digits, a text of nothing or dots likewise; one that is too long is cut, and a hash of the whole text
/// follows.
pub(super) fn file_name(text: &str) -> String {
    use std::fmt::Write;

    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '%' | '/' => write!(name, "%{:02x}", u32::from(c)),
            c if c.is_ascii_control() => write!(name, "%{:02x}", u32::from(c)),
            c => write!(name, "{c}"),
        };
    }
    if matches!(name.as_str(), "" | "." | "..") {
        return format!("%{name}");
    }
    if name.len() > NAME_LEN_MAX {
        let hash = format!("%{:016x}", fnv1a(text));
        let mut len = NAME_LEN_MAX - hash.len();
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        name.truncate(len);
        name.push_str(&hash);
    }
    name
}

/// The 64-bit FNV-1a hash: short, and the same for ever.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The JSON object in the file `name`; an empty one when there is no such file.
fn object(tree: &Tree, name: &str) -> io::Result<serde_json::Map<String, Value>> {
    let mut bytes = Vec::new();
    match tree.read_into(name, &mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(serde_json::Map::new()),
        Err(error) => Err(error),
        Ok(()) => serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {error}"))
        }),
    }
}

/// When files were written last, in nanoseconds, by their paths.
fn modified_of(facts: &serde_json::Map<String, Value>) -> BTreeMap<String, i64> {
    let files = facts.get("modified_ns").and_then(Value::as_object);
    let files = files.into_iter().flatten();
    files.filter_map(|(path, ns)| Some((path.clone(), ns.as_i64()?))).collect()
}

fn errno(value: &Value) -> Option<i32> {
    i32::try_from(value.as_i64()?).ok()
}

fn size_of(value: &Value) -> Option<Result<FilesystemSize, i32>> {
    if let Some(code) = errno(value) {
        return Some(Err(code));
    }
    let number = |key: &str| value.get(key)?.as_u64();
    Some(Ok(FilesystemSize {
        size_bytes: number("size_bytes")?,
        free_bytes: number("free_bytes")?,
        avail_bytes: number("avail_bytes")?,
        files: number("files")?,
        files_free: number("files_free")?,
        readonly: value.get("readonly")?.as_bool()?,
    }))
}

/// What [`size_of`] reads.
pub(super) fn size_json(size: &FilesystemSize) -> Value {
    json!({
        "size_bytes": size.size_bytes, "free_bytes": size.free_bytes,
        "avail_bytes": size.avail_bytes, "files": size.files, "files_free": size.files_free,
        "readonly": size.readonly,
    })
}

fn uname_of(value: &Value) -> Uname {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Uname {
        sysname: text("sysname"),
        release: text("release"),
        version: text("version"),
        machine: text("machine"),
        nodename: text("nodename"),
        domainname: text("domainname"),
    }
}

/// What [`uname_of`] reads.
pub(super) fn uname_json(uname: &Uname) -> Value {
    json!({
        "sysname": uname.sysname, "release": uname.release, "version": uname.version,
        "machine": uname.machine, "nodename": uname.nodename, "domainname": uname.domainname,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use labstat_model::ManualClock;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn host(dir: &Path) -> ReplayHost {
        ReplayHost::open(dir, Arc::new(ManualClock::new(5))).unwrap()
    }

    #[test]
    fn no_path_and_no_link_leads_out_of_the_tree() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), "no").unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/inside"), "yes").unwrap();
        symlink("../../../../../etc/inside", root.join("relative")).unwrap();
        symlink("/etc/inside", root.join("absolute")).unwrap();
        symlink(outer.path().join("secret"), root.join("out")).unwrap();
        symlink("../secret", root.join("up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let host = host(&root);
        assert_eq!(host.read("/relative").unwrap(), b"yes");
        assert_eq!(host.read("/absolute").unwrap(), b"yes");
        assert_eq!(host.canonical("/absolute").unwrap(), "/etc/inside");
        assert_eq!(host.link("/absolute").unwrap(), "/etc/inside");
        for path in ["/out", "/up", "/../secret", "/etc/../../secret"] {
            assert_eq!(host.read(path).unwrap_err().kind(), io::ErrorKind::NotFound, "{path}");
        }
        assert!(host.read("/loop").is_err());
        assert!(host.canonical("/loop").is_err());
    }

    #[test]
    fn a_link_is_resolved_by_its_text() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sys/class/net")).unwrap();
        for (target, full) in [
            ("../../devices/virtual/net/lo", "/sys/devices/virtual/net/lo"),
            ("/sys/./devices//eth0", "/sys/devices/eth0"),
            ("../../../../../../etc", "/etc"),
        ] {
            let link = dir.path().join("sys/class/net/x");
            symlink(target, &link).unwrap();
            assert_eq!(host(dir.path()).resolved("/sys/class/net/x").unwrap(), full);
            fs::remove_file(link).unwrap();
        }
        assert!(host(dir.path()).resolved("/sys/class/net").is_err(), "a folder is no link");
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let huge = fs::File::create(dir.path().join("huge")).unwrap();
        huge.set_len(super::super::FILE_LEN_MAX as u64 + 1).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), 0o600.into()).unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        fs::write(dir.path().join("latin"), b"\xae ok\n").unwrap();
        let host = host(dir.path());
        assert_eq!(host.read("/huge").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(host.read("/fifo").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(host.read("/empty").unwrap(), b"");
        assert_eq!(host.text("/latin").unwrap(), "\u{fffd} ok\n");
        assert_eq!(host.list("/").unwrap(), ["empty", "fifo", "huge", "latin"]);
        assert!(host.read("/").is_err(), "a folder is no file");
    }

    #[test]
    fn recorded_commands_win_over_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("commands/sh/-c echo %2fdev%2fsda");
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("stdout"), "recorded\n").unwrap();
        fs::write(run.join("status"), "4\n").unwrap();
        let missing = dir.path().join("commands/smartctl/--scan");
        fs::create_dir_all(&missing).unwrap();
        fs::write(missing.join("status"), "not-found").unwrap();
        let host = host(dir.path());
        let long = Duration::from_secs(20);
        let output = host.run("sh", &["-c", "echo /dev/sda"], long).unwrap();
        assert_eq!((output.status, &output.stdout[..]), (Some(4), &b"recorded\n"[..]));
        let error = host.run("smartctl", &["--scan"], long);
        assert!(matches!(error, Err(RunError::NotFound)));
        let output = host.run("sh", &["-c", "echo from PATH"], long).unwrap();
        assert_eq!(output.stdout, b"from PATH\n");
    }

    #[test]
    fn damaged_files_of_the_capture_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STATVFS), "{").unwrap();
        let error = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap_err();
        assert!(error.to_string().starts_with("statvfs.json: "), "{error}");
    }

    #[test]
    fn file_names_stay_apart_and_short() {
        assert_eq!(file_name("a/b %"), "a%2fb %25");
        assert_eq!(file_name(".."), "%..");
        let (one, two) = ("x".repeat(300) + "1", "x".repeat(300) + "2");
        assert_ne!(file_name(&one), file_name(&two));
        assert_eq!(file_name(&one).len(), NAME_LEN_MAX);
    }
}
