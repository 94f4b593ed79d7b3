//! Links in messages that do one thing to what the message told of: acknowledge it, or silence it
//! for a while. Whoever has the message may do that, without any other login.
//!
//! A link holds a token: what it is good for, until when, and a MAC over that with a key that only
//! this aggregator has and that outlives a restart. A token is good once: that it was used is kept
//! until it ends by itself, so that one that is sent again much later, from a browser's history or
//! by whoever got hold of it, does nothing.
//!
//! Not here: what is done to the alerts, and the pages that people see.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use labstat_alerts::{Entry, Ledger, LedgerError, Message, Status};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Mutex;

/// Where the key is kept.
const KEY: &str = "link/key";

/// Where it is kept which tokens were used: the end of the token, and when it was used.
const USED: &str = "link/used/";

/// Bytes of the key, as many as the hash has.
const KEY_LEN: usize = 32;

/// Bytes of the MAC of HMAC-SHA256.
const TAG_LEN: usize = 32;

/// Characters of a token: a few names and numbers fit.
pub(crate) const TOKEN_LEN_MAX: usize = 512;

/// How long a link works. An alert of Friday evening can be acknowledged on Monday; what is older
/// was told again since, with fresh links.
pub(crate) const VALID_MS: i64 = 7 * 86_400_000;

/// Used tokens that are kept. Each stands for a message that was really sent and a button that was
/// really pressed.
const USED_MAX: usize = 10_000;

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Says that somebody looks after it.
    Acknowledge,
    /// Silences its alerts for so many minutes.
    Silence {
        /// How long.
        minutes: u32,
    },
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permit {
    /// What may be done.
    pub(crate) deed: Deed,
    /// Until when, in seconds since the epoch.
    pub(crate) until_seconds: i64,
    /// To whom the link was sent: the name of the receiver.
    pub(crate) receiver: String,
    /// The messages about these alerts: what ties them together.
    pub(crate) thread: String,
}

/// Why a token does nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It was not made here, or was changed since.
    #[error("this link is none of labstat's, or was cut short on its way")]
    Forged,
    /// It was good once.
    #[error("this link is too old; the next message has a new one")]
    Expired,
    /// What it is good for was done already.
    #[error("this link was used already")]
    Used {
        /// When, in milliseconds.
        at_ms: i64,
    },
}

/// A token that is good, before it is used.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) permit: Permit,
    /// The row that says that it was used.
    row: String,
}

impl Good {
    /// The row of the ledger that says that it was used.
    pub(crate) fn row(&self) -> String {
        self.row.clone()
    }
}

/// Makes links, and tells its own from others.
pub(crate) struct Links {
    key: hmac::Key,
    url: String,
    ledger: Arc<dyn Ledger>,
    /// Held while a token is used, so that two requests cannot both be the first.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why there are no links.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinksError {
    /// The key cannot be read or kept.
    #[error("failed to keep the key of the links in messages")]
    Ledger(#[source] LedgerError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl Links {
    /// Links to `external_url`, with the key of the ledger, which is made when there is none.
    /// Blocks.
    pub(crate) fn open(external_url: &str, ledger: Arc<dyn Ledger>) -> Result<Self, LinksError> {
        let rows = ledger.load(KEY).map_err(LinksError::Ledger)?;
        let kept = rows.into_iter().find(|(key, _)| key == KEY).map(|(_, value)| value);
        let key = match kept.filter(|key| key.len() == KEY_LEN) {
            Some(key) => key,
            None => {
                let mut key = vec![0; KEY_LEN];
                SystemRandom::new().fill(&mut key).map_err(|_| LinksError::Random)?;
                let entry = Entry::put(KEY, key.clone());
                ledger.commit(&[entry]).map_err(LinksError::Ledger)?;
                key
            }
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let url = external_url.trim_end_matches('/').to_owned();
        Ok(Self { key, url, ledger, turn: Mutex::default() })
    }

    /// The address under which people reach this aggregator.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A link for what `message` tells of; none of what nobody can do anything about any more.
    fn of(&self, message: &Message, deed: Deed) -> Option<String> {
        let until_ms = message.created_ms.saturating_add(VALID_MS);
        (message.status() == Status::Firing).then(|| {
            self.link(&Permit {
                deed,
                until_seconds: until_ms.div_euclid(1000),
                receiver: message.receiver.clone(),
                thread: message.thread.clone(),
            })
        })
    }

    /// The link that is good for `permit`.
    pub(crate) fn link(&self, permit: &Permit) -> String {
        format!("{}{PATH}{}", self.url, self.token(permit))
    }

    fn token(&self, permit: &Permit) -> String {
        let mut bytes = permit.bytes();
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token is good for. The MAC is compared in constant time, and nothing of the token is
    /// read before it is known to be ours.
    pub(crate) fn read(&self, token: &str, now_ms: i64) -> Result<Good, Refused> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(Refused::Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Refused::Forged)?;
        let split = bytes.len().checked_sub(TAG_LEN).ok_or(Refused::Forged)?;
        let (said, tag) = bytes.split_at_checked(split).ok_or(Refused::Forged)?;
        hmac::verify(&self.key, said, tag).map_err(|_| Refused::Forged)?;
        let permit = Permit::read(said).ok_or(Refused::Forged)?;
        if now_ms.div_euclid(1000) > permit.until_seconds {
            return Err(Refused::Expired);
        }
        let row = format!("{USED}{}", URL_SAFE_NO_PAD.encode(tag));
        Ok(Good { permit, row })
    }

    /// Whether a good token was used already, by its row; then when, in milliseconds. Blocks.
    pub(crate) fn used_ms(&self, row: &str) -> Result<Option<i64>, LedgerError> {
        let rows = self.ledger.load(row)?;
        Ok(rows.first().and_then(|(_, value)| Use::read(value)).map(|used| used.at_ms))
    }

    /// Does `deed` for a token that was not used before, and puts down that it now is. When the
    /// deed fails, the token stays good.
    pub(crate) async fn once<T, E>(
        self: &Arc<Self>,
        good: Good,
        now_ms: i64,
        deed: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, OnceError> {
        let _turn = self.turn.lock().await;
        let (links, row) = (Arc::clone(self), good.row());
        let look = tokio::task::spawn_blocking(move || links.used_ms(&row));
        let at = look.await.map_err(|_| OnceError::Broken)?.map_err(OnceError::Ledger)?;
        if let Some(at_ms) = at {
            return Err(OnceError::Used(at_ms));
        }
        let done = deed.await;
        if done.is_ok() {
            let links = Arc::clone(self);
            let keep = tokio::task::spawn_blocking(move || links.put_down(&good, now_ms));
            keep.await.map_err(|_| OnceError::Broken)?.map_err(OnceError::Ledger)?;
        }
        Ok(done)
    }

    /// Keeps that a token was used, and forgets those that would be refused as too old anyway.
    fn put_down(&self, good: &Good, now_ms: i64) -> Result<(), LedgerError> {
        let used = Use { at_ms: now_ms, until_seconds: good.permit.until_seconds };
        let mut entries = vec![Entry::put(&good.row, used.bytes())];
        let rows = self.ledger.load(USED)?;
        let excess = rows.len().saturating_sub(USED_MAX - 1);
        let mut rows: Vec<(i64, String)> = rows
            .into_iter()
            .map(|(key, value)| (Use::read(&value).map_or(0, |used| used.until_seconds), key))
            .collect();
        rows.sort_unstable();
        let is_over = |at: usize, until: i64| at < excess || until < now_ms.div_euclid(1000);
        let over = rows.into_iter().enumerate().filter(|(at, (until, _))| is_over(*at, *until));
        entries.extend(over.map(|(_, (_, key))| Entry::delete(key)));
        self.ledger.commit(&entries)
    }
}

impl labstat_alerts::notify::Links for Links {
    fn acknowledge(&self, message: &Message) -> Option<String> {
        self.of(message, Deed::Acknowledge)
    }

    fn silence(&self, message: &Message, duration_ms: i64) -> Option<String> {
        let minutes = u32::try_from(duration_ms / 60_000).ok().filter(|minutes| *minutes > 0)?;
        self.of(message, Deed::Silence { minutes })
    }
}

/// Where links lead.
pub(crate) const PATH: &str = "/api/labstat/v1/act/";

/// Why a token was not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceError {
    /// It was used before, at this time.
    #[error("this link was used already")]
    Used(i64),
    /// It could not be seen or put down.
    #[error("whether this link was used cannot be kept")]
    Ledger(#[source] LedgerError),
    /// The work broke off.
    #[error("the work broke off")]
    Broken,
}

/// That a token was used.
struct Use {
    at_ms: i64,
    until_seconds: i64,
}

impl Use {
    fn bytes(&self) -> Vec<u8> {
        format!("{} {}", self.at_ms, self.until_seconds).into_bytes()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (at, until) = str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { at_ms: at.parse().ok()?, until_seconds: until.parse().ok()? })
    }
}

impl Permit {
    /// The form that is signed: a version, the deed, its minutes, the end, the length of the
    /// receiver's name, that name, and the thread.
    fn bytes(&self) -> Vec<u8> {
        let (deed, minutes) = match self.deed {
            Deed::Acknowledge => (1, 0),
            Deed::Silence { minutes } => (2, minutes),
        };
        let receiver = cut(&self.receiver, usize::from(u8::MAX));
        let mut bytes = vec![1, deed];
        bytes.extend_from_slice(&u32::to_be_bytes(minutes));
        bytes.extend_from_slice(&i64::to_be_bytes(self.until_seconds));
        bytes.push(u8::try_from(receiver.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(receiver.as_bytes());
        bytes.extend_from_slice(self.thread.as_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let ([1, deed], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (minutes, rest) = rest.split_first_chunk::<4>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first()?;
        let (receiver, thread) = rest.split_at_checked(usize::from(*len))?;
        let deed = match deed {
            1 => Deed::Acknowledge,
            2 => Deed::Silence { minutes: u32::from_be_bytes(*minutes) },
            _ => return None,
        };
        Some(Self {
            deed,
            until_seconds: i64::from_be_bytes(*until),
            receiver: String::from_utf8(receiver.to_vec()).ok()?,
            thread: String::from_utf8(thread.to_vec()).ok()?,
        })
    }
}

/// The first bytes of a text, whole characters only.
fn cut(text: &str, len_max: usize) -> &str {
    let mut end = text.len().min(len_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use labstat_alerts::MemoryLedger;
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_795_318_463_000;

    fn ledger() -> Arc<dyn Ledger> {
        Arc::new(MemoryLedger::default())
    }

    fn links(ledger: &Arc<dyn Ledger>) -> Arc<Links> {
        Arc::new(Links::open("https://lab.example/", Arc::clone(ledger)).unwrap())
    }

    fn permit() -> Permit {
        Permit {
            deed: Deed::Silence { minutes: 240 },
            until_seconds: NOW_MS / 1000 + 60,
            receiver: "phone".to_owned(),
            thread: "3f2a".to_owned(),
        }
    }

    fn token(link: &str) -> &str {
        link.strip_prefix("https://lab.example/api/labstat/v1/act/").unwrap()
    }

    #[test]
    fn a_link_is_good_after_a_restart_and_until_it_ends() {
        let ledger = ledger();
        let link = links(&ledger).link(&permit());
        let again = links(&ledger);
        assert_eq!(again.read(token(&link), NOW_MS).unwrap().permit, permit());
        let last_ms = permit().until_seconds * 1000 + 999;
        assert!(again.read(token(&link), last_ms).is_ok());
        assert_eq!(again.read(token(&link), last_ms + 1).unwrap_err(), Refused::Expired);
    }

    #[test]
    fn what_was_not_made_here_is_refused() {
        let (ours, theirs) = (links(&ledger()), links(&ledger()));
        let link = theirs.link(&permit());
        assert_eq!(ours.read(token(&link), NOW_MS).unwrap_err(), Refused::Forged);
        for text in ["", "x", "====", &"A".repeat(43), &"A".repeat(100), &"A".repeat(10_000)] {
            assert_eq!(ours.read(text, NOW_MS).unwrap_err(), Refused::Forged, "{text}");
        }
    }

    #[tokio::test]
    async fn a_link_works_once_and_a_deed_that_fails_leaves_it_good() {
        let ledger = ledger();
        let links = links(&ledger);
        let link = links.link(&permit());
        let good = || links.read(token(&link), NOW_MS).unwrap();
        let failed = links.once(good(), NOW_MS, async { Err::<(), _>("no disk") }).await;
        assert_eq!(failed.unwrap(), Err("no disk"));
        assert_eq!(links.used_ms(&good().row).unwrap(), None);
        let done = links.once(good(), NOW_MS, async { Ok::<_, ()>(7) }).await;
        assert_eq!(done.unwrap(), Ok(7));
        let again = links.once(good(), NOW_MS + 5, async { Ok::<_, ()>(7) }).await;
        assert!(matches!(again, Err(OnceError::Used(NOW_MS))), "{again:?}");
        assert_eq!(self::links(&ledger).used_ms(&good().row).unwrap(), Some(NOW_MS));
    }

    #[tokio::test]
    async fn used_links_are_forgotten_when_they_would_be_refused_anyway() {
        let ledger = ledger();
        let links = links(&ledger);
        let mut late = permit();
        late.until_seconds += 86_400;
        for (permit, now_ms) in [(permit(), NOW_MS), (late, NOW_MS + 3_600_000)] {
            let link = links.link(&permit);
            let good = links.read(token(&link), now_ms).unwrap();
            links.once(good, now_ms, async { Ok::<_, ()>(()) }).await.unwrap().unwrap();
        }
        assert_eq!(ledger.load(USED).unwrap().len(), 1);
    }

    proptest! {
        /// Whatever is changed in a token, it is none any more.
        #[test]
        fn a_changed_token_is_refused(at in 0usize..60, bit in 0u8..8) {
            let links = links(&ledger());
            let link = links.link(&permit());
            let mut bytes = URL_SAFE_NO_PAD.decode(token(&link)).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(links.read(&changed, NOW_MS).unwrap_err(), Refused::Forged);
        }

        #[test]
        fn what_is_signed_is_read_as_it_was(
            minutes: u32, until in 0i64..i64::MAX, receiver in "\\PC{0,60}", thread in "\\PC{0,60}"
        ) {
            let deed = Deed::Silence { minutes };
            let permit = Permit { deed, until_seconds: until, receiver, thread };
            let read = Permit::read(&permit.bytes()).unwrap();
            prop_assert!(permit.receiver.starts_with(&read.receiver));
            prop_assert_eq!(&read.thread, &permit.thread);
            prop_assert_eq!(read.until_seconds, until);
        }
    }
}
