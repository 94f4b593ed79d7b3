//! How each collector fares: what `up` and `doctor` tell people.

use std::time::Duration;

/// How one collector fared in its last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The collector's name.
    pub collector: &'static str,
    /// The job that its samples belong to.
    pub job: &'static str,
    /// Whom its samples are about, if not the node: a cluster.
    pub instance: Option<String>,
    /// How the run ended.
    pub outcome: Outcome,
    /// How long it took, or has taken so far when it hangs; absent before the first run.
    pub took: Option<Duration>,
}

/// How a run of a collector ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its first run has not ended yet.
    Pending,
    /// It gave this many samples.
    Collected {
        /// How many.
        samples: usize,
    },
    /// This machine has no such thing.
    Absent,
    /// It gave nothing.
    Failed {
        /// The error and its causes, on one line.
        reason: String,
    },
}

impl Outcome {
    /// The value of the label `outcome` of `labstat_collector_outcome`; none while pending.
    pub fn as_str(&self) -> Option<&'static str> {
        match self {
            Self::Pending => None,
            Self::Collected { .. } => Some("collected"),
            Self::Absent => Some("absent"),
            Self::Failed { .. } => Some("failed"),
        }
    }
}
