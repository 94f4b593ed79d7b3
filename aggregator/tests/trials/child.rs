//! The process that is killed: rules, manners and delivery over a store, with the data on its
//! standard input. On its standard output it answers, and says which messages are off its hands: that
//! their delivery is on disk.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labstat_alerts::delivery::{DeliveryOptions, Rate};
use labstat_alerts::manners::spec::RouteSpec;
use labstat_alerts::manners::{MannersSpec, Recipient};
use labstat_alerts::notify::ReceiverConfig;
use labstat_alerts::{Database, Entry, Ledger, LedgerError, RuleSet, Service, ServiceOptions};
use labstat_model::{
    Clock, Labels, Matcher, MixedRequest, Sample, Series, SystemClock, TimeSeries, WriteRequest,
};
use labstat_promql::{Source, SourceError};
use labstat_store::{Options, Store};

pub(crate) const DIR_ENV: &str = "LABSTAT_TRIAL_DIR";
pub(crate) const RECEIVERS_ENV: &str = "LABSTAT_TRIAL_RECEIVERS";

const RULES: &str = "
groups:
  - name: health
    interval: 1s
    rules:
      - alert: Sick
        expr: sick == 1
        labels: {severity: critical}
        annotations: {summary: '{{ $labels.name }} is sick'}
";

/// What the keys of messages begin with.
const MESSAGES: &str = "queue/message/";

/// What a line begins with that names a message whose delivery is on disk.
pub(crate) const ENDED: &str = "ended ";

/// The store as the aggregator has it.
struct Kept {
    store: Store,
    /// The messages that wait: their ids by their keys.
    messages: Mutex<BTreeMap<String, String>>,
}

impl Kept {
    fn new(store: Store) -> Self {
        Self { store, messages: Mutex::default() }
    }

    /// Remembers the id of a message that waits.
    fn note_message(&self, key: &str, value: &[u8]) {
        if key.contains(MESSAGES) {
            let value: serde_json::Value = serde_json::from_slice(value).unwrap();
            let id = value["message"]["id"].as_str().unwrap().to_owned();
            self.messages.lock().unwrap().insert(key.to_owned(), id);
        }
    }

    /// Says so of a message that waits no more.
    fn tell_ended(&self, key: &str) {
        if let Some(id) = self.messages.lock().unwrap().remove(key) {
            say(&format!("{ENDED}{id}"));
        }
    }
}

impl Source for Kept {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        self.store.select(matchers, start_ms, end_ms).map_err(|error| SourceError(Box::new(error)))
    }
}

impl Database for Kept {
    fn append(&self, request: &MixedRequest) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.store.append(request)?;
        Ok(())
    }
}

impl Ledger for Kept {
    fn load(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
        let found = self.store.documents(prefix).unwrap();
        assert_eq!(found.damaged, Vec::<String>::new());
        found.whole.iter().for_each(|(key, value)| self.note_message(key, value));
        Ok(found.whole)
    }

    fn commit(&self, entries: &[Entry]) -> Result<(), LedgerError> {
        let changes: Vec<(&str, Option<&[u8]>)> =
            entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_deref())).collect();
        self.store.documents_put(&changes).map_err(|error| LedgerError(Box::new(error)))?;
        for Entry { key, value } in entries {
            match value {
                Some(value) => self.note_message(key, value),
                None => self.tell_ended(key),
            }
        }
        Ok(())
    }
}

/// The process. Does nothing when it is run as a test.
#[test]
#[expect(clippy::disallowed_methods, reason = "how the test talks to the process it starts")]
fn child() {
    let Ok(dir) = std::env::var(DIR_ENV) else { return };
    let receivers = std::env::var(RECEIVERS_ENV).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(serve(Path::new(&dir), &receivers));
    // Whoever started it has gone.
    runtime.shutdown_background();
}

async fn serve(dir: &Path, receivers: &str) {
    let clock = Arc::new(SystemClock);
    let (store, notices) = Store::open(dir, Options::new(clock.clone())).unwrap();
    assert_eq!(notices, []);
    let kept = Arc::new(Kept::new(store));
    let receivers: Vec<ReceiverConfig> = serde_json::from_str(receivers).unwrap();
    let mut route: RouteSpec = serde_json::from_value(serde_json::json!({
        "group_by": ["..."],
        "group_wait": "100ms",
        "group_interval": "300ms",
        "repeat_interval": "1d",
    }))
    .unwrap();
    let recipients: Vec<Recipient> =
        receivers.iter().map(|config| Recipient::new(&config.name, true)).collect();
    let all = MannersSpec::default_route(&recipients);
    (route.receiver, route.routes) = (all.receiver, all.routes);
    let spec = MannersSpec { route: Some(route), ..MannersSpec::default() };
    let manners = spec.build(&recipients, &jiff::tz::TimeZone::UTC).unwrap();
    let options = ServiceOptions {
        rules: RuleSet::parse(&[("trial.yml", RULES)]).unwrap(),
        receivers,
        manners: Some(manners),
        delivery: DeliveryOptions {
            retry_first: Duration::from_millis(40),
            retry_max: Duration::from_millis(400),
            ..DeliveryOptions::default()
        },
        return_wait: Duration::ZERO,
        rate: Rate::OFF,
        ..ServiceOptions::default()
    };
    let service = Service::start(options, kept.clone(), kept.clone(), clock.clone()).await.unwrap();
    let alerting = service.alerting();
    say("up");
    let listening = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.split_once(' ') {
                Some((name, value)) => {
                    let labels = Labels::new([("__name__", "sick"), ("name", name)]);
                    let value = value.parse().unwrap();
                    let samples = vec![Sample { time_ms: clock.now_ms(), value }];
                    let series = vec![TimeSeries { labels, samples }];
                    kept.store.append(&WriteRequest { series, metadata: Vec::new() }).unwrap();
                    say("kept");
                }
                None => {
                    let waiting = alerting.delivery().metrics().iter().map(|m| m.queued).sum();
                    let waiting: usize = waiting;
                    say(&format!("waiting {waiting}"));
                }
            }
        }
    });
    let _ = listening.await;
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n> {text}").unwrap();
    out.flush().unwrap();
}
