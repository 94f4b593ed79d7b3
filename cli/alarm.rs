//! The agent's own alarm, told through receivers as the aggregator's are: from `[[alarm.receivers]]` of
//! `agent.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use labstat_agent::{Alarm, AlarmConfig, Telling, Word};
use labstat_alerts::notify::{Context, Receiver, ReceiverConfig};
use labstat_alerts::{Message, Notification, Status};
use labstat_model::duration;
use serde_json::{Value, json};

use crate::failure::Failure;

/// The name of the alert.
const ALERT: &str = "AggregatorUnreachable";

/// Gives the receivers of `config` to the agent. An error names the first that cannot be used.
pub(crate) fn arm(config: &mut AlarmConfig, aggregator: Option<&str>) -> Result<(), Failure> {
    if config.receivers.is_empty() {
        return Ok(());
    }
    let aggregator = aggregator.unwrap_or_default().to_owned();
    let receivers = config.receivers.iter().enumerate().map(|(at, value)| {
        let config = read(at, value).map_err(|problem| {
            Failure::new(format!("a receiver of the agent's alarm cannot be used: {problem}"))
                .cure("it is written as one of [[receivers]] in aggregator.toml")
        })?;
        Receiver::build(&config, &base(&aggregator)).map_err(|error| {
            Failure::new("a receiver of the agent's alarm cannot be used").because(&error)
        })
    });
    let receivers = receivers.collect::<Result<Vec<_>, Failure>>()?;
    config.alarm = Some(Arc::new(Voices { receivers, aggregator }));
    Ok(())
}

/// What is wrong with the receivers of `config`.
pub(crate) fn problems(config: &AlarmConfig) -> Vec<String> {
    let wrong = |(at, value)| read(at, value).err().map(|problem| format!("alarm: {problem}"));
    config.receivers.iter().enumerate().filter_map(wrong).collect()
}

/// A receiver as it is configured; a name is not needed.
fn read(at: usize, value: &Value) -> Result<ReceiverConfig, String> {
    let mut value = value.clone();
    if let Some(table) = value.as_object_mut() {
        table.entry("name").or_insert_with(|| json!(format!("alarm-{}", at + 1)));
    }
    let config: ReceiverConfig =
        serde_json::from_value(value).map_err(|error| error.to_string())?;
    match config.problems().into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(config),
    }
}

/// The receivers.
#[derive(Debug)]
struct Voices {
    receivers: Vec<Receiver>,
    aggregator: String,
}

impl Alarm for Voices {
    fn tell<'a>(&'a self, word: &'a Word) -> Telling<'a> {
        Box::pin(async move {
            let alert = alert(word, &self.aggregator);
            let mut failed = Vec::new();
            let wanted: Vec<&Receiver> =
                self.receivers.iter().filter(|receiver| receiver.wants(&alert)).collect();
            for receiver in &wanted {
                let message = Message::about(alert.clone(), receiver.name());
                if let Err(error) = receiver.send(&message, &Context::default()).await {
                    failed.push(format!("{}: {error}", receiver.name()));
                }
            }
            // One that heard it suffices: to tell it again would tell that one twice.
            let is_told = wanted.is_empty() || failed.len() < wanted.len();
            if is_told { Ok(()) } else { Err(failed.join("; ")) }
        })
    }
}

fn alert(word: &Word, aggregator: &str) -> Notification {
    let Word { node, since_ms, over_ms, error, rounds } = word;
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let host = host(aggregator);
    let waiting = match rounds {
        0 => String::new(),
        rounds => format!(" {rounds} round(s) wait on its disk and are delivered later."),
    };
    let description = format!(
        "{node} cannot deliver to the aggregator at {host}: {error}.{waiting} Nobody watches {node} \
         meanwhile. When other nodes say the same, it is the aggregator; else it is {node} or its network."
    );
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 53 bits")]
    let value = (over_ms.unwrap_or(*since_ms) - since_ms) as f64 / 1000.0;
    Notification {
        // The same for both words about one absence, and for no other.
        fingerprint: format!("{:016x}", *since_ms),
        status: if over_ms.is_some() { Status::Resolved } else { Status::Firing },
        labels: pairs(&[("alertname", ALERT), ("instance", node), ("severity", "critical")]),
        annotations: pairs(&[
            ("summary", &format!("{node} cannot reach the aggregator")),
            ("description", &description),
            ("next", &format!("curl {}/-/healthy", base(aggregator))),
        ]),
        active_at_ms: *since_ms,
        starts_at_ms: *since_ms,
        ends_at_ms: *over_ms,
        value,
        generator_url: base(aggregator),
    }
}

/// The URL without its path.
fn base(aggregator: &str) -> String {
    let Some((scheme, rest)) = aggregator.split_once("://") else { return aggregator.to_owned() };
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}

fn host(aggregator: &str) -> String {
    base(aggregator).split_once("://").map_or_else(String::new, |(_, host)| host.to_owned())
}

/// What the agent says of its alarm when it starts.
pub(crate) fn words(config: &AlarmConfig) -> Option<String> {
    let count = config.alarm.as_ref().map(|_| config.receivers.len())?;
    let after = duration::format_ms(config.after_ms);
    Some(format!("alarm of its own after {after} to {}", crate::view::count(count, "receiver")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_which_node_since_when_and_why() {
        let word = Word {
            node: "vertex".to_owned(),
            since_ms: 1_700_000_000_000,
            over_ms: None,
            error: "nas:5227 answers 401 Unauthorized".to_owned(),
            rounds: 60,
        };
        let begun = alert(&word, "https://nas:5227/api/v1/write");
        assert_eq!(begun.annotation("summary"), Some("vertex cannot reach the aggregator"));
        let description = begun.annotation("description").unwrap_or_default();
        for part in ["vertex", "nas:5227 answers 401", "60 round(s)", "other nodes"] {
            assert!(description.contains(part), "{description}");
        }
        assert_eq!(begun.annotation("next"), Some("curl https://nas:5227/-/healthy"));
        let over = Word { over_ms: Some(1_700_000_600_000), ..word };
        let over = alert(&over, "https://nas:5227");
        assert_eq!((over.status, over.value), (Status::Resolved, 600.0));
        assert_eq!(over.fingerprint, begun.fingerprint, "one thread");
        let ids = [&begun, &over].map(|alert| Message::about(alert.clone(), "phone").id);
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn receivers_are_those_of_the_aggregator_and_their_problems_are_told() {
        let config = |text: &str| labstat_agent::Config::parse(text).unwrap().alarm;
        let good = "[alarm]\nafter = \"5m\"\n[[alarm.receivers]]\n\
                    ntfy = { url = \"https://ntfy.sh\", topic = \"lab\" }\n";
        let mut alarm = config(good);
        assert!(problems(&alarm).is_empty(), "{:?}", problems(&alarm));
        arm(&mut alarm, Some("http://nas:5227")).unwrap();
        assert_eq!(words(&alarm).unwrap(), "alarm of its own after 5m to 1 receiver");
        let mut wrong = config("[[alarm.receivers]]\npigeon = { url = \"x\" }\n");
        assert_eq!(problems(&wrong).len(), 1);
        assert!(arm(&mut wrong, None).is_err());
        let mut none = config("[alarm]\nafter = \"5m\"\n");
        arm(&mut none, None).unwrap();
        assert!(none.alarm.is_none() && words(&none).is_none());
    }
}
