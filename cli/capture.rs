//! `labstat capture`: this machine's raw inputs as a folder that can be replayed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labstat_agent::collect::{Options, RealHost, capture};
use labstat_model::SystemClock;

use crate::ceph_read;
use crate::failure::Failure;
use crate::human::{self, Unit};
use crate::output;
use crate::places;
use crate::view::count;

/// Captures this machine's raw inputs into a folder that can be replayed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat capture ./capture
  labstat agent --once --host-root ./capture      what labstat makes of it, on any machine

Look through the folder before you share it: it holds host names, addresses, serial numbers and
mount points.")]
pub(crate) struct Capture {
    /// Folder to write; it must be empty or not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Configuration of Ceph, when it is not /etc/ceph/ceph.conf
    #[arg(long, value_name = "FILE")]
    ceph_conf: Option<String>,

    /// Folder of Ceph's admin sockets, when it is not /var/run/ceph
    #[arg(long, value_name = "DIR")]
    ceph_run: Option<String>,
}

impl Capture {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let host = RealHost::new(Arc::new(SystemClock));
        output::message("labstat: reading everything once, a few seconds\n");
        let mut options = Options::default();
        options.ceph.reader = ceph_read::reader();
        options.ceph.conf = self.ceph_conf.map(places::absolute);
        if let Some(dir) = self.ceph_run {
            options.ceph.run_dir = places::absolute(dir);
        }
        let report = capture(&host, &options, &self.dir)
            .map_err(|error| Failure::new("failed to capture this machine").because(&error))?;
        for (collector, reason) in &report.failed {
            output::message(&format!("labstat: {collector}: {reason}\n"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a capture is bounded to megabytes")]
        let size = human::number(report.size_bytes as f64, Unit::Bytes, &jiff::tz::TimeZone::UTC);
        output::result(&format!(
            "{}: {}, {}, {}, {size}\n",
            self.dir.display(),
            count(report.files, "file"),
            count(report.commands, "command"),
            count(report.sockets, "socket")
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
