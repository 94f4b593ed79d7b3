//! The `labstat` command: reads the command line, calls a room of the house, prints what it says.
//!
//! - One file per subcommand; `view` is what the views of the lab share.
//! - `client` and `answer` speak the Prometheus API; `table`, `graph` and `human` write for people
//!   and machines; `output` is the only way out; `failure` is what goes wrong.
//!
//! Not here: anything that another program could want to call. Collecting, keeping, evaluating and
//! sending are libraries that print nothing and never exit.

mod agent;
mod aggregator;
mod alarm;
mod alerts;
mod answer;
mod backup;
mod capture;
mod ceph;
mod ceph_read;
mod client;
mod completions;
mod config;
mod dashboards;
mod data;
mod disk;
mod disks;
mod doctor;
mod environment;
mod failure;
mod graph;
mod human;
mod inventory;
mod judge;
mod local;
mod log;
mod memory;
mod net;
mod nodes;
mod notify;
mod output;
mod parse;
mod places;
mod progress;
mod query;
mod raid;
mod routes;
mod rules;
mod runtime;
mod selftest;
mod settings;
mod silence;
mod status;
mod store;
mod table;
mod temps;
mod up;
mod ups;
mod view;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Agent(Box<agent::Agent>),
    Aggregator(aggregator::Aggregator),
    Status(status::Status),
    Nodes(nodes::Nodes),
    Inventory(inventory::Inventory),
    Disks(disks::Disks),
    Disk(disk::Disk),
    Raid(raid::Raid),
    Ceph(ceph::Ceph),
    Temps(temps::Temps),
    Net(net::Net),
    Ups(ups::Ups),
    Alerts(alerts::Alerts),
    Routes(routes::Routes),
    Silence(silence::Silence),
    Query(query::Query),
    Judge(judge::Judge),
    Doctor(doctor::Doctor),
    Parse(parse::Parse),
    Capture(capture::Capture),
    Backup(backup::Backup),
    Store(store::Store),
    Config(config::Config),
    Rules(rules::Rules),
    Notify(notify::Notify),
    Dashboards(dashboards::Dashboards),
    Completions(completions::Completions),
    #[command(hide = true)]
    CephRead(ceph_read::CephRead),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.verbose, cli.command.is_service());
    match cli.command.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

impl Command {
    /// Whether it runs until it is told to end, and so says what it does on the way.
    fn is_service(&self) -> bool {
        match self {
            Self::Agent(command) => !command.is_once(),
            Self::Aggregator(_) => true,
            _ => false,
        }
    }

    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Up(command) => command.run(),
            Self::Agent(command) => command.run(),
            Self::Aggregator(command) => command.run(),
            Self::Status(command) => command.run(),
            Self::Nodes(command) => command.run(),
            Self::Inventory(command) => command.run(),
            Self::Disks(command) => command.run(),
            Self::Disk(command) => command.run(),
            Self::Raid(command) => command.run(),
            Self::Ceph(command) => command.run(),
            Self::Temps(command) => command.run(),
            Self::Net(command) => command.run(),
            Self::Ups(command) => command.run(),
            Self::Alerts(command) => command.run(),
            Self::Routes(command) => command.run(),
            Self::Silence(command) => command.run(),
            Self::Query(command) => command.run(),
            Self::Judge(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Parse(command) => command.run(),
            Self::Capture(command) => command.run(),
            Self::Backup(command) => command.run(),
            Self::Store(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Rules(command) => command.run(),
            Self::Notify(command) => command.run(),
            Self::Dashboards(command) => command.run(),
            Self::Completions(command) => command.run(Cli::command()),
            Self::CephRead(command) => command.run(),
        }
    }
}
