//! All that is known of one disk at one time: [`Reading`], and the way from samples to it.
//!
//! A reading is made of samples and of nothing else, so that whoever has the samples (the
//! aggregator, a file that was just parsed, a stock `smartctl_exporter`) judges alike. What no
//! sample says is absent.

use std::collections::{BTreeMap, BTreeSet};

use labstat_model::LabelsRef;
use serde::{Deserialize, Serialize};

use crate::attributes::{self, About, Meaning, Row, Wear};
use crate::decode::{self, Packed, Packing, Part};
use crate::families::name;
use crate::printable;

/// What a disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It spins.
    Hdd,
    /// Flash, or anything else without a spindle.
    Ssd,
}

impl Kind {
    /// The word, as in the label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hdd => "hdd",
            Self::Ssd => "ssd",
        }
    }

    /// The kind by what a report says beside it: rotations a minute (0 is none), the protocol,
    /// family and model, and the names of its attributes. `None` when nothing tells.
    pub fn infer<'a>(
        rotation_rate: Option<u64>,
        protocol: &str,
        family: &str,
        model: &str,
        attributes: impl IntoIterator<Item = (u8, &'a str)>,
    ) -> Option<Self> {
        match rotation_rate {
            Some(0) => return Some(Self::Ssd),
            Some(_) => return Some(Self::Hdd),
            None => {}
        }
        let says_ssd =
            |text: &str| ["SSD", "NVMe", "Flash", "flash"].iter().any(|word| text.contains(word));
        if protocol == "NVMe" || says_ssd(family) || says_ssd(model) {
            return Some(Self::Ssd);
        }
        let (mut spins, mut flash) = (0, 0);
        for (id, name) in attributes {
            // Flash controllers keep the numbers of spindles and leave them at 0; their names
            // are what counts.
            let named = |words: &[&str]| words.iter().any(|word| name.contains(word));
            if id < 13 && named(&["Spin_Up", "Spin_Retry", "Seek_"]) || named(&["Load_Cycle"]) {
                spins += 1;
            }
            if named(&["Wear", "Erase", "Program_Fail", "Rsvd", "Reservd", "SSD_", "Lifetime"]) {
                flash += 1;
            }
        }
        match (spins, flash) {
            (spins, flash) if flash > spins => Some(Self::Ssd),
            (spins, _) if spins > 1 => Some(Self::Hdd),
            _ => Self::of_model(model),
        }
    }

    /// The kind by the beginning of the model, of makers whose names of disks that spin are theirs
    /// alone.
    fn of_model(model: &str) -> Option<Self> {
        let model = model.to_ascii_uppercase();
        let spins = SPINNING.iter().any(|begin| {
            let rest = model.strip_prefix(begin.trim_end_matches('0'));
            rest.is_some_and(|rest| {
                !begin.ends_with('0') || rest.starts_with(|next: char| next.is_ascii_digit())
            })
        });
        spins.then_some(Self::Hdd)
    }
}

/// How models of disks that spin begin; a 0 at the end stands for any digit.
const SPINNING: [&str; 27] = [
    "ST0",
    "WDC WD0",
    "WD0",
    "HITACHI H",
    "HITACHI IC",
    "HGST H",
    "HDS0",
    "HTS0",
    "HUA0",
    "HUS0",
    "IC25N",
    "IC35L",
    "IBM-D",
    "MAXTOR 0",
    "MAXTOR STM",
    "FUJITSU M",
    "QUANTUM FIREBALL",
    "SAMSUNG HD",
    "SAMSUNG HE",
    "SAMSUNG HM",
    "SAMSUNG HN",
    "SAMSUNG SP",
    "SAMSUNG SV",
    "TOSHIBA MK",
    "TOSHIBA MQ",
    "TOSHIBA MG",
    "TOSHIBA DT",
];

/// Serial numbers that bridges and prototypes give to every one of them.
const BOGUS: [&str; 14] = [
    "0123456789",
    "1234567890",
    "123456789",
    "0123456789ABCDEF",
    "123456789ABCDEF",
    "1234567890ABCDEF",
    "DEADBEEF",
    "NONE",
    "UNKNOWN",
    "INVALID",
    "DEFAULT",
    "N/A",
    "[NO INFORMATION FOUND]",
    "TO BE FILLED BY O.E.M.",
];

/// How a disk is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Ata,
    Nvme,
    Scsi,
}

/// Who a disk is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Model, as the disk names itself.
    pub model: Option<String>,
    /// smartctl's family of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Serial number, as the disk says it. See [`Identity::serial`] before comparing.
    pub serial: Option<String>,
    /// Firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// How it was reached: `sat`, `nvme`, `scsi`, `megaraid,1`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl Identity {
    /// The serial number, unless it tells no disk from another: blanked (`XXXX`, `[REDACTED]`,
    /// `****`, zeros) or a bridge's own (`0123456789ABCDEF`, `NONE`).
    pub fn serial(&self) -> Option<&str> {
        let serial = self.serial.as_deref()?.trim();
        let mut characters = serial.chars().filter(char::is_ascii_alphanumeric);
        let first = characters.next()?;
        let blank = characters.all(|next| next.eq_ignore_ascii_case(&first));
        let upper = serial.to_ascii_uppercase();
        let words = ["XXXX", "REDACT", "REMOVED", "HIDDEN", "CENSOR", "SERIAL", "***"];
        let blank = blank || BOGUS.contains(&upper.as_str());
        (!blank && !words.iter().any(|word| upper.contains(word))).then_some(serial)
    }
}

/// How the last attempt to read a disk ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was read.
    #[default]
    Read,
    /// It sleeps and was left alone.
    Asleep,
    /// The rights were missing.
    Denied,
    /// It has no SMART, or nothing on the way to it lets SMART through.
    Unsupported,
    /// It did not answer as a disk must.
    Failed,
    /// There is no such device any more.
    Gone,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Asleep, Self::Denied, Self::Unsupported, Self::Failed, Self::Gone];

    /// The word, as in the label `state` of [`crate::families::STATE`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Asleep => "asleep",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One ATA attribute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// Number.
    pub id: u8,
    /// Name in smartctl's drive database.
    pub name: String,
    /// Normalised value.
    pub value: Option<u8>,
    /// Lowest normalised value so far.
    pub worst: Option<u8>,
    /// At or below this it has failed; 0 never fails.
    pub thresh: Option<u8>,
    /// The raw value as a number, where it is one.
    pub raw: Option<u64>,
    /// Its failing foretells that the disk fails.
    pub prefailure: bool,
    /// Decoded numbers by their names.
    pub parts: BTreeMap<String, f64>,
}

/// Whether an attribute failed, by its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It did not.
    No,
    /// It did once.
    Past,
    /// It does now.
    Now,
}

impl SelfTest {
    /// How much of the disk a test of a type looks at: 2 all of it, 0 nobody knows.
    pub fn reach(kind: &str) -> u8 {
        match kind {
            "long" => 2,
            "offline" | "vendor" => 0,
            _ => 1,
        }
    }
}

/// The type of a self-test of which nothing is known but how it ended.
pub const SELF_TEST_UNNAMED: &str = "unnamed";

impl Attribute {
    /// Whether it is at or below its threshold, as smartctl reckons.
    pub fn failing(&self) -> Failing {
        let Some(thresh) = self.thresh.filter(|thresh| *thresh > 0) else { return Failing::No };
        let failed = |value: Option<u8>| value.is_some_and(|value| value <= thresh);
        if failed(self.value) {
            Failing::Now
        } else if failed(self.worst) {
            Failing::Past
        } else {
            Failing::No
        }
    }

    /// The decoded number called `part`.
    pub fn part(&self, part: &str) -> Option<f64> {
        self.parts.get(part).copied()
    }

    /// The decoded count.
    pub fn count(&self) -> Option<u64> {
        self.part("count").and_then(whole)
    }
}

/// Health log of an NVMe disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names of the NVMe specification")]
pub struct Nvme {
    pub critical_warning: Option<u64>,
    pub available_spare: Option<u64>,
    pub available_spare_threshold: Option<u64>,
    pub percentage_used: Option<u64>,
    pub media_errors: Option<u64>,
    pub error_log_entries: Option<u64>,
    pub unsafe_shutdowns: Option<u64>,
    pub warning_temperature_minutes: Option<u64>,
    pub critical_temperature_minutes: Option<u64>,
}

/// Counters of a SCSI disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names of the SCSI log pages")]
pub struct Scsi {
    pub grown_defects: Option<u64>,
    pub read_uncorrected: Option<u64>,
    pub write_uncorrected: Option<u64>,
    pub verify_uncorrected: Option<u64>,
    pub non_medium_errors: Option<u64>,
    pub scan_unreadable: Option<u64>,
    pub scan_halted: Option<u64>,
}

/// The newest conclusive self-test of one type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// `short`, `long`, `conveyance`, `selective`, `offline` or `vendor`.
    pub kind: String,
    /// Whether it passed.
    pub passed: bool,
    /// How it ended: `completed`, `read_failure`, `electrical_failure`, …
    pub status: Option<String>,
    /// Hours the disk had been on. ATA disks count them in 16 bits.
    pub hours: Option<u64>,
}

/// Temperatures, in degrees Celsius.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Temperature {
    /// Now.
    pub current: Option<f64>,
    /// The drive's own limits: `warning`, `critical`, `trip`, `max`.
    pub limits: BTreeMap<String, f64>,
}

/// All that is known of one disk at one time. What is not known is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Who it is.
    pub identity: Identity,
    /// How it is talked to.
    pub protocol: Option<Protocol>,
    /// What it is made of.
    pub kind: Option<Kind>,
    /// Its size.
    pub capacity_bytes: Option<u64>,
    /// How the last attempt to read it ended.
    pub state: State,
    /// Why: a word of the label `reason` of [`crate::families::STATE`].
    pub state_reason: Option<String>,
    /// Age of what is said here.
    pub age_seconds: Option<f64>,
    /// Its own overall verdict.
    pub passed: Option<bool>,
    /// Why a SCSI disk does not say that all is well: additional sense code and its qualifier.
    pub scsi_sense: Option<(u8, u8)>,
    /// Hours it was on.
    pub power_on_hours: Option<u64>,
    /// Times it was switched on.
    pub power_cycles: Option<u64>,
    /// ATA attributes, by number.
    pub attributes: Vec<Attribute>,
    /// NVMe health log.
    pub nvme: Nvme,
    /// SCSI counters.
    pub scsi: Scsi,
    /// Newest conclusive self-tests, one of each type.
    pub self_tests: Vec<SelfTest>,
    /// Failed self-tests that no later one of at least their reach has outdated.
    pub self_tests_failed: Option<u64>,
    /// Temperatures.
    pub temperature: Temperature,
    /// ATA errors in its life.
    pub error_log_count: Option<u64>,
    /// Hours on when an ATA disk last logged that it could not read data; counted in 16 bits.
    pub error_log_uncorrectable_hours: Option<u64>,
    /// Hours on when an ATA disk last logged an error that is neither of the link nor of a wrong
    /// command; counted in 16 bits.
    pub error_log_damage_hours: Option<u64>,
    /// Sectors it knows to be bad and could not replace yet, by its log for them.
    pub pending_defects: Option<u64>,
    /// Reads that could not be corrected, by the ATA device statistics.
    pub reported_uncorrectable: Option<u64>,
    /// Sectors that were replaced, by the ATA device statistics.
    pub reallocated_sectors: Option<u64>,
    /// Part of the life of its flash that is used, from 0; goes beyond 1.
    pub wear_ratio: Option<f64>,
    /// What of the report could not be understood or relied on; see [`part`].
    pub not_understood: BTreeSet<String>,
}

/// What of a report could not be understood or relied on: values of the label `part` of
/// [`crate::families::NOT_UNDERSTOOD`].
pub mod part {
    /// The table of attributes, whole or some rows of it.
    pub const ATTRIBUTES: &str = "attributes";
    /// The raw value of an attribute of which even one counts.
    pub const RAW: &str = "raw";
    /// The table of attributes, which does not fit its own checksum.
    pub const CHECKSUM: &str = "checksum";
    /// The thresholds of the attributes, which do not fit their own checksum.
    pub const THRESHOLDS: &str = "thresholds";
    /// The disk's own overall verdict.
    pub const HEALTH: &str = "health";
    /// Other lines that bear on the health of the disk.
    pub const LINES: &str = "lines";
}

impl Reading {
    /// The reading that samples of *one* device say: `(name, labels, value)` each. Names and
    /// labels are those of [`crate::families`]; others are passed over, and so are labels such as
    /// `instance` and `job`. Samples of a stock `smartctl_exporter` will do.
    ///
    /// Of two samples that say the same thing the later one counts. `None` when no sample says
    /// anything of a disk.
    pub fn from_samples<'a>(
        samples: impl IntoIterator<Item = (&'a str, LabelsRef<'a>, f64)>,
    ) -> Option<Self> {
        let mut gathered = Gathered::default();
        let mut any = false;
        for (name, labels, value) in samples {
            any |= value.is_finite() && gathered.take(name, labels, value);
        }
        any.then(|| gathered.finish())
    }

    /// What is known of the disk for looking up attributes.
    pub fn about(&self) -> About<'_> {
        About {
            family: self.identity.family.as_deref().unwrap_or_default(),
            model: self.identity.model.as_deref().unwrap_or_default(),
            kind: self.kind,
        }
    }

    /// The attributes that the table knows, each with its row.
    pub fn known_attributes(&self) -> impl Iterator<Item = (&Attribute, &'static Row)> {
        self.attributes.iter().filter_map(|attribute| {
            let row = attributes::find(attribute.id, &attribute.name, self.about())?;
            Some((attribute, row))
        })
    }

    /// Whether it says anything of the health of the disk, and not only who it is.
    pub fn has_health(&self) -> bool {
        self.passed.is_some()
            || !self.attributes.is_empty()
            || self.nvme != Nvme::default()
            || self.scsi != Scsi::default()
            || !self.self_tests.is_empty()
            || self.wear_ratio.is_some()
            || self.pending_defects.is_some()
            || self.reallocated_sectors.is_some()
            || self.reported_uncorrectable.is_some()
            || self.error_log_count.is_some_and(|count| count > 0)
    }

    /// Whether a part of the report could not be understood or relied on.
    pub fn is_doubtful(&self, part: &str) -> bool {
        self.not_understood.contains(part)
    }
}

/// A whole number that a sample can hold.
pub(crate) fn whole(value: f64) -> Option<u64> {
    // 2^63: beyond it a double is not a count of anything.
    const MAX: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in bounds")]
    ((0.0..MAX).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// Attributes of one disk that are believed: it has room for 30, and some firmware for more.
const ATTRIBUTES_MAX: usize = 256;

/// Parts of a report that can be not understood: there are fewer names.
const PARTS_MAX: usize = 16;

/// Samples while they are gathered.
#[derive(Default)]
struct Gathered {
    reading: Reading,
    attributes: BTreeMap<(u8, String), Attribute>,
    tests: BTreeMap<String, SelfTest>,
    rotation_rate: Option<u64>,
    protocol: String,
}

impl Gathered {
    /// Takes a sample; `false` when it is none of a disk.
    fn take(&mut self, name: &str, labels: LabelsRef<'_>, value: f64) -> bool {
        let reading = &mut self.reading;
        match name {
            name::DEVICE => self.identity(labels),
            name::STATE if value == 1.0 => {
                reading.state = labels.get("state").and_then(State::of).unwrap_or_default();
                reading.state_reason = labels.get("reason").map(str::to_owned);
            }
            name::KIND if value == 1.0 => {
                reading.kind = match labels.get("kind") {
                    Some("hdd") => Some(Kind::Hdd),
                    Some("ssd") => Some(Kind::Ssd),
                    _ => None,
                };
            }
            name::STATUS => reading.passed = Some(value != 0.0),
            name::CAPACITY => reading.capacity_bytes = whole(value),
            name::NVME_CAPACITY if reading.capacity_bytes.is_none() => {
                reading.capacity_bytes = whole(value);
            }
            name::POWER_ON => reading.power_on_hours = whole((value / 3600.0).floor()),
            name::POWER_CYCLES => reading.power_cycles = whole(value),
            name::ROTATION => self.rotation_rate = whole(value),
            name::AGE => reading.age_seconds = Some(value),
            name::WEAR => reading.wear_ratio = Some(value).filter(|ratio| *ratio >= 0.0),
            name::ERROR_LOG => {
                reading.error_log_count = reading.error_log_count.max(whole(value));
            }
            name::SELF_TESTS_FAILED => reading.self_tests_failed = whole(value),
            name::PENDING_DEFECTS => reading.pending_defects = whole(value),
            name::STATISTIC_REALLOCATED => reading.reallocated_sectors = whole(value),
            name::ERROR_LOG_DAMAGE_HOURS => reading.error_log_damage_hours = whole(value),
            name::SCSI_SENSE if value == 1.0 => {
                let byte = |label| {
                    let digits = labels.get(label)?.strip_prefix("0x")?;
                    u8::from_str_radix(digits, 16).ok()
                };
                reading.scsi_sense = byte("asc").zip(byte("ascq"));
            }
            name::NOT_UNDERSTOOD if value == 1.0 => {
                let part = labels.get("part").filter(|_| reading.not_understood.len() < PARTS_MAX);
                reading.not_understood.extend(part.map(str::to_owned));
            }
            name::STATISTIC_UNCORRECTABLE => reading.reported_uncorrectable = whole(value),
            name::ERROR_LOG_UNCORRECTABLE_HOURS => {
                reading.error_log_uncorrectable_hours = whole(value);
            }
            name::ATTRIBUTE | name::DECODED => self.attribute(name, labels, value),
            name::TEMPERATURE | name::TEMPERATURE_LIMIT => self.temperature(labels, value),
            name::SELF_TEST_PASSED | name::SELF_TEST_HOURS | name::SELF_TEST_STATUS => {
                self.self_test(name, labels, value);
            }
            _ => return self.counter(name, value),
        }
        true
    }

    /// Takes a plain counter; `false` when it is none.
    fn counter(&mut self, name: &str, value: f64) -> bool {
        let (nvme, scsi) = (&mut self.reading.nvme, &mut self.reading.scsi);
        let place = match name {
            name::CRITICAL_WARNING => &mut nvme.critical_warning,
            name::SPARE => &mut nvme.available_spare,
            name::SPARE_THRESHOLD => &mut nvme.available_spare_threshold,
            name::PERCENTAGE_USED => &mut nvme.percentage_used,
            name::MEDIA_ERRORS => &mut nvme.media_errors,
            name::ERROR_ENTRIES => &mut nvme.error_log_entries,
            name::UNSAFE_SHUTDOWNS => &mut nvme.unsafe_shutdowns,
            name::WARNING_MINUTES => &mut nvme.warning_temperature_minutes,
            name::CRITICAL_MINUTES => &mut nvme.critical_temperature_minutes,
            name::GROWN_DEFECTS => &mut scsi.grown_defects,
            name::READ_UNCORRECTED => &mut scsi.read_uncorrected,
            name::WRITE_UNCORRECTED => &mut scsi.write_uncorrected,
            name::VERIFY_UNCORRECTED => &mut scsi.verify_uncorrected,
            name::SCAN_UNREADABLE => &mut scsi.scan_unreadable,
            name::SCAN_HALTED => &mut scsi.scan_halted,
            name::NON_MEDIUM => &mut scsi.non_medium_errors,
            // It answers, and so there is a disk.
            name::READ_SUCCESS | name::POWER_MODE | name::LAST_SUCCESS => return true,
            _ => return false,
        };
        *place = whole(value);
        true
    }

    fn identity(&mut self, labels: LabelsRef<'_>) {
        let text = |label: &str| {
            let text = labels.get(label).map(str::trim).unwrap_or_default();
            // An exporter hands on what firmware says.
            (!text.is_empty() && text != "unknown").then(|| printable(text).into_owned())
        };
        self.protocol = text("protocol").unwrap_or_default();
        self.reading.protocol = match self.protocol.as_str() {
            "ATA" => Some(Protocol::Ata),
            "NVMe" => Some(Protocol::Nvme),
            "SCSI" => Some(Protocol::Scsi),
            _ => None,
        };
        self.reading.identity = Identity {
            model: text("model_name").or_else(|| text("scsi_product")),
            family: text("model_family"),
            serial: text("serial_number"),
            firmware: text("firmware_version").or_else(|| text("scsi_revision")),
            interface: text("interface"),
        };
    }

    fn attribute(&mut self, name: &str, labels: LabelsRef<'_>, value: f64) {
        let id = labels.get("attribute_id").and_then(|id| id.parse::<u8>().ok());
        let Some(id) = id else { return };
        let attribute_name = labels.get("attribute_name").unwrap_or_default();
        let key = (id, printable(attribute_name).into_owned());
        if self.attributes.len() >= ATTRIBUTES_MAX && !self.attributes.contains_key(&key) {
            return;
        }
        let attribute = self.attributes.entry(key).or_default();
        if name == name::DECODED {
            if let Some(part) = labels.get("part") {
                attribute.parts.insert(part.to_owned(), value);
            }
            return;
        }
        let flags = labels.get("attribute_flags_long").unwrap_or_default();
        attribute.prefailure = flags.split(',').any(|flag| flag == "prefailure");
        let byte = whole(value).and_then(|value| u8::try_from(value).ok());
        match labels.get("attribute_value_type") {
            Some("value") => attribute.value = byte,
            Some("worst") => attribute.worst = byte,
            Some("thresh") => attribute.thresh = byte,
            Some("raw") => attribute.raw = whole(value),
            _ => {}
        }
    }

    fn temperature(&mut self, labels: LabelsRef<'_>, value: f64) {
        let temperature = &mut self.reading.temperature;
        // An unset sensor says 0, or as cold as a byte or absolute zero allow.
        let believed = (-40.0..=150.0).contains(&value) && value != 0.0;
        if !believed {
            return;
        }
        let limit = match (labels.get("temperature_type"), labels.get("limit")) {
            (Some("current"), _) => {
                temperature.current = Some(value);
                return;
            }
            (Some("drive_trip"), _) => "trip",
            (Some("limit_max"), _) => "max",
            (None, Some(limit)) => limit,
            _ => return,
        };
        temperature.limits.insert(limit.to_owned(), value);
    }

    fn self_test(&mut self, name: &str, labels: LabelsRef<'_>, value: f64) {
        let Some(kind) = labels.get("type") else { return };
        let test = self.tests.entry(kind.to_owned()).or_default();
        kind.clone_into(&mut test.kind);
        match name {
            name::SELF_TEST_PASSED => test.passed = value != 0.0,
            name::SELF_TEST_HOURS => test.hours = whole(value),
            _ => test.status = labels.get("status").map(str::to_owned),
        }
    }

    fn finish(self) -> Reading {
        let mut reading = self.reading;
        if reading.kind.is_none() {
            let names = self.attributes.keys().map(|(id, name)| (*id, name.as_str()));
            let about = reading.about();
            reading.kind =
                Kind::infer(self.rotation_rate, &self.protocol, about.family, about.model, names);
        }
        reading.attributes = self
            .attributes
            .into_iter()
            .map(|((id, name), attribute)| Attribute { id, name, ..attribute })
            .collect();
        reading.self_tests = self.tests.into_values().collect();
        decode_missing(&mut reading);
        if reading.wear_ratio.is_none() {
            reading.wear_ratio = wear_of(&reading);
        }
        reading
    }
}

/// Decodes what came without decoded numbers, as from a stock exporter.
fn decode_missing(reading: &mut Reading) {
    let mut attributes = std::mem::take(&mut reading.attributes);
    for attribute in attributes.iter_mut().filter(|attribute| attribute.parts.is_empty()) {
        let packed = Packed { text: None, raw: attribute.raw, value: attribute.value };
        let parts = parts(attribute.id, &attribute.name, packed, reading.about());
        attribute.parts = parts.into_iter().map(|(part, value)| (part.to_owned(), value)).collect();
    }
    reading.attributes = attributes;
}

/// The decoded numbers of an attribute. Nothing for attributes that the table does not know.
pub fn parts(id: u8, name: &str, packed: Packed<'_>, about: About<'_>) -> Vec<Part> {
    let Some(row) = attributes::find(id, name, about) else { return Vec::new() };
    let parts = decode::decode(row.packing, packed.text, packed.raw);
    let counted = match row.packing {
        Packing::Count | Packing::Count16 => decode::count_beside(packed, is_of_sectors(row)),
        _ => None,
    };
    match counted {
        Some(Some(count)) => vec![("count", count as f64)],
        Some(None) => Vec::new(),
        None => parts,
    }
}

/// Whether a count is one of which even a few thousand would be the end of a disk.
fn is_of_sectors(row: &Row) -> decode::Bound {
    match row.meaning {
        Meaning::PendingSectors | Meaning::OfflineUncorrectable => decode::Bound::Sectors,
        Meaning::ReportedUncorrectable | Meaning::SpinRetries | Meaning::EndToEndErrors => {
            decode::Bound::Events
        }
        _ => decode::Bound::None,
    }
}

/// Highest percentage that is a percentage of life used: the standards end at 255.
const USED_MAX: u64 = 255;

/// The part of its life that the disk has used, by its maker's reckoning.
fn wear_of(reading: &Reading) -> Option<f64> {
    if let Some(used) = reading.nvme.percentage_used {
        return (used <= USED_MAX).then_some(used as f64 / 100.0);
    }
    let told = reading.known_attributes().filter_map(|(attribute, row)| {
        let wear = row.wear.filter(|_| row.meaning == Meaning::Wear)?;
        wear_told(attribute, wear)
    });
    // Where two attributes tell it, the worse one counts.
    told.reduce(f64::max)
}

/// What one attribute says of the wear.
pub fn wear_told(attribute: &Attribute, wear: Wear) -> Option<f64> {
    let percent = attribute.part("percent");
    let value = attribute.value.filter(|value| *value <= 100).map(f64::from);
    let left = match wear {
        // 0 with nothing in the raw value is what a disk says that does not count.
        Wear::ValueLeft => value.filter(|value| *value > 0.0 || attribute.raw > Some(0))?,
        Wear::RawLeft => raw_left(value, percent?)?,
        Wear::RawUsed => 100.0 - percent?,
    };
    Some((100.0 - left) / 100.0)
}

/// Some firmware keeps the value at 100 and counts down in the raw value, some has both alike, and
/// some counts up what is used in the raw value. A small one beside 100 can be either.
fn raw_left(value: Option<f64>, raw: f64) -> Option<f64> {
    match value {
        Some(value) if value > 0.0 && value < 100.0 => Some(value),
        Some(100.0) => Some(raw).filter(|raw| *raw >= 50.0),
        _ => Some(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_tells_what_nothing_else_does() {
        let kind = |model| Kind::infer(None, "ATA", "", model, [(5, "Reallocated_Sector_Ct")]);
        for model in
            ["ST3000DM001-9YN166", "WDC WD20EARS-00MVWB0", "Hitachi HDS721010", "Maxtor 6Y1"]
        {
            assert_eq!(kind(model), Some(Kind::Hdd), "{model}");
        }
        for model in ["STEC MACH8", "WDC WDS500G2B0A-00SM50", "TOSHIBA THNSNJ128GCSU", "CF 2GB", ""]
        {
            assert_eq!(kind(model), None, "{model}");
        }
        let flash = [(177, "Wear_Leveling_Count")];
        assert_eq!(Kind::infer(None, "ATA", "", "ST120XX", flash), Some(Kind::Ssd));
    }
}
