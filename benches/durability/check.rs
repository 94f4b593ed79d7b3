//! What is stored, held against what was sent.

use std::collections::{HashMap, HashSet};

use labstat_model::{Clock, SystemClock};

use crate::load::{NAME, Plan, Sent};
use crate::{Result, http};

/// Samples that are not as they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Acknowledged, and not there or with another value.
    pub(crate) lost: usize,
    /// There more than once.
    pub(crate) doubled: usize,
    /// There, though they were never sent.
    pub(crate) strange: usize,
    /// Requests without an answer of which a part is there.
    pub(crate) halves: usize,
}

impl Losses {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.strange += other.strange;
        self.halves += other.halves;
    }

    /// The larger of each number.
    pub(crate) fn worse(self, other: Self) -> Self {
        Self {
            lost: self.lost.max(other.lost),
            doubled: self.doubled.max(other.doubled),
            strange: self.strange.max(other.strange),
            halves: self.halves.max(other.halves),
        }
    }
}

/// Reads everything back and counts.
pub(crate) fn count(plan: &Plan, sent: &[Sent], base: &str) -> Result<Losses> {
    let mut losses = Losses::default();
    for (connection, sent) in (0..).zip(sent) {
        let mut found = Found::default();
        read(plan, connection, base, &mut found)?;
        losses.doubled += found.doubled;
        losses.strange += found.strange;
        let wanted = usize::try_from(plan.series)?;
        for request in &sent.acknowledged {
            losses.lost += wanted - found.right.remove(request).unwrap_or(0).min(wanted);
        }
        // What is left was never acknowledged: one request may be there, all of it.
        for (request, right) in found.right {
            match sent.unanswered == Some(request) {
                true => losses.halves += usize::from(right != wanted),
                false => losses.strange += right,
            }
        }
    }
    Ok(losses)
}

#[derive(Default)]
struct Found {
    /// How many samples of each request are there, each with its value.
    right: HashMap<u32, usize>,
    doubled: usize,
    strange: usize,
}

fn read(plan: &Plan, connection: u32, base: &str, found: &mut Found) -> Result<()> {
    let query = format!("{NAME}{{connection=\"{connection}\"}}[30d]");
    let now = (SystemClock.now_ms() / 1000).to_string();
    let url = format!("{base}/api/v1/query");
    let text = http::get(&http::agent(), &url, &[("query", &query), ("time", &now)])?;
    let answer: serde_json::Value = serde_json::from_str(&text)?;
    let rows = answer["data"]["result"].as_array().ok_or("no matrix")?;
    let mut seen = HashSet::new();
    for row in rows {
        let series: u32 = row["metric"]["series"].as_str().ok_or("no series")?.parse()?;
        for pair in row["values"].as_array().ok_or("no values")? {
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a date")]
            let time_ms = (pair[0].as_f64().ok_or("no time")? * 1e3).round() as i64;
            let value: f64 = pair[1].as_str().ok_or("no value")?.parse()?;
            if !seen.insert((series, time_ms)) {
                found.doubled += 1;
                continue;
            }
            match plan.request_at(connection, time_ms) {
                // A wrong value is a lost one, and a strange one.
                Some(request)
                    if plan.value(connection, series, request).to_bits() == value.to_bits() =>
                {
                    *found.right.entry(request).or_default() += 1;
                }
                _ => found.strange += 1,
            }
        }
    }
    Ok(())
}
