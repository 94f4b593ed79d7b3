//! `labstat rules check`: lint for rule files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use labstat_alerts::RuleSet;

use crate::failure::{FAILED, Failure};
use crate::output;
use crate::view::count;

/// Checks alert and recording rules
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  labstat rules check /etc/labstat/rules.d")]
pub(crate) struct Rules {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    Check(Check),
}

/// Says everything that is wrong with rule files, with line numbers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat rules check /etc/labstat/rules.d
  labstat rules check node.yml disks.yml

Files are in Prometheus' format. The exit status is 1 when there is a problem.")]
struct Check {
    /// Rule files, and folders of rule files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Rules {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let RulesCommand::Check(check) = self.command;
        let mut code = ExitCode::SUCCESS;
        for file in check.files {
            let text = match RuleSet::load(std::slice::from_ref(&file)) {
                Ok(set) if set.groups.is_empty() => {
                    code = ExitCode::from(FAILED);
                    format!("{}: no rules; rule files are named *.yml\n", file.display())
                }
                Ok(set) => {
                    let rules = count(set.rules_len(), "rule");
                    let groups = count(set.groups.len(), "group");
                    format!("{}: {rules} in {groups}\n", file.display())
                }
                Err(problems) => {
                    code = ExitCode::from(FAILED);
                    format!("{problems}\n")
                }
            };
            output::result(&text)?;
        }
        Ok(code)
    }
}
