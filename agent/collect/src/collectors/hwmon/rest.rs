//! Whether a disk may be asked for its temperature without waking it or keeping it awake.
//!
//! The driver `drivetemp` sends the disk a command for each reading. Its documentation says that
//! with some drives that starts the timer anew after which they would go to sleep, and nobody knows of all
//! drives that none wakes. So a disk that turns is read only while others use it: when the kernel's
//! counter of reads and writes, which costs nothing to look at and in which such a command does not
//! count, has moved since the last round.

use labstat_parse::proc::{fields_of, number, trimmed};

use crate::host::Host;

/// How old the earlier of two looks may be, between which others used the disk, for it to be awake
/// still. No idle timer in use is shorter.
const JUST_NOW_MS: i64 = 30_000;

/// What is known of the use of a disk that turns.
#[derive(Debug)]
pub(super) struct Rest {
    /// The file of its counters; empty where it has no block device.
    stat: String,
    last: Option<Look>,
}

/// Reads and writes at a time.
#[derive(Debug, Clone, Copy)]
struct Look {
    transfers: u64,
    at_ms: i64,
}

impl Rest {
    /// Nothing for a disk that may always be asked: one without moving parts, or of a capture.
    pub(super) fn of(host: &dyn Host, block: Option<&str>) -> Option<Self> {
        if !host.is_live() {
            return None;
        }
        let Some(block) = block else { return Some(Self { stat: String::new(), last: None }) };
        let rotational = host.read(&format!("/sys/block/{block}/queue/rotational"));
        let turns = !rotational.is_ok_and(|bytes| trimmed(&bytes) == b"0");
        turns.then(|| Self { stat: format!("/sys/block/{block}/stat"), last: None })
    }

    /// Takes over what `before` knows of the same disk.
    pub(super) fn carry_on(&mut self, before: &[Self]) {
        self.last = before.iter().find(|rest| rest.stat == self.stat).and_then(|rest| rest.last);
    }

    /// Whether others have used the disk since the last call, which was just now.
    pub(super) fn is_in_use(&mut self, host: &dyn Host, bytes: &mut Vec<u8>, now_ms: i64) -> bool {
        let read = !self.stat.is_empty() && host.read_into(&self.stat, bytes).is_ok();
        let transfers = if read { transfers(bytes) } else { None };
        let look = transfers.map(|transfers| Look { transfers, at_ms: now_ms });
        let before = std::mem::replace(&mut self.last, look);
        let (Some(before), Some(look)) = (before, look) else { return false };
        let age_ms = look.at_ms.saturating_sub(before.at_ms);
        look.transfers > before.transfers && (0..=JUST_NOW_MS).contains(&age_ms)
    }
}

/// Reads and writes completed, of `/sys/block/X/stat`. Discards and flushes do not count: a drive
/// may do both in its sleep.
fn transfers(stat: &[u8]) -> Option<u64> {
    let mut fields = fields_of(trimmed(stat));
    let reads = number(fields.next()?)?;
    let writes = number(fields.nth(3)?)?;
    Some(reads.wrapping_add(writes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_and_writes_count() {
        let stat = b"   91      0  7  8   52   14   9  0   0   9  9   5 0 0 0   6 0\n";
        assert_eq!(transfers(stat), Some(143));
        for stat in [&b""[..], b"1 2 3 4", b"1 2 3 4 x", b"x 2 3 4 5", b"\xff"] {
            assert_eq!(transfers(stat), None, "{stat:?}");
        }
    }
}
