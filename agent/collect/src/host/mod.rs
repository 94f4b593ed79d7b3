//! The only door to the watched machine.
//!
//! Everything a collector learns comes through [`Host`]: files, folders, links, commands, sizes of
//! filesystems, sockets, the time. So every read has a bound on its size and its time, and one
//! collector works on the machine itself ([`RealHost`]), on a captured one ([`ReplayHost`]), and
//! on one that is being captured ([`capture()`]).
//!
//! Paths are absolute, as on the watched machine, and always `/`-separated UTF-8; names that are
//! not are left out of listings.

use std::fmt::Debug;
use std::io;
use std::time::{Duration, Instant};

use labstat_parse::proc::tcp::Tcp;

mod begun;
mod capture;
mod claim;
mod cluster;
mod command;
mod kept;
mod lines;
mod netlink;
mod nvme;
mod page;
mod patience;
mod rados;
mod real;
mod replay;
mod socket;
mod timex;
mod tree;
mod watch;

pub use begun::{Begun, Ended};
pub use capture::{CaptureError, CaptureReport, capture};
pub use claim::Claim;
pub(crate) use cluster::{COMMANDS, CONNECT, END, Of, PAGE, PAGE_LEFT, SCRUBS};
pub use cluster::{ClusterQuestion, PageUse, confine_reader, read_cluster};
pub use nvme::NvmePage;
pub use real::RealHost;
pub use replay::ReplayHost;
pub use timex::Timex;
pub use watch::Watch;

/// Bytes read of one file. The largest kernel file we read, `/proc/interrupts` of a machine with
/// hundreds of CPUs, has a few hundred KiB.
pub const FILE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Time one file may take while it still gives bytes. A read that blocks inside the kernel cannot
/// be ended from outside; those that may do so go through [`Host::read_all`].
pub const FILE_TIME_MAX: Duration = Duration::from_secs(5);

/// Names taken of one folder. `/proc` of a busy machine has some ten thousand.
pub const NAMES_MAX: usize = 65_536;

/// Bytes kept of each output of a command; `smartctl` prints about 100 KiB at most.
pub const OUTPUT_LEN_MAX: usize = 4 * 1024 * 1024;

/// Bytes taken of one answer from a socket; a perf dump of a Ceph OSD has about 100 KiB.
pub const ANSWER_LEN_MAX: usize = 8 * 1024 * 1024;

/// The watched machine.
pub trait Host: Debug + Send + Sync {
    /// Reads a file into `into`, which is cleared first; on an error it holds nothing of use.
    ///
    /// At most [`FILE_LEN_MAX`] bytes: a longer file is an error ([`io::ErrorKind::FileTooLarge`]).
    fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()>;

    /// Reads files that may block, such as those of sysfs that ask a device. All together get
    /// `deadline`; a file that does not answer gives [`io::ErrorKind::TimedOut`], and again, at
    /// once, until its first read has ended. One result per path, in their order.
    fn read_all(&self, paths: &[String], deadline: Duration) -> Vec<io::Result<Vec<u8>>>;

    /// The names in a folder, sorted.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// The names in a folder that may lie on a disk that hangs; deadline and errors as for
    /// [`read_all`](Self::read_all).
    fn list_in_time(&self, dir: &str, deadline: Duration) -> io::Result<Vec<String>> {
        let _ = deadline;
        self.list(dir)
    }

    /// Where a symbolic link points, as it is written.
    fn link(&self, path: &str) -> io::Result<String>;

    /// The path with all links followed; it exists.
    fn canonical(&self, path: &str) -> io::Result<String>;

    /// Runs a command to its end, or to `deadline`: then it and all it started are killed.
    ///
    /// An exit status other than 0 is an [`Output`], not an error. The program is looked up on
    /// PATH unless it holds a `/`; it sees `LC_ALL=C` and no standard input.
    fn run(&self, program: &str, args: &[&str], deadline: Duration) -> Result<Output, RunError>;

    /// Starts a command as [`run`](Self::run) does and does not wait for its end, which
    /// [`Begun::wait`] tells. A host that cannot do both at once runs it to its end first.
    fn begin(&self, program: &str, args: &[&str], deadline: Duration) -> Begun {
        let start = Instant::now();
        let result = self.run(program, args, deadline);
        Begun::ended(Ended { result, took: Some(start.elapsed()) })
    }

    /// The sizes of mounted filesystems, one result per mount point, in their order; deadline and
    /// errors as for [`read_all`](Self::read_all).
    fn statvfs(
        &self,
        mount_points: &[String],
        deadline: Duration,
    ) -> Vec<io::Result<FilesystemSize>>;

    /// Sends `request` to a Unix stream socket, or by TCP where `path` is `HOST:PORT`, and takes the
    /// answer, framed as `framing` says. The frame itself is part of what is returned.
    fn socket_request(
        &self,
        path: &str,
        request: &[u8],
        framing: Framing,
        deadline: Duration,
    ) -> io::Result<Vec<u8>>;

    /// Asks Unix stream sockets, each pair a socket's path and a request, and takes an answer to each,
    /// framed as for [`socket_request`](Self::socket_request). Different sockets are asked at the same
    /// time, so that one that falls silent holds up no other; requests to one follow each other. All
    /// together get `deadline`. One result per pair, in their order.
    fn ask_all(
        &self,
        asks: &[(&str, &[u8])],
        framing: Framing,
        deadline: Duration,
    ) -> Vec<io::Result<Vec<u8>>> {
        let ask =
            |(path, request): &(&str, &[u8])| self.socket_request(path, request, framing, deadline);
        asks.iter().map(ask).collect()
    }

    /// Reads a page of an NVMe controller, such as `/dev/nvme0`; deadline and errors as for
    /// [`read_all`](Self::read_all). A host that has no such device says
    /// [`io::ErrorKind::Unsupported`].
    fn nvme_page(&self, device: &str, page: NvmePage, deadline: Duration) -> io::Result<Vec<u8>> {
        let _ = (device, page, deadline);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Watches a file that tells of its changes, such as `/proc/mdstat`. A host of which nothing
    /// ever changes says [`io::ErrorKind::Unsupported`].
    fn watch(&self, path: &str) -> io::Result<Box<dyn Watch>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Watches a folder for changes of it and of the files in it. A host of which nothing ever
    /// changes, and a kernel that tells of none, say [`io::ErrorKind::Unsupported`] or another error:
    /// then it is to be looked at instead.
    fn watch_folder(&self, dir: &str) -> io::Result<Box<dyn Watch>> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks the kernel for all there is of something over a route netlink socket, and takes the
    /// messages of its answer, which replace what is in `into`; deadline and errors as for
    /// [`read_all`](Self::read_all). A host that has no such socket, and a kernel that does not
    /// know the question, say [`io::ErrorKind::Unsupported`]: then files are to be read instead.
    fn netlink(&self, request: &[u8], deadline: Duration, into: &mut Vec<u8>) -> io::Result<()> {
        let _ = (request, deadline, into);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Counts the TCP sockets that the kernel tells over a netlink socket; deadline and errors as for
    /// [`netlink`](Self::netlink).
    fn tcp_sockets(&self, deadline: Duration) -> io::Result<Tcp> {
        let _ = deadline;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes a name that one process of the machine holds at a time, until the claim is dropped; one
    /// that another has says [`io::ErrorKind::AddrInUse`]. On a host where nothing runs, anybody may.
    fn claim(&self, name: &str) -> io::Result<Claim> {
        let _ = name;
        Ok(Claim::default())
    }

    /// What the kernel calls itself and the machine.
    fn uname(&self) -> io::Result<Uname>;

    /// When what is at `path` was written last, and how long it is. A capture that does not say
    /// tells what its own file says. A host that cannot tell says [`io::ErrorKind::Unsupported`].
    fn stamp(&self, path: &str) -> io::Result<Stamp> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How well the kernel keeps its clock. A host that does not know says
    /// [`io::ErrorKind::Unsupported`].
    fn timex(&self) -> io::Result<Timex> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Bytes of a page of memory, in which the kernel counts some sizes; absent where a capture
    /// does not say.
    fn page_size_bytes(&self) -> Option<u64>;

    /// The watched machine's time, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Whether this is the machine itself, on which a read may disturb a device, and not a capture.
    fn is_live(&self) -> bool {
        true
    }

    /// What was asked of the machine so far.
    fn counts(&self) -> Counts;

    /// Kills the commands that run and starts no more: for the end of labstat, which nothing that
    /// it started should outlive.
    fn stop(&self);

    /// The path that the link at `path` stands for, without looking whether it exists. The kernel
    /// takes twice as long to open a file of sysfs through a link, which counts where many files
    /// lie behind one.
    fn resolved(&self, path: &str) -> io::Result<String> {
        let target = self.link(path)?;
        let (dir, _) = path.rsplit_once('/').unwrap_or_default();
        let mut full = if target.starts_with('/') { String::new() } else { dir.to_owned() };
        for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." {
                full.truncate(full.rfind('/').unwrap_or_default());
            } else {
                full.push('/');
                full.push_str(part);
            }
        }
        Ok(full)
    }

    /// Reads a file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(path, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a file as text; what is not UTF-8 becomes U+FFFD.
    fn text(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?).into_owned())
    }
}

/// What a command left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; absent when a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained, cut at [`OUTPUT_LEN_MAX`].
    pub stderr: Vec<u8>,
}

/// Why a command gave no output.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such program.
    #[error("not installed")]
    NotFound,
    /// It is there and could not be started.
    #[error("could not be started")]
    Start(#[source] io::Error),
    /// It was still running at the deadline and was killed.
    #[error("no end after {0:?}, killed")]
    TimedOut(Duration),
    /// An earlier run of the same command was killed and has not ended yet: it hangs in the
    /// kernel, as commands on a dying disk do. It was not started again.
    #[error("an earlier run still hangs")]
    Hung,
    /// It failed some time ago, with these words, and it is not time for another run.
    #[error("{0}")]
    Earlier(String),
    /// labstat ends, and starts nothing any more.
    #[error("not started, since labstat ends")]
    Stopped,
    /// It printed more than [`OUTPUT_LEN_MAX`] and was killed.
    #[error("printed over {OUTPUT_LEN_MAX} bytes, killed")]
    TooLong,
    /// Its output could not be read.
    #[error("its output could not be read")]
    Read(#[source] io::Error),
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When it was written last, in nanoseconds since the Unix epoch.
    pub modified_ns: i64,
    /// Bytes it has.
    pub len: u64,
    /// Its number in its filesystem, which a file that was put in its place does not have.
    pub number: u64,
}

/// The size of a mounted filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemSize {
    /// All of it.
    pub size_bytes: u64,
    /// What is not used.
    pub free_bytes: u64,
    /// What is not used and not kept back for root.
    pub avail_bytes: u64,
    /// Inodes it can have; 0 where it has no such notion.
    pub files: u64,
    /// Inodes not used.
    pub files_free: u64,
    /// Whether it is mounted read-only.
    pub readonly: bool,
}

/// How the end of a socket's answer is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The peer closes the connection.
    UntilClosed,
    /// Four bytes, big-endian, give the number of bytes that follow.
    LengthPrefix,
}

/// What the kernel calls itself; empty where it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uname {
    /// `Linux`.
    pub sysname: String,
    /// The kernel's release, such as `6.1.0-18-amd64`.
    pub release: String,
    /// The kernel's build.
    pub version: String,
    /// `x86_64`, `aarch64` and so on.
    pub machine: String,
    /// The host's name.
    pub nodename: String,
    /// The NIS domain, mostly `(none)`.
    pub domainname: String,
}

/// What was asked of the machine since the host was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files read, or tried to.
    pub reads: u64,
    /// Commands started.
    pub commands: u64,
    /// Commands killed at their deadline.
    pub commands_killed: u64,
    /// Reads and commands that hang in the kernel at this moment.
    pub hung: u64,
}
