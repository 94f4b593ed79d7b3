//! `labstat notify test`: a real message to the receivers, before anything has gone wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use labstat_aggregator::Config;
use labstat_alerts::notify::{Context, Delivered, Receiver, ReceiverConfig};
use labstat_alerts::{Message, Notification, Reason, Status};
use labstat_model::{Clock, SystemClock};

use crate::aggregator;
use crate::client::DEFAULT_SERVER;
use crate::failure::{FAILED, Failure};
use crate::output;
use crate::places;
use crate::runtime;
use crate::settings;

/// Tries out receivers of alerts
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  labstat notify test phone")]
pub(crate) struct Notify {
    #[command(subcommand)]
    command: NotifyCommand,
}

#[derive(Debug, Subcommand)]
enum NotifyCommand {
    Test(Test),
}

/// Sends a real test message to one receiver, or to all
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat notify test               every receiver of /etc/labstat/aggregator.toml
  labstat notify test phone         one of them
  labstat notify test --config my.toml

The message goes out whatever the receiver's severity and matchers are. The exit status is 1 when
one could not be delivered.")]
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
        let NotifyCommand::Test(test) = self.command;
        let file = test.config.clone().unwrap_or_else(places::aggregator_config);
        if test.config.is_none() && !file.exists() {
            return Err(Failure::new(format!("there is no {}", file.display())).cure(
                "name the aggregator's configuration, which has the receivers, with --config",
            ));
        }
        let config =
            settings::parse(&file, |text| Config::parse_over(text, aggregator::defaults()))?;
        let wanted =
            wanted(config.receivers, test.receiver.as_deref(), &file.display().to_string())?;
        let url = config.external_url.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        runtime::block_on(send(wanted, &url))
    }
}

fn wanted(
    receivers: Vec<ReceiverConfig>,
    name: Option<&str>,
    file: &str,
) -> Result<Vec<ReceiverConfig>, Failure> {
    let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
    if names.is_empty() {
        return Err(Failure::new(format!("{file} names no receivers"))
            .cure("add a [[receivers]] section with ntfy, email or webhook"));
    }
    let picked: Vec<ReceiverConfig> = receivers
        .into_iter()
        .filter(|receiver| name.is_none_or(|name| receiver.name == name))
        .collect();
    match (picked.is_empty(), name) {
        (true, Some(name)) => Err(Failure::new(format!("{file} has no receiver {name:?}"))
            .cure(format!("it has {}", names.join(", ")))),
        _ => Ok(picked),
    }
}

async fn send(receivers: Vec<ReceiverConfig>, url: &str) -> Result<ExitCode, Failure> {
    let alert = notification(SystemClock.now_ms(), url);
    let mut code = ExitCode::SUCCESS;
    for config in receivers {
        let name = &config.name;
        let problem = match Receiver::build(&config, url) {
            Ok(receiver) => {
                match receiver.send(&message(&alert, name), &Context::default()).await {
                    Ok(Delivered { refused }) if refused.is_empty() => {
                        output::result(&format!("{name}: delivered\n"))?;
                        continue;
                    }
                    Ok(Delivered { refused }) => {
                        let refused: Vec<String> =
                            refused.iter().map(ToString::to_string).collect();
                        let refused = refused.join("; ");
                        Failure::new(format!("{name}: delivered, but not to all: {refused}"))
                    }
                    Err(error) => Failure::new(format!("{name}: not delivered")).because(&error),
                }
            }
            Err(error) => Failure::new(format!("{name}: cannot be used")).because(&error),
        };
        code = ExitCode::from(FAILED);
        output::message(&problem.text().unwrap_or_default());
    }
    Ok(code)
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
