//! Kernel files that stay open between rounds.
//!
//! A file of `/proc` or `/sys` is made anew each time it is read from its start, so one that is
//! read in every round need not be opened in every round: for most of them, opening and closing
//! costs more than reading. What was read once is only remembered; what is read again is kept
//! open. Reading goes by position, so that threads may read one file at the same time.
//!
//! Kept are only files that stand for one thing as long as their path does:
//!
//! - They lie on procfs, sysfs or cgroup2 itself, as the open file says: below `/proc`, lxcfs and
//!   others mount files that are none of the kernel's.
//! - They are not those of a process, whose number another one may have later, nor those of a
//!   network interface, whose folder moves along when it is renamed.
//!
//! What a path was found out to be is remembered, so that a file which stays closed costs no more than
//! opening it does.
//!
//! A device that goes takes its files along: reading one then fails, and its path is looked up
//! again, where the device that came in its place may be.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FsWord, PROC_SUPER_MAGIC, fstatfs};

/// Files kept open. A quarter of what a process may have open unless it is told otherwise; the
/// sensors and disks of a large server come to some two hundred.
const OPEN_MAX: usize = 256;

/// Paths remembered. Beyond them nothing new is kept until the next look for unused ones.
const KNOWN_MAX: usize = 1024;

/// How long a file that nobody reads is kept, or a path remembered: over twice the longest
/// interval between two rounds.
const UNUSED_MAX: Duration = Duration::from_secs(300);

/// The kinds of filesystem that sysfs and the tree of control groups are.
const SYSFS_MAGIC: FsWord = 0x6265_6572;
const CGROUP2_MAGIC: FsWord = 0x6367_7270;

/// Files that stay open.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Files>);

#[derive(Debug)]
struct Files {
    known: HashMap<Box<str>, Known>,
    open: usize,
    swept: Instant,
}

/// A path that was read before.
#[derive(Debug)]
struct Known {
    state: State,
    used: Instant,
}

/// What is known of a path.
#[derive(Debug)]
enum State {
    /// It was read, or it was closed: the next read may keep it.
    Closed,
    Open(Arc<OwnedFd>),
    /// It is none of the kernel's files.
    Foreign,
}

impl Default for Files {
    fn default() -> Self {
        Self { known: HashMap::new(), open: 0, swept: Instant::now() }
    }
}

/// What is to be done about a path.
enum Plan {
    /// Read this file.
    Read(Arc<OwnedFd>),
    /// Open it, read it and keep it.
    Keep,
    /// Open it, read it and close it.
    Pass,
}

impl Kept {
    /// Reads `path` with `read`, out of a kept file or one that `open` gives.
    pub(super) fn read(
        &self,
        path: &str,
        into: &mut Vec<u8>,
        open: impl Fn(&str) -> io::Result<OwnedFd>,
        read: impl Fn(&OwnedFd, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let keep = match self.plan(path, Instant::now()) {
            Plan::Read(file) => {
                match read(&file, into) {
                    Ok(()) if !into.is_empty() => return Ok(()),
                    // Our own bounds on size and time are no sign of another file.
                    Err(error) if error.raw_os_error().is_none() => return Err(error),
                    Ok(()) | Err(_) => self.close(path, &file),
                }
                true
            }
            Plan::Keep => true,
            Plan::Pass => false,
        };
        let file = open(path)?;
        read(&file, into)?;
        if keep {
            self.keep(path, file);
        }
        Ok(())
    }

    fn plan(&self, path: &str, now: Instant) -> Plan {
        if !may_be_kept(path) {
            return Plan::Pass;
        }
        let mut files = self.lock();
        if now.saturating_duration_since(files.swept) > UNUSED_MAX {
            files.sweep(now);
        }
        let is_full = files.open >= OPEN_MAX;
        if let Some(known) = files.known.get_mut(path) {
            known.used = now;
            return match &known.state {
                State::Open(file) => Plan::Read(Arc::clone(file)),
                State::Closed if !is_full => Plan::Keep,
                State::Closed | State::Foreign => Plan::Pass,
            };
        }
        if files.known.len() < KNOWN_MAX {
            files.known.insert(path.into(), Known { state: State::Closed, used: now });
        }
        Plan::Pass
    }

    fn keep(&self, path: &str, file: OwnedFd) {
        let is_ours = is_kernel_file(&file);
        let mut files = self.lock();
        let is_full = files.open >= OPEN_MAX;
        let Some(known) = files.known.get_mut(path) else { return };
        // Another thread may have kept it meanwhile.
        if !matches!(known.state, State::Closed) || (is_ours && is_full) {
            return;
        }
        known.state = if is_ours { State::Open(Arc::new(file)) } else { State::Foreign };
        files.open += usize::from(is_ours);
    }

    /// Closes `file`, unless `path` has another one by now.
    fn close(&self, path: &str, file: &Arc<OwnedFd>) {
        let mut files = self.lock();
        let is_it = |state: &State| matches!(state, State::Open(kept) if Arc::ptr_eq(kept, file));
        if let Some(known) = files.known.get_mut(path).filter(|known| is_it(&known.state)) {
            known.state = State::Closed;
            files.open -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// Forgets what nobody has read for long.
    fn sweep(&mut self, now: Instant) {
        self.known.retain(|_, known| now.saturating_duration_since(known.used) <= UNUSED_MAX);
        let is_open = |known: &&Known| matches!(known.state, State::Open(_));
        self.open = self.known.values().filter(is_open).count();
        self.swept = now;
    }
}

/// Whether `path` stands for one thing for good.
fn may_be_kept(path: &str) -> bool {
    if let Some(rest) = path.strip_prefix("/proc/") {
        let first = rest.split('/').next().unwrap_or_default();
        let is_process = first.starts_with(|c: char| c.is_ascii_digit());
        return !is_process && !matches!(first, "self" | "thread-self");
    }
    path.starts_with("/sys/") && !path.contains("/net/")
}

/// Whether the file is one of those filesystems of the kernel that make a file anew for each read.
fn is_kernel_file(file: &OwnedFd) -> bool {
    let is_one = |kind| matches!(kind, PROC_SUPER_MAGIC | SYSFS_MAGIC | CGROUP2_MAGIC);
    fstatfs(file).is_ok_and(|fs| is_one(fs.f_type))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::fs::File;
    use std::path::Path;

    use super::*;

    const LOADAVG: &str = "/proc/loadavg";

    fn open(path: &str) -> io::Result<OwnedFd> {
        Ok(File::open(path)?.into())
    }

    /// The first few bytes, whatever was read before.
    fn read(file: &OwnedFd, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        into.resize(64, 0);
        let len = rustix::io::pread(file, &mut *into, 0)?;
        into.truncate(len);
        Ok(())
    }

    fn text(kept: &Kept, path: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        kept.read(path, &mut bytes, open, read)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_read_again_is_opened_twice_in_all() {
        let (kept, opened) = (Kept::default(), Cell::new(0));
        let mut bytes = Vec::new();
        for _ in 0..5 {
            let counted = |path: &str| {
                opened.set(opened.get() + 1);
                open(path)
            };
            kept.read(LOADAVG, &mut bytes, counted, read).unwrap();
            assert!(bytes.ends_with(b"\n"), "{bytes:?}");
        }
        assert_eq!((opened.get(), kept.lock().open), (2, 1));
    }

    /// What cannot be kept is not looked at each time whether it could be.
    #[test]
    fn what_stays_closed_is_opened_and_read_and_no_more() {
        let plan = |kept: &Kept, path: &str| match kept.plan(path, Instant::now()) {
            Plan::Read(_) => "read",
            Plan::Keep => "keep",
            Plan::Pass => "pass",
        };
        let kept = Kept::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        std::fs::write(&path, "1").unwrap();
        let foreign = |_: &str| open(path.to_str().unwrap());
        let mut bytes = Vec::new();
        for _ in 0..3 {
            kept.read("/proc/mounted", &mut bytes, foreign, read).unwrap();
        }
        assert_eq!(plan(&kept, "/proc/mounted"), "pass", "it is known to be none of the kernel's");
        text(&kept, LOADAVG).unwrap();
        kept.lock().open = OPEN_MAX;
        assert_eq!(plan(&kept, LOADAVG), "pass", "there is no room");
        kept.lock().open = 0;
        assert_eq!(plan(&kept, LOADAVG), "keep", "there is again");
    }

    /// The way of a device that is pulled, and of another that comes in its place.
    #[test]
    fn a_file_that_fails_is_looked_up_again() {
        let kept = Kept::default();
        // What reading it gives: a folder cannot be read, as the file of a device that went.
        let now = RefCell::new("/proc/uptime");
        let mut bytes = Vec::new();
        let reopen = |_: &str| open(&now.borrow());
        let broken = Cell::new(false);
        let fails = |file: &OwnedFd, into: &mut Vec<u8>| match broken.replace(false) {
            true => Err(rustix::io::Errno::NODEV.into()),
            false => read(file, into),
        };
        for _ in 0..3 {
            kept.read(LOADAVG, &mut bytes, reopen, fails).unwrap();
        }
        *now.borrow_mut() = "/proc/version";
        kept.read(LOADAVG, &mut bytes, reopen, fails).unwrap();
        assert!(!bytes.starts_with(b"Linux"), "still the one that was kept");
        broken.set(true);
        kept.read(LOADAVG, &mut bytes, reopen, fails).unwrap();
        assert!(bytes.starts_with(b"Linux"), "the one that came");
        assert_eq!(kept.lock().open, 1);

        *now.borrow_mut() = "/proc/no-such-file";
        broken.set(true);
        let error = kept.read(LOADAVG, &mut bytes, reopen, fails).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "the one that is gone");
        assert_eq!(kept.lock().open, 0);
    }

    #[test]
    fn an_empty_file_is_looked_up_again() {
        let (kept, empty) = (Kept::default(), Cell::new(false));
        let reads = |file: &OwnedFd, into: &mut Vec<u8>| {
            read(file, into)?;
            if empty.replace(false) {
                into.clear();
            }
            Ok(())
        };
        let mut bytes = Vec::new();
        for _ in 0..3 {
            kept.read(LOADAVG, &mut bytes, open, reads).unwrap();
        }
        empty.set(true);
        kept.read(LOADAVG, &mut bytes, open, reads).unwrap();
        assert!(!bytes.is_empty());
    }

    /// A file that grows, shrinks or is replaced is another one each time; nothing that is not the
    /// kernel's stays open.
    #[test]
    fn files_on_disk_are_never_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("value"), dir.path().join("new"));
        let (kept, mut bytes) = (Kept::default(), Vec::new());
        let there = |_: &str| open(path.to_str().unwrap());
        for content in ["first", "a second, longer one", "third"] {
            std::fs::write(&other, content).unwrap();
            std::fs::rename(&other, &path).unwrap();
            // A bind mount puts it where a kernel file is expected.
            kept.read("/proc/meminfo", &mut bytes, there, read).unwrap();
            assert_eq!(bytes, content.as_bytes());
        }
        assert_eq!(kept.lock().open, 0);
        assert!(text(&kept, path.to_str().unwrap()).is_ok());
        assert!(!kept.lock().known.contains_key(path.to_str().unwrap()), "not even remembered");
    }

    #[test]
    fn what_may_be_kept_stands_for_one_thing() {
        for path in ["/proc/stat", "/proc/net/snmp", "/proc/sys/fs/file-nr", "/proc/selfish"] {
            assert!(may_be_kept(path), "{path}");
        }
        assert!(may_be_kept("/sys/devices/platform/coretemp.0/hwmon/hwmon1/temp1_input"));
        for path in [
            "/proc/1/mountinfo",
            "/proc/self/mountinfo",
            "/proc/thread-self/stat",
            "/sys/class/net/eth0/mtu",
            "/sys/devices/virtual/net/lo/mtu",
            "/run/udev/data/b8:0",
            "/etc/os-release",
        ] {
            assert!(!may_be_kept(path), "{path}");
        }
    }

    #[test]
    fn what_nobody_reads_is_closed() {
        let kept = Kept::default();
        for path in ["/proc/stat", LOADAVG] {
            text(&kept, path).unwrap();
            text(&kept, path).unwrap();
        }
        let start = kept.lock().swept;
        let later = start + UNUSED_MAX;
        kept.lock().known.get_mut(LOADAVG).unwrap().used = later;
        kept.lock().sweep(later + Duration::from_secs(1));
        let files = kept.lock();
        assert_eq!((files.open, files.known.len()), (1, 1));
        assert!(files.known.contains_key(LOADAVG));
    }

    #[test]
    fn paths_without_end_are_neither_remembered_nor_kept() {
        let kept = Kept::default();
        let mut bytes = Vec::new();
        let loadavg = |_: &str| open(LOADAVG);
        for path in (0..2 * KNOWN_MAX).map(|n| format!("/sys/{n}")) {
            for _ in 0..2 {
                kept.read(&path, &mut bytes, loadavg, read).unwrap();
            }
        }
        let files = kept.lock();
        assert_eq!((files.known.len(), files.open), (KNOWN_MAX, OPEN_MAX));
    }

    /// The numbers the kernel gives a new device with, where this user may make one.
    #[test]
    fn a_disk_that_is_pulled_and_plugged_again_is_read_anew() {
        let control = Path::new("/sys/class/zram-control");
        let Ok(added) = std::fs::read_to_string(control.join("hot_add")) else {
            println!("SKIPPED: no disks can be made here");
            return;
        };
        let number = added.trim();
        let size = format!("/sys/block/zram{number}/disksize");
        let remove = || std::fs::write(control.join("hot_remove"), number);
        let kept = Kept::default();
        for _ in 0..3 {
            assert_eq!(text(&kept, &size).unwrap(), "0\n");
        }
        std::fs::write(&size, "8192").unwrap();
        assert_eq!(text(&kept, &size).unwrap(), "8192\n", "made anew at each read");
        std::fs::write(format!("/sys/block/zram{number}/reset"), "1").unwrap();
        remove().unwrap();
        assert_eq!(text(&kept, &size).unwrap_err().kind(), io::ErrorKind::NotFound);
        let again = std::fs::read_to_string(control.join("hot_add")).unwrap();
        if again == added {
            std::fs::write(&size, "4096").unwrap();
            assert_eq!(text(&kept, &size).unwrap(), "4096\n", "the one in its place");
            std::fs::write(format!("/sys/block/zram{number}/reset"), "1").unwrap();
        }
        std::fs::write(control.join("hot_remove"), again.trim()).unwrap();
    }
}
