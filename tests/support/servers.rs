//! Real servers that tests talk to, each on a free port and ended with its value: an ntfy server
//! (from `.ci/peers`) and an SMTP server (from `.ci/mail-peer`). Where one cannot be had, its
//! `start` says so with a line that begins with `SKIPPED` and gives nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder of the whole project, whichever crate's test this is compiled into.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().find(|dir| dir.join("Cargo.lock").is_file());
    found.expect("a lock file stands at the top").to_owned()
}

fn skip(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// A child that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real ntfy server.
pub(crate) struct NtfyServer {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    port: u16,
    _process: Process,
    _dir: TempDir,
}

impl NtfyServer {
    pub(crate) fn start() -> Option<Self> {
        Self::launch(false)
    }

    /// One where only the user labstat may publish and read.
    pub(crate) fn start_with_login() -> Option<Self> {
        Self::launch(true)
    }

    fn launch(login: bool) -> Option<Self> {
        let program = root().join("target/peers/bin/ntfy");
        if !program.exists() {
            skip("no ntfy server (.ci/peers)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "base-url: http://127.0.0.1:{port}\nlisten-http: 127.0.0.1:{port}\ncache-file: {}\n\
             visitor-request-limit-burst: 100000\n",
            at("cache.db")
        );
        if login {
            config += &format!("auth-file: {}\nauth-default-access: deny-all\n", at("auth.db"));
        }
        let file = dir.path().join("server.yml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new(&program)
            .args(["serve", "--config", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process(process);
        wait_for(port);
        let token = login.then(|| {
            let run = |args: &[&str]| {
                let mut command = Command::new(&program);
                command.args(args).env("NTFY_PASSWORD", "secret-password");
                command.env("NTFY_AUTH_FILE", at("auth.db")).env("NTFY_CONFIG_FILE", &file);
                let output = command.output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned()
                    + &String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{args:?}: {text}");
                text
            };
            run(&["user", "add", "--role=admin", "labstat"]);
            let text = run(&["token", "add", "labstat"]);
            let word = text.split_whitespace().find(|word| word.starts_with("tk_")).unwrap();
            word.trim_end_matches(',').to_owned()
        });
        let url = format!("http://127.0.0.1:{port}");
        Some(Self { url, token, port, _process: process, _dir: dir })
    }

    /// The messages of a topic.
    pub(crate) fn poll(&self, topic: &str, token: Option<&str>) -> Vec<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let login = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        // HTTP 1.0, so that the answer is not in chunks.
        write!(stream, "GET /{topic}/json?poll=1 HTTP/1.0\r\nHost: x\r\n{login}\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let messages = body.lines().filter(|line| !line.is_empty());
        messages.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn wait_for(port: u16) {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A real SMTP server.
pub(crate) struct MailServer {
    pub(crate) starttls: u16,
    pub(crate) tls: u16,
    pub(crate) plain: u16,
    pub(crate) certificate: PathBuf,
    pub(crate) dir: TempDir,
    _process: Process,
}

impl MailServer {
    pub(crate) fn start() -> Option<Self> {
        let python = root().join("target/mail-peer/bin/python");
        if !python.exists() {
            skip("no SMTP server (.ci/mail-peer)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            skip("no certificate: openssl cannot make one");
            return None;
        }
        let mut process = Command::new(python)
            .arg(root().join("tests/support/smtp_server.py"))
            .arg(dir.path().join("mail"))
            .args([&certificate, &key])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Process(process);
        let ports: Vec<u16> =
            line.split_whitespace().skip(1).map(|port| port.parse().unwrap()).collect();
        let [starttls, tls, plain] = ports[..] else { panic!("the SMTP server says {line:?}") };
        Some(Self { starttls, tls, plain, certificate, dir, _process: process })
    }

    /// The delivered mails.
    pub(crate) fn mails(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("mail/new")) else {
            return Vec::new();
        };
        entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }
}
