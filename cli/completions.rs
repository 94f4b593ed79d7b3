//! `labstat completions`: what a shell needs to complete labstat's commands.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

/// Prints completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat completions bash > /etc/bash_completion.d/labstat
  labstat completions zsh > ~/.zfunc/_labstat
  labstat completions fish > ~/.config/fish/completions/labstat.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Runs the command for the commands of `whole`.
    pub(crate) fn run(self, mut whole: Command) -> Result<ExitCode, Failure> {
        let mut bytes = Vec::new();
        clap_complete::generate(self.shell, &mut whole, "labstat", &mut bytes);
        output::result(&String::from_utf8_lossy(&bytes))?;
        Ok(ExitCode::SUCCESS)
    }
}
