//! The agent's own alarm, told through receivers as the aggregator's are: from `[[alarm.receivers]]` of
//! `agent.toml`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use labstat_agent::{AlarmConfig, Telling, Untold, Voice, Word};
use labstat_alerts::notify::{
    Arrival, Context, Delivered, Receiver, ReceiverConfig, Refusal, SendError,
};
use labstat_alerts::{Message, Notification, Status, fingerprint};
use labstat_model::duration;
use serde_json::{Value, json};

use crate::failure::Failure;

/// The name of the alert.
const ALERT: &str = "AggregatorUnreachable";

/// How long a receiver is left alone that refused a word for good.
const REFUSED_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Gives the receivers of `config` to the agent. An error names the first that cannot be used.
pub(crate) fn arm(config: &mut AlarmConfig, aggregator: Option<&str>) -> Result<(), Failure> {
    let aggregator = aggregator.unwrap_or_default();
    let unusable = || Failure::new("a receiver of the agent's alarm cannot be used");
    let receivers = read(&config.receivers).map_err(|problems| {
        Failure::new(format!(
            "a receiver of the agent's alarm cannot be used: {}",
            problems.into_iter().next().unwrap_or_default()
        ))
        .cure("it is written as one of [[receivers]] in aggregator.toml")
    })?;
    let voices = receivers.iter().map(|receiver| {
        let receiver = Receiver::build(receiver, &base(aggregator));
        let receiver = receiver.map_err(|error| unusable().because(&error))?;
        let aggregator = aggregator.to_owned();
        Ok(Arc::new(Told { receiver, aggregator, parted: Mutex::default() }) as Arc<dyn Voice>)
    });
    config.voices = voices.collect::<Result<_, Failure>>()?;
    Ok(())
}

/// What is wrong with the receivers of `config`.
pub(crate) fn problems(config: &AlarmConfig) -> Vec<String> {
    let problems = read(&config.receivers).err().unwrap_or_default();
    problems.into_iter().map(|problem| format!("alarm: {problem}")).collect()
}

/// Receivers as they are configured, or all that is wrong with them. A name is not needed, but what each was told
/// is remembered by it.
fn read(values: &[Value]) -> Result<Vec<ReceiverConfig>, Vec<String>> {
    let mut receivers: Vec<ReceiverConfig> = Vec::new();
    let mut problems = Vec::new();
    for (at, value) in values.iter().enumerate() {
        match read_one(at, value) {
            Ok(receiver) if receivers.iter().any(|other| other.name == receiver.name) => {
                problems.push(format!("two receivers are called {:?}", receiver.name));
            }
            Ok(receiver) => receivers.push(receiver),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(receivers) } else { Err(problems) }
}

fn read_one(at: usize, value: &Value) -> Result<ReceiverConfig, String> {
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

/// A receiver that the agent tells.
#[derive(Debug)]
struct Told {
    receiver: Receiver,
    aggregator: String,
    /// The message that some of its addresses have, by its id, and the others.
    parted: Mutex<(String, Vec<String>)>,
}

impl Told {
    /// The addresses that have not taken this message while others have.
    fn missing(&self, message: &Message) -> Vec<String> {
        let parted = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        if parted.0 == message.id { parted.1.clone() } else { Vec::new() }
    }

    /// Whom the message did not reach for good, or why it has to be sent once more.
    fn heed(&self, message: &Message, delivered: &Delivered) -> Result<Vec<String>, Untold> {
        let said = |refusals: &[Refusal]| -> Vec<String> {
            refusals.iter().map(ToString::to_string).collect()
        };
        if delivered.later.is_empty() {
            return Ok(said(&delivered.refused));
        }
        let later = delivered.later.iter().map(|refusal| refusal.to.clone()).collect();
        let mut parted = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        *parted = (message.id.clone(), later);
        Err(Untold { why: said(&delivered.later).join("; "), ..Untold::default() })
    }
}

impl Voice for Told {
    fn name(&self) -> &str {
        self.receiver.name()
    }

    fn tell(self: Arc<Self>, word: Word, is_repeated: bool) -> Telling {
        Box::pin(async move {
            let alert = alert(&word, &self.aggregator);
            if !self.receiver.wants(&alert) {
                return Ok(Vec::new());
            }
            let message = Message::about(alert, self.receiver.name());
            let (mut in_doubt, mut can_be_asked) = (is_repeated, false);
            if is_repeated {
                let arrival = self.receiver.was_delivered(&message).await;
                can_be_asked = arrival != Arrival::Unknowable;
                match arrival {
                    Arrival::There => return Ok(Vec::new()),
                    Arrival::Missing => in_doubt = false,
                    Arrival::Unanswered | Arrival::Unknowable => {}
                }
            }
            let context = Context { only: self.missing(&message), ..Context::default() };
            let outcome = self.receiver.send(&message, &context).await;
            let delivered = outcome.map_err(|error| {
                let untold = untold(&error, in_doubt);
                Untold { was_there: untold.was_there && !can_be_asked, ..untold }
            })?;
            self.heed(&message, &delivered)
        })
    }
}

/// What an attempt that failed comes to; `in_doubt` where one before it may have arrived.
fn untold(error: &SendError, in_doubt: bool) -> Untold {
    let (after, in_doubt) = match error {
        SendError::Retry { after, .. } => (*after, in_doubt),
        SendError::Doubt { .. } => (None, true),
        // The alarm is the last resort: it is tried again, should somebody put the receiver right.
        SendError::GiveUp(_) => (Some(REFUSED_PAUSE), in_doubt),
    };
    let was_there = matches!(error, SendError::Doubt { was_there: true, .. });
    Untold { why: error.to_string(), after, in_doubt, was_there }
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
    let labels = pairs(&[("alertname", ALERT), ("instance", node), ("severity", "critical")]);
    Notification {
        // Of this node alone: others lose their aggregator in the same moment and tell the same topic.
        fingerprint: fingerprint(labels.iter().map(|(name, value)| (&**name, &**value))),
        status: if over_ms.is_some() { Status::Resolved } else { Status::Firing },
        labels,
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
    let count = config.voices.len();
    let after = duration::format_ms(config.after_ms);
    let receivers = crate::view::count(count, "receiver");
    (count > 0).then(|| format!("alarm of its own after {after} to {receivers}"))
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
        let over = Word { over_ms: Some(1_700_000_600_000), ..word.clone() };
        let over = alert(&over, "https://nas:5227");
        assert_eq!((over.status, over.value), (Status::Resolved, 600.0));
        assert_eq!(over.fingerprint, begun.fingerprint, "one thread");
        let messages = [&begun, &over].map(|alert| Message::about(alert.clone(), "phone"));
        assert_eq!(messages[0].thread, messages[1].thread);
        assert_ne!(messages[0].id, messages[1].id);
        // The next absence, and another node in the same moment.
        for other in [
            Word { since_ms: word.since_ms + 1, ..word.clone() },
            Word { node: "apex".to_owned(), ..word },
        ] {
            let other = Message::about(alert(&other, "https://nas:5227"), "phone");
            assert_ne!(other.thread, messages[0].thread);
        }
    }

    #[test]
    fn what_may_have_arrived_stays_in_doubt_until_the_receiver_says_otherwise() {
        let retry = SendError::Retry { why: "refused".to_owned(), after: None };
        let doubt = SendError::Doubt { why: "no answer".to_owned(), was_there: true };
        let refused = SendError::GiveUp("400".to_owned());
        assert!(!untold(&retry, false).in_doubt && untold(&retry, true).in_doubt);
        assert!(untold(&doubt, false).in_doubt);
        assert_eq!(untold(&refused, false).after, Some(REFUSED_PAUSE));
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
        let twin = "[[alarm.receivers]]\nname = \"a\"\nwebhook = { url = \"http://h/\" }\n";
        let twins = config(&twin.repeat(2));
        assert_eq!(problems(&twins), [r#"alarm: two receivers are called "a""#]);
        let mut none = config("[alarm]\nafter = \"5m\"\n");
        arm(&mut none, None).unwrap();
        assert!(none.voices.is_empty() && words(&none).is_none());
    }
}
