//! The machine this runs on.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use labstat_model::Clock;
use labstat_parse::proc::tcp::Tcp;
use rustix::fs::{OFlags, StatVfsMountFlags};

use super::begun::{self, Begun};
use super::claim::Claim;
use super::command::Commands;
use super::kept::Kept;
use super::patience::Patience;
use super::tree::{Tree, read_all};
use super::watch::{FileWatch, FolderWatch, Watch};
use super::{
    Counts, FilesystemSize, Framing, Host, NvmePage, Output, RunError, Stamp, Timex, Uname, lines,
    netlink, nvme, socket,
};

/// How much longer than the deadline it was given a call may take at most before it is abandoned.
const SLACK_MAX: Duration = Duration::from_millis(500);

/// The machine this runs on.
#[derive(Debug)]
pub struct RealHost {
    clock: Arc<dyn Clock>,
    patience: Patience,
    commands: Arc<Commands>,
    kept: Arc<Kept>,
    reads: AtomicU64,
    /// Room for the next answer of the kernel, which would be given back and taken anew each time.
    spare: Arc<Mutex<Vec<u8>>>,
}

impl RealHost {
    /// The machine, whose time is `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            patience: Patience::default(),
            commands: Arc::default(),
            kept: Arc::default(),
            reads: AtomicU64::new(0),
            spare: Arc::default(),
        }
    }

    /// One call that may hang.
    fn one<T: Send + 'static>(
        &self,
        key: &str,
        deadline: Duration,
        call: impl Fn(&str) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let answers = self.patience.all(&[key.to_owned()], deadline, call);
        answers.into_iter().next().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Host for RealHost {
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        read_kept(&self.kept, path, into)
    }

    fn read_all(&self, paths: &[String], deadline: Duration) -> Vec<io::Result<Vec<u8>>> {
        self.reads.fetch_add(paths.len() as u64, Ordering::Relaxed);
        // One buffer for all, so that each file costs no more memory than it has bytes.
        let (kept, buffer) = (Arc::clone(&self.kept), RefCell::new(Vec::new()));
        self.patience.all(paths, deadline, move |path| {
            let mut buffer = buffer.borrow_mut();
            read_kept(&kept, path, &mut buffer)?;
            Ok(buffer.to_vec())
        })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Tree::Machine.list(dir)
    }

    fn list_in_time(&self, dir: &str, deadline: Duration) -> io::Result<Vec<String>> {
        self.one(dir, deadline, |dir| Tree::Machine.list(dir))
    }

    fn link(&self, path: &str) -> io::Result<String> {
        Tree::Machine.link(path)
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Tree::Machine.canonical(path)
    }

    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<Output, RunError> {
        self.commands.run(program, args, deadline)
    }

    fn begin(&self, program: &str, args: &[&str], deadline: Duration) -> Begun {
        begun::begin(&self.commands, program, args, deadline)
    }

    fn statvfs(
        &self,
        mount_points: &[String],
        deadline: Duration,
    ) -> Vec<io::Result<FilesystemSize>> {
        self.patience.all(mount_points, deadline, filesystem_size)
    }

    fn socket_request(
        &self,
        path: &str,
        request: &[u8],
        framing: Framing,
        deadline: Duration,
    ) -> io::Result<Vec<u8>> {
        let request = request.to_vec();
        let ask = move |path: &str| socket::ask(path, &request, framing, deadline);
        self.one(path, slack(deadline), ask)
    }

    fn ask_all(
        &self,
        asks: &[(&str, &[u8])],
        framing: Framing,
        deadline: Duration,
    ) -> Vec<io::Result<Vec<u8>>> {
        // Nothing of this blocks, so it needs no thread that can be left behind.
        lines::ask_all(asks, framing, deadline)
    }

    fn nvme_page(&self, device: &str, page: NvmePage, deadline: Duration) -> io::Result<Vec<u8>> {
        let key = format!("{device} {}", page.name());
        let path = device.to_owned();
        let read = move |_: &str| {
            nvme::read(&Tree::Machine.open(&path, rustix::fs::OFlags::RDONLY)?, page)
        };
        self.one(&key, deadline, read)
    }

    fn watch(&self, path: &str) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(FileWatch::open(path)?))
    }

    fn watch_folder(&self, dir: &str) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(FolderWatch::open(dir)?))
    }

    fn netlink(&self, request: &[u8], deadline: Duration, into: &mut Vec<u8>) -> io::Result<()> {
        // A driver that is busy holds the lock that the kernel needs for its answer.
        let (question, spare) = (request.to_vec(), Arc::clone(&self.spare));
        let ask = move |_: &str| {
            let mut answer =
                std::mem::take(&mut *spare.lock().unwrap_or_else(PoisonError::into_inner));
            netlink::ask(&question, deadline, &mut answer).map(|()| answer)
        };
        let answer = self.one("netlink", slack(deadline), ask)?;
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) =
            std::mem::replace(into, answer);
        Ok(())
    }

    fn tcp_sockets(&self, deadline: Duration) -> io::Result<Tcp> {
        // The kernel may have to load its part for this first.
        let spare = Arc::clone(&self.spare);
        let ask = move |_: &str| {
            let mut buffer =
                std::mem::take(&mut *spare.lock().unwrap_or_else(PoisonError::into_inner));
            let counted = netlink::tcp_sockets(deadline, &mut buffer);
            *spare.lock().unwrap_or_else(PoisonError::into_inner) = buffer;
            counted
        };
        self.one("sock_diag", slack(deadline), ask)
    }

    fn claim(&self, name: &str) -> io::Result<Claim> {
        Claim::take(name)
    }

    fn uname(&self) -> io::Result<Uname> {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Ok(Uname {
            sysname: text(uname.sysname()),
            release: text(uname.release()),
            version: text(uname.version()),
            machine: text(uname.machine()),
            nodename: text(uname.nodename()),
            domainname: text(uname.domainname()),
        })
    }

    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        Tree::Machine.stamp(path)
    }

    fn timex(&self) -> io::Result<Timex> {
        Timex::read()
    }

    fn page_size_bytes(&self) -> Option<u64> {
        u64::try_from(rustix::param::page_size()).ok()
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn stop(&self) {
        self.commands.stop();
    }

    fn counts(&self) -> Counts {
        let (commands, commands_killed) = self.commands.counts();
        let hung = self.patience.hung() + self.commands.hung();
        Counts {
            reads: self.reads.load(Ordering::Relaxed),
            commands,
            commands_killed,
            hung: hung as u64,
        }
    }
}

/// When a call is abandoned that should end by itself at `deadline`: a little later, and in proportion,
/// since whoever waits has to be done at some time as well.
fn slack(deadline: Duration) -> Duration {
    deadline + (deadline / 4).min(SLACK_MAX)
}

fn read_kept(kept: &Kept, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
    let open = |path: &str| Tree::Machine.open(path, OFlags::RDONLY);
    kept.read(path, into, open, |file, into| read_all(path, file, into))
}

fn filesystem_size(mount_point: &str) -> io::Result<FilesystemSize> {
    let stat = rustix::fs::statvfs(mount_point)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(FilesystemSize {
        size_bytes: bytes(stat.f_blocks),
        free_bytes: bytes(stat.f_bfree),
        avail_bytes: bytes(stat.f_bavail),
        files: stat.f_files,
        files_free: stat.f_ffree,
        readonly: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}
