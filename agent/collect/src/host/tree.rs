//! Files, folders and links of the machine, or of a folder that stands for one.
//!
//! Below a folder every path is resolved by the kernel as if the folder were `/`
//! (`openat2` with `RESOLVE_IN_ROOT`), so that neither `..` nor a link leads out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};

use super::{FILE_LEN_MAX, FILE_TIME_MAX, NAMES_MAX, Stamp};

/// Bytes asked for in one read: a whole file of sysfs, and most of proc.
const READ_LEN: usize = 4096;

/// Where the kernel has files of one value, at most a page.
const SYSFS: &str = "/sys/";

/// What is mounted below it and has lists of any length.
const NOT_SYSFS: [&str; 2] = ["/sys/fs/cgroup/", "/sys/kernel/"];

/// Where files come from.
#[derive(Debug)]
pub(super) enum Tree {
    /// The machine this runs on.
    Machine,
    /// A folder that holds the files of a machine.
    Folder {
        /// The folder, open.
        root: OwnedFd,
        /// The folder's canonical path.
        path: PathBuf,
    },
}

impl Tree {
    /// The tree below `dir`.
    pub(super) fn folder(dir: &Path) -> io::Result<Self> {
        let path = dir.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::openat(CWD, &path, flags, Mode::empty())?;
        Ok(Self::Folder { root, path })
    }

    /// Opens without ever waiting for a FIFO's or a terminal's other end.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self {
            Self::Machine => Ok(fs::openat(CWD, path, flags, Mode::empty())?),
            Self::Folder { root, .. } => self.open_below(root, path, flags),
        }
    }

    fn open_below(&self, root: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // Magic links and the flags for files do not go with a mere handle.
        let flags = if flags.contains(OFlags::PATH) {
            flags - OFlags::NONBLOCK - OFlags::NOCTTY
        } else {
            flags
        };
        Ok(fs::openat2(root, path, flags, Mode::empty(), how)?)
    }

    /// See [`Host::read_into`](super::Host::read_into).
    pub(super) fn read_into(&self, path: &str, into: &mut Vec<u8>) -> io::Result<()> {
        let file = self.open(path, OFlags::RDONLY)?;
        if matches!(self, Self::Folder { .. }) {
            // Whoever filled the folder may have put a device or a FIFO there.
            let kind = FileType::from_raw_mode(fs::fstat(&file)?.st_mode);
            if kind != FileType::RegularFile {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
        }
        read_all(path, &file, into)
    }

    /// See [`Host::list`](super::Host::list).
    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let folder = self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
            if names.len() > NAMES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("over {NAMES_MAX} names in one folder"),
                ));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// See [`Host::stamp`](super::Host::stamp).
    pub(super) fn stamp(&self, path: &str) -> io::Result<Stamp> {
        let stat = match self {
            Self::Machine => fs::stat(path)?,
            Self::Folder { .. } => fs::fstat(self.open(path, OFlags::PATH)?)?,
        };
        let seconds = stat.st_mtime.saturating_mul(1_000_000_000);
        let ns = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
        Ok(Stamp {
            modified_ns: seconds.saturating_add(ns),
            len: u64::try_from(stat.st_size).unwrap_or_default(),
            number: stat.st_ino,
        })
    }

    /// See [`Host::link`](super::Host::link).
    pub(super) fn link(&self, path: &str) -> io::Result<String> {
        let target = match self {
            Self::Machine => fs::readlinkat(CWD, path, Vec::new())?,
            Self::Folder { .. } => {
                let link = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
                fs::readlinkat(link, "", Vec::new())?
            }
        };
        target.into_string().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// See [`Host::canonical`](super::Host::canonical).
    pub(super) fn canonical(&self, path: &str) -> io::Result<String> {
        let full = match self {
            Self::Machine => Path::new(path).canonicalize()?,
            Self::Folder { path: root, .. } => {
                let real = self.real_path(path)?;
                let below = real.strip_prefix(root).map_err(|_| io::ErrorKind::NotFound)?;
                Path::new("/").join(below)
            }
        };
        full.into_os_string().into_string().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Where `path` lies on the machine this runs on.
    fn real_path(&self, path: &str) -> io::Result<PathBuf> {
        let handle = self.open(path, OFlags::PATH)?;
        let name = handle_path(&handle);
        Path::new(&name).read_link()
    }

    /// A handle on `path` and the name by which other calls reach what it stands for.
    pub(super) fn handle(&self, path: &str) -> io::Result<(OwnedFd, String)> {
        let handle = self.open(path, OFlags::PATH)?;
        let name = handle_path(&handle);
        Ok((handle, name))
    }

    /// Whether there is something at `path`; a link counts by what it points to.
    pub(super) fn exists(&self, path: &str) -> bool {
        match self {
            Self::Machine => fs::accessat(CWD, path, fs::Access::EXISTS, AtFlags::empty()).is_ok(),
            Self::Folder { .. } => self.open(path, OFlags::PATH).is_ok(),
        }
    }
}

fn is_sysfs(path: &str) -> bool {
    path.starts_with(SYSFS) && !NOT_SYSFS.iter().any(|dir| path.starts_with(dir))
}

/// Reads a file from its start to its end into `into`, wherever the file stands.
///
/// By its position: the kernel makes the files of proc and sysfs anew for whoever reads them from
/// the start, so that one that stays open can be read again.
pub(super) fn read_all(path: &str, file: &OwnedFd, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    let mut since = None;
    loop {
        into.reserve(READ_LEN);
        let room = into.capacity() - into.len();
        let at = into.len() as u64;
        let read = rustix::io::pread(file, rustix::buffer::spare_capacity(into), at)?;
        // Sysfs hands over a whole file in one read, unlike proc: there is no second one.
        if read == 0 || (read < room && is_sysfs(path)) {
            return Ok(());
        }
        if into.len() > FILE_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // The clock is asked only for files that take a second read and more.
        if since.get_or_insert_with(Instant::now).elapsed() > FILE_TIME_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

fn handle_path(handle: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel hands a list over by pages, each cut between two lines.
    #[test]
    fn a_list_of_many_pages_is_read_to_its_end() {
        for path in ["/proc/kallsyms", "/sys/fs/cgroup/cgroup.procs", "/proc/vmstat"] {
            let Ok(wanted) = std::fs::read(path) else { continue };
            let mut bytes = Vec::new();
            Tree::Machine.read_into(path, &mut bytes).unwrap_or_default();
            if wanted.len() > FILE_LEN_MAX {
                assert!(bytes.len() > FILE_LEN_MAX, "{path}");
                continue;
            }
            let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
            // Processes come and go meanwhile.
            assert!(lines(&bytes).abs_diff(lines(&wanted)) < 64, "{path}");
        }
        assert!(is_sysfs("/sys/class/hwmon/hwmon0/temp1_input"));
        assert!(!is_sysfs("/sys/fs/cgroup/system.slice/cgroup.procs") && !is_sysfs("/proc/stat"));
    }
}
