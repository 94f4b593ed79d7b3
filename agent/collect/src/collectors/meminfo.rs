//! Memory, by the kernel's own names.
//!
//! - Reads: `/proc/meminfo`. Absent when that file is missing.
//! - Emits: `node_memory_*`, one for each line of the file; sizes in bytes.
//! - Not here: paging ([`super::vmstat`]), waiting for memory ([`super::pressure`]).

use labstat_model::{Batch, Family, Kind};
use labstat_parse::proc::meminfo;

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{FamiliesByName, read_if_there};

const PATH: &str = "/proc/meminfo";

/// Lines of the file; kernels have about sixty.
const LINES_MAX: usize = 512;

/// Memory.
#[derive(Debug, Default)]
pub struct Meminfo(Vec<u8>, FamiliesByName);

impl Collector for Meminfo {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.0)? {
            return Ok(Status::Absent);
        }
        for (at, line) in meminfo::parse(&self.0).enumerate() {
            let line = line.map_err(CollectError::parse(PATH))?;
            if at >= LINES_MAX {
                let (what, count) = ("lines of meminfo", at + 1);
                return Err(CollectError::Limit { what, count, max: LINES_MAX });
            }
            let unit = if line.is_size { "bytes" } else { "" };
            if let Some(family) = self.1.get(at, line.name, unit, || memory_family(line)) {
                out.push(family, &[], line.value as f64);
            }
        }
        Ok(Status::Collected)
    }
}

/// `Active(anon)` with a unit gives `node_memory_Active_anon_bytes`.
fn memory_family(line: meminfo::Line<'_>) -> Family {
    let mut name = "node_memory_".to_owned();
    for c in line.name.chars() {
        match c {
            ')' => {}
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ => name.push('_'),
        }
    }
    if line.is_size {
        name.push_str("_bytes");
    }
    Family::dynamic(name, Kind::Gauge, format!("Memory information field {}.", line.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_memory_fields() {
        let name = |name, is_size| memory_family(meminfo::Line { name, value: 0, is_size }).name;
        assert_eq!(name("Active(anon)", true), "node_memory_Active_anon_bytes");
        assert_eq!(name("HugePages_Total", false), "node_memory_HugePages_Total");
    }
}
