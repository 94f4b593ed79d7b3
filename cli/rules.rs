//! `labstat rules`: checks rule files, runs their unit tests, and replays them over history.

mod check;
mod replay;
mod server;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Failure;

/// Checks alert and recording rules, and runs their unit tests
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat rules check /etc/labstat/rules.d
  labstat rules test node.test.yml")]
pub(crate) struct Rules {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    Check(check::Check),
    Test(test::Test),
}

impl Rules {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            RulesCommand::Check(check) => check.run(),
            RulesCommand::Test(test) => test.run(),
        }
    }
}
