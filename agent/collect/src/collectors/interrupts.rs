//! Interrupts by source and CPU.
//!
//! - Reads: `/proc/interrupts`. Absent when that file is missing.
//! - Emits: [`INTERRUPTS`] for each CPU that a source has ever interrupted while we watched; with
//!   the option `zeros` for all, which on a large machine is thousands of series that never move.
//! - Left out: `ERR` and `MIS`, which no CPU has; sources that the user does not want.
//! - Not here: their sum, which is [`super::stat`]'s.

use std::fmt::Write;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{fields_of, interrupts, number};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::options;
use crate::shared::{is_like, read_if_there};

const PATH: &str = "/proc/interrupts";

/// Sources of one machine; a server with many queues has a thousand.
const SOURCES_MAX: usize = 16_384;

/// Interrupts of a source that a CPU served.
pub static INTERRUPTS: Family =
    Family::counter("node_interrupts_total", "Interrupts by source and CPU.");

/// Interrupts by source and CPU.
#[derive(Debug)]
pub struct Interrupts {
    options: options::Interrupts,
    bytes: Vec<u8>,
    counts: Vec<u64>,
    cpus: Vec<u32>,
    /// The names of `cpus`.
    ids: Vec<String>,
    rows: Vec<Row>,
}

impl Interrupts {
    /// One with these settings.
    pub fn new(options: &options::Interrupts) -> Self {
        Self {
            options: options.clone(),
            bytes: Vec::new(),
            counts: Vec::new(),
            cpus: Vec::new(),
            ids: Vec::new(),
            rows: Vec::new(),
        }
    }
}

/// A source as it was in the last round.
#[derive(Debug, Default)]
struct Row {
    /// Its name and what stood behind the counts, as they were in the file.
    name: Vec<u8>,
    rest: Vec<u8>,
    /// The labels made of them.
    kind: String,
    info: String,
    devices: String,
    is_wanted: bool,
    /// The columns that have been over 0.
    seen: Vec<bool>,
}

impl Collector for Interrupts {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if !read_if_there(host, PATH, &mut self.bytes)? {
            return Ok(Status::Absent);
        }
        let mut cpus = std::mem::take(&mut self.cpus);
        let before = self.ids.len();
        interrupts::cpus(&self.bytes, &mut cpus).map_err(CollectError::parse(PATH))?;
        self.name_cpus(&cpus, before);
        self.cpus = cpus;
        let (rows, ids, options) = (&mut self.rows, &self.ids, &self.options);
        let mut at = 0;
        let each = |source: interrupts::Source<'_>, counts: &[u64]| {
            if at < SOURCES_MAX {
                if rows.get(at).is_none_or(|row| !row.is_of(&source)) {
                    rows.truncate(at);
                    rows.push(Row::of(&source, options));
                }
                if let Some(row) = rows.get_mut(at).filter(|row| row.is_wanted) {
                    row.push(ids, counts, options.zeros, out);
                }
            }
            at += 1;
        };
        interrupts::sources(&self.bytes, self.cpus.len(), &mut self.counts, each)
            .map_err(CollectError::parse(PATH))?;
        if at > SOURCES_MAX {
            let what = "sources of interrupts";
            return Err(CollectError::Limit { what, count: at, max: SOURCES_MAX });
        }
        self.rows.truncate(at);
        Ok(Status::Collected)
    }
}

impl Interrupts {
    /// Keeps the labels of the columns; when a CPU comes or goes, columns move and all is new.
    fn name_cpus(&mut self, cpus: &[u32], before: usize) {
        let is_same = before == cpus.len()
            && self.ids.iter().zip(cpus).all(|(id, cpu)| id.parse() == Ok(*cpu));
        if is_same {
            return;
        }
        self.rows.clear();
        self.ids.clear();
        self.ids.extend(cpus.iter().map(ToString::to_string));
    }
}

impl Row {
    fn of(source: &interrupts::Source<'_>, options: &options::Interrupts) -> Self {
        let mut words = fields_of(source.rest).map(String::from_utf8_lossy);
        // Numbered ones name their controller, the others say what they are.
        let (mut info, mut devices) = (String::new(), String::new());
        if number(source.name).is_some() {
            info = words.next().unwrap_or_default().into_owned();
            join(words, &mut devices);
        } else {
            join(words, &mut info);
        }
        let kind = String::from_utf8_lossy(source.name).into_owned();
        let matches =
            |pattern: &String| [&kind, &info, &devices].iter().any(|text| is_like(pattern, text));
        let is_wanted = (options.include.is_empty() || options.include.iter().any(matches))
            && !options.exclude.iter().any(matches);
        let (name, rest) = (source.name.to_vec(), source.rest.to_vec());
        Self { name, rest, kind, info, devices, is_wanted, seen: Vec::new() }
    }

    fn is_of(&self, source: &interrupts::Source<'_>) -> bool {
        self.name == source.name && self.rest == source.rest
    }

    fn push(&mut self, ids: &[String], counts: &[u64], zeros: bool, out: &mut Batch) {
        self.seen.resize(counts.len(), zeros);
        for ((id, count), seen) in ids.iter().zip(counts).zip(&mut self.seen) {
            *seen |= *count > 0;
            if *seen {
                let labels = [
                    ("cpu", id.as_str()),
                    ("devices", &self.devices),
                    ("info", &self.info),
                    ("type", &self.kind),
                ];
                out.push(&INTERRUPTS, &labels, *count as f64);
            }
        }
    }
}

/// Words with one space between them.
fn join(words: impl Iterator<Item = impl std::fmt::Display>, into: &mut String) {
    for word in words {
        let space = if into.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(into, "{space}{word}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use labstat_model::ManualClock;

    use super::*;
    use crate::host::ReplayHost;

    fn collect(dir: &std::path::Path, interrupts: &mut Interrupts) -> Vec<String> {
        let host = ReplayHost::open(dir, Arc::new(ManualClock::new(0))).unwrap();
        let mut out = Batch::new();
        assert_eq!(interrupts.collect(&host, &mut out).unwrap(), Status::Collected);
        out.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
    }

    #[test]
    fn a_source_stays_once_it_was_over_zero_and_cpus_have_their_own_numbers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        let write = |text: &str| std::fs::write(dir.path().join("proc/interrupts"), text).unwrap();
        let mut interrupts = Interrupts::new(&options::Interrupts::default());
        write(
            "  CPU0 CPU2\n 9: 0 5  IO-APIC   9-fasteoi  acpi\nNMI: 0 0 Non-maskable interrupts\nERR: 0\n",
        );
        let nine = r#"{cpu="2", devices="9-fasteoi acpi", info="IO-APIC", type="9"} 5"#;
        assert_eq!(collect(dir.path(), &mut interrupts), [nine]);
        write(
            "  CPU0 CPU2\n 9: 0 0  IO-APIC   9-fasteoi  acpi\nNMI: 1 0 Non-maskable interrupts\n",
        );
        let nmi = r#"{cpu="0", info="Non-maskable interrupts", type="NMI"} 1"#;
        assert_eq!(
            collect(dir.path(), &mut interrupts),
            [nine.replace("} 5", "} 0"), nmi.to_owned()]
        );
        // CPU 1 comes: what was seen of the second column was another's.
        write("  CPU0 CPU1 CPU2\n 9: 0 0 0 IO-APIC   9-fasteoi  acpi\n");
        assert_eq!(collect(dir.path(), &mut interrupts), [""; 0]);
    }

    #[test]
    fn zeros_and_sources_are_as_the_user_wants() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        let text =
            "  CPU0\n 9: 0 IO-APIC 9-fasteoi acpi\n 10: 1 IO-APIC x eth0\nNMI: 0 Non-maskable\n";
        std::fs::write(dir.path().join("proc/interrupts"), text).unwrap();
        let count = |zeros: bool, include: &[&str], exclude: &[&str]| {
            let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let options =
                options::Interrupts { zeros, include: list(include), exclude: list(exclude) };
            collect(dir.path(), &mut Interrupts::new(&options)).len()
        };
        assert_eq!(count(false, &[], &[]), 1);
        assert_eq!(count(true, &[], &[]), 3);
        assert_eq!(count(true, &["NMI", "*eth0"], &[]), 2);
        assert_eq!(count(true, &[], &["IO-APIC"]), 1);
    }
}
