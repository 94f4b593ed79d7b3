//! Running a command that may hang, print without end, or leave children behind.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, kill_process_group, pidfd_open,
    set_parent_process_death_signal,
};

use super::{OUTPUT_LEN_MAX, Output, RunError};

/// How long a killed command may take to be gone. One that takes longer hangs in the kernel.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// Bytes asked for in one read of a pipe: what a Linux pipe holds.
const READ_LEN: usize = 64 * 1024;

/// Reads of complaints before the deadline is looked at again: whoever complains faster than we
/// read would hold us for ever.
const READS_MAX: usize = 16;

/// Runs commands, and remembers those that could not even be killed.
#[derive(Debug, Default)]
pub(super) struct Commands {
    hung: Arc<Mutex<HashSet<String>>>,
    running: Mutex<Groups>,
    started: AtomicU64,
    killed: AtomicU64,
}

impl Commands {
    /// See [`Host::run`](super::Host::run).
    pub(super) fn run(
        &self,
        program: &str,
        args: &[&str],
        deadline: Duration,
    ) -> Result<Output, RunError> {
        let until = Instant::now() + deadline;
        let line = command_line(program, args);
        if self.hung.lock().unwrap_or_else(PoisonError::into_inner).contains(&line) {
            return Err(RunError::Hung);
        }
        let mut running = self.start(program, args)?;
        self.started.fetch_add(1, Ordering::Relaxed);
        let ended = running.follow(until);
        // Before it is reaped, since its number may be another's afterwards.
        self.groups().running.retain(|group| *group != running.group);
        if ended.is_err() {
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
        let reaped = running.end();
        match (ended, reaped) {
            (Ok(()), Ok(status)) => Ok(Output {
                status: status.code(),
                stdout: running.stdout.bytes,
                stderr: running.stderr.bytes,
            }),
            (Err(End::Deadline), Ok(_)) => Err(RunError::TimedOut(deadline)),
            (Err(End::TooLong), Ok(_)) => Err(RunError::TooLong),
            (Err(End::Read(cause)), Ok(_)) | (_, Err(Reap::Failed(cause))) => {
                Err(RunError::Read(cause))
            }
            (_, Err(Reap::Hangs)) => {
                self.leave_behind(running.child, line);
                Err(RunError::TimedOut(deadline))
            }
        }
    }

    /// Kills what runs, with all that it started, and starts nothing any more.
    pub(super) fn stop(&self) {
        let mut groups = self.groups();
        groups.stopped = true;
        for group in &groups.running {
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }

    fn start(&self, program: &str, args: &[&str]) -> Result<Running, RunError> {
        // Held over the start, so that a stop finds either the command or no start.
        let mut groups = self.groups();
        if groups.stopped {
            return Err(RunError::Stopped);
        }
        let running = Running::start(program, args)?;
        groups.running.push(running.group);
        Ok(running)
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commands started, and those killed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.started.load(Ordering::Relaxed), self.killed.load(Ordering::Relaxed))
    }

    /// Commands that hang in the kernel at this moment.
    pub(super) fn hung(&self) -> usize {
        self.hung.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Leaves a command that does not die to a thread that waits for its end, so that it leaves
    /// no zombie.
    fn leave_behind(&self, mut child: Child, line: String) {
        self.hung.lock().unwrap_or_else(PoisonError::into_inner).insert(line.clone());
        let hung = Arc::clone(&self.hung);
        let waiter = move || {
            let _ = child.wait();
            hung.lock().unwrap_or_else(PoisonError::into_inner).remove(&line);
        };
        // Without a thread the command stays on the list and is never run again.
        let _ = std::thread::Builder::new().name("labstat-reaper".to_owned()).spawn(waiter);
    }
}

/// The process groups of the commands that run.
#[derive(Debug, Default)]
struct Groups {
    running: Vec<Pid>,
    stopped: bool,
}

/// The program and its arguments as a person would type them; for messages and keys.
pub(super) fn command_line(program: &str, args: &[&str]) -> String {
    let mut line = program.to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(arg);
    }
    line
}

/// Why following a command ended before the command did.
enum End {
    Deadline,
    TooLong,
    Read(io::Error),
}

/// Why a command could not be reaped.
enum Reap {
    Hangs,
    Failed(io::Error),
}

struct Running {
    child: Child,
    group: Pid,
    handle: OwnedFd,
    stdout: Pipe,
    stderr: Pipe,
}

impl Running {
    fn start(program: &str, args: &[&str]) -> Result<Self, RunError> {
        let mut command = Command::new(program);
        end_with_us(&mut command);
        let mut child = command
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts can be killed with it.
            .process_group(0)
            .spawn()
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::NotFound => RunError::NotFound,
                _ => RunError::Start(cause),
            })?;
        let group = Pid::from_child(&child);
        let parts =
            pidfd_open(group, PidfdFlags::empty()).map_err(io::Error::from).and_then(|handle| {
                let stdout = Pipe::new(child.stdout.take().map(OwnedFd::from))?;
                let stderr = Pipe::new(child.stderr.take().map(OwnedFd::from))?;
                Ok((handle, stdout, stderr))
            });
        match parts {
            Ok((handle, stdout, stderr)) => Ok(Self { child, group, handle, stdout, stderr }),
            Err(cause) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(RunError::Start(cause))
            }
        }
    }

    /// Takes what the command prints until it ends. Whoever inherited its pipes is not waited for.
    fn follow(&mut self, until: Instant) -> Result<(), End> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Deadline);
            }
            let ended = self.wait(left).map_err(End::Read)?;
            self.stdout.drain()?;
            self.stderr.drain_all_but_keep_a_part()?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to read or the command ended, which is what it returns.
    fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let mut watched = vec![PollFd::new(&self.handle, PollFlags::IN)];
        for pipe in [&self.stdout, &self.stderr] {
            if let Some(end) = &pipe.end {
                watched.push(PollFd::new(end, PollFlags::IN));
            }
        }
        let timeout = Timespec::try_from(at_most).map_err(io::Error::other)?;
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(watched.first().is_some_and(|handle| !handle.revents().is_empty()))
    }

    /// Kills what is left of the group and takes the exit status.
    fn end(&mut self) -> Result<ExitStatus, Reap> {
        // The leader is not reaped yet, so the group's number cannot be another group's.
        let _ = kill_process_group(self.group, Signal::KILL);
        let until = Instant::now() + KILL_GRACE;
        loop {
            if let Some(status) = self.child.try_wait().map_err(Reap::Failed)? {
                return Ok(status);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Reap::Hangs);
            }
            let timeout =
                Timespec::try_from(left).map_err(|e| Reap::Failed(io::Error::other(e)))?;
            let _ = poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&timeout));
        }
    }
}

/// Has the command killed when nobody is left who could: when we are killed ourselves. To the kernel
/// "we" are the thread that starts it, which is the one that follows it to its end. What it starts
/// in turn is not killed so, nor is a program that changes its user.
#[expect(unsafe_code, reason = "the standard library has no other way into the child")]
pub(super) fn end_with_us(command: &mut Command) {
    let us = getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have been killed before that.
        if getppid() == Some(us) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls and touches neither memory of others
    // nor locks.
    unsafe { command.pre_exec(in_child) };
}

/// The reading end of a pipe and what came out of it.
struct Pipe {
    end: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Pipe {
    fn new(end: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(end) = &end {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { end, bytes: Vec::new() })
    }

    /// Reads what is there; more than any command should print is an error.
    fn drain(&mut self) -> Result<(), End> {
        while self.read()? {
            if self.bytes.len() > OUTPUT_LEN_MAX {
                return Err(End::TooLong);
            }
        }
        Ok(())
    }

    /// Reads what is there and forgets what is too much: complaints are only for people.
    fn drain_all_but_keep_a_part(&mut self) -> Result<(), End> {
        for _ in 0..READS_MAX {
            if !self.read()? {
                break;
            }
            self.bytes.truncate(OUTPUT_LEN_MAX);
        }
        Ok(())
    }

    /// One read; whether there may be more.
    fn read(&mut self) -> Result<bool, End> {
        let Some(end) = &self.end else { return Ok(false) };
        self.bytes.reserve(READ_LEN);
        match rustix::io::read(end.as_fd(), rustix::buffer::spare_capacity(&mut self.bytes)) {
            Ok(0) => {
                self.end = None;
                Ok(false)
            }
            Ok(_) | Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(End::Read(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn sh(script: &str, deadline: Duration) -> Result<Output, RunError> {
        Commands::default().run("sh", &["-c", script], deadline)
    }

    #[test]
    fn output_status_and_locale() {
        let output = sh("echo $LC_ALL; echo oops >&2; exit 3", LONG).unwrap();
        assert_eq!(output.status, Some(3));
        assert_eq!(output.stdout, b"C\n");
        assert_eq!(output.stderr, b"oops\n");
    }

    #[test]
    fn a_missing_program_is_told_from_one_that_cannot_start() {
        let commands = Commands::default();
        let missing = commands.run("no-such-program-here", &[], LONG);
        assert!(matches!(missing, Err(RunError::NotFound)), "{missing:?}");
        let not_executable = commands.run("/etc/passwd", &[], LONG);
        assert!(matches!(not_executable, Err(RunError::Start(_))), "{not_executable:?}");
        assert_eq!(commands.counts(), (0, 0));
    }

    #[test]
    fn at_the_deadline_it_and_its_children_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 600 & echo $! $$ > {}; wait", pids.display());
        let commands = Commands::default();
        let before = Instant::now();
        let error = commands.run("sh", &["-c", &script], Duration::from_millis(500));
        assert!(matches!(error, Err(RunError::TimedOut(_))), "{error:?}");
        assert!(before.elapsed() < LONG);
        assert_eq!(commands.counts(), (1, 1));
        assert_gone(&std::fs::read_to_string(pids).unwrap());
    }

    /// All processes of a list end soon.
    fn assert_gone(pids: &str) {
        let before = Instant::now();
        for pid in pids.split_whitespace() {
            // The grandchild is init's to reap; until then it is a zombie, no longer a process.
            let gone = || {
                std::fs::read_to_string(format!("/proc/{pid}/stat"))
                    .map_or(true, |stat| stat.contains(") Z "))
            };
            while !gone() && before.elapsed() < LONG {
                std::thread::yield_now();
            }
            assert!(gone(), "process {pid} lives");
        }
    }

    #[test]
    fn a_stop_ends_what_runs_and_starts_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script =
            format!("sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", pids.display());
        let commands = Arc::new(Commands::default());
        let runner = {
            let commands = Arc::clone(&commands);
            std::thread::spawn(move || commands.run("sh", &["-c", &script], LONG * 10))
        };
        let before = Instant::now();
        while !pids.exists() && before.elapsed() < LONG {
            std::thread::yield_now();
        }
        commands.stop();
        let output = runner.join().unwrap().unwrap();
        assert_eq!(output.status, None, "killed");
        assert_gone(&std::fs::read_to_string(pids).unwrap());
        let late = commands.run("true", &[], LONG);
        assert!(matches!(late, Err(RunError::Stopped)), "{late:?}");
        assert!(before.elapsed() < LONG);
    }

    #[test]
    fn a_command_ends_with_the_thread_that_follows_it() {
        let started = std::thread::spawn(|| Running::start("sleep", &["600"])).join().unwrap();
        let mut running = started.map_err(|error| error.to_string()).ok().unwrap();
        let before = Instant::now();
        let status = loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                break status;
            }
            if before.elapsed() > LONG {
                let _ = running.end();
                panic!("it outlives its thread");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_child_that_keeps_the_pipe_open_is_not_waited_for() {
        let before = Instant::now();
        let output = sh("sleep 600 & echo done", LONG).unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(before.elapsed() < LONG);
    }

    #[test]
    fn endless_output_is_cut_off_and_endless_complaint_is_dropped() {
        let error = sh("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", LONG);
        assert!(matches!(error, Err(RunError::TooLong)), "{error:?}");
        let error = sh("yes >&2", Duration::from_millis(300));
        assert!(matches!(error, Err(RunError::TimedOut(_))), "{error:?}");
        let output = sh("head -c 6000000 /dev/zero >&2; echo ok", LONG).unwrap();
        assert_eq!(output.stdout, b"ok\n");
        assert_eq!(output.stderr.len(), OUTPUT_LEN_MAX);
    }
}
