//! Processes and threads, counted.
//!
//! - Reads: `/proc/PID/stat` of every process, hence not in every round; `threads-max` and
//!   `pid_max` in `/proc/sys/kernel`.
//! - Absent when no process is seen, as in most captured machines.
//! - Emits: `node_processes_*`. Where the kernel hides other users' processes from us (`hidepid`),
//!   they are not counted.
//! - Not here: single processes; the states of threads, which would take a file more for each.

use std::io;

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, process, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::read_if_there;

const PROC: &str = "/proc";

/// States that a kernel has letters for, upper and lower case.
const STATES: usize = 128;

/// What reading a process gives that has ended since it was listed.
const NO_SUCH_PROCESS: i32 = rustix::io::Errno::SRCH.raw_os_error();

static THREADS: Family = Family::gauge("node_processes_threads", "Threads that there are.");
static MAX_THREADS: Family =
    Family::gauge("node_processes_max_threads", "Threads that there may be.");
static STATE: Family = Family::gauge("node_processes_state", "Processes in each state.");
static PIDS: Family = Family::gauge("node_processes_pids", "Processes that there are.");
static MAX_PROCESSES: Family =
    Family::gauge("node_processes_max_processes", "Processes that there may be.");

static LIMITS: [(&Family, &str); 2] =
    [(&MAX_THREADS, "/proc/sys/kernel/threads-max"), (&MAX_PROCESSES, "/proc/sys/kernel/pid_max")];

/// Processes and threads, counted.
#[derive(Debug, Default)]
pub struct Processes {
    bytes: Vec<u8>,
    path: String,
}

impl Collector for Processes {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(PROC) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(PROC))?,
        };
        let mut states = [0_u32; STATES];
        let (mut pids, mut threads) = (0_u32, 0_u64);
        for name in names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            let Some(process) = self.process(host, name)? else { continue };
            pids += 1;
            threads = threads.saturating_add(process.threads);
            if let Some(count) = states.get_mut(process.state as usize) {
                *count += 1;
            }
        }
        if pids == 0 {
            return Ok(Status::Absent);
        }
        out.push(&THREADS, &[], threads as f64);
        for (letter, count) in ('\0'..).zip(states).filter(|(_, count)| *count > 0) {
            let mut buffer = [0; 4];
            out.push(&STATE, &[("state", letter.encode_utf8(&mut buffer))], f64::from(count));
        }
        out.push(&PIDS, &[], f64::from(pids));
        for (family, path) in LIMITS {
            if read_if_there(host, path, &mut self.bytes)? {
                let limit = number(trimmed(&self.bytes));
                let limit = limit.ok_or_else(|| CollectError::parse(path)("not a number"))?;
                out.push(family, &[], limit as f64);
            }
        }
        Ok(Status::Collected)
    }
}

impl Processes {
    /// What a process says; nothing when it has ended meanwhile or may not be looked at.
    fn process(
        &mut self,
        host: &dyn Host,
        pid: &str,
    ) -> Result<Option<process::Process>, CollectError> {
        self.path.clear();
        self.path.extend([PROC, "/", pid, "/stat"]);
        match host.read_into(&self.path, &mut self.bytes) {
            Ok(()) => process::parse(&self.bytes).map(Some).map_err(CollectError::parse("process")),
            Err(error)
                if is_absent(&error)
                    || error.raw_os_error() == Some(NO_SUCH_PROCESS)
                    || error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Ok(None)
            }
            Err(cause) => Err(CollectError::Read { from: self.path.clone(), cause }),
        }
    }
}
