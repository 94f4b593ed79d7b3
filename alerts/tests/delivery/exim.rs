//! Debian's exim on two free ports: one for STARTTLS, one for TLS from the start; both want the login
//! labstat / secret. Mails go into a Maildir. Ended with its value.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{START_TIMEOUT, free_port};

/// The server.
pub(crate) struct Exim {
    pub(crate) starttls: u16,
    pub(crate) tls: u16,
    pub(crate) certificate: PathBuf,
    pub(crate) dir: TempDir,
    process: Child,
}

impl Drop for Exim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

impl Exim {
    pub(crate) fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/exim4").exists() {
            eprintln!("SKIPPED: no exim (Debian's exim4-daemon-light)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (certificate, key, config) = (at("cert.pem"), at("key.pem"), at("exim.conf"));
        let subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
        let made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let files = ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out"];
        let args =
            [&made[..], &["-nodes", "-days", "2"], &subject, &files, &[&certificate]].concat();
        let (starttls, tls) = (free_port(), free_port());
        let text = include_str!("exim.conf")
            .replace("DIR", &dir.path().display().to_string())
            .replace("STARTTLS_PORT", &starttls.to_string())
            .replace("TLS_PORT", &tls.to_string());
        for folder in ["spool", "log", "mail"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        let folder = dir.path().display().to_string();
        // The configuration stays root's: exim runs none that others could have written.
        if !run("openssl", &args)
            || !run("chown", &["-R", "Debian-exim:Debian-exim", &folder])
            || std::fs::write(&config, text).is_err()
            || !run("chown", &["root:root", &config])
        {
            eprintln!("SKIPPED: exim needs root and openssl");
            return None;
        }
        let process = Command::new("/usr/sbin/exim4")
            .args(["-C", &config, "-bdf"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let certificate = PathBuf::from(certificate);
        let server = Self { starttls, tls, certificate, dir, process };
        for port in [starttls, tls] {
            server.until("it does not listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        Some(server)
    }

    /// The delivered mails, once there are so many.
    pub(crate) fn mails(&self, count: usize) -> Vec<String> {
        let folder = self.dir.path().join("mail/new");
        let files = || -> Vec<PathBuf> {
            let entries = std::fs::read_dir(&folder).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        self.until("the mails did not arrive", || files().len() >= count);
        files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + START_TIMEOUT;
        while !holds() {
            let log = std::fs::read_to_string(self.dir.path().join("log/mainlog"));
            assert!(Instant::now() < deadline, "{what}: {}", log.unwrap_or_default());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
