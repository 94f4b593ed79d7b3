//! Which history the commands look at that work on files: the aggregator's on this machine.

use std::path::{Path, PathBuf};

use labstat_aggregator::{Config, Snapshot, SnapshotError};

use crate::aggregator;
use crate::environment;
use crate::failure::Failure;
use crate::places;
use crate::settings;

/// Where the history lies.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "History")]
pub(crate) struct DataArgs {
    /// Folder of the history [default: the one the aggregator's configuration names]
    #[arg(long, value_name = "DIR", env = "LABSTAT_DATA", hide_env_values = true)]
    data: Option<PathBuf>,

    /// The aggregator's configuration [default: /etc/labstat/aggregator.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DataArgs {
    /// The aggregator's settings, with the folder that is meant.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let usual = Some(places::aggregator_config()).filter(|file| file.exists());
        let base = aggregator::defaults();
        // A file that somebody else's rights hide is of no use when the folder is named anyway.
        let file = match (&self.config, &self.data) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(_)) => usual.filter(|file| settings::read(file).is_ok()),
            (None, None) => usual,
        };
        let config = match file {
            Some(file) => settings::parse(&file, |text| Config::parse_over(text, base))?,
            None => base,
        };
        let mut config =
            environment::lay_over(config, environment::AGGREGATOR, Config::parse_over)?;
        if let Some(data) = &self.data {
            config.data_dir.clone_from(data);
        }
        Ok(config)
    }

    /// The history as it is now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Failure> {
        let dir = self.config()?.data_dir;
        Snapshot::of_dir(&dir).map_err(|error| failure(&dir, &error))
    }
}

/// Says what to do about a history that cannot be looked at.
pub(crate) fn failure(dir: &Path, error: &SnapshotError) -> Failure {
    let failure = Failure::new("cannot look at the history").because(error);
    match error {
        SnapshotError::Missing { .. } => failure.cure(
            "--data names the folder; that of the systemd unit is /var/lib/labstat-aggregator",
        ),
        SnapshotError::NotReadable { .. } => {
            failure.cure(format!("run it as root or as the user that {} belongs to", dir.display()))
        }
        SnapshotError::Damaged { .. } => failure.cure(
            "a start of the aggregator sets damaged files aside and keeps what is whole of them",
        ),
        _ => failure,
    }
}
