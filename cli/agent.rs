//! `labstat agent`: watches this machine and ships what it finds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labstat_agent::{Agent as Service, Config, Finding, Outcome, Running};
use labstat_model::{Clock, SystemClock, duration};

use crate::aggregator;
use crate::alarm;
use crate::ceph_read;
use crate::environment;
use crate::failure::Failure;
use crate::memory;
use crate::output;
use crate::places;
use crate::runtime;
use crate::settings;

/// After so many rounds, whatever an agent does has been done once.
const ROUNDS_OF_START: u64 = 3;

/// Watches this machine and ships what it finds to an aggregator
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat agent --aggregator http://nas:5227 --token-file /etc/labstat/token
  labstat agent --config /etc/labstat/agent.toml
  labstat agent --listen 127.0.0.1:9100             let a Prometheus scrape it
  labstat agent --once                              one round, as text, on standard output
  labstat agent --once --only cpu,mdadm
  labstat agent --once --host-root ./capture        what a captured machine said

The aggregator may be any receiver of Prometheus remote write. While it is away, rounds wait in
the state folder and are delivered later.

Every key of the configuration file has a variable too: size of [spool] is LABSTAT_SPOOL_SIZE.
Variables win over the file, arguments over both.")]
pub(crate) struct Agent {
    /// Where to ship: an aggregator, or any remote write receiver
    #[arg(long, value_name = "URL", env = "LABSTAT_AGGREGATOR", hide_env_values = true)]
    aggregator: Option<String>,

    /// File with the bearer token that the receiver wants
    #[arg(long, value_name = "FILE", env = "LABSTAT_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,

    /// Certificates (PEM) to trust in place of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Time between two rounds [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = settings::interval_ms)]
    interval: Option<i64>,

    /// Folder for rounds that wait [default: the state folder of this user, /agent]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Address of the agent's own /metrics
    #[arg(long, value_name = "ADDR", value_parser = aggregator::listen)]
    listen: Option<SocketAddr>,

    /// Name of this node [default: the host's]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Run these collectors only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,

    /// Run these too, which are off otherwise: mountstats, softirqs
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    also: Vec<String>,

    /// Do not run these collectors
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exclude: Vec<String>,

    /// Read a captured machine in place of this one
    #[arg(long, value_name = "DIR")]
    host_root: Option<PathBuf>,

    /// Configuration of Ceph, when it is not /etc/ceph/ceph.conf
    #[arg(long, value_name = "FILE")]
    ceph_conf: Option<String>,

    /// Folder of Ceph's admin sockets, when it is not /var/run/ceph
    #[arg(long, value_name = "DIR")]
    ceph_run: Option<String>,

    /// Configuration file; what is given here wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print one round as text exposition and end
    #[arg(long)]
    once: bool,
}

impl Agent {
    /// Whether it ends after one round.
    pub(crate) fn is_once(&self) -> bool {
        self.once
    }

    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let once = self.once;
        let mut config = self.config()?;
        if once {
            return runtime::block_on(one_round(config));
        }
        if config.aggregator.is_none() && config.listen.is_none() {
            return Err(Failure::new("the agent has nowhere to send what it finds").cure(
                "give it --aggregator URL, or --listen ADDR to be scraped, or --once to look",
            ));
        }
        alarm::arm(&mut config.alarm, config.aggregator.as_deref())?;
        runtime::block_on(serve(config))
    }

    fn config(self) -> Result<Config, Failure> {
        let base = Config::default();
        let config = match &self.config {
            Some(file) => settings::parse(file, |text| Config::parse_over(text, base))?,
            None => base,
        };
        let mut config = environment::lay_over(config, environment::AGENT, Config::parse_over)?;
        config.aggregator = self.aggregator.or(config.aggregator);
        config.token_file = self.token_file.or(config.token_file);
        config.ca_file = self.ca_file.or(config.ca_file);
        config.interval_ms = self.interval.unwrap_or(config.interval_ms);
        config.listen = self.listen.or(config.listen);
        config.node = self.node.or(config.node);
        config.host_root = self.host_root.or(config.host_root);
        config.state_dir = self.state.or(config.state_dir).or_else(default_state_dir);
        if !self.only.is_empty() {
            config.only = self.only;
        }
        if !self.also.is_empty() {
            config.also = self.also;
        }
        if !self.exclude.is_empty() {
            config.exclude = self.exclude;
        }
        config.collect.ceph.reader = ceph_read::reader();
        // A captured machine has paths of its own.
        let is_here = config.host_root.is_none();
        let path = |path: String| if is_here { places::absolute(path) } else { path };
        config.collect.ceph.conf = self.ceph_conf.map(path).or(config.collect.ceph.conf);
        if let Some(dir) = self.ceph_run {
            config.collect.ceph.run_dir = path(dir);
        }
        Ok(config)
    }
}

/// The spool's folder below the state folder, so that it never lies among an aggregator's files.
pub(crate) fn default_state_dir() -> Option<PathBuf> {
    places::state_dir().map(|dir| dir.join("agent"))
}

async fn one_round(config: Config) -> Result<ExitCode, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let once = labstat_agent::once(&config, clock)
        .await
        .map_err(|error| Failure::new("failed to run a round").because(&error))?;
    for finding in &once.findings {
        if let Some(line) = failed(finding) {
            output::message(&format!("labstat: {line}\n"));
        }
    }
    output::result(&once.text)?;
    Ok(ExitCode::SUCCESS)
}

/// A collector that failed and why, on one line.
pub(crate) fn failed(finding: &Finding) -> Option<String> {
    match &finding.outcome {
        Outcome::Failed { reason } => Some(format!("{}: {reason}", finding.collector)),
        Outcome::Pending | Outcome::Collected { .. } | Outcome::Absent => None,
    }
}

async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let aggregator = config.aggregator.clone();
    let alarm = alarm::words(&config.alarm);
    let interval = duration::format_ms(config.interval_ms);
    let mut end = std::pin::pin!(runtime::asked_to_end());
    let running = Service::start(config, Arc::new(SystemClock))
        .await
        .map_err(|error| Failure::new("the agent did not start").because(&error))?;
    let mut text = format!("labstat: watching {} every {interval}", running.node());
    if let Some(url) = aggregator {
        text.push_str(&format!(", shipping to {url}"));
    }
    if let Some(addr) = running.addr() {
        text.push_str(&format!(", own metrics at http://{addr}/metrics"));
    }
    if let Some(words) = alarm {
        text.push_str(&format!(", {words}"));
    }
    output::message(&format!("{text}\n"));
    tokio::select! {
        () = running.wait_rounds(ROUNDS_OF_START) => memory::give_back_start(),
        result = &mut end => return stop(running, result).await,
    }
    let result = end.as_mut().await;
    stop(running, result).await
}

async fn stop(running: Running, asked: Result<(), Failure>) -> Result<ExitCode, Failure> {
    asked?;
    output::message("labstat: stopping\n");
    running.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
