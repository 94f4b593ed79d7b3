//! Secrets: read from files, read again when the file changes, and never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::BuildError;
use super::config::read_secret;

/// Characters of the shortest secret that is looked for in texts: `no` is found everywhere.
const HIDDEN_LEN_MIN: usize = 4;

/// A secret in a file.
pub(super) struct Secret {
    path: PathBuf,
    kept: Mutex<Kept>,
}

struct Kept {
    /// When the file was changed, and how long it is.
    stamp: Option<(SystemTime, u64)>,
    text: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.path).finish()
    }
}

impl Secret {
    /// Reads the file; `name` is the receiver's, for messages.
    pub(super) fn read(name: &str, path: &Path) -> Result<Self, BuildError> {
        let stamp = stamp(path);
        let text = read_secret(name, path)?;
        Ok(Self { path: path.to_owned(), kept: Mutex::new(Kept { stamp, text }) })
    }

    /// What the file says now. While it cannot be read, as in the midst of being replaced, what it
    /// said before. Asks the file system for its time and no more, unless it has changed.
    pub(super) fn current(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp.is_some()
            && stamp != kept.stamp
            && let Ok(text) = read_secret("", &self.path)
        {
            *kept = Kept { stamp, text };
        }
        kept.text.clone()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// `text` without `secrets`, as they are and as they stand in a URL.
pub(super) fn hide<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = text.to_owned();
    for secret in secrets {
        if secret.chars().count() < HIDDEN_LEN_MIN {
            continue;
        }
        out = out.replace(secret, "***");
        let coded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        if coded != secret {
            out = out.replace(&coded, "***");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_lost_one_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let secret = Secret::read("x", &path).unwrap();
        assert_eq!(secret.current(), "first");
        std::fs::write(&path, "the second\n").unwrap();
        assert_eq!(secret.current(), "the second");
        std::fs::write(&path, "").unwrap();
        assert_eq!(secret.current(), "the second", "an empty file is one that is being written");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.current(), "the second");
        assert!(!format!("{secret:?}").contains("second"));
    }

    #[test]
    fn secrets_are_hidden_as_they_are_and_coded() {
        assert_eq!(hide("a tk/1+2 b tk%2F1%2B2 c", ["tk/1+2"]), "a *** b *** c");
        assert_eq!(hide("no", ["no"]), "no", "too short to be one");
    }
}
