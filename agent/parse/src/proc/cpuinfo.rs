//! `/proc/cpuinfo`: what the CPUs are.

use super::stat::CPUS_MAX;
use crate::ParseError;

/// One CPU, as the kernel describes it; a text is empty where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu<'a> {
    /// Its number.
    pub number: &'a str,
    /// Who made it, such as `GenuineIntel`.
    pub vendor: &'a str,
    /// Its family.
    pub family: &'a str,
    /// Its model, by number.
    pub model: &'a str,
    /// Its model, by name.
    pub model_name: &'a str,
    /// Its stepping.
    pub stepping: &'a str,
    /// The version of its microcode.
    pub microcode: &'a str,
    /// The size of its last cache, such as `1024 KB`.
    pub cache_size: &'a str,
    /// The package it is in.
    pub package: &'a str,
    /// The core it is a thread of.
    pub core: &'a str,
    /// What it can do, as words.
    pub flags: &'a str,
    /// The bugs that the kernel works around, as words.
    pub bugs: &'a str,
}

/// The CPUs in the order of the file.
///
/// # Errors
/// More than there can be.
pub fn parse(text: &str) -> Result<Vec<Cpu<'_>>, ParseError> {
    let mut cpus: Vec<Cpu<'_>> = Vec::new();
    // What stands behind an empty line is of the next CPU, or on ARM of the whole machine.
    let mut is_within = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            is_within &= !line.trim().is_empty();
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            cpus.push(Cpu { number: value, ..Cpu::default() });
            is_within = true;
            if cpus.len() > CPUS_MAX {
                return Err(ParseError::Limit { what: "cpus", count: cpus.len(), max: CPUS_MAX });
            }
        } else if let Some(cpu) = cpus.last_mut().filter(|_| is_within) {
            set(cpu, key, value);
        }
    }
    Ok(cpus)
}

fn set<'a>(cpu: &mut Cpu<'a>, key: &str, value: &'a str) {
    let slot = match key {
        "vendor_id" => &mut cpu.vendor,
        "cpu family" => &mut cpu.family,
        "model" => &mut cpu.model,
        "model name" => &mut cpu.model_name,
        "stepping" => &mut cpu.stepping,
        "microcode" => &mut cpu.microcode,
        "cache size" => &mut cpu.cache_size,
        "physical id" => &mut cpu.package,
        "core id" => &mut cpu.core,
        "flags" | "Features" => &mut cpu.flags,
        "bugs" => &mut cpu.bugs,
        _ => return,
    };
    *slot = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    #[test]
    fn each_cpu_has_its_own_lines() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nflags\t\t: fpu vme\nbugs\t\t:\n\n\
                    processor\t: 2\nphysical id\t: 0\nmodel name\t: A: B\n\nHardware\t: x\nmodel\t: y\n";
        let cpus = parse(text).unwrap();
        let first = Cpu {
            number: "0",
            vendor: "AuthenticAMD",
            model: "2",
            flags: "fpu vme",
            ..Cpu::default()
        };
        let second = Cpu { number: "2", package: "0", model_name: "A: B", ..Cpu::default() };
        assert_eq!(cpus, [first, second]);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("model : 1\nno colon\n").unwrap(), []);
    }

    #[test]
    fn captured_files() {
        for (file, count) in [("jc/cpuinfo", 1), ("node_exporter/cpuinfo", 8)] {
            let Some(bytes) = captured(&format!("proc/{file}")) else { continue };
            let text = String::from_utf8(bytes).unwrap();
            let cpus = parse(&text).unwrap();
            assert_eq!(cpus.len(), count, "{file}");
            assert!(cpus.iter().all(|cpu| !cpu.model_name.is_empty() && !cpu.flags.is_empty()));
        }
    }

    #[test]
    fn more_cpus_than_there_can_be_are_refused() {
        assert!(parse(&"processor: 1\n".repeat(CPUS_MAX + 1)).is_err());
    }
}
