//! A command that runs while others are looked after.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::command::Commands;
use super::{Output, RunError};

/// Stack of the thread that follows a command: it holds a few buffers on the heap.
const STACK_SIZE_BYTES: usize = 256 * 1024;

/// A command that was started. Whoever drops it loses what it says; it still ends at its deadline.
#[derive(Debug)]
pub struct Begun(Receiver<Ended>);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// What [`Host::run`](super::Host::run) would have given.
    pub result: Result<Output, RunError>,
    /// From its start to its end; absent where a capture does not say.
    pub took: Option<Duration>,
}

impl Begun {
    /// One that has ended already.
    pub fn ended(ended: Ended) -> Self {
        let (sender, begun) = Self::under_way();
        // There is room for one.
        let _ = sender.send(ended);
        begun
    }

    /// One that ends when something is sent: for hosts that are made up.
    pub fn under_way() -> (SyncSender<Ended>, Self) {
        let (sender, receiver) = sync_channel(1);
        (sender, Self(receiver))
    }

    /// How it ended, once; nothing when it has not ended within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<Ended> {
        match self.0.recv_timeout(patience) {
            Ok(ended) => Some(ended),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                let cause = std::io::Error::other("whoever followed it is gone");
                Some(Ended { result: Err(RunError::Read(cause)), took: None })
            }
        }
    }
}

/// Runs a command on a thread of its own.
pub(super) fn begin(
    commands: &Arc<Commands>,
    program: &str,
    args: &[&str],
    deadline: Duration,
) -> Begun {
    let (sender, begun) = Begun::under_way();
    let commands = Arc::clone(commands);
    let program = program.to_owned();
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let follow = move || {
        let start = Instant::now();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let result = commands.run(&program, &args, deadline);
        // Nobody may be waiting any more.
        let _ = sender.send(Ended { result, took: Some(start.elapsed()) });
    };
    let thread = std::thread::Builder::new().name("labstat-command".to_owned());
    match thread.stack_size(STACK_SIZE_BYTES).spawn(follow) {
        Ok(_) => begun,
        Err(cause) => Begun::ended(Ended { result: Err(RunError::Start(cause)), took: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_command_runs_while_others_are_looked_after() {
        let commands = Arc::new(Commands::default());
        let mut slow = begin(&commands, "sh", &["-c", "sleep 600"], LONG);
        let mut quick = begin(&commands, "sh", &["-c", "echo x"], LONG);
        let ended = quick.wait(LONG).unwrap();
        assert_eq!(ended.result.unwrap().stdout, b"x\n");
        assert!(ended.took.unwrap() < LONG);
        assert!(slow.wait(Duration::ZERO).is_none(), "it goes on");
        commands.stop();
        // It may not even have been started.
        let killed = slow.wait(LONG).unwrap().result;
        let is_over = matches!(killed, Ok(Output { status: None, .. }) | Err(RunError::Stopped));
        assert!(is_over, "nothing outlives the end");
        assert!(slow.wait(LONG).unwrap().result.is_err(), "its end is told once");
    }

    #[test]
    fn one_that_hangs_ends_at_its_deadline() {
        let commands = Arc::new(Commands::default());
        let mut hangs = begin(&commands, "sleep", &["600"], Duration::from_millis(50));
        let ended = hangs.wait(LONG).unwrap();
        assert!(matches!(ended.result, Err(RunError::TimedOut(_))));
    }
}
