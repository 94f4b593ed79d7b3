//! Software RAID as `/proc/mdstat` shows it, on the machine itself ([`parse()`]) and in copies that
//! people made of it ([`parse_copy`]).
//!
//! The lines are those that the md driver and its personalities print, from Linux 2.2 to 6.x.
//!
//! Not here: what sysfs knows beyond it (error counts of members, array state words).

mod copy;
mod line;

use nom::Parser as _;
use nom::combinator::all_consuming;
use serde::Serialize;

use crate::ParseError;
use line::{Piece, pieces};

pub use copy::parse_copy;

/// Bytes of `/proc/mdstat` that are read. An array of 27 members has about 1 KB.
pub const INPUT_LEN_MAX: usize = 1024 * 1024;
/// Arrays of one machine. The kernel's minors end at 512 without partitions.
pub const ARRAYS_MAX: usize = 512;
/// Members of one array; the version 1 superblock has room for 1,920.
pub const MEMBERS_MAX: usize = 2048;

/// All that `/proc/mdstat` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Mdstat {
    /// RAID levels the kernel can do now.
    pub personalities: Vec<String>,
    /// The arrays, in the order of the file.
    pub arrays: Vec<Array>,
    /// Devices that are in no array.
    pub unused_devices: Vec<String>,
}

/// One array.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Array {
    /// Name, such as `md0`.
    pub name: String,
    /// Whether it can be used.
    pub state: State,
    /// `raid1`, `raid5`, `linear` …; absent for containers and other inactive arrays.
    pub level: Option<String>,
    /// Kind of superblock: `1.2`, `external:imsm`, `non-persistent`; absent for `0.90`.
    #[serde(rename = "super")]
    pub superblock: Option<String>,
    /// Members, in the order of the file.
    pub members: Vec<Member>,
    /// Size in blocks of 1 KiB.
    pub blocks: Option<u64>,
    /// Chunk in KiB.
    pub chunk: Option<u64>,
    /// Members the array has when it is whole.
    pub disks_total: Option<u64>,
    /// Members in sync.
    pub disks_active: Option<u64>,
    /// One character per member: `U` in sync, `_` not.
    pub status_mask: Option<String>,
    /// What the array is busy with.
    pub sync: Option<Sync>,
    /// The write-intent bitmap.
    pub bitmap: Option<Bitmap>,
}

/// Whether an array can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Read and written.
    Active,
    /// Lost more members than it can bear; the kernel has given it up.
    Broken,
    /// Not started.
    Inactive,
    /// Read only, by choice or until the first write.
    ReadOnly,
}

/// One member of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Block device, such as `sda1`.
    pub device: String,
    /// The number in brackets: that of its record in the superblock, not its place; -1 where it has
    /// none yet.
    pub slot: i64,
    /// What is special about it.
    pub flags: Vec<Flag>,
}

/// What is special about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Thrown out (`F`).
    Faulty,
    /// Waiting for another to fail (`S`).
    Spare,
    /// Read only when no other can be (`W`).
    WriteMostly,
    /// Holds the journal (`J`).
    Journal,
    /// Is to take another's place (`R`).
    Replacement,
}

/// What an array is busy with, or waits to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sync {
    /// `resync`, `recovery`, `check`, `reshape`.
    pub action: String,
    /// Done, in percent.
    pub percent: Option<f64>,
    /// Done, in the unit of `total`.
    pub done: Option<u64>,
    /// To be done in all: blocks of 1 KiB of one member.
    pub total: Option<u64>,
    /// Minutes left, as the kernel estimates.
    pub finish_minutes: Option<f64>,
    /// Speed in KiB a second; absent where the kernel's difference of counters is negative.
    pub speed_kib_s: Option<u64>,
    /// `DELAYED`, `PENDING` or `REMOTE` while it waits.
    pub pending: Option<String>,
}

/// The write-intent bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bitmap {
    /// Pages in memory.
    pub pages_used: u64,
    /// Pages in all.
    pub pages_total: u64,
    /// KiB of the array that one bit stands for; absent for less than one.
    pub chunk_kib: Option<u64>,
}

/// What this input is called in errors.
const WHAT: &str = "mdstat";

/// What `text`, the content of `/proc/mdstat`, says.
///
/// # Errors
/// A line that is none of those the md driver prints, named by its number; or more arrays or
/// members than there can be.
pub fn parse(text: &str) -> Result<Mdstat, ParseError> {
    check_len(text.len())?;
    let mut found = Mdstat::default();
    let mut is_mdstat = false;
    for (number, whole_line) in text.lines().enumerate() {
        let line = whole_line.trim();
        if line.is_empty() {
            continue;
        }
        let broken = || ParseError::line(WHAT, number + 1, whole_line);
        let (_, pieces) = all_consuming(pieces).parse(line).map_err(|_| broken())?;
        is_mdstat = true;
        for piece in pieces {
            if !found.take(piece)? {
                return Err(broken());
            }
        }
    }
    if is_mdstat { Ok(found) } else { Err(nothing()) }
}

fn check_len(count: usize) -> Result<(), ParseError> {
    let max = INPUT_LEN_MAX;
    if count > max {
        return Err(ParseError::Limit { what: "bytes of mdstat", count, max });
    }
    Ok(())
}

fn nothing() -> ParseError {
    ParseError::Missing { what: WHAT, missing: "line of personalities" }
}

impl Mdstat {
    /// Takes in a piece; whether it belongs to anything.
    fn take(&mut self, piece: Piece<'_>) -> Result<bool, ParseError> {
        match piece {
            Piece::Personalities(names) => extend(&mut self.personalities, names),
            Piece::Unused(names) => extend(&mut self.unused_devices, names),
            Piece::Array(array) => self.push(*array)?,
            Piece::Other => {}
            // These are about the array above them.
            Piece::Size(_) | Piece::Busy(_) | Piece::Bitmap(_) => {
                return Ok(self.arrays.last_mut().is_some_and(|array| array.take(piece)));
            }
        }
        Ok(true)
    }

    fn push(&mut self, array: Array) -> Result<(), ParseError> {
        let limits = [
            ("md arrays", self.arrays.len() + 1, ARRAYS_MAX),
            ("members of an md array", array.members.len(), MEMBERS_MAX),
        ];
        for (what, count, max) in limits {
            if count > max {
                return Err(ParseError::Limit { what, count, max });
            }
        }
        self.arrays.push(array);
        Ok(())
    }
}

/// Adds names that are not there yet.
fn extend(known: &mut Vec<String>, names: Vec<&str>) {
    for name in names {
        if known.len() < ARRAYS_MAX && !known.iter().any(|known| known == name) {
            known.push(name.to_owned());
        }
    }
}

impl Array {
    /// Takes in what stands below an array; false when it has that already.
    fn take(&mut self, piece: Piece<'_>) -> bool {
        match piece {
            Piece::Size(size) if self.blocks.is_none() => {
                self.blocks = Some(size.blocks);
                self.superblock = size.superblock.map(str::to_owned);
                self.chunk = size.chunk;
                if let Some((total, active)) = size.disks {
                    self.disks_total = Some(total);
                    self.disks_active = Some(active);
                }
                self.status_mask = size.mask.map(str::to_owned);
                true
            }
            Piece::Busy(sync) if self.sync.is_none() => {
                self.sync = Some(sync);
                true
            }
            Piece::Bitmap(bitmap) if self.bitmap.is_none() => {
                self.bitmap = Some(bitmap);
                true
            }
            _ => false,
        }
    }
}
