//! What the end-to-end tests share: the real binary in a fresh folder, started on port 0, watched
//! through its output and its HTTP API, and ended whatever happens.
//!
//! Nothing here sleeps for a fixed time: [`eventually`] asks again until the answer is there or a
//! deadline has passed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen within a second or two. Generous, since
/// a test machine may be busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running `labstat` that is killed when the test ends.
pub(crate) struct Labstat {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// The fresh binary, ready for arguments, with no environment of its own that could change it.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labstat"));
    command.args(args).env_remove("LABSTAT_SERVER").env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

impl Labstat {
    /// Starts `labstat ARGS…`; its standard output and error are read line by line.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(&mut command(args))
    }

    /// As [`Labstat::start`], for a command that was prepared further.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, lines) = channel();
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        let streams: [Box<dyn std::io::Read + Send>; 2] = [Box::new(out), Box::new(err)];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that contains `part` and gives it; fails the test when the process ends or
    /// the deadline passes first.
    pub(crate) fn line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {part:?} ({error}):\n{}", self.seen.join("\n")),
            }
        }
    }

    /// The base URL that a line of its output tells, such as `http://127.0.0.1:41234`.
    pub(crate) fn url(&mut self) -> String {
        url_in(&self.line("http://127.0.0.1:")).expect("it is in the line")
    }

    /// The same, if it has told it by now.
    pub(crate) fn url_so_far(&mut self) -> Option<String> {
        self.seen.extend(self.lines.try_iter());
        self.seen.iter().find_map(|line| url_in(line))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said so far.
    pub(crate) fn said(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.cut();
    }

    /// The same, for another to take its place.
    pub(crate) fn cut(&mut self) {
        self.child.kill().expect("still running");
        self.child.wait().expect("reaped");
    }

    /// Asks it to end and waits for it; gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("can be waited for") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("did not end after SIGTERM");
    }
}

fn url_in(line: &str) -> Option<String> {
    let url = &line[line.find("http://127.0.0.1:")?..];
    let end = url[7..].find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
    Some(url[..end.map_or(url.len(), |end| end + 7)].trim_end_matches('.').to_owned())
}

impl Drop for Labstat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name to one process.
pub(crate) fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "kill -s {name} {pid}");
}

/// Asks `probe` until it gives something; fails the test with its last refusal at the deadline.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(why) if Instant::now() > deadline => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The body of a GET that succeeds.
pub(crate) fn get(url: &str) -> Result<String, String> {
    let mut answer = ureq::get(url).call().map_err(|error| format!("{url}: {error}"))?;
    answer.body_mut().read_to_string().map_err(|error| format!("{url}: {error}"))
}

/// Sends a body; gives the status and the answer's text, whatever the status.
pub(crate) fn post(
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, String), String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut request = ureq::Agent::new_with_config(config).post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).map_err(|error| format!("{url}: {error}"))?;
    let text = answer.body_mut().read_to_string().map_err(|error| format!("{url}: {error}"))?;
    Ok((answer.status().as_u16(), text))
}

/// The answer to an instant query: one `(labels, value)` a series.
pub(crate) fn query(base: &str, promql: &str) -> Result<Vec<(serde_json::Value, f64)>, String> {
    let mut answer = ureq::get(format!("{base}/api/v1/query"))
        .query("query", promql)
        .call()
        .map_err(|error| format!("{promql}: {error}"))?;
    let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let rows = json["data"]["result"].as_array().ok_or_else(|| text.clone())?;
    rows.iter()
        .map(|row| {
            let value = row["value"][1].as_str().and_then(|text| text.parse().ok());
            Ok((row["metric"].clone(), value.ok_or_else(|| row.to_string())?))
        })
        .collect()
}

/// The only value of an instant query that answers with one series.
pub(crate) fn value(base: &str, promql: &str) -> Result<f64, String> {
    match query(base, promql)?.as_slice() {
        [(_, value)] => Ok(*value),
        rows => Err(format!("{promql}: {} series", rows.len())),
    }
}
