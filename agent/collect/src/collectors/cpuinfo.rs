//! What the CPUs are.
//!
//! - Reads: `/sys/devices/system/cpu/isolated`; when the user wants to know more, `/proc/cpuinfo`.
//! - Absent when neither says anything.
//! - Emits: [`ISOLATED`]; when it is wanted [`INFO`], [`FLAG`] and [`BUG`].
//! - Not here: their time and frequency ([`super::cpu`]).

use labstat_model::{Batch, Family};
use labstat_parse::proc::cpuinfo::{self, Cpu};
use labstat_parse::proc::stat::CPUS_MAX;
use labstat_parse::proc::{number, trimmed};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::options;
use crate::shared::{is_like_any, not_understood, outcome, read_if_there};

/// What a CPU is.
pub static INFO: Family = Family::gauge("node_cpu_info", "What a CPU is; always 1.");
/// What it can do.
pub static FLAG: Family =
    Family::gauge("node_cpu_flag_info", "What the first CPU can do; always 1.");
/// What is wrong with it.
pub static BUG: Family = Family::gauge(
    "node_cpu_bug_info",
    "A bug of the first CPU that the kernel works around; always 1.",
);
/// CPUs that the scheduler leaves alone.
pub static ISOLATED: Family =
    Family::gauge("node_cpu_isolated", "A CPU that the scheduler leaves alone; always 1.");

const CPUINFO: &str = "/proc/cpuinfo";
const ISOLATED_PATH: &str = "/sys/devices/system/cpu/isolated";

/// What the CPUs are.
#[derive(Debug)]
pub struct Cpuinfo {
    options: options::Cpu,
    bytes: Vec<u8>,
}

impl Cpuinfo {
    /// One with these settings.
    pub fn new(options: &options::Cpu) -> Self {
        Self { options: options.clone(), bytes: Vec::new() }
    }

    fn push_words(
        &self,
        family: &Family,
        label: &str,
        patterns: &[String],
        text: &str,
        out: &mut Batch,
    ) {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        words.sort_unstable();
        words.dedup();
        for word in words.into_iter().filter(|word| is_like_any(patterns, word)) {
            out.push(family, &[(label, word)], 1.0);
        }
    }
}

impl Collector for Cpuinfo {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        if read_if_there(host, ISOLATED_PATH, &mut self.bytes)? {
            let text = String::from_utf8_lossy(trimmed(&self.bytes));
            let cpus = list(&text).ok_or_else(|| not_understood(ISOLATED_PATH, &text))?;
            for cpu in cpus {
                out.push(&ISOLATED, &[("cpu", &cpu.to_string())], 1.0);
            }
        }
        let options = &self.options;
        let is_wanted = options.info || !options.flags.is_empty() || !options.bugs.is_empty();
        if is_wanted && read_if_there(host, CPUINFO, &mut self.bytes)? {
            let text = String::from_utf8_lossy(&self.bytes);
            let cpus = cpuinfo::parse(&text).map_err(CollectError::parse(CPUINFO))?;
            cpus.iter().filter(|_| options.info).for_each(|cpu| push(cpu, out));
            if let Some(first) = cpus.first() {
                self.push_words(&FLAG, "flag", &options.flags, first.flags, out);
                self.push_words(&BUG, "bug", &options.bugs, first.bugs, out);
            }
        }
        Ok(outcome(out))
    }
}

fn push(cpu: &Cpu<'_>, out: &mut Batch) {
    let labels = [
        ("cachesize", cpu.cache_size),
        ("core", cpu.core),
        ("cpu", cpu.number),
        ("family", cpu.family),
        ("microcode", cpu.microcode),
        ("model", cpu.model),
        ("model_name", cpu.model_name),
        ("package", cpu.package),
        ("stepping", cpu.stepping),
        ("vendor", cpu.vendor),
    ];
    out.push(&INFO, &labels, 1.0);
}

/// The CPUs of a list such as `1-3,7`; none when it makes no sense.
fn list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bound = |text: &str| usize::try_from(number(text.as_bytes())?).ok();
        let (first, last) = (bound(first)?, bound(last)?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use labstat_model::ManualClock;

    use super::*;
    use crate::host::ReplayHost;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(list(""), Some(Vec::new()));
        assert_eq!(list("1-3,7"), Some(vec![1, 2, 3, 7]));
        for wrong in ["x", "3-1", "1-", "-1", "8192", "0-18446744073709551615"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_wanted_is_told_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        let text = "processor : 0\nmodel name : A\nflags : vmx fpu aes\nbugs : spectre_v1 spectre_v2\n\n\
                    processor : 1\nmodel name : A\nflags : vmx fpu aes\n";
        std::fs::write(dir.path().join("proc/cpuinfo"), text).unwrap();
        let host = ReplayHost::open(dir.path(), Arc::new(ManualClock::new(0))).unwrap();
        let collect = |info: bool, flags: &[&str], bugs: &[&str]| {
            let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let options = options::Cpu { info, flags: list(flags), bugs: list(bugs) };
            let mut out = Batch::new();
            Cpuinfo::new(&options).collect(&host, &mut out).unwrap();
            let samples = out.iter();
            samples.map(|s| format!("{}{}", s.family.name, s.labels)).collect::<Vec<_>>()
        };
        assert_eq!(collect(false, &[], &[]), [""; 0]);
        let info = |cpu| format!(r#"node_cpu_info{{cpu="{cpu}", model_name="A"}}"#);
        assert_eq!(collect(true, &[], &[]), [info(0), info(1)]);
        let words = [
            r#"node_cpu_flag_info{flag="aes"}"#,
            r#"node_cpu_flag_info{flag="vmx"}"#,
            r#"node_cpu_bug_info{bug="spectre_v2"}"#,
        ];
        assert_eq!(collect(false, &["vmx", "aes"], &["*_v2"]), words);
    }
}
