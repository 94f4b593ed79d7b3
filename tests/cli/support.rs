//! What these tests share.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The fresh binary, ready for arguments, with no environment of its own that could change it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labstat"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LABSTAT_") {
            command.env_remove(name);
        }
    }
    command
}

/// The folder of shared captures, when this checkout has one beside it.
pub(crate) fn shared_fixtures() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures");
    dir.is_dir().then_some(dir)
}

/// Says that a test could not be run and why.
pub(crate) fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
}
