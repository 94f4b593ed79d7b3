//! The table of ATA attributes (`attributes.toml`), and the look-up in it.
//!
//! What an attribute means depends on its number, its name in smartctl's drive database, the
//! model and whether the disk spins. The first row that fits counts; an attribute without a row
//! is unknown and is never held against a disk, unless it is failing and foretells a failure.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::decode::Packing;
use crate::reading::Kind;

/// The table as data.
const TABLE: &str = include_str!("../attributes.toml");

/// One row of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Number of the attribute.
    pub id: u8,
    /// Names it has; a star stands for any text. Without one: any name.
    #[serde(default)]
    pub names: Vec<String>,
    /// Models and families it has this meaning for; as above.
    #[serde(default)]
    pub models: Vec<String>,
    /// The kind of disk it has this meaning for.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// How the raw value is packed.
    #[serde(default)]
    pub packing: Packing,
    /// What it is: the code of a reason.
    pub meaning: Meaning,
    /// The count from which on it means something by itself.
    #[serde(default)]
    pub level: Limits,
    /// The increase from which on it means something.
    #[serde(default)]
    pub increase: Limits,
    /// What is counted, to follow a number: `sectors were replaced by spare ones`.
    #[serde(default)]
    pub what: String,
    /// The same of one: `sector was replaced by a spare one`.
    #[serde(default)]
    pub one: String,
    /// What it means and what to do; one clause each.
    #[serde(default)]
    pub means: String,
    /// Why a number below the limits is no reason.
    #[serde(default)]
    pub excuse: String,
    /// How the wear of the flash is told by it.
    #[serde(default)]
    pub wear: Option<Wear>,
    /// Who says so.
    pub source: String,
}

/// From where on a number counts. What is absent never counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Attention from here on.
    pub watch: Option<u64>,
    /// Replacement from here on.
    pub act: Option<u64>,
}

/// What an attribute is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the code of a reason, which docs/disks.md explains")]
pub enum Meaning {
    ReallocatedSectors,
    ReallocationEvents,
    PendingSectors,
    OfflineUncorrectable,
    ReportedUncorrectable,
    EndToEndErrors,
    SpinRetries,
    CommandTimeouts,
    InterfaceErrors,
    SoftReadErrors,
    WriteErrors,
    ProgramFailures,
    Helium,
    Spare,
    WriteProtected,
    ExceptionMode,
    Temperature,
    Wear,
    Hours,
    Rate,
    /// Known, and no reason for anything.
    Ignored,
}

impl Meaning {
    /// The code of a reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ReallocatedSectors => "reallocated_sectors",
            Self::ReallocationEvents => "reallocation_events",
            Self::PendingSectors => "pending_sectors",
            Self::OfflineUncorrectable => "offline_uncorrectable",
            Self::ReportedUncorrectable => "reported_uncorrectable",
            Self::EndToEndErrors => "end_to_end_errors",
            Self::SpinRetries => "spin_retries",
            Self::CommandTimeouts => "command_timeouts",
            Self::InterfaceErrors => "interface_errors",
            Self::SoftReadErrors => "soft_read_errors",
            Self::WriteErrors => "write_errors",
            Self::ProgramFailures => "program_failures",
            Self::Helium => "helium",
            Self::Spare => "spare",
            Self::WriteProtected => "write_protected",
            Self::ExceptionMode => "exception_mode",
            Self::Temperature => "temperature",
            Self::Wear => "wear",
            Self::Hours => "hours",
            Self::Rate => "rate",
            Self::Ignored => "ignored",
        }
    }
}

/// How an attribute tells the wear of the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wear {
    /// The normalised value is the percentage left.
    ValueLeft,
    /// The raw value is the percentage left, from 1 to 100.
    RawLeft,
    /// The raw value is the percentage used.
    RawUsed,
}

/// What is known of the disk when an attribute is looked up.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// smartctl's family of the model, or an empty text.
    pub family: &'a str,
    /// The model, or an empty text.
    pub model: &'a str,
    /// What the disk is made of.
    pub kind: Option<Kind>,
}

#[derive(Deserialize)]
struct Table {
    attribute: Vec<Row>,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    // The table is compiled in, and a test reads it: a broken one never leaves the house.
    toml::from_str::<Table>(TABLE).map(|table| table.attribute).unwrap_or_default()
});

/// All rows.
pub fn rows() -> &'static [Row] {
    &ROWS
}

/// What the attribute `id`, called `name`, means on a disk; `None` when nobody knows.
pub fn find(id: u8, name: &str, about: About<'_>) -> Option<&'static Row> {
    rows().iter().find(|row| {
        row.id == id
            && (row.kind.is_none() || row.kind == about.kind)
            && fits(&row.names, &[name])
            && fits(&row.models, &[about.model, about.family])
    })
}

/// Whether one of the patterns fits one of the texts; no pattern fits all.
fn fits(patterns: &[String], texts: &[&str]) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| texts.iter().any(|text| is_like(pattern, text)))
}

/// Whether `text` is like `pattern`, in which a star stands for any text. Letters are alike in
/// both cases.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|begin| text.strip_prefix(begin)) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        if let Some(middle) = last.replace(piece) {
            let Some(at) = rest.find(middle) else { return false };
            rest = rest.get(at + middle.len()..).unwrap_or_default();
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let table: Table = toml::from_str(TABLE).unwrap();
        assert!(table.attribute.len() > 40);
        for row in &table.attribute {
            assert!(!row.source.is_empty(), "{}: {:?} has no source", row.id, row.names);
            let counts = row.level != Limits::default() || row.increase != Limits::default();
            assert!(!counts || !row.what.is_empty(), "{} counts nothing", row.id);
            assert!(!counts || !row.means.is_empty(), "{} means nothing", row.id);
            for limits in [row.level, row.increase] {
                if let (Some(watch), Some(act)) = (limits.watch, limits.act) {
                    assert!(watch <= act, "{}", row.id);
                }
                assert!(limits.act.is_none() || limits.watch.is_some(), "{}", row.id);
                assert!(limits.watch.is_none_or(|watch| watch > 0), "{}", row.id);
            }
            assert_eq!(row.wear.is_some(), row.meaning == Meaning::Wear, "{}", row.id);
        }
        assert!(table.attribute.is_sorted_by_key(|row| row.id), "rows are sorted by number");
    }

    #[test]
    fn every_row_can_be_found() {
        for (at, row) in rows().iter().enumerate() {
            let name = row.names.first().map_or("x", String::as_str).replace('*', "");
            let model = row.models.first().map_or("x", String::as_str).replace('*', "");
            let about = About { family: "", model: &model, kind: row.kind };
            let found = find(row.id, &name, about).unwrap();
            assert!(std::ptr::eq(found, row), "row {at} of {} is hidden by another", row.id);
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("Reallocated*", "Reallocated_Sector_Ct", true),
            ("*Fail_C*", "Program_Fail_Cnt_Total", true),
            ("*Fail_C*", "Erase_Failure_Blk_Ct", false),
            ("*temperature*", "Airflow_Temperature_Cel", true),
            ("ST*", "st1000", true),
            ("ST*", "WDC WD10 ST", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(is_like(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn one_number_means_different_things() {
        let meaning = |id, name: &str, about| find(id, name, about).map(|row| row.meaning);
        let seagate = About { family: "Seagate Barracuda", model: "ST1", kind: Some(Kind::Hdd) };
        let toshiba = About { family: "Toshiba", model: "MG04", kind: Some(Kind::Hdd) };
        assert_eq!(meaning(1, "Raw_Read_Error_Rate", seagate), Some(Meaning::Rate));
        assert_eq!(find(188, "Command_Timeout", seagate).unwrap().packing, Packing::Timeouts);
        assert_eq!(find(188, "Command_Timeout", toshiba).unwrap().packing, Packing::Count);
        let bogus = meaning(197, "Bogus_Current_Pend_Sect", About::default());
        assert_eq!(bogus, Some(Meaning::Ignored));
        assert_eq!(meaning(5, "Unknown_Attribute", About::default()), None);
    }
}
