//! `labstat rules check`: says what is wrong with rule files.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use labstat_alerts::rules::{FILE_LEN_MAX, Problem, Problems, Reading, RuleSet, lint, unused};

use super::server;
use crate::client::{Client, ServerArgs};
use crate::failure::{FAILED, Failure};
use crate::table::printable;
use crate::view::count;
use crate::{output, runtime};

/// Says everything that is wrong with rule files, with line numbers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat rules check /etc/labstat/rules.d
  labstat rules check node.yml disks.yml
  labstat rules check - < node.yml
  labstat rules check --server http://nas:5227 node.yml
  labstat rules check --strict --whole /etc/labstat/rules.d

Files are in Prometheus' format, and what Prometheus 3 takes is right. What is right and doubtful
is a warning: the same rule twice, an alert without severity or words, a text that names a label
which its expression drops. The exit status is 1 when there is a problem, with --strict also when
there is a warning.")]
pub(super) struct Check {
    /// Rule files, and folders of rule files; - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Pass over keys that no rule file has
    #[arg(long)]
    ignore_unknown_fields: bool,

    /// Take what Prometheus 3.5 does not take, or not unless a feature is switched on there
    #[arg(long)]
    experimental: bool,

    /// Count warnings as problems
    #[arg(long)]
    strict: bool,

    /// The files are all there are: warn of what is recorded and no rule asks for, too
    #[arg(long)]
    whole: bool,

    /// Say what the rules ask for and this server has not: metrics, values of labels
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// File that holds the bearer token, where the server wants one
    #[arg(long, value_name = "TOKEN", env = "LABSTAT_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let mut is_good = true;
        let mut all = RuleSet::default();
        for file in &self.files {
            let text = match self.load(file)? {
                Ok(set) if set.groups.is_empty() && file.is_dir() => {
                    is_good = false;
                    format!("{}: no rules; rule files are named *.yml\n", file.display())
                }
                Ok(set) => {
                    let rules = count(set.rules_len(), "rule");
                    let groups = count(set.groups.len(), "group");
                    let found = format!("{}: {rules} in {groups}\n", file.display());
                    let text = found + &self.remarks(&set)?;
                    all = all.and(set);
                    text
                }
                Err(problems) => {
                    is_good = false;
                    format!("{problems}\n")
                }
            };
            output::result(&text)?;
        }
        let warnings = self.warnings(&all, is_good);
        for warning in &warnings {
            output::result(&format!("{}\n", printable(&warning.to_string())))?;
        }
        is_good &= warnings.is_empty() || !self.strict;
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    /// What is doubtful of all files together, with the word before it that tells it from a problem.
    fn warnings(&self, all: &RuleSet, is_good: bool) -> Vec<Problem> {
        let mut warnings = lint(all);
        // Without a file that is broken nobody knows what is asked for.
        if self.whole && is_good {
            warnings.extend(unused(all));
        }
        for warning in &mut warnings {
            warning.message.insert_str(0, "warning: ");
        }
        warnings
    }

    /// What the server has not, a line each. That is no problem of the rules.
    fn remarks(&self, set: &RuleSet) -> Result<String, Failure> {
        let Some(server) = self.server.clone() else { return Ok(String::new()) };
        let args = ServerArgs { server, token_file: self.token_file.clone() };
        let remarks = runtime::block_on(async {
            let client = Client::new(&args)?;
            server::missing(&client, set).await
        })?;
        Ok(remarks.iter().map(|remark| format!("  {}\n", printable(remark))).collect())
    }

    fn load(&self, file: &Path) -> Result<Result<RuleSet, Problems>, Failure> {
        let reading =
            Reading { ignore_unknown: self.ignore_unknown_fields, strict: !self.experimental };
        if file != Path::new("-") {
            return Ok(RuleSet::load_as(&[file.to_owned()], reading));
        }
        let mut text = String::new();
        let mut input = std::io::stdin().lock().take(FILE_LEN_MAX);
        input
            .read_to_string(&mut text)
            .map_err(|error| Failure::new("failed to read standard input").because(&error))?;
        Ok(RuleSet::read(&[("standard input", &text)], reading))
    }
}
