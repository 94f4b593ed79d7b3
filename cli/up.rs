//! `labstat up`: agent and aggregator in one process, on loopback, without configuration.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use labstat_agent::{Agent, Config, Finding, Outcome, Running};
use labstat_model::{SystemClock, duration};

use crate::aggregator;
use crate::ceph_read;
use crate::client::DEFAULT_SERVER;
use crate::failure::Failure;
use crate::output;
use crate::runtime;
use crate::settings;
use crate::view::count;

/// Watches this machine and says where to look: agent and aggregator in one, no configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat up                                watch this machine
  labstat up --interval 1s                  look every second
  labstat up --data ./history --listen 127.0.0.1:0

Then, in another terminal: labstat status. Ctrl-C ends it; the history stays.")]
pub(crate) struct Up {
    /// Loopback address to answer on [default: 127.0.0.1:5227]
    #[arg(long, value_name = "ADDR", value_parser = aggregator::listen)]
    listen: Option<SocketAddr>,

    /// Folder of the history [default: the state folder of this user]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Time between two rounds
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = settings::interval_ms)]
    interval: i64,
}

/// How long the first round may take before `up` stops waiting for it to speak. Slow sources,
/// such as disks that must spin up, go on beside.
const FIRST_ROUND_TIME_MAX: Duration = Duration::from_secs(20);

impl Up {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if let Some(addr) = self.listen.filter(|addr| !addr.ip().is_loopback()) {
            return Err(Failure::new(format!("`up` is for this machine alone, and {addr} is not"))
                .cure(
                    "use `labstat aggregator` with a token, and `labstat agent` on each machine",
                ));
        }
        runtime::serve(self.serve())
    }

    async fn serve(self) -> Result<ExitCode, Failure> {
        let mut end = std::pin::pin!(runtime::asked_to_end());
        let mut config = aggregator::defaults();
        config.listen = self.listen.unwrap_or(config.listen);
        config.data_dir = self.data.unwrap_or(config.data_dir);
        let data_dir = config.data_dir.clone();
        output::message(&format!("labstat: opening the history in {}\n", data_dir.display()));
        let server =
            aggregator::start(config).await.map_err(|failure| already_up(failure, self.listen))?;
        aggregator::tell_troubles(&server);
        let url = server.url();
        let agent = start_agent(&url, &data_dir, self.interval).await?;
        output::message("labstat: reading this machine for the first time, a few seconds\n");
        let first = tokio::time::timeout(FIRST_ROUND_TIME_MAX, agent.wait_rounds(1));
        tokio::select! {
            _ = first => {
                let interval = duration::format_ms(self.interval);
                output::result(&report(agent.node(), &interval, &agent.findings()))?;
                output::result(&next(&url, &data_dir))?;
                end.as_mut().await?;
            }
            ended = &mut end => ended?,
        }
        output::message("labstat: stopping; the history stays\n");
        agent.shutdown().await;
        aggregator::stop(server).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A taken port most likely means that labstat is up already.
fn already_up(failure: Failure, listen: Option<SocketAddr>) -> Failure {
    let taken = failure.text().is_some_and(|text| text.contains("already in use"));
    match taken && listen.is_none() {
        true => failure.cure("is labstat up already? `labstat status` would tell"),
        false => failure,
    }
}

async fn start_agent(url: &str, data_dir: &Path, interval_ms: i64) -> Result<Running, Failure> {
    let mut config = Config {
        aggregator: Some(url.to_owned()),
        interval_ms,
        state_dir: Some(data_dir.join("agent")),
        ..Config::default()
    };
    config.collect.ceph.reader = ceph_read::reader();
    Agent::start(config, Arc::new(SystemClock))
        .await
        .map_err(|error| Failure::new("the agent did not start").because(&error))
}

/// What the first round found, what is not there, what could not be read and why.
fn report(node: &str, interval: &str, findings: &[Finding]) -> String {
    let mut found = Vec::new();
    let mut absent = Vec::new();
    let mut pending = Vec::new();
    let mut failed = Vec::new();
    let mut samples_all = 0;
    for finding in findings {
        match &finding.outcome {
            Outcome::Collected { samples } => {
                samples_all += samples;
                found.push(finding.collector);
            }
            Outcome::Absent => absent.push(finding.collector),
            Outcome::Pending => pending.push(finding.collector),
            Outcome::Failed { .. } => failed.extend(crate::agent::failed(finding)),
        }
    }
    // Writing to a String cannot fail.
    let mut text = format!("Watching {node} every {interval}.\n\n");
    let samples = count(samples_all, "sample");
    let _ = writeln!(text, "  found     {samples} a round:\n            {}", listed(&found));
    if !absent.is_empty() {
        let _ = writeln!(text, "  not here  {}", listed(&absent));
    }
    if !pending.is_empty() {
        let _ = writeln!(text, "  coming    {}", listed(&pending));
    }
    for line in &failed {
        let _ = writeln!(text, "  failed    {line}");
    }
    if !failed.is_empty() || absent.contains(&"smartctl") {
        text.push_str("            `labstat doctor` says what is missing, and the cure\n");
    }
    text
}

/// Columns of a list of names; with what stands before it, it fits an ordinary window.
const LIST_WIDTH: usize = 66;

/// Names in lines, the further ones under the first.
fn listed(names: &[&str]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + name.len() + 2 <= LIST_WIDTH => {
                line.push_str(", ");
                line.push_str(name);
            }
            _ => lines.push((*name).to_owned()),
        }
    }
    if lines.is_empty() { "nothing yet".to_owned() } else { lines.join(",\n            ") }
}

/// Where to look next.
fn next(url: &str, data_dir: &Path) -> String {
    let server = match url == DEFAULT_SERVER {
        true => String::new(),
        false => format!(" --server {url}"),
    };
    format!(
        "
Now look:

  {url}
  labstat status{server}
  labstat query{server} --range 1h node_load1

In Grafana, add a Prometheus data source with the URL {url},
or let `labstat dashboards export /etc/grafana{server}` do it,
which brings the dashboard along.

The history is in {}. Ctrl-C ends labstat; the history stays.
",
        data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_found_and_what_was_not_and_why() {
        let finding = |collector, outcome| Finding {
            collector,
            job: "node",
            instance: None,
            outcome,
            took: Some(Duration::from_millis(1)),
        };
        let findings = [
            finding("cpu", Outcome::Collected { samples: 32 }),
            finding("loadavg", Outcome::Collected { samples: 3 }),
            finding("mdadm", Outcome::Absent),
            finding("smartctl", Outcome::Pending),
            finding("hwmon", Outcome::Failed { reason: "failed to read x: denied".into() }),
        ];
        assert_eq!(
            report("apex", "10s", &findings),
            "\
Watching apex every 10s.

  found     35 samples a round:
            cpu, loadavg
  not here  mdadm
  coming    smartctl
  failed    hwmon: failed to read x: denied
            `labstat doctor` says what is missing, and the cure
"
        );
    }

    #[test]
    fn long_lists_go_on_under_their_first_line() {
        let names = ["a".repeat(40), "b".repeat(30), "c".to_owned()];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(listed(&names), format!("{},\n            {}, c", names[0], names[1]));
        assert_eq!(listed(&[]), "nothing yet");
    }

    #[test]
    fn another_port_is_part_of_the_advice() {
        let path = Path::new("/x");
        assert!(next(DEFAULT_SERVER, path).contains("  labstat status\n"));
        let other = next("http://127.0.0.1:9", path);
        assert!(other.contains("  labstat status --server http://127.0.0.1:9\n"), "{other}");
        assert!(other.contains("export /etc/grafana --server http://127.0.0.1:9`"), "{other}");
    }
}
