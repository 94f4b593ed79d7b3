//! Debian's Alertmanager on a free port, ended with its value.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{START_TIMEOUT, free_port};

/// Debian's Alertmanager.
pub(crate) struct AlertmanagerServer {
    pub(crate) url: String,
    port: u16,
    process: Child,
    _dir: TempDir,
}

impl AlertmanagerServer {
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("http://127.0.0.1:1/nowhere")
    }

    /// One that tells this webhook, grouped by `alertname` and after half a second.
    pub(crate) fn start_with(hook: &str) -> Option<Self> {
        let program = Path::new("/usr/bin/prometheus-alertmanager");
        if !program.exists() {
            eprintln!("SKIPPED: no Alertmanager (Debian's prometheus-alertmanager)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "route: {{receiver: hook, group_by: [alertname], group_wait: 500ms}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: '{hook}'}}]}}]\n"
        );
        let file = dir.path().join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--cluster.listen-address=", "--web.external-url=http://alertmanager.test"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(port);
        let url = format!("http://127.0.0.1:{port}");
        Some(Self { url, port, process, _dir: dir })
    }

    /// What it has, once it has come to rest.
    pub(crate) fn alerts(&self) -> serde_json::Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET /api/v2/alerts HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for AlertmanagerServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_for(port: u16) {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
