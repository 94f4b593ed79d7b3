//! `dmsetup status` of thin pools, and the names of the device mapper.

use crate::ParseError;
use crate::proc::number;

/// Bytes of a sector, in which the device mapper gives all lengths.
const SECTOR_LEN: u64 = 512;

/// How a pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It takes writes.
    Writable,
    /// It takes none, as its metadata is damaged or full.
    ReadOnly,
    /// It takes only writes to what is allocated already.
    OutOfSpace,
    /// It serves nothing.
    Failed,
}

impl Mode {
    /// All of them, in the order of this type.
    pub const ALL: [Self; 4] = [Self::Writable, Self::ReadOnly, Self::OutOfSpace, Self::Failed];

    /// Its name in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writable => "writable",
            Self::ReadOnly => "read_only",
            Self::OutOfSpace => "out_of_space",
            Self::Failed => "failed",
        }
    }
}

/// A thin pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinPool {
    /// The name of its device.
    pub device: String,
    /// What it can hold.
    pub size_bytes: u64,
    /// How it is doing.
    pub mode: Mode,
    /// Whether its metadata is damaged and waits for a repair; absent when the pool has failed.
    pub needs_check: Option<bool>,
    /// Blocks of data, used and in all; absent when the pool has failed.
    pub data: Option<(u64, u64)>,
    /// Blocks of metadata, used and in all; absent when the pool has failed.
    pub metadata: Option<(u64, u64)>,
}

/// What `dmsetup status --target thin-pool` printed.
///
/// # Errors
/// A line of another kind.
pub fn thin_pools(bytes: &[u8]) -> Result<Vec<ThinPool>, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    // What it says when there is none at all.
    let lines = lines.filter(|(_, line)| line.trim() != "No devices found");
    lines
        .map(|(at, line)| {
            thin_pool(line).ok_or_else(|| ParseError::line("dmsetup status", at + 1, line))
        })
        .collect()
}

fn thin_pool(line: &str) -> Option<ThinPool> {
    let (device, rest) = line.split_once(": ")?;
    let mut fields = rest.split_ascii_whitespace();
    let _start = number(fields.next()?.as_bytes())?;
    let size_bytes = number(fields.next()?.as_bytes())?.checked_mul(SECTOR_LEN)?;
    if fields.next()? != "thin-pool" {
        return None;
    }
    let first = fields.next()?;
    let mut pool = ThinPool {
        device: device.to_owned(),
        size_bytes,
        mode: Mode::Failed,
        needs_check: None,
        data: None,
        metadata: None,
    };
    if matches!(first, "Fail" | "Error") {
        return Some(pool);
    }
    // The transaction; then what is used, and a snapshot of the metadata that is held.
    number(first.as_bytes())?;
    pool.metadata = Some(ratio(fields.next()?)?);
    pool.data = Some(ratio(fields.next()?)?);
    let _held = fields.next()?;
    pool.mode = match fields.next()? {
        "rw" => Mode::Writable,
        "ro" => Mode::ReadOnly,
        "out_of_data_space" => Mode::OutOfSpace,
        _ => return None,
    };
    pool.needs_check = Some(fields.any(|field| field == "needs_check"));
    Some(pool)
}

/// `20/1024`; none of none is no pool's.
fn ratio(field: &str) -> Option<(u64, u64)> {
    let (used, all) = field.split_once('/')?;
    let (used, all) = (number(used.as_bytes())?, number(all.as_bytes())?);
    (all > 0 && used <= all).then_some((used, all))
}

/// Volume group and volume out of a device's name, in which `-` divides and `--` is a `-`.
pub fn volume(device: &str) -> Option<(String, String)> {
    let mut parts = vec![String::new()];
    let mut rest = device.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '-' && rest.next_if_eq(&'-').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    let mut parts = parts.into_iter().filter(|part| !part.is_empty());
    Some((parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_in_every_state() {
        let text = b"pve-data-tpool: 0 2048 thin-pool 21 20/1000 300/400 - rw discard_passdown queue_if_no_space - 1024\n\
            a-b-tpool: 0 8 thin-pool 0 1/2 2/2 - out_of_data_space discard_passdown error_if_no_space - 1024 \n\
            a-c-tpool: 0 8 thin-pool 0 1/2 2/2 7 ro no_discard_passdown queue_if_no_space needs_check 1024\n\
            a-d-tpool: 0 8 thin-pool Fail\n";
        let all = thin_pools(text).unwrap();
        assert_eq!(all[0].size_bytes, 1_048_576);
        assert_eq!((all[0].metadata, all[0].data), (Some((20, 1000)), Some((300, 400))));
        let modes: Vec<_> = all.iter().map(|pool| (pool.mode.as_str(), pool.needs_check)).collect();
        let expected = [
            ("writable", Some(false)),
            ("out_of_space", Some(false)),
            ("read_only", Some(true)),
            ("failed", None),
        ];
        assert_eq!(modes, expected);
        assert_eq!(all[3].data, None);
        assert_eq!(thin_pools(b"No devices found\n").unwrap(), []);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "x",
            "x: 0 8 linear",
            "x: 0 8 thin-pool",
            "x: 0 8 thin-pool 1 1/0 1/2 - rw",
            "x: 0 8 thin-pool 1 3/2 1/2 - rw",
            "x: 0 8 thin-pool 1 1/2 1/2",
            "x: 0 8 thin-pool 1 1/2 1/2 - wr",
            "x: 0 99999999999999999999 thin-pool 1 1/2 1/2 - rw",
            "x: 0 8 thin-pool 1 1/2 1/",
        ] {
            assert!(thin_pools(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn names_of_volumes() {
        for (device, wanted) in [
            ("pve-data-tpool", Some(("pve", "data"))),
            ("my--vg-thin--pool-tpool", Some(("my-vg", "thin-pool"))),
            ("pve", None),
            ("", None),
            ("----", None),
        ] {
            let wanted = wanted.map(|(group, pool)| (group.to_owned(), pool.to_owned()));
            assert_eq!(volume(device), wanted, "{device}");
        }
    }
}
