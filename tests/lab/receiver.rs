//! Whom an aggregator tells: an address of this machine that takes its webhook and keeps what came
//! and when.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One that sends only half of a message does not keep the next one waiting for long.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A receiver of notifications; it listens until the tests end.
pub(crate) struct Receiver {
    port: u16,
    heard: Arc<Mutex<Vec<(Instant, Value)>>>,
}

impl Receiver {
    /// One at a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has one").port();
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let keep = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(message) = take(&stream) {
                    keep.lock().expect("no thread panics").push((Instant::now(), message));
                }
            }
        });
        Self { port, heard }
    }

    /// It, as an aggregator's configuration names it.
    pub(crate) fn config(&self) -> String {
        let port = self.port;
        format!("[[receivers]]\nname = 'lab'\nwebhook = {{ url = 'http://127.0.0.1:{port}/' }}\n")
    }

    /// The names of all alerts it was told of, with their state and when they came.
    pub(crate) fn alerts(&self) -> Vec<(Instant, String, Value)> {
        let heard = self.heard.lock().expect("no thread panics");
        let alerts = heard.iter().flat_map(|(at, message)| {
            let alerts = message["alerts"].as_array().cloned().unwrap_or_default();
            alerts.into_iter().map(|alert| (*at, alert))
        });
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        alerts
            .map(|(at, alert)| {
                let name = word(&alert["labels"]["alertname"]);
                (at, format!("{name} {}", word(&alert["status"])), alert)
            })
            .collect()
    }

    /// The first message of this alert and state, such as `RaidDegraded firing`.
    pub(crate) fn heard(&self, what: &str) -> Option<(Instant, Value)> {
        let found = self.alerts().into_iter().find(|(_, name, _)| name == what);
        found.map(|(at, _, alert)| (at, alert))
    }
}

/// Reads one request and thanks for it.
fn take(stream: &TcpStream) -> Option<Value> {
    stream.set_read_timeout(Some(READ_TIMEOUT)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    serde_json::from_slice(&body).ok()
}
