//! Real engines that keep samples: Prometheus and VictoriaMetrics, Debian's and those that
//! `.ci/peers` fetches, each on a free port with a folder of its own. Where one cannot be had, a
//! line that begins with `SKIPPED` says so.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long an engine may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prometheus,
    VictoriaMetrics,
}

/// An engine, running or not.
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    program: PathBuf,
    port: u16,
    dir: TempDir,
    process: Option<Child>,
}

impl Engine {
    /// All that can be had, not yet started.
    pub(crate) fn all() -> Vec<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
        let installed = [PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
        let programs =
            [(Kind::Prometheus, "prometheus"), (Kind::VictoriaMetrics, "victoria-metrics")];
        let mut found = Vec::new();
        for (kind, program) in programs {
            for (whose, dirs) in
                [("Debian's", &installed[..]), ("the newest", std::slice::from_ref(&peers))]
            {
                let path = dirs.iter().map(|dir| dir.join(program)).find(|path| path.is_file());
                match path {
                    Some(path) => found.push(Self::new(kind, path, whose)),
                    // Past the test harness, which shows what a passing test prints to nobody.
                    None => {
                        let missing = format!("SKIPPED: no engine of {whose} {program}");
                        let _ = writeln!(std::io::stderr(), "{missing}");
                    }
                }
            }
        }
        found
    }

    fn new(kind: Kind, program: PathBuf, whose: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let dir = tempfile::tempdir().expect("a folder");
        let name = format!("{whose} {kind:?}");
        Self { kind, name, program, port, dir, process: None }
    }

    /// Where its API is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(&self.program);
        let data = self.dir.path().join("data").display().to_string();
        let listen = format!("127.0.0.1:{}", self.port);
        match self.kind {
            Kind::Prometheus => {
                let config = self.dir.path().join("prometheus.yml");
                let text = "global:\n  evaluation_interval: 1m\nstorage:\n  tsdb:\n    \
                            out_of_order_time_window: 1h\n";
                std::fs::write(&config, text).expect("its configuration");
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={data}"))
                    .arg("--storage.tsdb.retention.time=100y")
                    .arg(format!("--web.listen-address={listen}"))
                    .arg("--web.enable-remote-write-receiver");
            }
            Kind::VictoriaMetrics => {
                command
                    .arg(format!("-storageDataPath={data}"))
                    .arg("-retentionPeriod=100y")
                    .arg(format!("-httpListenAddr={listen}"))
                    .arg("-memory.allowedBytes=256MB");
            }
        }
        let log = std::fs::File::create(self.dir.path().join("log")).expect("its log");
        let child = command
            .stdout(log.try_clone().expect("its log"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("the engine starts");
        self.process = Some(child);
        let path = if self.kind == Kind::Prometheus { "/-/ready" } else { "/health" };
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.get(path).is_some_and(|answer| answer.starts_with("HTTP/1.0 200")) {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{} does not answer:\n{}", self.name, log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it cleanly; what it has is there when it starts again.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        let asked = Command::new("kill").arg(child.id().to_string()).status();
        assert!(asked.is_ok_and(|status| status.success()), "{} can be ended", self.name);
        child.wait().expect("it ends");
    }

    /// Makes what was just written visible at once, where an engine takes its time.
    pub(crate) fn flush(&self) {
        if self.kind == Kind::VictoriaMetrics {
            self.get("/internal/force_flush");
        }
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // HTTP 1.0, so that the connection ends with the answer.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
