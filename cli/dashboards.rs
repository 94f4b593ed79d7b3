//! `labstat dashboards export`: what Grafana needs to show the lab.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::client::ServerArgs;
use crate::failure::Failure;
use crate::output;

/// Brings labstat's dashboards to Grafana
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  labstat dashboards export /etc/grafana")]
pub(crate) struct Dashboards {
    #[command(subcommand)]
    command: DashboardsCommand,
}

#[derive(Debug, Subcommand)]
enum DashboardsCommand {
    Export(Export),
}

/// Writes the dashboards and the provisioning files for Grafana
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat dashboards export /etc/grafana && systemctl restart grafana-server
  labstat dashboards export ./grafana --server http://nas:5227

Below the folder it writes provisioning/datasources/labstat.yml, provisioning/dashboards/labstat.yml
and dashboards/labstat/*.json; files of an earlier export are replaced. --server is the aggregator's
URL as Grafana reaches it, --token-file a file that Grafana may read.")]
struct Export {
    /// Folder to write to; Grafana reads /etc/grafana
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    server: ServerArgs,
}

impl Dashboards {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let DashboardsCommand::Export(export) = self.command;
        let ServerArgs { server, token_file } = &export.server;
        let written = labstat_dashboards::export(&export.dir, server, token_file.as_deref())
            .map_err(|error| {
                Failure::new("failed to export the dashboards")
                    .because(&error)
                    .cure("choose a folder that you may write to")
            })?;
        for path in written {
            output::result(&format!("{}\n", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
