//! `labstat ceph-read`: one reading of a Ceph cluster. The agent runs it; it is not for people.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use labstat_agent::collect::{ClusterQuestion, PageUse, confine_reader, read_cluster};

use crate::failure::Failure;

/// This very program, also when another version has taken its place on disk.
const PROGRAM: &str = "/proc/self/exe";

/// The program that reads a cluster for the agent, as its options want it.
pub(crate) fn reader() -> Option<String> {
    Some(PROGRAM.to_owned())
}

/// Asks a Ceph cluster everything once and prints the replies, a line each
#[derive(Debug, clap::Args)]
pub(crate) struct CephRead {
    /// Configuration of Ceph
    #[arg(long, value_name = "FILE")]
    conf: String,

    /// Who asks
    #[arg(long, value_name = "NAME")]
    user: String,

    /// File of the user's key
    #[arg(long, value_name = "FILE")]
    keyring: Option<String>,

    /// Ask for the age of scrubs, too
    #[arg(long)]
    scrubs: bool,

    /// Take what the manager counts from the page of its prometheus module
    #[arg(long, value_name = "WHEN", default_value = "never")]
    page: When,

    /// How often that had been made when it was last looked at
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    collected: Option<f64>,

    /// Use the program ceph even where librados is there
    #[arg(long)]
    no_library: bool,

    /// Seconds after which it is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    deadline: u64,
}

/// When the page is good enough.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum When {
    Never,
    Renewed,
    Always,
}

impl CephRead {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        confine_reader()
            .map_err(|error| Failure::new("failed to bound the reading").because(&error))?;
        let question = ClusterQuestion {
            conf: self.conf,
            user: self.user,
            keyring: self.keyring,
            scrubs: self.scrubs,
            page: match self.page {
                When::Never => PageUse::Never,
                When::Renewed => PageUse::Renewed(self.collected),
                When::Always => PageUse::Always,
            },
            library: !self.no_library,
            deadline: Duration::from_secs(self.deadline),
        };
        read_cluster(&question, &mut io::stdout().lock())
            .map_err(|error| Failure::new("failed to read the cluster").because(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}
