//! A disk that can lose its power: an ext4 file system in an image on a loop device.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;

/// Room for the log and the blobs of a trial many times over; the image is sparse.
const SIZE_BYTES: u64 = 512 << 20;

/// A stopped process may be within a sync that goes on until it is through.
const CALM: Duration = Duration::from_millis(50);

/// A mounted image, unmounted when dropped.
pub(crate) struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// An empty one, with its image and its mount point in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let image = folder.join("disk.img");
        File::create(&image)?.set_len(SIZE_BYTES)?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()])?;
        Self::mount(image, folder.join("mounted"))
    }

    fn mount(image: PathBuf, mounted: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&mounted)?;
        // The file system commits what is synced and nothing by itself: no mercy between the last
        // sync and the copy, and nothing that changes while it is made.
        let options = OsStr::new("loop,commit=300");
        run("mount", &["-o".as_ref(), options, image.as_os_str(), mounted.as_os_str()])?;
        Ok(Self { image, mounted })
    }

    /// Where it is mounted.
    pub(crate) fn mounted(&self) -> &Path {
        &self.mounted
    }

    fn copy_path(&self) -> PathBuf {
        self.image.with_extension("cut")
    }

    /// Copies what has reached the device. Whoever writes is stopped.
    pub(crate) fn copy(&self) -> Result<()> {
        std::thread::sleep(CALM);
        let copy = self.copy_path();
        run("cp", &["--sparse=always".as_ref(), self.image.as_os_str(), copy.as_os_str()])
    }

    /// Takes the disk away and gives the copy in its place.
    pub(crate) fn lose(self) -> Result<Self> {
        let (copy, mounted) = (self.copy_path(), self.mounted.with_extension("cut"));
        drop(self);
        Self::mount(copy, mounted)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &[self.mounted.as_os_str()])
            .or_else(|_| run("umount", &["-l".as_ref(), self.mounted.as_os_str()]));
    }
}

/// Runs a command that has to succeed.
pub(crate) fn run(program: &str, args: &[&OsStr]) -> Result<()> {
    let mut command = Command::new(program);
    let done = command.args(args).stdout(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{program} failed: {}", String::from_utf8_lossy(&done.stderr).trim()).into())
}
