//! `labstat aggregator`: takes samples, keeps them, answers queries, looks after alerts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labstat_aggregator::{
    Aggregator as Service, Config, ConfigSource, Running, parse_listen, parse_retention,
};
use labstat_model::SystemClock;

use crate::environment;
use crate::failure::Failure;
use crate::output;
use crate::places;
use crate::runtime;
use crate::settings;

/// Takes samples from agents, keeps them, answers queries, looks after alerts
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  labstat aggregator                                  on 127.0.0.1:5227, history of a year
  labstat aggregator --listen 0.0.0.0:5227 --token-file /etc/labstat/token
  labstat aggregator --config /etc/labstat/aggregator.toml
  labstat aggregator --retention forever

On loopback it needs no token; on any other address it refuses to start without one. SIGHUP reads
the rule files again, and of the configuration receivers and who of them hears what; what is bad
changes nothing. The same happens when a file changes.

Every key of the configuration file has a variable too: paths of [rules] is LABSTAT_RULES_PATHS.
Variables win over the file, arguments over both.")]
pub(crate) struct Aggregator {
    /// Address to answer on [default: 127.0.0.1:5227]
    #[arg(long, value_name = "ADDR", env = "LABSTAT_LISTEN", hide_env_values = true, value_parser = listen)]
    listen: Option<SocketAddr>,

    /// Folder of the history [default: the state folder of this user]
    #[arg(long, value_name = "DIR", env = "LABSTAT_DATA", hide_env_values = true)]
    data: Option<PathBuf>,

    /// How long samples are kept: 90d, 1y, forever [default: 1y]
    #[arg(long, value_name = "TIME", env = "LABSTAT_RETENTION", hide_env_values = true, value_parser = retention)]
    retention: Option<Retention>,

    /// Rule file, or folder of rule files; may be given more than once
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,

    /// File with the bearer token that every request must carry
    #[arg(long, value_name = "FILE", env = "LABSTAT_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,

    /// Configuration file; what is given here wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How long samples are kept; none is for ever.
#[derive(Debug, Clone, Copy)]
struct Retention(Option<i64>);

impl Aggregator {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let config = self.config()?;
        runtime::serve(serve(config))
    }

    /// The configuration, and how to read it again when its file has changed.
    fn config(self) -> Result<Config, Failure> {
        let mut config = self.read()?;
        config.source = self.config.clone().map(|file| {
            let arguments = self.clone();
            let read = move || {
                arguments.read().map_err(|failure| vec![failure.text().unwrap_or_default()])
            };
            ConfigSource { file, read: Arc::new(read) }
        });
        Ok(config)
    }

    fn read(&self) -> Result<Config, Failure> {
        let base = defaults();
        let config = match &self.config {
            Some(file) => settings::parse(file, |text| Config::parse_over(text, base))?,
            None => base,
        };
        let mut config =
            environment::lay_over(config, environment::AGGREGATOR, Config::parse_over)?;
        config.listen = self.listen.unwrap_or(config.listen);
        config.data_dir = self.data.clone().unwrap_or(config.data_dir);
        config.token_file = self.token_file.clone().or(config.token_file);
        if let Some(Retention(ms)) = &self.retention {
            config.retention_ms = *ms;
        }
        if !self.rules.is_empty() {
            config.rules.clone_from(&self.rules);
        }
        Ok(config)
    }
}

/// What an aggregator is on this machine when nothing is said.
pub(crate) fn defaults() -> Config {
    let mut config = Config::default();
    if let Some(dir) = places::state_dir() {
        config.data_dir = dir;
    }
    // The folder is the usual place and not a must; one that comes later is noticed.
    config.rules = vec![places::rules_dir()];
    config
}

/// An address as people write it, for clap.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    parse_listen(text).map_err(|error| error.to_string())
}

fn retention(text: &str) -> Result<Retention, String> {
    parse_retention(text).map(Retention).map_err(|error| error.to_string())
}

/// Starts one; the failure names what to do.
pub(crate) async fn start(config: Config) -> Result<Running, Failure> {
    Service::start(config, Arc::new(SystemClock))
        .await
        .map_err(|error| Failure::new("the aggregator did not start").because(&error))
}

/// What a person should know of a start: what was set aside, which rules were not taken.
pub(crate) fn tell_troubles(running: &Running) {
    for notice in running.notices() {
        output::message(&format!("labstat: {notice}\n"));
    }
    for problem in running.rules().problems {
        output::message(&format!("labstat: {problem}\n"));
    }
}

/// Ends one.
pub(crate) async fn stop(running: Running) -> Result<(), Failure> {
    running
        .shutdown()
        .await
        .map_err(|error| Failure::new("the aggregator did not stop cleanly").because(&error))
}

async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let data_dir = config.data_dir.display().to_string();
    let mut end = std::pin::pin!(runtime::asked_to_end());
    let running = tokio::select! {
        running = start(config) => running?,
        ended = &mut end => return ended.map(|()| ExitCode::SUCCESS),
    };
    tell_troubles(&running);
    let history = match running.engine_url() {
        Some(engine) => format!("history in {engine}, queue for it in {data_dir}"),
        None => format!("history in {data_dir}"),
    };
    output::message(&format!("labstat: answering at {}, {history}\n", running.url()));
    let mut reload = runtime::asked_to_reload()?;
    loop {
        tokio::select! {
            ended = &mut end => break ended?,
            // The reload itself logs what it did not take.
            Some(()) = reload.recv() => drop(running.reload().await),
        }
    }
    output::message("labstat: stopping\n");
    stop(running).await?;
    Ok(ExitCode::SUCCESS)
}
