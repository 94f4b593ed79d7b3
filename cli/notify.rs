//! `labstat notify`: a real message to the receivers, before anything has gone wrong, and how delivery to them goes.

mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use labstat_aggregator::{Audience, Config};
use labstat_alerts::manners::Part;
use labstat_alerts::notify::{Context, Delivered, Receiver, ReceiverConfig, SendError};
use labstat_alerts::{Message, Notification, Reason, Status};
use labstat_model::{Clock, SystemClock};

use crate::aggregator;
use crate::client::DEFAULT_SERVER;
use crate::environment;
use crate::failure::{FAILED, Failure};
use crate::output;
use crate::places;
use crate::runtime;
use crate::settings;

/// Tries out receivers of alerts, and tells how delivery to them goes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat notify test phone
  labstat notify status")]
pub(crate) struct Notify {
    #[command(subcommand)]
    command: NotifyCommand,
}

#[derive(Debug, Subcommand)]
enum NotifyCommand {
    Test(Test),
    Status(status::Status),
}

/// Sends a real test message to one receiver, or to all
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat notify test               every receiver of /etc/labstat/aggregator.toml
  labstat notify test phone         one of them
  labstat notify test --config my.toml

Receivers of an Alertmanager's file (alertmanager_config) are tested too, with each of their
webhooks and addresses. The message goes out whatever the receiver's severity and matchers are. The
exit status is 1 when one could not be delivered.")]
struct Test {
    /// Name of the receiver [default: all]
    #[arg(value_name = "RECEIVER")]
    receiver: Option<String>,

    /// The aggregator's configuration, which names the receivers [default: /etc/labstat/aggregator.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Notify {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            NotifyCommand::Test(test) => test.run(),
            NotifyCommand::Status(status) => status.run(),
        }
    }
}

impl Test {
    fn run(self) -> Result<ExitCode, Failure> {
        let file = self.config.clone().unwrap_or_else(places::aggregator_config);
        if self.config.is_none() && !file.exists() {
            return Err(Failure::new(format!("there is no {}", file.display())).cure(
                "name the aggregator's configuration, which has the receivers, with --config",
            ));
        }
        let (config, audience) = audience(&file)?;
        for remark in &audience.remarks {
            output::message(&format!("labstat: warning: {remark}\n"));
        }
        let wanted = wanted(audience, self.receiver.as_deref(), &file.display().to_string())?;
        let url = config.external_url.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        runtime::block_on(send(wanted, &url))
    }
}

/// The aggregator's configuration, and whom it tells.
pub(crate) fn audience(file: &Path) -> Result<(Config, Audience), Failure> {
    let config = settings::parse(file, |text| Config::parse_over(text, aggregator::defaults()))?;
    let config = environment::lay_over(config, environment::AGGREGATOR, Config::parse_over)?;
    let audience = config.audience().map_err(|error| {
        Failure::new(format!("nobody can be told by {}", file.display())).because(&error)
    })?;
    Ok((config, audience))
}

/// The receivers of this name: one, or those that a receiver of an Alertmanager's file stands for.
fn wanted(
    audience: Audience,
    name: Option<&str>,
    file: &str,
) -> Result<Vec<ReceiverConfig>, Failure> {
    let Audience { receivers, manners, .. } = audience;
    if receivers.is_empty() {
        return Err(Failure::new(format!("{file} names no receivers that labstat can send to"))
            .cure("add a [[receivers]] section with ntfy, email or webhook"));
    }
    let Some(name) = name else { return Ok(receivers) };
    let is_known = manners.receivers().any(|known| known == name);
    let parts = manners.parts(name).filter(|_| is_known);
    let is_meant = |receiver: &ReceiverConfig| {
        let is_part = |parts: &[_]| parts.iter().any(|part: &Part| part.receiver == receiver.name);
        receiver.name == name || parts.is_some_and(is_part)
    };
    let mut names: Vec<String> = manners.receivers().cloned().collect();
    let of_parts = receivers.iter().map(|receiver| receiver.name.clone());
    names.extend(of_parts.filter(|part| !manners.receivers().any(|name| name == part)));
    let picked: Vec<ReceiverConfig> = receivers.into_iter().filter(is_meant).collect();
    match (picked.is_empty(), parts) {
        (false, _) => Ok(picked),
        (true, Some(_)) => Err(Failure::new(format!("{name:?} has nothing that labstat sends to"))),
        (true, None) => Err(Failure::new(format!("{file} has no receiver {name:?}"))
            .cure(format!("it has {}", names.join(", ")))),
    }
}

/// Sends to all at once: one that does not answer keeps no other waiting. Tells of them in their order.
async fn send(receivers: Vec<ReceiverConfig>, url: &str) -> Result<ExitCode, Failure> {
    let alert = notification(SystemClock.now_ms(), url);
    let attempts = receivers.into_iter().map(|config| {
        let (message, url) = (message(&alert, &config.name), url.to_owned());
        let name = config.name.clone();
        (name, tokio::spawn(async move { attempt(&config, &message, &url).await }))
    });
    let mut code = ExitCode::SUCCESS;
    for (name, attempt) in attempts.collect::<Vec<_>>() {
        let outcome = attempt.await.unwrap_or_else(|error| {
            Err(Failure::new(format!("{name}: the attempt broke off")).because(&error))
        });
        match outcome {
            Ok(()) => output::result(&format!("{name}: delivered\n"))?,
            Err(problem) => {
                code = ExitCode::from(FAILED);
                output::message(&problem.text().unwrap_or_default());
            }
        }
    }
    Ok(code)
}

async fn attempt(config: &ReceiverConfig, message: &Message, url: &str) -> Result<(), Failure> {
    let name = &config.name;
    let receiver = Receiver::build(config, url)
        .map_err(|error| Failure::new(format!("{name}: cannot be used")).because(&error))?;
    let sent = receiver.send(message, &Context::default()).await;
    let Delivered { refused, later } = sent.map_err(|error| {
        let what = match &error {
            SendError::GiveUp(_) => "refused",
            SendError::Doubt { .. } => "may not be delivered",
            SendError::Retry { .. } => "not delivered",
        };
        Failure::new(format!("{name}: {what}")).because(&error)
    })?;
    let missing: Vec<String> = refused.iter().chain(&later).map(ToString::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{name}: delivered, but not to all: {}", missing.join("; "))))
}

fn message(alert: &Notification, receiver: &str) -> Message {
    Message { reason: Reason::Test, ..Message::about(alert.clone(), receiver) }
}

fn notification(now_ms: i64, url: &str) -> Notification {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    Notification {
        // Of its own each time, so that no receiver takes it for one it has seen.
        fingerprint: format!("{now_ms:016x}"),
        status: Status::Firing,
        labels: pairs(&[("alertname", "LabstatTest"), ("severity", "info")]),
        annotations: pairs(&[
            ("summary", "Test message from labstat"),
            (
                "description",
                "Somebody ran `labstat notify test`. Nothing is wrong, and this receiver works.",
            ),
        ]),
        active_at_ms: now_ms,
        starts_at_ms: now_ms,
        ends_at_ms: None,
        value: 1.0,
        generator_url: url.to_owned(),
    }
}
