//! The aggregator of a trial: a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, http};

/// How long a start may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running aggregator, killed when dropped.
pub(crate) struct Server {
    child: Child,
    base: String,
}

impl Server {
    /// Starts `program` on a folder; gives it back when it has said its address.
    pub(crate) fn start(program: &Path, data: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["aggregator", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no log")?);
        let mut said = String::new();
        let base = loop {
            let from = said.len();
            if log.read_line(&mut said)? == 0 {
                return Err(format!("the server did not start: {said}").into());
            }
            let line = said.get(from..).unwrap_or("");
            if let Some(url) = line.split("http://").nth(1) {
                let end = url.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                let addr = url.get(..end.unwrap_or(url.len())).unwrap_or("");
                break format!("http://{}", addr.trim_end_matches('.'));
            }
        };
        // What it goes on to say must be read, or it blocks.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, base })
    }

    /// Where it answers.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Waits until it answers.
    pub(crate) fn ready(&self) -> Result<()> {
        let (agent, started) = (http::agent(), Instant::now());
        let url = format!("{}/-/ready", self.base);
        loop {
            match http::get(&agent, &url, &[]) {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > DEADLINE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Has it seal and merge all there is.
    pub(crate) fn compact(&self) -> Result<()> {
        let url = format!("{}/api/labstat/v1/compact", self.base);
        match http::post(&http::agent(), &url, &[], b"")? {
            (200..=299, _) => Ok(()),
            (status, text) => Err(format!("{url}: {status} {text}").into()),
        }
    }

    /// Stops it where it is, for good.
    pub(crate) fn freeze(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("no id")?;
        Ok(kill_process(pid, Signal::STOP)?)
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
