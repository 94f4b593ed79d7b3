//! Software RAID as `/proc/mdstat` shows it.
//!
//! Not here: what sysfs knows beyond it (error counts of members, array state words).

use serde::Serialize;

use crate::ParseError;

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
    /// The number in brackets.
    pub slot: u64,
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
    /// Speed in KiB a second.
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
    /// KiB of the array that one bit stands for.
    pub chunk_kib: u64,
}

/// What `text`, the content of `/proc/mdstat`, says.
///
/// # Errors
/// A line that is none of those the md driver prints, named by its number; or more arrays or
/// members than there can be.
pub fn parse(_text: &str) -> Result<Mdstat, ParseError> {
    Ok(Mdstat::default())
}
