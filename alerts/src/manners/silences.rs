//! Silences: alerts that somebody does not want to hear of for a time.
//!
//! They are kept for a while after their end, as Alertmanager keeps them, and looked up by a label
//! that they ask for, so that thousands cost no more than a few.

use std::collections::{BTreeMap, HashMap};

use labstat_model::PatternRoom;
use serde::{Deserialize, Serialize};

use super::matchers::Matchers;
use crate::hash::fnv;

/// How long a silence is kept after its end, as Alertmanager does by default.
pub const SILENCE_RETENTION_MS: i64 = 120 * 3_600_000;

/// The most silences kept, those that are over included.
pub const SILENCES_MAX: usize = 10_000;

/// The most matchers of a silence.
const MATCHERS_MAX: usize = 128;

/// The longest names and values of the matchers of a silence, together, in bytes.
const MATCHERS_LEN_MAX: usize = 16 * 1024;

/// The longest comment or author, in bytes.
const TEXT_LEN_MAX: usize = 8 * 1024;

/// One silence. Serialized as in Alertmanager's API but for the times, which are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Empty for one that is to be made.
    pub id: String,
    /// What an alert's labels must fulfil, all of it.
    pub matchers: Vec<SilenceMatcher>,
    /// When it begins, in milliseconds.
    pub starts_at_ms: i64,
    /// When it ends, in milliseconds.
    pub ends_at_ms: i64,
    /// When it was last changed, in milliseconds; set by whoever keeps it.
    #[serde(default)]
    pub updated_at_ms: i64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// One matcher as Alertmanager's API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceMatcher {
    /// The label's name.
    pub name: String,
    /// The value or the pattern.
    pub value: String,
    /// Whether `value` is a pattern.
    pub is_regex: bool,
    /// Whether it takes what is so, rather than what is not.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

/// How far a silence has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It holds.
    Active,
    /// It begins later.
    Pending,
    /// It is over.
    Expired,
}

impl SilenceState {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence was not made, changed or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// No silence has this id.
    #[error("silence {0} not found")]
    NotFound(String),
    /// It is over already.
    #[error("silence {0} already expired")]
    AlreadyExpired(String),
    /// It is over before it begins.
    #[error("start time must be before end time")]
    EndsBeforeStart,
    /// It is over already when it is made.
    #[error("end time can't be in the past")]
    EndsInThePast,
    /// What it asks for is not sound.
    #[error("invalid silence: {0}")]
    Invalid(String),
    /// There are too many.
    #[error("there are {SILENCES_MAX} silences already")]
    TooMany,
}

impl SilenceMatcher {
    fn build(&self, room: &mut PatternRoom) -> Result<labstat_model::Matcher, String> {
        use labstat_model::MatchOp::{Equal, NotEqual, NotRegex, Regex};
        if self.name.is_empty() {
            return Err("invalid label name \"\"".to_owned());
        }
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => Equal,
            (false, false) => NotEqual,
            (true, true) => Regex,
            (true, false) => NotRegex,
        };
        let made = labstat_model::Matcher::within(&self.name, op, &self.value, room);
        made.map_err(|error| error.to_string())
    }

    /// The matcher in this form.
    pub fn from_matcher(matcher: &labstat_model::Matcher) -> Self {
        use labstat_model::MatchOp::{Equal, NotRegex, Regex};
        Self {
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
            is_regex: matches!(matcher.op(), Regex | NotRegex),
            is_equal: matches!(matcher.op(), Equal | Regex),
        }
    }
}

impl Silence {
    /// How far it has come.
    pub fn state(&self, now_ms: i64) -> SilenceState {
        if now_ms < self.starts_at_ms {
            SilenceState::Pending
        } else if now_ms >= self.ends_at_ms {
            SilenceState::Expired
        } else {
            SilenceState::Active
        }
    }

    /// What it asks of labels.
    pub fn matchers(&self) -> Result<Matchers, SilenceError> {
        let mut room = PatternRoom::default();
        let list = self.matchers.iter().enumerate().map(|(at, matcher)| {
            let invalid = |why| SilenceError::Invalid(format!("invalid label matcher {at}: {why}"));
            matcher.build(&mut room).map_err(invalid)
        });
        Ok(Matchers::new(list.collect::<Result<_, _>>()?))
    }

    fn validate(&self) -> Result<Matchers, SilenceError> {
        let invalid = |text: &str| Err(SilenceError::Invalid(text.to_owned()));
        if self.matchers.len() > MATCHERS_MAX {
            return invalid("there are too many matchers");
        }
        if self.matchers.is_empty() {
            return invalid("at least one matcher required");
        }
        let len = |matcher: &SilenceMatcher| matcher.name.len() + matcher.value.len();
        if self.matchers.iter().map(len).sum::<usize>() > MATCHERS_LEN_MAX {
            return invalid("the matchers are too long");
        }
        let matchers = self.matchers()?;
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return invalid("at least one matcher must not match the empty string");
        }
        if self.ends_at_ms <= self.starts_at_ms {
            return Err(SilenceError::EndsBeforeStart);
        }
        if self.comment.len().max(self.created_by.len()) > TEXT_LEN_MAX {
            return invalid("the comment or the author is too long");
        }
        Ok(matchers)
    }
}

/// All silences.
#[derive(Debug, Default)]
pub(super) struct Silences {
    by_id: BTreeMap<String, Kept>,
    /// Those that hold, by a value of a label that they ask for.
    index: BTreeMap<String, HashMap<String, Vec<String>>>,
    /// Those that hold and must be tried.
    others: Vec<String>,
    /// Changes when other silences hold than before.
    version: u64,
    /// When the next begins, ends or is forgotten.
    next_ms: Option<i64>,
    /// Rows to be written.
    dirty: Vec<String>,
}

#[derive(Debug)]
struct Kept {
    silence: Silence,
    matchers: Matchers,
}

impl Silences {
    /// Takes a row back.
    pub(super) fn restore(&mut self, silence: Silence) -> Result<(), SilenceError> {
        // Its times may be equal, after an end before its beginning.
        if silence.ends_at_ms < silence.starts_at_ms {
            return Err(SilenceError::EndsBeforeStart);
        }
        let matchers = silence.matchers()?;
        self.by_id.insert(silence.id.clone(), Kept { silence, matchers });
        Ok(())
    }

    /// Makes or changes a silence, by Alertmanager's rules: what changes its sense makes a new one
    /// and ends the old one.
    pub(super) fn put(
        &mut self,
        mut silence: Silence,
        now_ms: i64,
    ) -> Result<String, SilenceError> {
        let matchers = silence.validate()?;
        if silence.ends_at_ms < now_ms {
            return Err(SilenceError::EndsInThePast);
        }
        silence.updated_at_ms = now_ms;
        if !silence.id.is_empty() {
            let Some(known) = self.by_id.get(&silence.id) else {
                return Err(SilenceError::NotFound(silence.id));
            };
            if can_update(&known.silence, &silence, now_ms) {
                return Ok(self.keep(silence, matchers, now_ms));
            }
        }
        // Before the old one ends: what cannot be changed stays as it is.
        if self.by_id.len() >= SILENCES_MAX {
            return Err(SilenceError::TooMany);
        }
        let is_over = |known: &Kept| known.silence.state(now_ms) == SilenceState::Expired;
        if self.by_id.get(&silence.id).is_some_and(|known| !is_over(known)) {
            self.expire(&silence.id, now_ms)?;
        }
        silence.starts_at_ms = silence.starts_at_ms.max(now_ms);
        silence.id = self.new_id(&silence, now_ms);
        Ok(self.keep(silence, matchers, now_ms))
    }

    /// Ends a silence now.
    pub(super) fn expire(&mut self, id: &str, now_ms: i64) -> Result<(), SilenceError> {
        let unknown = || SilenceError::NotFound(id.to_owned());
        let known = &mut self.by_id.get_mut(id).ok_or_else(unknown)?.silence;
        match known.state(now_ms) {
            SilenceState::Expired => return Err(SilenceError::AlreadyExpired(id.to_owned())),
            SilenceState::Active => known.ends_at_ms = now_ms,
            SilenceState::Pending => {
                known.starts_at_ms = now_ms;
                known.ends_at_ms = now_ms;
            }
        }
        known.updated_at_ms = now_ms;
        self.dirty.push(id.to_owned());
        self.index(now_ms);
        Ok(())
    }

    fn keep(&mut self, silence: Silence, matchers: Matchers, now_ms: i64) -> String {
        let id = silence.id.clone();
        self.dirty.push(id.clone());
        self.by_id.insert(id.clone(), Kept { silence, matchers });
        self.index(now_ms);
        id
    }

    /// An id in the form of a UUID that no other silence has. It need not be unguessable: an id
    /// opens nothing.
    fn new_id(&self, silence: &Silence, now_ms: i64) -> String {
        let what = serde_json::to_string(silence).unwrap_or_default();
        let nonces = 0_u32..;
        let ids = nonces.map(|nonce| {
            let part = |salt: &str| {
                let (nonce, now) = (nonce.to_string(), now_ms.to_string());
                fnv([salt, what.as_str(), nonce.as_str(), now.as_str()])
            };
            let (a, b) = (part("a"), part("b"));
            let (high, mid, low) = (a >> 32, (a >> 16) & 0xffff, a & 0xfff);
            let (variant, rest) = (0x8000 | (b >> 48) & 0x3fff, b & 0xffff_ffff_ffff);
            format!("{high:08x}-{mid:04x}-4{low:03x}-{variant:04x}-{rest:012x}")
        });
        let mut free = ids.filter(|id| !self.by_id.contains_key(id));
        free.next().unwrap_or_default()
    }

    /// Lets time pass: silences begin, end and are forgotten.
    pub(super) fn advance(&mut self, now_ms: i64) {
        if self.next_ms.is_some_and(|next_ms| next_ms <= now_ms) {
            self.index(now_ms);
        }
    }

    /// Which silences hold, and when that changes next.
    pub(super) fn index(&mut self, now_ms: i64) {
        let forgotten =
            |kept: &Kept| kept.silence.ends_at_ms.saturating_add(SILENCE_RETENTION_MS) <= now_ms;
        let gone = self.by_id.iter().filter(|(_, kept)| forgotten(kept));
        let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.by_id.remove(&id);
            self.dirty.push(id);
        }
        self.index.clear();
        self.others.clear();
        self.next_ms = None;
        self.version += 1;
        for (id, Kept { silence, matchers }) in &self.by_id {
            let next_ms = match silence.state(now_ms) {
                SilenceState::Pending => silence.starts_at_ms,
                SilenceState::Active => silence.ends_at_ms,
                SilenceState::Expired => silence.ends_at_ms.saturating_add(SILENCE_RETENTION_MS),
            };
            self.next_ms = Some(self.next_ms.map_or(next_ms, |known| known.min(next_ms)));
            if silence.state(now_ms) != SilenceState::Active {
                continue;
            }
            let Some((name, values)) = matchers.handle() else {
                self.others.push(id.clone());
                continue;
            };
            let by_value = self.index.entry(name.to_owned()).or_default();
            for value in values {
                by_value.entry(value.clone()).or_default().push(id.clone());
            }
        }
    }

    /// The ids of the silences that hold for `labels`, ascending.
    pub(super) fn of(&self, labels: &BTreeMap<String, String>) -> Vec<String> {
        let looked_up = self
            .index
            .iter()
            .filter_map(|(name, by_value)| labels.get(name).and_then(|value| by_value.get(value)));
        let candidates = looked_up.flatten().chain(&self.others);
        let holds =
            |id: &&String| self.by_id.get(*id).is_some_and(|kept| kept.matchers.matches(labels));
        let mut ids: Vec<String> = candidates.filter(holds).cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// When the last of the silences of `ids` ends.
    pub(super) fn last_end_ms(&self, ids: &[String]) -> Option<i64> {
        ids.iter().filter_map(|id| self.by_id.get(id)).map(|kept| kept.silence.ends_at_ms).max()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn next_ms(&self) -> Option<i64> {
        self.next_ms
    }

    pub(super) fn get(&self, id: &str) -> Option<&Silence> {
        self.by_id.get(id).map(|kept| &kept.silence)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values().map(|kept| &kept.silence)
    }

    /// The ids of rows to be written or, where they are not known any more, to be taken away.
    pub(super) fn take_dirty(&mut self) -> Vec<String> {
        std::mem::take(&mut self.dirty)
    }
}

fn can_update(old: &Silence, new: &Silence, now_ms: i64) -> bool {
    if old.matchers != new.matchers {
        return false;
    }
    match old.state(now_ms) {
        SilenceState::Active => {
            new.starts_at_ms / 1_000 == old.starts_at_ms / 1_000 && new.ends_at_ms >= now_ms
        }
        SilenceState::Pending => new.starts_at_ms >= now_ms,
        SilenceState::Expired => false,
    }
}
