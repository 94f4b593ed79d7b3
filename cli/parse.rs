//! `labstat parse`: what labstat understands of captured output, as JSON.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use labstat_agent::collect::parse::{mdstat, smartctl};
use serde_json::json;

use crate::failure::{FAILED, Failure};
use crate::output;

/// Prints what labstat understands of captured smartctl reports or /proc/mdstat, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  smartctl -x /dev/sda | labstat parse smartctl
  labstat parse smartctl reports/*.txt        one JSON object a line, in the order of the files
  labstat parse mdstat /proc/mdstat

Reports may be text of any version of smartctl, or its JSON. Both may be copies, with prompts before
and remarks behind the lines. The exit status is 1 when an input, or a line of /proc/mdstat, could not
be read or understood; the others are printed all the same.")]
pub(crate) struct Parse {
    /// What the input is
    #[arg(value_enum)]
    kind: Kind,

    /// Files to read; - or none is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Accepted for scripts; JSON is what is printed anyway
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Output of smartctl, text or JSON
    Smartctl,
    /// The kernel's list of software arrays
    Mdstat,
}

/// What one input gave: a line of JSON, and why it says little, if it does.
struct Parsed {
    line: String,
    problem: Option<String>,
}

/// What was read of an mdstat, and why that may not be all of it.
#[derive(Debug, serde::Serialize)]
struct Arrays {
    #[serde(flatten)]
    found: mdstat::Mdstat,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Parse {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let standard_input = [PathBuf::from("-")];
        let files: &[PathBuf] = if self.files.is_empty() { &standard_input } else { &self.files };
        let mut code = ExitCode::SUCCESS;
        for file in files {
            let parsed = match read(file) {
                Ok(bytes) => self.kind.parse(&bytes),
                Err(error) => self.kind.nothing(&format!("failed to read: {error}")),
            };
            output::result(&format!("{}\n", parsed.line))?;
            if let Some(problem) = parsed.problem {
                output::message(&format!("labstat: {}: {problem}\n", file.display()));
                code = ExitCode::from(FAILED);
            }
        }
        Ok(code)
    }
}

impl Kind {
    fn parse(self, bytes: &[u8]) -> Parsed {
        match self {
            Self::Smartctl => {
                let line = smartctl::to_json(bytes);
                Parsed { problem: not_understood(&smartctl::parse(bytes)), line }
            }
            Self::Mdstat => match mdstat::parse_copy(bytes) {
                Ok((found, problem)) => {
                    let object = Arrays { found, error: problem.map(|error| error.to_string()) };
                    match serde_json::to_string(&object) {
                        Ok(line) => Parsed { line, problem: object.error },
                        Err(error) => self.nothing(&error.to_string()),
                    }
                }
                Err(error) => self.nothing(&error.to_string()),
            },
        }
    }

    /// The object for an input of which nothing is known but why.
    fn nothing(self, why: &str) -> Parsed {
        let message = json!([{"string": format!("labstat: {why}"), "severity": "error"}]);
        let object = match self {
            Self::Smartctl => json!({"smartctl": {"messages": message}}),
            Self::Mdstat => json!({"error": why}),
        };
        Parsed { line: object.to_string(), problem: Some(why.to_owned()) }
    }
}

/// Why the parser took nothing from a report: its own message, not one of smartctl's.
pub(crate) fn not_understood(report: &smartctl::Report) -> Option<String> {
    let messages = report.smartctl.as_ref()?.messages.as_ref()?;
    messages
        .iter()
        .find_map(|message| message.string.as_deref()?.strip_prefix("labstat: ").map(str::to_owned))
}

/// One byte more than is parsed, so that what is too long is known to be.
pub(crate) fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(smartctl::INPUT_LEN_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
