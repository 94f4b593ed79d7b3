//! `labstat config check`: everything that is wrong with a configuration file, at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use labstat_aggregator::RuleProblem;
use labstat_model::settings::Problem;

use crate::failure::{FAILED, Failure};
use crate::output;
use crate::settings;

/// Checks configuration files
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  labstat config check /etc/labstat/agent.toml")]
pub(crate) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Check(Check),
}

/// Says everything that is wrong with a configuration file, with line numbers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat config check /etc/labstat/agent.toml
  labstat config check --kind aggregator my.toml

Whether a file is an agent's or an aggregator's is told by its name, else by what is in it. The
rule files that an aggregator's names are checked with it. The exit status is 1 when there is a
problem.")]
struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Whose configuration it is
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Of `labstat agent`
    Agent,
    /// Of `labstat aggregator`
    Aggregator,
}

impl Config {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let ConfigCommand::Check(check) = self.command;
        let text = settings::read(&check.file)?;
        let kind = check.kind.or_else(|| by_name(&check.file)).unwrap_or_else(|| by_content(&text));
        let problems = kind.check(&text);
        let file = check.file.display();
        for problem in &problems {
            output::result(&format!("{file}:{}: {}\n", problem.line, problem.message))?;
        }
        if !problems.is_empty() {
            return Ok(ExitCode::from(FAILED));
        }
        let rules = kind.rule_problems(&text);
        for problem in &rules {
            output::result(&format!("{problem}\n"))?;
        }
        if !rules.is_empty() {
            return Ok(ExitCode::from(FAILED));
        }
        for remark in kind.remarks(&text) {
            output::result(&format!("{file}: {remark}\n"))?;
        }
        output::result(&format!("{file}: a good configuration of the {}\n", kind.name()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Kind {
    fn check(self, text: &str) -> Vec<Problem> {
        match self {
            Self::Agent => match labstat_agent::Config::parse(text) {
                Ok(config) => {
                    let line = line_of(text, "[[alarm");
                    let found = crate::alarm::problems(&config.alarm).into_iter();
                    found.map(|message| Problem { line, message }).collect()
                }
                Err(problems) => problems,
            },
            Self::Aggregator => labstat_aggregator::Config::check(text),
        }
    }

    /// What is wrong with the rule files that a good configuration names.
    fn rule_problems(self, text: &str) -> Vec<RuleProblem> {
        match self {
            Self::Agent => Vec::new(),
            Self::Aggregator => labstat_aggregator::Config::parse(text)
                .map_or_else(|_| Vec::new(), |config| config.rule_problems()),
        }
    }

    /// What of a good configuration is not used.
    fn remarks(self, text: &str) -> Vec<String> {
        let config = match self {
            Self::Agent => return Vec::new(),
            Self::Aggregator => labstat_aggregator::Config::parse(text).ok(),
        };
        config.and_then(|config| config.audience().ok()).map_or_else(Vec::new, |it| it.remarks)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Aggregator => "aggregator",
        }
    }
}

/// The first line that begins with `start`, or the first of all.
fn line_of(text: &str, start: &str) -> usize {
    1 + text.lines().position(|line| line.trim_start().starts_with(start)).unwrap_or(0)
}

fn by_name(file: &Path) -> Option<Kind> {
    let name = file.file_name()?.to_str()?;
    match (name.contains("agent"), name.contains("aggregator")) {
        (true, false) => Some(Kind::Agent),
        (false, true) => Some(Kind::Aggregator),
        _ => None,
    }
}

/// The kind in whose eyes less is wrong.
fn by_content(text: &str) -> Kind {
    let wrong = |kind: Kind| kind.check(text).len();
    if wrong(Kind::Agent) < wrong(Kind::Aggregator) { Kind::Agent } else { Kind::Aggregator }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_file_it_is() {
        assert_eq!(by_name(Path::new("/etc/labstat/agent.toml")), Some(Kind::Agent));
        assert_eq!(by_name(Path::new("my-aggregator.toml")), Some(Kind::Aggregator));
        assert_eq!(by_name(Path::new("lab.toml")), None);
        let wrong = "node = \"nas\"\n[[alarm.receivers]]\nname = \"phone\"\n";
        let lines: Vec<usize> = Kind::Agent.check(wrong).iter().map(|it| it.line).collect();
        assert_eq!(lines, [2], "a receiver of no kind");
        assert_eq!(by_content("aggregator = \"http://nas:5227\"\n"), Kind::Agent);
        assert_eq!(by_content("retention = \"1y\"\n"), Kind::Aggregator);
    }
}
