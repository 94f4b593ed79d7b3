//! `labstat rules check`: says what is wrong with rule files.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use labstat_alerts::rules::{
    FILE_LEN_MAX, Problem, Problems, Reading, RuleSet, duplicates, lint, unused,
};
use serde_json::{Map, Value, json};

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
  labstat rules check --format json node.yml | jq .good

Files are in Prometheus' format, and what Prometheus 3 takes is right. What is right and doubtful
is a warning: the same rule twice, an alert without severity or words, a text that names a label
which its expression drops. The exit status is 1 when there is a problem, with --strict also when
there is a warning, and with --lint-fatal it is 3 for what promtool calls a duplicate.")]
pub(super) struct Check {
    /// Rule files, and folders of rule files; - for standard input [default: -]
    #[arg(value_name = "FILE")]
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

    /// Which warnings to give, as promtool's option
    #[arg(long, value_enum, value_delimiter = ',')]
    lint: Vec<Lint>,

    /// Exit with status 3 when rules are duplicates in promtool's eyes, unless --lint leaves these out
    #[arg(long)]
    lint_fatal: bool,

    /// The files are all there are: warn of what is recorded and no rule asks for, too
    #[arg(long)]
    whole: bool,

    /// Say what the rules ask for and this server has not: metrics, values of labels
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// File that holds the bearer token, where the server wants one
    #[arg(long, value_name = "TOKEN", env = "LABSTAT_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,

    /// How to print: for people, or as one JSON object
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Exit status for rules that are taken and doubtful, where --lint-fatal asks for it: promtool's.
const DOUBTFUL: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lint {
    /// All warnings, and duplicates as promtool tells them
    All,
    /// Only rules with the name and labels of another of their file
    DuplicateRules,
    /// No warnings
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each finding
    Table,
    /// One JSON object
    Json,
}

/// What a file or folder came to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Rules {
        rules: usize,
        groups: usize,
        /// What the server has not that these rules ask for, where one was asked. That is no problem of
        /// theirs.
        missing: Option<Vec<String>>,
    },
    Problems(Problems),
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let mut is_good = true;
        let mut all = RuleSet::default();
        let mut objects = Vec::new();
        for file in self.given()? {
            let found = self.examine(&file, &mut all)?;
            is_good &= matches!(found, Found::Rules { .. });
            match self.format {
                Format::Table => output::result(&found.text(&file))?,
                Format::Json => objects.push(found.object(&file)),
            }
        }
        let warnings = self.warnings(&all, is_good);
        let is_taken = is_good && (warnings.is_empty() || !self.strict);
        let is_doubtful =
            self.lint_fatal && self.tells(Lint::DuplicateRules) && !duplicates(&all).is_empty();
        is_good = is_taken && !is_doubtful;
        match self.format {
            Format::Table => {
                let line = |it: &Problem| {
                    let Problem { file, line, message } = it.clone();
                    let told = Problem { file, line, message: format!("warning: {message}") };
                    format!("{}\n", printable(&told.to_string()))
                };
                output::result(&warnings.iter().map(line).collect::<String>())?;
            }
            Format::Json => {
                let warnings: Vec<Value> = warnings.iter().map(object).collect();
                let all = json!({ "good": is_good, "files": objects, "warnings": warnings });
                output::result(&format!("{all}\n"))?;
            }
        }
        Ok(match (is_taken, is_doubtful) {
            (false, _) => ExitCode::from(FAILED),
            (true, true) => ExitCode::from(DOUBTFUL),
            (true, false) => ExitCode::SUCCESS,
        })
    }

    /// The files to check: standard input where none is named, as with promtool.
    fn given(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        if std::io::stdin().is_terminal() {
            return Err(Failure::new("no rule files are named, and none is on standard input"));
        }
        Ok(vec![PathBuf::from("-")])
    }

    /// Whether warnings of this kind are asked for; without --lint, those there always are.
    fn tells(&self, kind: Lint) -> bool {
        let is_asked = |lint: &Lint| *lint == kind || *lint == Lint::All;
        (self.lint.is_empty() && self.lint_fatal) || self.lint.iter().any(is_asked)
    }

    /// What is in a file or folder; rules that are right are added to `all`.
    fn examine(&self, file: &Path, all: &mut RuleSet) -> Result<Found, Failure> {
        let set = match self.load(file)? {
            Ok(set) => set,
            Err(problems) => return Ok(Found::Problems(problems)),
        };
        let (rules, groups) = (set.rules_len(), set.groups.len());
        if groups == 0 && file.is_dir() {
            let message = "no rules; rule files are named *.yml".to_owned();
            let file = file.display().to_string();
            return Ok(Found::Problems(Problems(vec![Problem { file, line: None, message }])));
        }
        let missing = self.missing(&set)?;
        *all = std::mem::take(all).and(set);
        Ok(Found::Rules { rules, groups, missing })
    }

    /// What is doubtful of all files together.
    fn warnings(&self, all: &RuleSet, is_good: bool) -> Vec<Problem> {
        let is_usual = self.lint.is_empty() || self.tells(Lint::All);
        let mut warnings = if is_usual { lint(all) } else { Vec::new() };
        if self.tells(Lint::DuplicateRules) {
            let mut more = duplicates(all);
            // Ours says the same, and more.
            let is_told = |it: &Problem, known: &Problem| {
                known.file == it.file && known.message.starts_with(&it.message)
            };
            more.retain(|it| !warnings.iter().any(|known| is_told(it, known)));
            warnings.extend(more);
        }
        // Without a file that is broken nobody knows what is asked for.
        if self.whole && is_good {
            warnings.extend(unused(all));
        }
        warnings
    }

    /// What the server has not, where one is to be asked.
    fn missing(&self, set: &RuleSet) -> Result<Option<Vec<String>>, Failure> {
        let Some(server) = self.server.clone() else { return Ok(None) };
        let args = ServerArgs { server, token_file: self.token_file.clone() };
        runtime::block_on(async {
            let client = Client::new(&args)?;
            server::missing(&client, set).await.map(Some)
        })
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

impl Found {
    fn text(&self, file: &Path) -> String {
        match self {
            Self::Rules { rules, groups, missing } => {
                let (rules, groups) = (count(*rules, "rule"), count(*groups, "group"));
                let found = format!("{}: {rules} in {groups}\n", file.display());
                let missing =
                    missing.iter().flatten().map(|what| format!("  {}\n", printable(what)));
                found + &missing.collect::<String>()
            }
            Self::Problems(problems) => format!("{problems}\n"),
        }
    }

    fn object(&self, file: &Path) -> Value {
        let file = file.display().to_string();
        match self {
            Self::Rules { rules, groups, missing } => {
                let mut found =
                    json!({ "file": file, "rules": rules, "groups": groups, "problems": [] });
                if let (Some(missing), Some(fields)) = (missing, found.as_object_mut()) {
                    fields.insert("missing".to_owned(), json!(missing));
                }
                found
            }
            Self::Problems(Problems(problems)) => {
                json!({ "file": file, "problems": problems.iter().map(object).collect::<Vec<_>>() })
            }
        }
    }
}

/// A problem or warning; without a line where none is known.
fn object(problem: &Problem) -> Value {
    let Problem { file, line, message } = problem;
    let mut fields = Map::new();
    fields.insert("file".to_owned(), json!(file));
    fields.extend(line.map(|line| ("line".to_owned(), json!(line))));
    fields.insert("message".to_owned(), json!(message));
    Value::Object(fields)
}
