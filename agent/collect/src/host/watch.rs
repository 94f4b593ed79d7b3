//! Files and folders whose change the kernel tells of by itself.
//!
//! Of files that lie on a disk it tells through their folder ([`FolderWatch`], inotify). `/proc/mdstat`, `/proc/mounts`, `/proc/swaps` and some attributes of sysfs answer `poll` with an
//! error and urgent data once what they say has changed since it was last read through the same
//! open file.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::tree::Tree;

/// Bytes read to tell the kernel that the change was seen. It marks the file as read at the
/// beginning, so a part of it is enough.
const READ_LEN: usize = 512;

/// Waits for changes of one source.
pub trait Watch: Send {
    /// Waits up to `patience`; whether the source has changed since the last call, or since the
    /// watch was made. An error means that it cannot be watched any longer.
    fn wait(&mut self, patience: Duration) -> io::Result<bool>;
}

/// A file that tells of its changes.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: String,
    file: OwnedFd,
}

impl FileWatch {
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let file = Tree::Machine.open(path, OFlags::RDONLY)?;
        read_start(&file)?;
        Ok(Self { path: path.to_owned(), file })
    }
}

impl Watch for FileWatch {
    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        if has_changed(&self.file, patience)? {
            // Seen from here on: what changes while the collector reads is told by the next call.
            read_start(&self.file)?;
            return Ok(true);
        }
        // A file of a driver that was unloaded, and perhaps loaded again, never changes.
        let anew = Self::open(&self.path)?;
        let before = std::mem::replace(&mut self.file, anew.file);
        has_changed(&before, Duration::ZERO)
    }
}

/// A folder and the files in it, on a filesystem of this machine.
#[derive(Debug)]
pub(super) struct FolderWatch(OwnedFd);

/// Bytes for events at a time; one has 16 and the name of a file.
const EVENTS_LEN: usize = 4096;

/// Events that one call looks at. The kernel keeps 16,384 by default and then says that there were more;
/// a program that writes all the time must not keep the one who asks.
const EVENTS_MAX: usize = 16_384;

impl FolderWatch {
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MODIFY
            | WatchFlags::MOVE
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&queue, path, changes)?;
        Ok(Self(queue))
    }
}

impl Watch for FolderWatch {
    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(patience).unwrap_or_default();
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        // What the folder itself went through ends the watch: another may stand at its path.
        let end =
            ReadFlags::DELETE_SELF | ReadFlags::IGNORED | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        let mut buffer = [MaybeUninit::uninit(); EVENTS_LEN];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        for _ in 0..EVENTS_MAX {
            match events.next() {
                Ok(event) if event.events().intersects(end) => {
                    return Err(io::ErrorKind::NotFound.into());
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

fn read_start(file: &OwnedFd) -> io::Result<()> {
    let mut bytes = [0; READ_LEN];
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    rustix::io::read(file, &mut bytes)?;
    Ok(())
}

fn has_changed(file: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).unwrap_or_default();
    let mut files = [PollFd::new(file, PollFlags::PRI | PollFlags::ERR)];
    match poll(&mut files, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_change_is_told_once_and_one_that_comes_while_nobody_waits_too() {
        // A process with a mount table of its own, which changes when it is told to.
        let script =
            "echo ready; while read -r dir; do mount -t tmpfs t \"$dir\" || exit; echo done; done";
        let child = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: there is no unshare");
            return;
        };
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        if said.next().is_none() {
            eprintln!("SKIPPED: no mount namespaces for this user");
            let _ = child.wait();
            return;
        }
        let mut watch = FileWatch::open(&format!("/proc/{}/mounts", child.id())).unwrap();
        assert!(!watch.wait(Duration::ZERO).unwrap(), "nothing has changed");
        let dir = tempfile::tempdir().unwrap();
        let mut mount = || {
            writeln!(child.stdin.as_ref().unwrap(), "{}", dir.path().display()).unwrap();
            assert_eq!(said.next().unwrap().unwrap(), "done");
        };
        mount();
        assert!(watch.wait(LONG).unwrap());
        assert!(!watch.wait(Duration::ZERO).unwrap(), "told once");
        mount();
        mount();
        assert!(watch.wait(LONG).unwrap(), "after the file was opened anew, too");
        assert!(!watch.wait(Duration::ZERO).unwrap(), "two that nobody waited for are one");
        drop(child.stdin.take());
        let _ = child.wait();
        assert!(watch.wait(Duration::ZERO).is_err(), "what is gone cannot be watched");
    }

    #[test]
    fn a_folder_tells_of_what_happens_in_it_once_and_of_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("t");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.to_str().unwrap();
        let file = folder.join("a");
        let mut watch = FolderWatch::open(path).unwrap();
        assert!(!watch.wait(Duration::ZERO).unwrap(), "nothing has happened");
        let steps: [&dyn Fn(); 5] = [
            &|| std::fs::write(&file, "1").unwrap(),
            &|| std::fs::write(&file, "2").unwrap(),
            &|| drop(std::fs::File::options().write(true).open(&file).unwrap()),
            &|| std::fs::rename(&file, dir.path().join("b")).unwrap(),
            &|| std::fs::rename(dir.path().join("b"), &file).unwrap(),
        ];
        for (at, step) in steps.iter().enumerate() {
            step();
            assert!(watch.wait(LONG).unwrap(), "{at}");
            assert!(!watch.wait(Duration::ZERO).unwrap(), "{at}: told once");
        }
        std::fs::read(&file).unwrap();
        assert!(!watch.wait(Duration::ZERO).unwrap(), "to read is no change");
        std::fs::rename(&folder, dir.path().join("moved")).unwrap();
        assert!(watch.wait(LONG).is_err(), "what is elsewhere is not watched");
        assert_eq!(FolderWatch::open(path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut watch = FolderWatch::open(dir.path().join("moved").to_str().unwrap()).unwrap();
        std::fs::remove_dir_all(dir.path().join("moved")).unwrap();
        assert!(watch.wait(LONG).is_err());
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        assert!(FolderWatch::open(plain.to_str().unwrap()).is_err(), "no folder");
    }

    #[test]
    fn what_is_not_there_cannot_be_watched() {
        let error = FileWatch::open("/proc/no-such-file").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
