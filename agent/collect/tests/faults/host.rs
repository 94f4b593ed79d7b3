//! A captured machine of which one thing is broken, and which notes what it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labstat_collect::host::{FilesystemSize, Framing, Uname};
use labstat_collect::parse::rtnetlink::{bridge, link};
use labstat_collect::{Counts, Host, NvmePage, Output, ReplayHost, RunError, Stamp, Timex};
use labstat_model::ManualClock;

/// What a collector can ask a machine for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    File,
    List,
    Link,
    Canonical,
    Stamp,
    Run,
    Size,
    Socket,
    Nvme,
    Netlink,
    Uname,
    Timex,
}

/// One question: what is asked for, and of what.
pub(crate) type Ask = (Kind, String);

/// What is wrong with one thing.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Asking for it fails.
    Error(ErrorKind),
    /// It has these bytes: those of a file, a page, an answer, or a command that ends well.
    Bytes(Vec<u8>),
    /// The command ends with this status and these words.
    Status(i32, &'static str),
    /// The folder has these names.
    Names(Vec<String>),
    /// The link leads there.
    Target(&'static str),
    /// The command is killed at its deadline.
    Hangs,
    /// The filesystem has no size.
    NoSize,
}

/// Names that a recorded answer over netlink goes by.
const LINKS: &str = "links";
const VLANS: &str = "vlans";

type Answers<T> = Mutex<BTreeMap<String, Result<T, Failed>>>;

/// An error that can be given again.
#[derive(Debug, Clone, Copy)]
struct Failed(ErrorKind, Option<i32>);

impl Failed {
    fn of(error: &io::Error) -> Self {
        Self(error.kind(), error.raw_os_error())
    }

    fn again(self) -> io::Error {
        self.1.map_or_else(|| self.0.into(), io::Error::from_raw_os_error)
    }
}

/// A captured machine that does not change by itself: each answer is read once and given again.
#[derive(Debug)]
pub(crate) struct Broken {
    replay: ReplayHost,
    root: PathBuf,
    netlink: BTreeMap<&'static str, Vec<u8>>,
    now_ms: AtomicI64,
    files: Answers<Vec<u8>>,
    lists: Answers<Vec<String>>,
    links: Answers<String>,
    canonicals: Answers<String>,
    asked: Mutex<BTreeSet<Ask>>,
    fault: Mutex<Option<(Ask, Fault)>>,
}

impl Broken {
    pub(crate) fn open(root: &Path) -> Self {
        let clock = Arc::new(ManualClock::new(0));
        Self {
            replay: ReplayHost::open(root, clock).unwrap(),
            root: root.to_owned(),
            netlink: BTreeMap::new(),
            now_ms: AtomicI64::new(0),
            files: Mutex::default(),
            lists: Mutex::default(),
            links: Mutex::default(),
            canonicals: Mutex::default(),
            asked: Mutex::default(),
            fault: Mutex::default(),
        }
    }

    /// The same with the kernel's answers over netlink.
    pub(crate) fn with_netlink(mut self, links: Vec<u8>, vlans: Vec<u8>) -> Self {
        self.netlink = BTreeMap::from([(LINKS, links), (VLANS, vlans)]);
        self
    }

    pub(crate) fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Breaks one thing, or mends it again.
    pub(crate) fn set_fault(&self, fault: Option<(Ask, Fault)>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// What it was asked for since the last call.
    pub(crate) fn take_asked(&self) -> BTreeSet<Ask> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn fault(&self, kind: Kind, what: &str) -> Option<Fault> {
        self.asked.lock().unwrap().insert((kind, what.to_owned()));
        let fault = self.fault.lock().unwrap();
        let ((broken_kind, broken), fault) = fault.as_ref()?;
        (*broken_kind == kind && broken == what).then(|| fault.clone())
    }

    fn bytes(
        &self,
        kind: Kind,
        what: &str,
        whole: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        match self.fault(kind, what) {
            Some(Fault::Bytes(bytes)) => Ok(bytes),
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => whole(),
        }
    }

    fn name(
        &self,
        kind: Kind,
        path: &str,
        answers: &Answers<String>,
        whole: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<String> {
        match self.fault(kind, path) {
            Some(Fault::Target(target)) => return Ok(target.to_owned()),
            Some(Fault::Error(kind)) => return Err(kind.into()),
            _ => {}
        }
        again(answers, path, whole)
    }

    /// The bytes of a file as they are, whatever is broken.
    pub(crate) fn whole(&self, path: &str) -> io::Result<Vec<u8>> {
        again(&self.files, path, || self.replay.read(path))
    }

    /// Names in a folder as they are, whatever is broken.
    pub(crate) fn names(&self, dir: &str) -> io::Result<Vec<String>> {
        again(&self.lists, dir, || self.replay.list(dir))
    }

    /// What a command prints when nothing is broken.
    pub(crate) fn output(&self, command: &str) -> Option<Vec<u8>> {
        let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let arguments: Vec<&str> = arguments.split(' ').collect();
        self.recorded(program, &arguments).ok().map(|output| output.stdout)
    }

    /// What the kernel answers over netlink when nothing is broken.
    pub(crate) fn answer(&self, what: &str) -> Option<Vec<u8>> {
        self.netlink.get(what).cloned()
    }

    /// A command of the captured machine; those of this one are not its.
    fn recorded(&self, program: &str, args: &[&str]) -> Result<Output, RunError> {
        let named = |text: &str| text.replace('%', "%25").replace('/', "%2f");
        let dir = self.root.join("commands").join(named(program)).join(named(&args.join(" ")));
        if !dir.exists() {
            return Err(RunError::NotFound);
        }
        self.replay.run(program, args, Duration::from_secs(1))
    }
}

fn again<T: Clone>(
    answers: &Answers<T>,
    key: &str,
    ask: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let mut answers = answers.lock().unwrap();
    if !answers.contains_key(key) {
        answers.insert(key.to_owned(), ask().map_err(|error| Failed::of(&error)));
    }
    answers[key].clone().map_err(Failed::again)
}

impl Host for Broken {
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        into.extend(self.bytes(Kind::File, path, || self.whole(path))?);
        Ok(())
    }

    fn read_all(&self, paths: &[String], _: Duration) -> Vec<io::Result<Vec<u8>>> {
        paths.iter().map(|path| self.read(path)).collect()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        match self.fault(Kind::List, dir) {
            Some(Fault::Names(names)) => Ok(names),
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => self.names(dir),
        }
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.name(Kind::Link, path, &self.links, || self.replay.link(path))
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        self.name(Kind::Canonical, path, &self.canonicals, || self.replay.canonical(path))
    }

    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<Output, RunError> {
        let command = format!("{program} {}", args.join(" "));
        match self.fault(Kind::Run, command.trim_end()) {
            Some(Fault::Bytes(stdout)) => {
                Ok(Output { status: Some(0), stdout, stderr: Vec::new() })
            }
            Some(Fault::Status(status, words)) => Ok(Output {
                status: Some(status),
                stdout: Vec::new(),
                stderr: words.as_bytes().to_vec(),
            }),
            Some(Fault::Error(ErrorKind::NotFound)) => Err(RunError::NotFound),
            Some(Fault::Error(kind)) => Err(RunError::Start(kind.into())),
            Some(Fault::Hangs) => Err(RunError::TimedOut(deadline)),
            _ => self.recorded(program, args),
        }
    }

    fn statvfs(
        &self,
        mount_points: &[String],
        deadline: Duration,
    ) -> Vec<io::Result<FilesystemSize>> {
        let mut sizes = self.replay.statvfs(mount_points, deadline);
        for (point, size) in mount_points.iter().zip(&mut sizes) {
            match self.fault(Kind::Size, point) {
                Some(Fault::Error(kind)) => *size = Err(kind.into()),
                Some(Fault::NoSize) => {
                    *size = Ok(FilesystemSize {
                        size_bytes: 0,
                        free_bytes: 0,
                        avail_bytes: 0,
                        files: 0,
                        files_free: 0,
                        readonly: false,
                    });
                }
                _ => {}
            }
        }
        sizes
    }

    fn socket_request(
        &self,
        path: &str,
        request: &[u8],
        framing: Framing,
        deadline: Duration,
    ) -> io::Result<Vec<u8>> {
        let what = format!("{path} {}", String::from_utf8_lossy(request));
        let key = format!("socket {what}");
        self.bytes(Kind::Socket, &what, || {
            again(&self.files, &key, || {
                self.replay.socket_request(path, request, framing, deadline)
            })
        })
    }

    fn nvme_page(&self, device: &str, page: NvmePage, deadline: Duration) -> io::Result<Vec<u8>> {
        self.bytes(Kind::Nvme, &format!("{device} {page:?}"), || {
            self.replay.nvme_page(device, page, deadline)
        })
    }

    fn netlink(&self, request: &[u8], _: Duration, into: &mut Vec<u8>) -> io::Result<()> {
        if self.netlink.is_empty() {
            return Err(ErrorKind::Unsupported.into());
        }
        let what = match request {
            request if request == link::request() => LINKS,
            request if request == bridge::request() => VLANS,
            _ => return Err(ErrorKind::Unsupported.into()),
        };
        *into = self.bytes(Kind::Netlink, what, || Ok(self.netlink[what].clone()))?;
        Ok(())
    }

    fn uname(&self) -> io::Result<Uname> {
        match self.fault(Kind::Uname, "") {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => self.replay.uname(),
        }
    }

    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        match self.fault(Kind::Stamp, path) {
            Some(Fault::Error(kind)) => Err(kind.into()),
            // When the test unpacked it is no matter of the machine. What has other bytes was written.
            _ => {
                let is_other = matches!(
                    self.fault(Kind::File, path),
                    Some(Fault::Bytes(_) | Fault::Error(ErrorKind::FileTooLarge))
                );
                let modified_ns = if is_other { 2_000_000_000 } else { 1_000_000_000 };
                Ok(Stamp { modified_ns, ..self.replay.stamp(path)? })
            }
        }
    }

    fn timex(&self) -> io::Result<Timex> {
        match self.fault(Kind::Timex, "") {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => self.replay.timex(),
        }
    }

    fn page_size_bytes(&self) -> Option<u64> {
        self.replay.page_size_bytes()
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn is_live(&self) -> bool {
        false
    }

    fn counts(&self) -> Counts {
        self.replay.counts()
    }

    fn stop(&self) {}
}
