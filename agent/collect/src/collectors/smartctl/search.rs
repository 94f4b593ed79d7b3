//! The search for disks by smartctl, which runs while disks are asked.

use std::time::Duration;

use crate::collector::CollectError;
use crate::host::{Begun, Host, RunError};
use crate::options;

use super::discover::{self, Found};
use super::outcome;

/// How smartctl may be asked, in turn.
type Ways = &'static [&'static str];

/// A search and what the last one gave.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The call that is under way, how it asked, and the ways that are left after it.
    begun: Option<(Begun, &'static str, Ways)>,
    started_ms: Option<i64>,
    /// What the last good one found.
    pub(super) found: Vec<Found>,
    failure: Option<Failure>,
}

/// What came of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It goes on, or there is none.
    Nothing,
    /// It found what it found; with smartctl's version.
    Found(Option<(u64, u64)>),
    /// It failed.
    Failed,
    /// There is no smartctl.
    NotInstalled,
}

/// Why a search failed, to be told until the next one.
#[derive(Debug)]
enum Failure {
    Run { command: String, why: String },
    Parse(String),
}

impl Search {
    /// Whether it is time for another. One that failed is repeated sooner.
    pub(super) fn is_due(&self, now_ms: i64, rescan_ms: i64, interval_ms: i64) -> bool {
        let every_ms = if self.failure.is_some() { interval_ms.min(rescan_ms) } else { rescan_ms };
        // A clock that went back must not put it off for ever.
        self.started_ms.is_none_or(|ms| now_ms - ms >= every_ms || now_ms < ms)
    }

    /// Starts one, that asks in these ways until one works.
    pub(super) fn start(&mut self, host: &dyn Host, options: &options::Smartctl, ways: Ways) {
        self.started_ms = Some(host.now_ms());
        self.begin(host, options, ways);
    }

    fn begin(&mut self, host: &dyn Host, options: &options::Smartctl, ways: Ways) -> bool {
        let Some((how, rest)) = ways.split_first() else { return false };
        let begun = host.begin(&options.program, &[how, "--json"], options.scan_deadline);
        self.begun = Some((begun, how, rest));
        true
    }

    /// What came of it, if it ends within `patience`.
    pub(super) fn finish(
        &mut self,
        host: &dyn Host,
        options: &options::Smartctl,
        patience: Duration,
    ) -> Answer {
        loop {
            let Some((begun, how, rest)) = &mut self.begun else { return Answer::Nothing };
            let Some(ended) = begun.wait(patience) else { return Answer::Nothing };
            let (how, mut rest) = (*how, *rest);
            self.begun = None;
            let failure = match ended.result {
                Err(RunError::NotFound) => return Answer::NotInstalled,
                Err(cause) => {
                    // What hung once is not asked again in other words: that only waits longer.
                    if matches!(cause, RunError::TimedOut(_) | RunError::Hung) {
                        rest = &[];
                    }
                    let command = format!("{} {how} --json", options.program);
                    Failure::Run { command, why: cause.to_string() }
                }
                Ok(output) => match outcome::json(&output) {
                    Ok(report) => {
                        self.found = discover::listed(&report, how);
                        self.failure = None;
                        return Answer::Found(version(&report));
                    }
                    Err(error) => Failure::Parse(error.to_string()),
                },
            };
            self.failure = Some(failure);
            if !self.begin(host, options, rest) {
                return Answer::Failed;
            }
        }
    }

    /// Why the last one failed.
    pub(super) fn failure(&self) -> Option<CollectError> {
        // One that is under way may do better.
        if self.begun.is_some() {
            return None;
        }
        Some(match self.failure.as_ref()? {
            Failure::Run { command, why } => {
                let cause = RunError::Earlier(why.clone());
                CollectError::Run { command: command.clone(), cause }
            }
            Failure::Parse(why) => CollectError::parse("smartctl --scan")(why.clone()),
        })
    }
}

/// The version of the smartctl that made a report.
fn version(report: &labstat_parse::smartctl::Report) -> Option<(u64, u64)> {
    match report.smartctl.as_ref()?.version.as_deref()? {
        [major, minor, ..] => Some((*major, *minor)),
        _ => None,
    }
}
