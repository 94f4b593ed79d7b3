//! One disk: what is known and thought of it, and how that changes.

use labstat_disks::{Baseline, Before, Judgement, Projection, Reading, State, Verdict, judge};
use serde::{Deserialize, Serialize};

use super::identity::{Identity, Place};

/// Intervals between readings that are remembered; their median is the usual one, so that one
/// long sleep does not move it.
const INTERVALS_LEN: usize = 8;

/// Usual intervals without an answer before a disk counts as silent.
const INTERVALS_SILENT: i64 = 3;

/// The least silence that counts: a machine that is restarted, and an agent that looks for its
/// disks anew, fit many times.
const SILENCE_MIN_MS: i64 = 30 * 60_000;

/// The longest silence that is waited for, whatever the interval.
const SILENCE_MAX_MS: i64 = 7 * 86_400_000;

/// How long a disk must fail to answer before it is said to be dead: one that is busy or spins up
/// may miss an attempt.
const FAILED_MIN_MS: i64 = 10 * 60_000;

/// Failures that are of the asking and not of the disk.
const NOT_ASKED: [&str; 2] = ["not_run", "no_report"];

/// Readings in a row that must be better before a verdict is taken back: a counter that an odd
/// reading lacks, or a disk that answers once more, is no recovery.
const BETTER_MIN: u32 = 2;

/// Points of a trend: a step of a percent each, for a disk that wears out twice.
const TREND_MAX: usize = 256;

/// Why a verdict is what it is; as `labstat_disks::Reason`, to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) evidence: Vec<serde_json::Value>,
}

impl Reason {
    /// One of the aggregator's own.
    pub(crate) fn new(code: &str, verdict: Verdict, text: String) -> Self {
        Self { code: code.to_owned(), verdict, text, evidence: Vec::new() }
    }
}

/// What was thought of a reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<Reason>,
}

impl From<&Judgement> for Finding {
    fn from(judgement: &Judgement) -> Self {
        let reasons = judgement.reasons.iter().map(|reason| Reason {
            code: reason.code.to_owned(),
            verdict: reason.verdict,
            text: reason.text.clone(),
            // Texts and numbers always serialize.
            evidence: reason.evidence.iter().flat_map(serde_json::to_value).collect(),
        });
        Self { verdict: judgement.verdict, reasons: reasons.collect() }
    }
}

/// What somebody has seen and accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    pub(crate) at_ms: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    pub(crate) baseline: Baseline,
}

/// What is in the store's series of a disk, to be ended when it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) place: Place,
    /// Another disk of the same node has its serial number, which so does not name it.
    #[serde(default)]
    pub(crate) unnamed: bool,
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
    /// `labstat_disk_silent_seconds` goes on.
    #[serde(default)]
    pub(crate) silent: bool,
    /// `labstat_disk_wear_out_timestamp_seconds` goes on.
    #[serde(default)]
    pub(crate) wear_out: bool,
    /// `labstat_disk_spare_out_timestamp_seconds` goes on.
    #[serde(default)]
    pub(crate) spare_out: bool,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disk {
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    /// Since when it is there.
    pub(crate) place_since_ms: i64,
    pub(crate) first_seen_ms: i64,
    /// When it last gave a sign of life, by its machine's clock: was read, or was seen asleep.
    pub(crate) answered_ms: i64,
    /// When the last new one was heard of, by the clock of the looks.
    #[serde(skip)]
    pub(crate) alive_ms: i64,
    /// When it was last read.
    pub(crate) read_ms: Option<i64>,
    #[serde(default)]
    pub(crate) intervals_ms: Vec<i64>,
    /// How the last attempt to read it ended, and why.
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) state_reason: String,
    /// What it said when it was first read.
    #[serde(default, deserialize_with = "readable")]
    pub(crate) first: Option<Baseline>,
    /// What it said last.
    #[serde(default, deserialize_with = "readable")]
    pub(crate) latest: Option<Baseline>,
    pub(crate) acknowledged: Option<Acknowledged>,
    /// What is thought of what it said.
    #[serde(default, deserialize_with = "readable")]
    pub(crate) finding: Option<Finding>,
    /// Better readings in a row since then.
    #[serde(default)]
    pub(crate) better: u32,
    /// Since when it has been silent for too long.
    pub(crate) silent_ms: Option<i64>,
    pub(crate) retired_ms: Option<i64>,
    /// What is shown, and since when.
    pub(crate) verdict: Verdict,
    pub(crate) verdict_ms: i64,
    /// Its wear, as a ratio that is used up at 1.
    #[serde(default)]
    pub(crate) wear: Trend,
    /// The spare that is left, in percent.
    #[serde(default)]
    pub(crate) spare: Trend,
    /// Where the disk itself begins to warn of its spare.
    #[serde(default)]
    pub(crate) spare_threshold: Option<f64>,
    pub(crate) told: Option<Told>,
    /// What it said last, whole.
    #[serde(skip)]
    pub(crate) last: Option<Box<Reading>>,
    /// Of which attempt the finding is; not kept, so that a restart judges anew.
    #[serde(skip)]
    pub(crate) judged: Option<Attempt>,
    /// Whether it slept since it was last read.
    #[serde(skip)]
    pub(crate) slept: bool,
    /// Since when all attempts failed, by the clock of the looks.
    #[serde(skip)]
    pub(crate) failed_ms: Option<i64>,
    /// Where else the same serial number answers.
    #[serde(skip)]
    pub(crate) also: Vec<Place>,
    /// Another disk that has the same serial number.
    #[serde(skip)]
    pub(crate) double: Option<Place>,
    /// When it was last heard of, by the clock of the looks.
    #[serde(skip)]
    pub(crate) heard_ms: Option<i64>,
    /// Whether it is the node that is silent.
    #[serde(skip)]
    pub(crate) node_down: bool,
    /// When its flash will be worn out.
    #[serde(skip)]
    pub(crate) wear_out: Option<Projection>,
    /// When its spare will be down to its own threshold.
    #[serde(skip)]
    pub(crate) spare_out: Option<Projection>,
}

/// What reads back; what does not is learned anew and costs nothing else.
fn readable<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = Option::<serde_json::Value>::deserialize(from)?;
    let read = value.map(serde_json::from_value).transpose();
    let read = read.inspect_err(|error| tracing::warn!(%error, "a part of a disk is unreadable"));
    Ok(read.unwrap_or_default())
}

/// An attempt to read a disk: another one may give another finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) read_ms: Option<i64>,
    pub(crate) state: State,
    pub(crate) reason: String,
}

/// What changes slowly: a point whenever it changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Trend(pub(crate) Vec<(i64, f64)>);

impl Trend {
    fn note(&mut self, at_ms: i64, value: f64) {
        let is_news =
            |&(last_ms, last): &(i64, f64)| last_ms < at_ms && last.to_bits() != value.to_bits();
        if !self.0.last().is_none_or(is_news) {
            return;
        }
        if self.0.len() >= TREND_MAX {
            // Every other one tells as much of the way as all of them.
            let mut keep = false;
            self.0.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.0.push((at_ms, value));
    }

    /// When it will reach `end`, having stood as it is until `until_ms`.
    fn projection(&self, until_ms: i64, end: f64) -> Option<Projection> {
        let last = self.0.last().map(|(_, value)| (until_ms, *value));
        let points = self.0.iter().copied().chain(last);
        let points: Vec<(f64, f64)> =
            points.map(|(at_ms, value)| (at_ms as f64 / 1000.0, value)).collect();
        labstat_disks::project(&points, end)
    }
}

/// How sentences tell times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// As what they are, so that a sentence stays the same.
    Fixed,
    /// As how long ago they are at this time.
    Ago(i64),
}

impl When {
    fn say(self, time_ms: i64) -> String {
        let Self::Ago(now_ms) = self else {
            let time = jiff::Timestamp::from_millisecond(time_ms);
            let said = time.map(|time| time.strftime("on %Y-%m-%d at %H:%M UTC").to_string());
            return said.unwrap_or_else(|_| "at an unknown time".to_owned());
        };
        match now_ms.saturating_sub(time_ms).max(0) / 60_000 {
            0 => "just now".to_owned(),
            minutes if minutes < 120 => format!("{minutes} min ago"),
            minutes if minutes < 72 * 60 => format!("{} h ago", minutes / 60),
            minutes => format!("{} days ago", minutes / 1_440),
        }
    }
}

/// What was made of a reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) finding: Finding,
    /// The reading, when it says anything of the disk's health.
    pub(crate) reading: Option<Reading>,
}

impl Disk {
    /// One that was not known before.
    pub(crate) fn new(identity: Identity, place: Place, now_ms: i64) -> Self {
        Self {
            identity,
            place,
            place_since_ms: now_ms,
            first_seen_ms: now_ms,
            answered_ms: now_ms,
            alive_ms: now_ms,
            read_ms: None,
            intervals_ms: Vec::new(),
            state: State::Read,
            state_reason: String::new(),
            first: None,
            latest: None,
            acknowledged: None,
            finding: None,
            better: 0,
            silent_ms: None,
            retired_ms: None,
            verdict: Verdict::Silent,
            verdict_ms: now_ms,
            wear: Trend::default(),
            spare: Trend::default(),
            spare_threshold: None,
            told: None,
            last: None,
            judged: None,
            slept: false,
            failed_ms: None,
            also: Vec::new(),
            double: None,
            heard_ms: None,
            node_down: false,
            wear_out: None,
            spare_out: None,
        }
    }

    /// Takes note of a reading at `read_ms`.
    pub(crate) fn note_read(&mut self, read_ms: i64) {
        match self.read_ms {
            Some(last) if read_ms <= last => return,
            // How long it slept is no schedule.
            Some(_) if self.slept => {}
            Some(last) => {
                if self.intervals_ms.len() >= INTERVALS_LEN {
                    self.intervals_ms.remove(0);
                }
                self.intervals_ms.push(read_ms.saturating_sub(last));
            }
            None => {}
        }
        self.slept = false;
        self.read_ms = Some(read_ms);
    }

    /// How often it is usually read, when that is known.
    pub(crate) fn interval_ms(&self) -> Option<i64> {
        let mut sorted = self.intervals_ms.clone();
        sorted.sort_unstable();
        // Of two in the middle the shorter one.
        sorted.get(sorted.len().saturating_sub(1) / 2).copied()
    }

    /// How long it may say nothing.
    pub(crate) fn silence_max_ms(&self) -> i64 {
        let usual = self.interval_ms().unwrap_or_default();
        usual.saturating_mul(INTERVALS_SILENT).clamp(SILENCE_MIN_MS, SILENCE_MAX_MS)
    }

    /// Takes note of a sign of life at `at_ms`, of which the look at `now_ms` has heard.
    pub(crate) fn note_answer(&mut self, at_ms: i64, now_ms: i64) {
        if at_ms > self.answered_ms {
            self.answered_ms = at_ms;
            self.alive_ms = now_ms;
        }
    }

    /// Takes note of how an attempt to read it ended. Says whether that is to be judged.
    pub(crate) fn note_attempt(&mut self, attempt: &Attempt, now_ms: i64) -> bool {
        self.state = attempt.state;
        self.state_reason.clone_from(&attempt.reason);
        self.slept |= attempt.state == State::Asleep;
        self.failed_ms = match attempt.state {
            State::Failed => self.failed_ms.or(Some(now_ms)),
            _ => None,
        };
        let is_ripe = match attempt.state {
            State::Read | State::Denied | State::Unsupported => true,
            // One that sleeps says nothing new.
            State::Asleep => self.finding.is_none(),
            State::Failed => {
                let since_ms = self.failed_ms.unwrap_or(now_ms);
                let was_asked = !NOT_ASKED.contains(&attempt.reason.as_str());
                was_asked && now_ms.saturating_sub(since_ms) >= FAILED_MIN_MS
            }
            // It may be on its way to another place; if it does not arrive, that is silence.
            State::Gone => false,
        };
        is_ripe && self.judged.as_ref() != Some(attempt)
    }

    /// What to think of a reading: more than what was acknowledged; and where nothing was, what
    /// the numbers mean by themselves, and that they have grown since the disk was first read.
    pub(crate) fn judge(&self, reading: &Reading) -> Option<Finding> {
        let against = |before: Option<Before<'_>>| {
            let judged = judge(reading, before);
            // The serial number is the same; a bridge that tells another model makes no other disk.
            let place = &self.place;
            judged.inspect_err(|error| tracing::debug!(%place, %error, "judged by itself")).ok()
        };
        if let Some(seen) = &self.acknowledged
            && let Some(judgement) = against(Some(Before::Acknowledged(&seen.baseline)))
        {
            return Some(Finding::from(&judgement));
        }
        let alone = against(None);
        let grown = self.first.as_ref().and_then(|first| against(Some(Before::Seen(first))));
        let judgement = match (alone, grown) {
            (Some(alone), Some(grown)) => {
                let is_more = grown.verdict.urgency() > alone.verdict.urgency();
                Some(if is_more { grown } else { alone })
            }
            (alone, grown) => alone.or(grown),
        };
        judgement.as_ref().map(Finding::from)
    }

    /// Accepts what it said last. That counts at once, also while it sleeps, and so does what is
    /// found next, whatever it is: somebody has looked.
    pub(crate) fn acknowledge(&mut self, acknowledged: Acknowledged) {
        self.acknowledged = Some(acknowledged);
        self.judged = None;
        if let Some(finding) = self.last.as_ref().and_then(|last| self.judge(last)) {
            self.finding = Some(finding);
        }
        self.better = BETTER_MIN;
    }

    /// Reckons anew when something will be used up.
    pub(crate) fn project(&mut self) {
        let Some(read_ms) = self.read_ms else { return };
        self.wear_out = self.wear.projection(read_ms, 1.0);
        self.spare_out = self.spare_threshold.and_then(|end| self.spare.projection(read_ms, end));
    }

    /// Takes what was made of a reading. A verdict that gets worse counts at once, one that gets
    /// better when it was seen twice; and what says nothing takes nothing back.
    pub(crate) fn take(&mut self, judged: Judged, at_ms: i64) {
        if let Some(reading) = judged.reading {
            self.note_reading(reading, at_ms);
        }
        let next = judged.finding;
        if let Some(last) = &self.finding
            && matches!(last.verdict, Verdict::Watch | Verdict::Act | Verdict::Dead)
            && next.verdict.urgency() < last.verdict.urgency()
        {
            if matches!(next.verdict, Verdict::Asleep | Verdict::Silent) {
                return;
            }
            self.better += 1;
            if self.better < BETTER_MIN {
                return;
            }
        }
        self.better = 0;
        self.finding = Some(next);
    }

    fn note_reading(&mut self, reading: Reading, at_ms: i64) {
        let baseline = reading.baseline();
        self.first.get_or_insert_with(|| baseline.clone());
        self.latest = Some(baseline);
        if let Some(wear) = reading.wear_ratio {
            self.wear.note(at_ms, wear);
        }
        let nvme = &reading.nvme;
        if let (Some(left), Some(threshold)) =
            (nvme.available_spare, nvme.available_spare_threshold)
        {
            self.spare.note(at_ms, left as f64);
            self.spare_threshold = Some(threshold as f64);
        }
        self.last = Some(Box::new(reading));
        self.project();
    }

    /// Whether it is expected to answer: it has a serial number to be known by, and has told of
    /// its health before.
    pub(crate) fn is_expected(&self) -> bool {
        self.identity.is_named() && self.retired_ms.is_none() && self.latest.is_some()
    }

    /// Whether it sleeps, as far as is known.
    pub(crate) fn is_asleep(&self) -> bool {
        self.state == State::Asleep && self.silent_ms.is_none()
    }

    /// What to think of it now. Silence and sleep hide nothing that asks for a hand: a disk that
    /// was to be replaced and is gone was not healed by that.
    pub(crate) fn shown(&self) -> Verdict {
        let found = self.finding.as_ref().map(|finding| finding.verdict);
        match found {
            Some(verdict @ (Verdict::Act | Verdict::Dead)) => verdict,
            _ if self.silent_ms.is_some() => Verdict::Silent,
            Some(Verdict::Watch) => Verdict::Watch,
            _ if self.is_asleep() => Verdict::Asleep,
            found => found.unwrap_or(Verdict::Silent),
        }
    }

    /// Whether it is missing, and that is not the fault of its whole machine. What was told goes
    /// on when its machine falls silent later.
    pub(crate) fn is_told_silent(&self) -> bool {
        self.is_expected()
            && self.shown() == Verdict::Silent
            && self.silent_ms.is_some()
            && (!self.node_down || self.was_told_silent())
    }

    /// Whether it was told that it is missing.
    pub(crate) fn was_told_silent(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.silent)
    }

    /// Why it is thought of so, the gravest first; times in the words of `when`.
    pub(crate) fn reasons(&self, when: When) -> Vec<Reason> {
        let mut own = Vec::new();
        if self.silent_ms.is_some() {
            own.push(self.silence(when));
        } else if self.is_asleep() {
            let read = match self.read_ms {
                Some(read_ms) => format!("was last read {}", when.say(read_ms)),
                None => "has not been read yet".to_owned(),
            };
            let text = format!("The disk sleeps and is left asleep; it {read}.");
            own.push(Reason::new("asleep", Verdict::Asleep, text));
        } else if self.finding.is_none() {
            let text = "The disk has not been read yet.".to_owned();
            own.push(Reason::new("not_read", Verdict::Silent, text));
        }
        if let Some(other) = &self.double {
            let text = format!(
                "Serial {} answers on {} and on {} at once: it is a bridge's and no disk's, or the \
                 disk is shared; each is kept for itself.",
                self.identity.serial, self.place, other
            );
            own.push(Reason::new("identity_conflict", Verdict::Ok, text));
        }
        let found = self.finding.iter().flat_map(|finding| finding.reasons.iter().cloned());
        let mut reasons: Vec<Reason> = own.into_iter().chain(found).collect();
        // Those of the shown verdict first; those that are alike stay in order.
        let shown = self.shown();
        reasons.sort_by_key(|reason| {
            (reason.verdict != shown, std::cmp::Reverse(reason.verdict.urgency()))
        });
        reasons
    }

    /// That it is missing.
    fn silence(&self, when: When) -> Reason {
        let why = match self.state {
            State::Gone => "; there is no such device any more",
            State::Failed => "; all attempts to read it have failed since",
            State::Denied => "; the rights to ask it are missing",
            State::Unsupported => "; nothing lets SMART through to it any more",
            State::Read | State::Asleep if self.node_down => "; its whole node is silent",
            State::Read | State::Asleep => "",
        };
        let text = format!(
            "Serial {} on {} last answered {}{why}.",
            self.identity.serial,
            self.place.node(),
            when.say(self.answered_ms)
        );
        Reason::new("silent", Verdict::Silent, text)
    }
}
