//! What is known of disks over a restart of the agent: who each is, what it said last and when, how
//! it is asked, whether it sleeps, and how often it woke up. One document, `disks`.
//!
//! - A disk that sleeps shows its last values with their true age, and is not woken for them. They are
//!   taken over only where the kernel, which read it when it found the disk, tells the serial number
//!   that stands in the reading: a name such as `sda` may be another disk's by now. Behind a RAID
//!   controller and behind adapters that give numbers of their own nobody knows without asking.
//! - Where two disks have one serial number, model, world wide name or place tell them apart; where
//!   these do not, neither takes anything over.
//! - Written when something changed that would be missed: a disk at work is read again minutes after a
//!   restart, so its readings are written once an hour. What was not read again at its time, since
//!   it sleeps, rests or fails, is written then.
//! - What stands there may be damaged or anybody's: a record that makes no sense costs only itself.
//!
//! Layout: `docs/formats/agent-disks.md`. Not here: the file ([`Memory`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::{Bridges, Known};
use super::{Reading, power};
use crate::collectors::topology::Who;
use crate::host::Host;
use crate::memory::{DOCUMENT_LEN_MAX, Memory};

const DOCUMENT: &str = "disks";

/// The layout of the document.
const VERSION: u64 = 1;

/// Disks that are kept and are not here: those of a cupboard full of backups.
const ABSENT_MAX: usize = 128;

/// Disks that are taken from a document.
const RECORDS_MAX: usize = 1024;

/// Bytes of what is kept of one disk; a report has some 30 KiB.
const RECORD_LEN_MAX: usize = 256 * 1024;

/// The least time between two writes, so that many disks that fall asleep one after the other cost few.
const WRITE_GAP_MS: i64 = 60_000;

/// How old readings of disks at work get in the document.
const FRESH_MS: i64 = 3_600_000;

/// Bytes of smartctl's name of a type.
const TYPE_LEN_MAX: usize = 48;

/// Where the kernel has a number of its own for the time since the machine was started.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is kept of one disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) who: Who,
    pub(super) reading: Reading,
    #[serde(flatten)]
    pub(super) state: State,
}

/// What is kept of a disk beside its reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// The type it turned out to need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) learned: Option<String>,
    pub(super) power: power::Kept,
    /// How deeply it sleeps, when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asleep: Option<String>,
}

impl Record {
    /// Whether the kernel tells who it is, and tells the same as the reading.
    pub(super) fn is_certain(&self) -> bool {
        let told = self.reading.report.serial_number.as_deref().unwrap_or_default();
        is_believed(&self.who.serial) && bare(told).eq(bare(&self.who.serial))
    }

    /// It was taken out, or the machine was started anew.
    fn forget_sleep(&mut self) {
        self.state.power.forget_sleep();
        self.state.asleep = None;
    }
}

/// Whether a serial number tells one disk from another.
fn is_believed(serial: &str) -> bool {
    !super::identity::is_bogus(serial)
}

/// Letters and digits, since bridges leave out the rest.
fn bare(serial: &str) -> impl Iterator<Item = char> + '_ {
    serial.chars().filter(char::is_ascii_alphanumeric)
}

/// Whether both may be one disk, by all that the kernel tells but its place.
fn is_alike(one: &Who, other: &Who) -> bool {
    let differ = !one.wwn.is_empty() && !other.wwn.is_empty() && one.wwn != other.wwn;
    one.serial == other.serial && one.model == other.model && !differ
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    memory: Option<Arc<dyn Memory>>,
    is_recalled: bool,
    boot: String,
    /// Records of disks that are not here, or were not recognised yet; the oldest first.
    absent: Vec<Record>,
    changed: bool,
    written_ms: Option<i64>,
    /// Whether the last write failed, which is told once.
    fails: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u64,
    boot: &'a str,
    disks: Vec<&'a Record>,
    bridges: &'a [Known],
}

/// As it is read: each part may be anything.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Recalled {
    version: u64,
    boot: String,
    disks: Vec<Value>,
    bridges: Vec<Value>,
}

impl Kept {
    /// What is kept in `memory`; without one nothing outlives the process.
    pub(super) fn new(memory: Option<Arc<dyn Memory>>) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Reads what was kept before the restart, once.
    pub(super) fn recall(&mut self, host: &dyn Host, bridges: &mut Bridges) {
        if std::mem::replace(&mut self.is_recalled, true) {
            return;
        }
        let Some(memory) = &self.memory else { return };
        self.boot = host.text(BOOT).unwrap_or_default().trim().to_owned();
        let document = match memory.recall(DOCUMENT) {
            Ok(Some(document)) if document.len() <= DOCUMENT_LEN_MAX => document,
            Ok(None) => return,
            Ok(Some(_)) => {
                tracing::warn!("what was known of disks before the restart is too long");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "what was known of disks before the restart cannot be read");
                return;
            }
        };
        let recalled: Recalled = match serde_json::from_slice(&document) {
            Ok(recalled) => recalled,
            Err(error) => {
                tracing::warn!(%error, "what was known of disks before the restart is damaged");
                return;
            }
        };
        if recalled.version != VERSION {
            tracing::warn!(recalled.version, "disks are learned anew: another version kept them");
            return;
        }
        bridges.restore(parsed(recalled.bridges));
        let is_same_boot = !self.boot.is_empty() && recalled.boot == self.boot;
        self.absent = parsed(recalled.disks);
        self.absent.retain(Record::is_certain);
        for record in &mut self.absent {
            record.state.learned.take_if(|kind| !is_type(kind));
            if !is_same_boot {
                record.forget_sleep();
            }
        }
    }

    /// Whether there is anything to take over.
    pub(super) fn has_absent(&self) -> bool {
        !self.absent.is_empty()
    }

    /// What is kept of the disk that is `who`, beside which `others` are here.
    pub(super) fn claim<'a>(
        &mut self,
        who: &Who,
        others: impl Iterator<Item = &'a Who>,
    ) -> Option<Record> {
        let alike = |record: &Record| is_alike(&record.who, who);
        let count = self.absent.iter().filter(|record| alike(record)).count();
        let is_there = |record: &Record| !who.path.is_empty() && record.who.path == who.path;
        let rivals: Vec<&Who> = others.filter(|other| is_alike(other, who)).collect();
        let at = match (count, rivals.is_empty()) {
            (0, _) => return None,
            (1, true) => self.absent.iter().position(alike),
            _ if rivals.iter().any(|rival| rival.path == who.path) => None,
            _ => self.absent.iter().position(|record| alike(record) && is_there(record)),
        };
        if at.is_none() {
            let serial = who.serial.as_str();
            tracing::info!(
                serial,
                "several disks have this serial number, and nothing tells which of them is which: \
                 what was known of them is not taken over"
            );
        }
        Some(self.absent.remove(at?))
    }

    /// Keeps what is known of a disk that goes.
    pub(super) fn leave(&mut self, mut record: Record) {
        record.forget_sleep();
        self.absent.retain(|other| {
            !is_alike(&other.who, &record.who) || other.who.path != record.who.path
        });
        if self.absent.len() >= ABSENT_MAX {
            self.absent.remove(0);
        }
        self.absent.push(record);
        self.changed = true;
    }

    /// Whether it may be written now.
    pub(super) fn may_write(&self, now_ms: i64) -> bool {
        let waited = |ms: i64| !(0..WRITE_GAP_MS).contains(&now_ms.saturating_sub(ms));
        self.memory.is_some() && self.written_ms.is_none_or(waited)
    }

    /// Whether it must be written, whatever is new of the disks that are here.
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether readings of disks at work are to be written again.
    pub(super) fn is_old(&self, now_ms: i64) -> bool {
        self.written_ms.is_none_or(|ms| !(0..FRESH_MS).contains(&now_ms.saturating_sub(ms)))
    }

    /// Writes it, with the records of the disks that are `here`. Whether that went well.
    pub(super) fn write(&mut self, now_ms: i64, here: &[Record], bridges: &mut Bridges) -> bool {
        let Some(memory) = &self.memory else { return false };
        self.written_ms = Some(now_ms);
        let disks: Vec<&Record> = self.absent.iter().chain(here).filter(|it| fits(it)).collect();
        let skip = disks.len().saturating_sub(RECORDS_MAX);
        let disks = disks.into_iter().skip(skip).collect();
        let document =
            Document { version: VERSION, boot: &self.boot, disks, bridges: bridges.kept() };
        let result = match serde_json::to_vec(&document) {
            Ok(document) if document.len() <= DOCUMENT_LEN_MAX => memory.keep(DOCUMENT, &document),
            Ok(_) => Err(std::io::ErrorKind::FileTooLarge.into()),
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => (self.changed, self.fails) = (false, false),
            Err(error) if !std::mem::replace(&mut self.fails, true) => {
                tracing::warn!(%error, "what is known of disks cannot be kept for a restart");
            }
            Err(_) => {}
        }
        !self.fails
    }
}

fn fits(record: &Record) -> bool {
    serde_json::to_string(record).is_ok_and(|text| text.len() <= RECORD_LEN_MAX)
}

/// Those of `values` that make sense.
fn parsed<T: serde::de::DeserializeOwned>(values: Vec<Value>) -> Vec<T> {
    values.into_iter().take(RECORDS_MAX).filter_map(|it| serde_json::from_value(it).ok()).collect()
}

/// Whether it can be one of smartctl's types: it becomes part of a command line.
fn is_type(kind: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"+,/_-".contains(&byte);
    (1..=TYPE_LEN_MAX).contains(&kind.len()) && kind.bytes().all(is_known)
}

#[cfg(test)]
mod tests {
    use labstat_parse::smartctl::Report;

    use super::*;

    fn who(serial: &str, path: &str) -> Who {
        Who {
            serial: serial.to_owned(),
            model: "M".to_owned(),
            path: path.to_owned(),
            ..Who::default()
        }
    }

    fn record(who: Who) -> Record {
        let report = Report { serial_number: Some(who.serial.clone()), ..Report::default() };
        let reading = Reading { report, exit_status: None, at_ms: 1 };
        Record { who, reading, state: State::default() }
    }

    fn kept(records: &[&Record]) -> Kept {
        Kept { absent: records.iter().map(|&it| it.clone()).collect(), ..Kept::default() }
    }

    #[test]
    fn a_disk_is_recognised_wherever_it_is_plugged_in() {
        let one = record(who("AAAA1", "p1"));
        let mut kept = kept(&[&one, &record(who("BBBB1", "p2"))]);
        let other = who("BBBB1", "p3");
        assert_eq!(kept.claim(&who("AAAA1", "p2"), [&other].into_iter()), Some(one));
        assert_eq!(kept.claim(&who("CCCC1", "p2"), [].into_iter()), None);
        assert_eq!(kept.claim(&who("AAAA1", "p2"), [].into_iter()), None, "once");
    }

    #[test]
    fn two_of_one_serial_number_are_told_apart_or_left_alone() {
        let (one, two) = (record(who("AAAA1", "p1")), record(who("AAAA1", "p2")));
        let (first, second) = (who("AAAA1", "p1"), who("AAAA1", "p2"));
        let mut by_place = kept(&[&one, &two]);
        assert_eq!(by_place.claim(&second, [&first].into_iter()), Some(two.clone()));
        assert_eq!(by_place.claim(&first, [&second].into_iter()), Some(one.clone()));

        let mut elsewhere = kept(&[&one, &two]);
        let moved = who("AAAA1", "p3");
        assert_eq!(elsewhere.claim(&moved, [].into_iter()), None, "either may have moved");
        let mut half = kept(&[&one]);
        assert_eq!(half.claim(&second, [&first].into_iter()), None, "it may be the other's");
        let nowhere = who("AAAA1", "");
        let mut unknown = kept(&[&record(nowhere.clone()), &record(nowhere.clone())]);
        assert_eq!(unknown.claim(&nowhere, [&nowhere].into_iter()), None);

        let named = |path: &str, wwn: &str| Who { wwn: wwn.to_owned(), ..who("AAAA1", path) };
        let mut by_name = kept(&[&record(named("p1", "w1")), &record(named("p2", "w2"))]);
        let claimed = by_name.claim(&named("p1", "w2"), [&named("p2", "w1")].into_iter());
        assert_eq!(claimed.unwrap().who.wwn, "w2", "they swapped their places");
    }

    #[test]
    fn a_number_of_the_adapters_names_no_disk() {
        let mut adapter = record(who("DOCK0001", "p1"));
        assert!(adapter.is_certain());
        adapter.reading.report.serial_number = Some("WD-1234".to_owned());
        assert!(!adapter.is_certain(), "the disk behind it says another");
        adapter.reading.report.serial_number = None;
        assert!(!adapter.is_certain());
        let mut bridged = record(who("WD-WCC4N1", "p1"));
        bridged.reading.report.serial_number = Some("WDWCC4N1".to_owned());
        assert!(bridged.is_certain(), "bridges leave out what is no letter and no digit");
        assert!(!record(who("0000000000", "p1")).is_certain());
        assert!(!record(who("", "p1")).is_certain());
    }

    #[test]
    fn disks_that_left_are_kept_within_bounds_and_once() {
        let mut kept = Kept::default();
        for number in 0..1000 {
            kept.leave(record(who(&format!("AAAA{number}"), "p1")));
            kept.leave(record(who(&format!("AAAA{number}"), "p1")));
        }
        assert_eq!(kept.absent.len(), ABSENT_MAX);
        assert_eq!(kept.absent.last().unwrap().who.serial, "AAAA999");
    }

    #[test]
    fn types_of_a_command_line() {
        for kind in ["sat", "sat+megaraid,4", "sntasmedia/sat", "usbcypress,0x24"] {
            assert!(is_type(kind), "{kind}");
        }
        for kind in ["", "sat --set=standby", "x;y", &"a".repeat(49)] {
            assert!(!is_type(kind), "{kind}");
        }
    }
}
