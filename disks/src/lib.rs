//! What makes a disk good or bad.
//!
//! ```text
//! samples ──► Reading ──► judge(now, before) ──► Judgement { verdict, reasons }
//!                │                ▲
//!                └─► Baseline ────┘   what somebody acknowledged
//! ```
//!
//! - [`families`]: the names of all samples of a disk.
//! - [`Reading::from_samples`]: the samples of one device, as all that is known of it.
//! - [`judge()`]: the verdict, by itself or against what was before; [`Reading::baseline`] is what
//!   an acknowledgement keeps.
//! - [`attributes`] and [`decode`]: the table of ATA attributes, and their raw values as numbers.
//! - [`sentence()`]: what the code of a reason means, in words that stay the same.
//! - [`printable()`]: what a disk calls itself, made fit to be shown.
//! - [`project`]: when the flash will be worn out, from a history.
//!
//! ```
//! use labstat_disks::{Reading, Verdict, families, judge};
//! use labstat_model::Labels;
//!
//! let device = Labels::new([("device", "sda"), ("model_name", "ST1"), ("serial_number", "Z1")]);
//! let here = Labels::new([("device", "sda")]);
//! let reading = Reading::from_samples([
//!     (families::name::DEVICE, device.as_ref(), 1.0),
//!     (families::name::STATUS, here.as_ref(), 0.0),
//! ]);
//! let judgement = judge(&reading.unwrap_or_default(), None).unwrap();
//! assert_eq!(judgement.verdict, Verdict::Act);
//! assert_eq!(judgement.reasons[0].code, "smart_failed");
//! ```
//!
//! Pure: no files, no clock, no async runtime. Not here: reading disks (`labstat-collect`), the
//! reports of smartctl (`labstat-parse`), and what is kept and sent (`labstat-aggregator`).

pub mod attributes;
mod baseline;
pub mod decode;
pub mod families;
mod judge;
mod printable;
mod projection;
mod reading;
mod sentence;
mod verdict;

pub use baseline::{Baseline, Before, DifferentDisks};
pub use judge::judge;
pub use printable::printable;
pub use projection::{Confidence, Projection, project};
pub use reading::{
    Attribute, Failing, Identity, Kind, Nvme, Protocol, Reading, SELF_TEST_UNNAMED, Scsi, SelfTest,
    State, Temperature, part, parts, wear_told,
};
pub use sentence::sentence;
pub use verdict::{Evidence, Judgement, Reason, Value, Verdict};
