//! Where labstat's files are, when nobody says otherwise.

use std::path::{Path, PathBuf};

/// The folder of configuration files and rules.
const CONFIG_DIR: &str = "/etc/labstat";

/// The aggregator's configuration.
pub(crate) fn aggregator_config() -> PathBuf {
    Path::new(CONFIG_DIR).join("aggregator.toml")
}

/// The agent's configuration.
pub(crate) fn agent_config() -> PathBuf {
    Path::new(CONFIG_DIR).join("agent.toml")
}

/// The folder of the user's rules.
pub(crate) fn rules_dir() -> PathBuf {
    Path::new(CONFIG_DIR).join("rules.d")
}

/// A path that was given on the command line, from the root: what is not so named is named from the folder
/// that labstat was started in, and means nothing to whoever is told of it.
pub(crate) fn absolute(path: String) -> String {
    match std::path::absolute(&path) {
        Ok(absolute) => absolute.to_str().map(str::to_owned).unwrap_or(path),
        // It is empty, or there is no such folder any more.
        Err(_) => path,
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folder for what must survive a restart: the system's for root, else the user's own. None
/// when the user has no home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    state_dir_of(is_root(), variable("XDG_STATE_HOME"), variable("HOME"))
}

fn state_dir_of(root: bool, state: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from("/var/lib/labstat"));
    }
    let state = state.or_else(|| Some(home?.join(".local/state")));
    state.map(|state| state.join("labstat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_from_here_is_named_from_the_root() {
        assert_eq!(absolute("/run/ceph".to_owned()), "/run/ceph");
        let here = std::env::current_dir().unwrap();
        assert_eq!(Path::new(&absolute("run".to_owned())), here.join("run"));
        assert_eq!(absolute(String::new()), "");
    }

    #[test]
    fn root_has_the_systems_folder_and_users_their_own() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(state_dir_of(true, path("/s"), path("/h")), path("/var/lib/labstat"));
        assert_eq!(state_dir_of(false, path("/s"), path("/h")), path("/s/labstat"));
        assert_eq!(state_dir_of(false, None, path("/h")), path("/h/.local/state/labstat"));
        assert_eq!(state_dir_of(false, None, None), None);
    }
}
