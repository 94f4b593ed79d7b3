//! One round without an agent: what `labstat agent --once` prints.

use std::sync::Arc;
use std::time::Duration;

use labstat_collect::{Entry, Host};
use labstat_model::Clock;

use crate::agent::{StartError, entries, host};
use crate::config::Config;
use crate::crew::{Crew, Limits};
use crate::findings::Finding;
use crate::process;
use crate::round::Round;
use crate::telemetry::Telemetry;

/// How long one collector may take; longer than in a round, since nothing is waiting.
const COLLECTOR_TIME_MAX: Duration = Duration::from_secs(15);

/// How long all may take: disks that must spin up are asked one after the other.
const ROUND_TIME_MAX: Duration = Duration::from_secs(180);

/// What one round gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The samples as text exposition.
    pub text: String,
    /// How each collector fared.
    pub findings: Vec<Finding>,
}

/// Runs the collectors that `config` names once each, the slow ones too. Nothing is shipped.
///
/// A collector that fails is an [`Outcome`](crate::Outcome) and not an error.
pub async fn once(config: &Config, clock: Arc<dyn Clock>) -> Result<Once, StartError> {
    let host = host(config, &clock)?;
    let entries = entries(config, labstat_collect::registry())?;
    Ok(once_with(config, &*clock, &entries, host).await)
}

pub(crate) async fn once_with(
    config: &Config,
    clock: &dyn Clock,
    entries: &[Entry],
    host: Arc<dyn Host>,
) -> Once {
    let start_ms = clock.now_ms();
    let mut crew = Crew::new(entries, config.collect.clone(), None, Arc::clone(&host));
    crew.run_once(Limits { collector: COLLECTOR_TIME_MAX, round: ROUND_TIME_MAX }).await;
    let mut round = Round::default();
    round.reset(start_ms);
    let mut findings = Vec::new();
    for (samples, finding) in crew.results() {
        round.add(samples, &finding);
        findings.push(finding);
    }
    process::collect(start_ms, round.own());
    Telemetry::default().collect(false, host.counts(), round.own());
    Once { text: round.exposition(), findings }
}
