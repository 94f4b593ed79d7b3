//! How long series are kept as samples: the general retention, and policies that keep some longer.

use labstat_model::{Labels, Matcher};

use crate::Options;

/// Keeps the samples of some series longer than the general retention says.
#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    /// What a series must fulfil, all of it.
    pub matchers: Vec<Matcher>,
    /// How long its samples are kept, in milliseconds; `None` is for ever. Less than the general
    /// retention is the general retention.
    pub keep_ms: Option<i64>,
}

impl Keep {
    fn takes(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }
}

impl Options {
    /// How long samples of this series are kept, in milliseconds; `None` is for ever. The first
    /// policy that takes the series decides.
    pub fn keep_ms(&self, labels: &Labels) -> Option<i64> {
        let retention_ms = self.retention_ms?;
        match self.keep.iter().find(|keep| keep.takes(labels)) {
            Some(keep) => keep.keep_ms.map(|keep_ms| keep_ms.max(retention_ms)),
            None => Some(retention_ms),
        }
    }

    /// Whether a policy keeps samples of this series longer than the general retention, or would
    /// if there were one.
    pub(crate) fn is_kept(&self, labels: &Labels) -> bool {
        let keep = self.keep.iter().find(|keep| keep.takes(labels));
        let longer = |keep_ms: i64| self.retention_ms.is_some_and(|general| keep_ms > general);
        keep.is_some_and(|keep| keep.keep_ms.is_none_or(longer))
    }

    /// The policies as a text, one a line, to tell whether they changed.
    pub(crate) fn policies(&self) -> String {
        let line = |keep: &Keep| {
            let matchers: Vec<String> = keep.matchers.iter().map(Matcher::to_string).collect();
            let keep_ms = keep.keep_ms.map_or("forever".to_owned(), |keep_ms| keep_ms.to_string());
            format!("{} {keep_ms}\n", matchers.join(","))
        };
        self.keep.iter().map(line).collect()
    }

    /// How long the buckets of a tier are kept, by its position; `None` is for ever.
    pub(crate) fn buckets_keep_ms(&self, tier: usize) -> Option<i64> {
        let keep_ms = self.rollups_ms.get(tier).copied().flatten()?;
        Some(keep_ms.max(self.retention_ms?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use labstat_model::ManualClock;

    use super::*;

    #[test]
    fn the_first_policy_that_takes_a_series_decides() {
        let keep = |name: &str, keep_ms| Keep {
            matchers: vec![Matcher::equal("__name__", name)],
            keep_ms,
        };
        let options = Options {
            retention_ms: Some(100),
            keep: vec![keep("a", Some(500)), keep("a", None), keep("b", None), keep("c", Some(5))],
            ..Options::new(Arc::new(ManualClock::new(0)))
        };
        let labels = |name| Labels::new([("__name__", name)]);
        for (name, keep_ms, kept) in [
            ("a", Some(500), true),
            ("b", None, true),
            ("c", Some(100), false),
            ("d", Some(100), false),
        ] {
            assert_eq!(options.keep_ms(&labels(name)), keep_ms, "{name}");
            assert_eq!(options.is_kept(&labels(name)), kept, "{name}");
        }
        let forever = Options { retention_ms: None, ..options };
        assert_eq!(forever.keep_ms(&labels("a")), None);
    }
}
