//! What collectors must know after a restart, in the state folder: one file for each document, `NAME.json`.
//!
//! A document is written beside its place, synced, and moved there, so that a crash leaves the old one
//! or the new one. Not here: what stands in them (`docs/formats/agent-disks.md`).

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use labstat_collect::{DOCUMENT_LEN_MAX, Memory};

/// The documents in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Those in `dir`, which is made when there is something to keep.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }
}

impl Memory for Folder {
    fn recall(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut document = Vec::new();
        let more = DOCUMENT_LEN_MAX as u64 + 1;
        file.take(more).read_to_end(&mut document)?;
        match document.len() <= DOCUMENT_LEN_MAX {
            true => Ok(Some(document)),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn keep(&self, name: &str, document: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let (path, new) = (self.path(name), self.dir.join(format!("{name}.json.new")));
        let mut file = File::create(&new)?;
        file.write_all(document)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &path)?;
        // The move itself is in the folder.
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_kept_whole_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("not").join("there");
        let folder = Folder::new(&state);
        assert_eq!(folder.recall("disks").unwrap(), None);
        folder.keep("disks", b"one, which is longer").unwrap();
        // What a crash left beside it.
        fs::write(state.join("disks.json.new"), "hal").unwrap();
        assert_eq!(folder.recall("disks").unwrap().unwrap(), b"one, which is longer");
        folder.keep("disks", b"two").unwrap();
        assert_eq!(folder.recall("disks").unwrap().unwrap(), b"two");
        let names: Vec<_> =
            fs::read_dir(&state).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["disks.json"]);
    }

    #[test]
    fn one_that_is_too_long_or_no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let file = File::create(dir.path().join("disks.json")).unwrap();
        file.set_len(DOCUMENT_LEN_MAX as u64 + 1).unwrap();
        assert_eq!(folder.recall("disks").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::create_dir(dir.path().join("other.json")).unwrap();
        assert!(folder.recall("other").is_err());
        assert!(folder.keep("other", b"x").is_err());
    }
}
