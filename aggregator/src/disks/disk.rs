//! One disk: what is known and thought of it, and how that changes.

use std::collections::BTreeMap;

use labstat_disks::{Baseline, Before, Judgement, Projection, Reading, State, Verdict, judge};
use serde::{Deserialize, Serialize};

use super::identity::{Identity, Marks, Place};

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

    /// Name and value of the first number behind it.
    pub(crate) fn number(&self) -> Option<(&str, f64)> {
        self.evidence.iter().find_map(|one| Some((one["name"].as_str()?, one["value"].as_f64()?)))
    }
}

/// What a code means, in words that stay the same while its numbers change.
pub(crate) fn sentence(code: &str) -> &'static str {
    match code {
        "silent" => "The disk is missing: it has not answered for too long.",
        "not_read" => "The disk has not been read yet.",
        "not_judged" => "The disk has not been judged yet.",
        "identity_conflict" => "Two disks answer by the same serial number.",
        code => labstat_disks::sentence(code).unwrap_or("labstat disk has the reason."),
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
    /// Another disk has its serial number: it is called by its place.
    #[serde(default)]
    pub(crate) placed: bool,
    pub(crate) verdict: Verdict,
    /// The code of the first reason, and what it means.
    #[serde(default)]
    pub(crate) code: String,
    pub(crate) reason: String,
    /// What asks for attention, one of each code.
    #[serde(default)]
    pub(crate) findings: Vec<ToldFinding>,
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

/// One finding as the store's series tell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToldFinding {
    pub(crate) code: String,
    /// The gravest code of those that came up together with it: what came up together is one piece
    /// of news.
    pub(crate) cause: String,
    pub(crate) verdict: Verdict,
    /// What the number behind it counts, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<String>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disk {
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    /// Since when it is there.
    pub(crate) place_since_ms: i64,
    /// What tells it from another of the same serial number.
    #[serde(default)]
    pub(crate) marks: Marks,
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
    /// Better readings in a row since then, by the code of what they no longer show.
    #[serde(default)]
    pub(crate) fading: BTreeMap<String, u32>,
    /// What asks for attention by its code, each with its [`ToldFinding::cause`].
    #[serde(default)]
    pub(crate) causes: BTreeMap<String, String>,
    /// Since when it has been silent for too long.
    pub(crate) silent_ms: Option<i64>,
    pub(crate) retired_ms: Option<i64>,
    /// Somebody forgot it, so that nothing but an answer brings it back.
    #[serde(default)]
    pub(crate) forgotten: bool,
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
    /// What it said last, whole. Kept while there is anything to acknowledge in it: one that sleeps
    /// says it again only when it wakes.
    #[serde(default, skip_serializing, deserialize_with = "readable_box")]
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
    /// Whether the last look has heard of it, as of something that is there.
    #[serde(skip)]
    pub(crate) present: bool,
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

fn readable_box<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Box<Reading>>, D::Error> {
    readable(from).map(|reading| reading.map(Box::new))
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

/// How long ago `time_ms` is, in words.
fn ago(time_ms: i64, now_ms: i64) -> String {
    match now_ms.saturating_sub(time_ms).max(0) / 60_000 {
        0 => "just now".to_owned(),
        minutes if minutes < 120 => format!("{minutes} min ago"),
        minutes if minutes < 72 * 60 => format!("{} h ago", minutes / 60),
        minutes => format!("{} days ago", minutes / 1_440),
    }
}

impl Finding {
    /// What asks for attention, by its code, and how much each code does at most.
    fn urgencies(&self) -> BTreeMap<&str, u8> {
        let mut urgencies = BTreeMap::new();
        for reason in self.reasons.iter().filter(|reason| reason.verdict.is_urgent()) {
            let urgency = urgencies.entry(&*reason.code).or_default();
            *urgency = reason.verdict.urgency().max(*urgency);
        }
        urgencies
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
            marks: Marks::default(),
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
            fading: BTreeMap::new(),
            causes: BTreeMap::new(),
            silent_ms: None,
            retired_ms: None,
            forgotten: false,
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
            present: false,
            node_down: false,
            wear_out: None,
            spare_out: None,
        }
    }

    /// Takes note of what tells it from another of its serial number. Whether that is news.
    pub(crate) fn note_marks(&mut self, marks: &Marks) -> bool {
        let is_news = self.marks != *marks && *marks != Marks::default();
        if is_news {
            self.marks = marks.clone();
        }
        is_news
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
        // That it sleeps is over, and was all that was known of it.
        let slept = |finding: &mut Finding| finding.verdict == Verdict::Asleep;
        if attempt.state != State::Asleep && self.finding.take_if(slept).is_some() {
            self.judged = None;
        }
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
        self.note_causes();
        self.fading = self.causes.keys().map(|code| (code.clone(), BETTER_MIN)).collect();
    }

    /// Reckons anew when something will be used up.
    pub(crate) fn project(&mut self) {
        let Some(read_ms) = self.read_ms else { return };
        self.wear_out = self.wear.projection(read_ms, 1.0);
        self.spare_out = self.spare_threshold.and_then(|end| self.spare.projection(read_ms, end));
    }

    /// Takes what was made of a reading. What gets worse counts at once, what gets better when it
    /// was seen twice; and what says nothing takes nothing back.
    pub(crate) fn take(&mut self, judged: Judged, at_ms: i64) {
        let next = judged.finding;
        let says =
            judged.reading.is_some() && !matches!(next.verdict, Verdict::Asleep | Verdict::Silent);
        if let Some(reading) = judged.reading {
            self.note_reading(reading, at_ms);
        }
        self.finding = Some(match self.finding.take() {
            Some(last) => self.with_what_stays(&last, next, says),
            None => next,
        });
        self.note_causes();
    }

    /// What was found next, and what of the last finding is not taken back by it. Only what `says`
    /// anything of the disk's health takes anything back.
    fn with_what_stays(&mut self, last: &Finding, next: Finding, says: bool) -> Finding {
        let (before, after) = (last.urgencies(), next.urgencies());
        let mut stays = Vec::new();
        for (code, urgency) in &before {
            if after.get(code) >= Some(urgency) {
                self.fading.remove(*code);
                continue;
            }
            let better = self.fading.entry((*code).to_owned()).or_default();
            *better += u32::from(says);
            if says && *better >= BETTER_MIN {
                self.fading.remove(*code);
            } else {
                stays.push((*code).to_owned());
            }
        }
        self.fading.retain(|code, _| stays.contains(code));
        if stays.is_empty() {
            return next;
        }
        let is_over = |reason: &Reason| {
            stays.contains(&reason.code) || ["healthy", "partial"].contains(&&*reason.code)
        };
        let mut reasons = last.reasons.clone();
        reasons.retain(|reason| reason.verdict.is_urgent() && stays.contains(&reason.code));
        let verdict = reasons.iter().fold(next.verdict, |worst, it| worst.worse(it.verdict));
        reasons.extend(next.reasons.into_iter().filter(|reason| !is_over(reason)));
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict.urgency()));
        Finding { verdict, reasons }
    }

    /// What came up now is one piece of news, by the name of the gravest of it.
    fn note_causes(&mut self) {
        let urgencies = self.finding.as_ref().map(Finding::urgencies).unwrap_or_default();
        self.causes.retain(|code, _| urgencies.contains_key(&**code));
        let news = urgencies.iter().filter(|(code, _)| !self.causes.contains_key(**code));
        let news: Vec<(&str, u8)> = news.map(|(code, urgency)| (*code, *urgency)).collect();
        // Of several the first by name, so that it is always the same one.
        let gravest =
            news.iter().min_by_key(|(code, urgency)| (std::cmp::Reverse(*urgency), *code));
        let Some(cause) = gravest.map(|(code, _)| (*code).to_owned()) else { return };
        let news: Vec<(String, String)> =
            news.into_iter().map(|(code, _)| (code.to_owned(), cause.clone())).collect();
        self.causes.extend(news);
    }

    /// What asks for attention now, one of each code, as the store's series tell it. Of a disk that
    /// is missing only that is told.
    pub(crate) fn findings(&self) -> Vec<ToldFinding> {
        let reasons = self.finding.iter().filter(|_| !self.is_missing());
        let mut reasons: Vec<&Reason> = reasons.flat_map(|finding| &finding.reasons).collect();
        reasons.retain(|reason| reason.verdict.is_urgent());
        reasons.sort_by_key(|reason| (&reason.code, std::cmp::Reverse(reason.verdict.urgency())));
        reasons.dedup_by_key(|reason| &reason.code);
        let told = reasons.into_iter().map(|reason| ToldFinding {
            code: reason.code.clone(),
            cause: self.causes.get(&reason.code).unwrap_or(&reason.code).clone(),
            verdict: reason.verdict,
            evidence: reason.number().map(|(name, _)| name.to_owned()),
        });
        told.collect()
    }

    /// The number behind what was found by this code.
    pub(crate) fn number(&self, code: &str) -> Option<f64> {
        let reasons = self.finding.iter().flat_map(|finding| &finding.reasons);
        let of_it = reasons.filter(|reason| reason.verdict.is_urgent() && reason.code == code);
        let gravest = of_it.max_by_key(|reason| reason.verdict.urgency())?;
        gravest.number().map(|(_, number)| number)
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

    /// Whether it was there and is not: silent for too long, no device to ask, and its machine goes
    /// on without it. What was told goes on when its machine falls silent later.
    pub(crate) fn is_missing(&self) -> bool {
        self.is_expected()
            && self.silent_ms.is_some()
            && !self.present
            && (!self.node_down || self.was_told_silent())
    }

    /// What to think of it now. Silence and sleep hide nothing that asks for a hand, until the disk
    /// is gone: one that was pulled is missing, and not to be replaced any more.
    pub(crate) fn shown(&self) -> Verdict {
        let found = self.finding.as_ref().map(|finding| finding.verdict);
        match found {
            _ if self.is_missing() => Verdict::Silent,
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

    /// Why it is thought of so, the gravest first.
    pub(crate) fn reasons(&self, now_ms: i64) -> Vec<Reason> {
        let mut own: Vec<Reason> = self.own_reason(now_ms).into_iter().collect();
        if let Some(other) = &self.double {
            let text = format!(
                "Serial {} answers on {} and on {} at once: it is a bridge's and no disk's, or the \
                 disk is shared; each is kept for itself.",
                self.identity.serial, self.place, other
            );
            own.push(Reason::new("identity_conflict", Verdict::Ok, text));
        }
        let said: Vec<String> = own.iter().map(|reason| reason.code.clone()).collect();
        let found = self.finding.iter().flat_map(|finding| finding.reasons.iter().cloned());
        let found = found.filter(|reason| !said.contains(&reason.code));
        let mut reasons: Vec<Reason> = own.into_iter().chain(found).collect();
        // Those of the shown verdict first; those that are alike stay in order.
        let shown = self.shown();
        reasons.sort_by_key(|reason| {
            (reason.verdict != shown, std::cmp::Reverse(reason.verdict.urgency()))
        });
        reasons
    }

    /// What is not said by its readings: that there are none.
    fn own_reason(&self, now_ms: i64) -> Option<Reason> {
        let (code, verdict, text) = if self.silent_ms.is_some() {
            return Some(self.silence(now_ms));
        } else if self.is_asleep() {
            let read = match self.read_ms {
                Some(read_ms) => format!("was last read {}", ago(read_ms, now_ms)),
                None => "has not been read yet".to_owned(),
            };
            let text = format!("The disk sleeps and is left asleep; it {read}.");
            ("asleep", Verdict::Asleep, text)
        } else if self.finding.is_some() {
            return None;
        } else if self.state == State::Failed {
            let text = "The disk does not answer; it is tried again before it counts as dead.";
            ("not_read", Verdict::Silent, text.to_owned())
        } else if self.read_ms.is_some() {
            ("not_judged", Verdict::Silent, sentence("not_judged").to_owned())
        } else {
            ("not_read", Verdict::Silent, sentence("not_read").to_owned())
        };
        Some(Reason::new(code, verdict, text))
    }

    /// That it is missing.
    fn silence(&self, now_ms: i64) -> Reason {
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
            ago(self.answered_ms, now_ms)
        );
        Reason::new("silent", Verdict::Silent, text)
    }
}
