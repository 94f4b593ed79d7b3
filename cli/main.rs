//! The `labstat` command: reads the command line, calls a room of the house, prints what it says.
//!
//! - One file per subcommand; `view` is what the views of the lab share.
//! - `client` and `answer` speak the Prometheus API; `table`, `graph` and `human` write for people
//!   and machines; `output` is the only way out; `failure` is what goes wrong.
//!
//! Not here: anything that another program could want to call. Collecting, keeping, evaluating and
//! sending are libraries that print nothing and never exit.

mod alerts;
mod answer;
mod client;
mod disks;
mod failure;
mod graph;
mod human;
mod net;
mod nodes;
mod output;
mod query;
mod raid;
mod runtime;
mod status;
mod table;
mod temps;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Observability and storage telemetry for homelabs: one binary that watches machines, keeps
/// their history, answers PromQL and says when something is wrong.
#[derive(Debug, Parser)]
#[command(
    name = "labstat",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Start here:
  labstat up                        watch this machine, and say where to look
  labstat status                    the lab at a glance
  labstat doctor                    what is missing on this machine, and the cure

Exit status: 0 done, 1 failed or something is wrong, 2 wrong usage."
)]
struct Cli {
    /// Say more on standard error: -v what is done, -vv how (RUST_LOG says it more finely)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Status),
    Nodes(nodes::Nodes),
    Disks(disks::Disks),
    Raid(raid::Raid),
    Temps(temps::Temps),
    Net(net::Net),
    Alerts(alerts::Alerts),
    Query(query::Query),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Status(command) => command.run(),
            Self::Nodes(command) => command.run(),
            Self::Disks(command) => command.run(),
            Self::Raid(command) => command.run(),
            Self::Temps(command) => command.run(),
            Self::Net(command) => command.run(),
            Self::Alerts(command) => command.run(),
            Self::Query(command) => command.run(),
        }
    }
}
