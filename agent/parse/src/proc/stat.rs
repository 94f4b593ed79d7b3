//! `/proc/stat`: time of CPUs and counters of the kernel.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// CPUs of one machine; Linux is built for at most 8,192.
pub const CPUS_MAX: usize = 8192;

/// Ticks a second in `/proc/stat`: what the kernel shows to programs, on every architecture of
/// today, whatever its own clock.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// Columns of a CPU's line: user, nice, system, idle, iowait, irq, softirq, steal, guest,
/// guest_nice.
pub const MODES: usize = 10;

/// One CPU's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: u32,
    /// Ticks in each of the [`MODES`]; those an old kernel lacks are 0, as its time then is in
    /// others.
    pub ticks: [u64; MODES],
}

/// The counters besides those of CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stat {
    /// Interrupts served.
    pub intr: Option<u64>,
    /// Context switches.
    pub ctxt: Option<u64>,
    /// Seconds since the Unix epoch at boot.
    pub btime: Option<u64>,
    /// Forks.
    pub processes: Option<u64>,
    /// Tasks that can run.
    pub procs_running: Option<u64>,
    /// Tasks that wait for I/O.
    pub procs_blocked: Option<u64>,
}

/// Reads the file. The CPUs are put into `cpus`, which is cleared first, in the file's order.
///
/// # Errors
/// A line of a CPU or a counter that has no number where one belongs; more CPUs than there can
/// be.
pub fn parse(bytes: &[u8], cpus: &mut Vec<Cpu>) -> Result<Stat, ParseError> {
    cpus.clear();
    let mut stat = Stat::default();
    for (at, text) in lines(bytes) {
        let mut parts = fields(text);
        let Some(name) = parts.next() else { continue };
        let slot = match name {
            b"cpu" => continue,
            b"intr" => &mut stat.intr,
            b"ctxt" => &mut stat.ctxt,
            b"btime" => &mut stat.btime,
            b"processes" => &mut stat.processes,
            b"procs_running" => &mut stat.procs_running,
            b"procs_blocked" => &mut stat.procs_blocked,
            _ => {
                if let Some(id) = name.strip_prefix(b"cpu") {
                    cpus.push(cpu(id, parts).ok_or_else(|| bad("stat", at, text))?);
                    if cpus.len() > CPUS_MAX {
                        let count = cpus.len();
                        return Err(ParseError::Limit { what: "cpus", count, max: CPUS_MAX });
                    }
                }
                continue;
            }
        };
        let value = parts.next().and_then(number).ok_or_else(|| bad("stat", at, text))?;
        *slot = Some(value);
    }
    Ok(stat)
}

fn cpu<'a>(id: &[u8], mut parts: impl Iterator<Item = &'a [u8]>) -> Option<Cpu> {
    let id = u32::try_from(number(id)?).ok()?;
    let mut ticks = [0; MODES];
    // The first four columns are as old as the file.
    for (at, tick) in ticks.iter_mut().enumerate() {
        match parts.next() {
            Some(field) => *tick = number(field)?,
            None if at >= 4 => break,
            None => return None,
        }
    }
    Some(Cpu { id, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    #[test]
    fn cpus_and_counters() {
        let text = b"cpu 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu7 1 2 3 4\nintr 8885917 17 0\nctxt 38014093\nbtime 1418183276\nprocesses 26442\nprocs_running 2\nprocs_blocked 1\nsoftirq 1 2\n";
        let mut cpus = Vec::new();
        let stat = parse(text, &mut cpus).unwrap();
        assert_eq!(cpus[0], Cpu { id: 0, ticks: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] });
        assert_eq!(cpus[1], Cpu { id: 7, ticks: [1, 2, 3, 4, 0, 0, 0, 0, 0, 0] });
        assert_eq!((stat.intr, stat.btime), (Some(8_885_917), Some(1_418_183_276)));
        assert_eq!((stat.procs_running, stat.procs_blocked), (Some(2), Some(1)));
    }

    #[test]
    fn what_is_not_there_is_absent_and_what_is_broken_an_error() {
        let mut cpus = Vec::new();
        assert_eq!(parse(b"", &mut cpus).unwrap(), Stat::default());
        for text in [&b"cpu0 1 2 3"[..], b"cpu0 1 2 x 4", b"cpux 1 2 3 4", b"ctxt", b"ctxt -1"] {
            assert!(parse(text, &mut cpus).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_captured_file_is_read() {
        let mut cpus = Vec::new();
        for path in ["proc/node_exporter/stat", "proc/procfs/stat", "proc/jc/stat", "proc/jc/stat2"]
        {
            let Some(bytes) = captured(path) else { continue };
            assert!(parse(&bytes, &mut cpus).unwrap().ctxt.is_some(), "{path}");
            assert!(!cpus.is_empty(), "{path}");
        }
    }
}
