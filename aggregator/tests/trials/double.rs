//! Receivers that fail: a webhook, and a proxy before a real ntfy server. Each request is answered
//! by the lot that its number in the trial's seed draws.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::random::Random;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lot {
    Takes,
    TakesSlowly,
    Refuses(u16),
    CutsBefore,
    CutsAfter,
    HangsBefore,
    HangsAfter,
    /// The process is killed after the message was taken, and before it is answered.
    KillsAfter,
}

impl Lot {
    fn draw(random: &mut Random) -> Self {
        match random.below(100) {
            0..42 => Self::Takes,
            42..50 => Self::TakesSlowly,
            50..60 => Self::Refuses(500),
            60..68 => Self::Refuses(429),
            68..75 => Self::CutsBefore,
            75..83 => Self::CutsAfter,
            83..87 => Self::HangsBefore,
            87..91 => Self::HangsAfter,
            _ => Self::KillsAfter,
        }
    }

    fn takes(self) -> bool {
        !matches!(self, Self::Refuses(_) | Self::CutsBefore | Self::HangsBefore)
    }
}

/// A message that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) receiver: &'static str,
    pub(crate) id: String,
    /// The alert and whether it is over.
    pub(crate) name: String,
    pub(crate) is_over: bool,
    pub(crate) at: Instant,
    /// Whether its sender was told so.
    pub(crate) answered: bool,
}

#[derive(Default)]
struct Told {
    taken: Vec<Taken>,
    requests: usize,
    /// What the ntfy server said last that was no success.
    unlike: String,
}

/// The receivers of one trial.
pub(crate) struct Double {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    told: Mutex<Told>,
    random: Mutex<Random>,
    /// Where the real ntfy server listens.
    ntfy: Option<String>,
    /// Set when the process is to be killed now.
    kill: AtomicBool,
    over: AtomicBool,
}

impl Double {
    pub(crate) fn start(seed: u64, ntfy: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            random: Mutex::new(Random(seed)),
            ntfy,
            kill: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if all.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = all.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { url, shared }
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.told.lock().unwrap().taken.clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.told.lock().unwrap().requests
    }

    /// What the ntfy server said last that was no success.
    pub(crate) fn unlike(&self) -> String {
        self.shared.told.lock().unwrap().unlike.clone()
    }

    /// Whether a lot says that the process is to be killed now.
    pub(crate) fn wants_kill(&self) -> bool {
        self.shared.kill.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes who waits for connections.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let Some(request) = read(&mut stream) else { return };
        let lot = Lot::draw(&mut self.random.lock().unwrap());
        let pause = Duration::from_millis(100 + self.random.lock().unwrap().below(500));
        self.told.lock().unwrap().requests += 1;
        let answer = if lot.takes() { self.take(&request, lot) } else { None };
        let refusal = |status: u16| format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        match lot {
            Lot::Takes => {}
            Lot::TakesSlowly => std::thread::sleep(pause),
            Lot::Refuses(status) => {
                let _ = stream.write_all(refusal(status).as_bytes());
                return;
            }
            Lot::CutsBefore | Lot::CutsAfter => return,
            Lot::HangsBefore | Lot::HangsAfter => return std::thread::sleep(pause),
            Lot::KillsAfter => {
                self.kill.store(true, Ordering::SeqCst);
                return std::thread::sleep(pause);
            }
        }
        let _ = stream.write_all(&answer.unwrap_or_else(|| refusal(502).into_bytes()));
        let _ = stream.shutdown(Shutdown::Write);
    }

    /// Takes what was posted; gives what is to be answered.
    fn take(&self, request: &str, lot: Lot) -> Option<Vec<u8>> {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let answered = matches!(lot, Lot::Takes | Lot::TakesSlowly);
        let header = |wanted: &str| {
            let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
            pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, v)| v.to_owned())
        };
        let note = |receiver, name: String, is_over| {
            let id = header("idempotency-key").expect("each message has its name");
            let at = Instant::now();
            let taken = Taken { receiver, id, name, is_over, at, answered };
            self.told.lock().unwrap().taken.push(taken);
        };
        if head.starts_with("POST /hook ") {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            for alert in body["alerts"].as_array().unwrap() {
                let name = alert["labels"]["name"].as_str().unwrap().to_owned();
                note("hook", name, alert["status"] == "resolved");
            }
            return Some(
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
            );
        }
        let answer = forward(self.ntfy.as_deref()?, head, body);
        let said = String::from_utf8_lossy(answer.as_deref().unwrap_or_default()).into_owned();
        if !said.starts_with("HTTP/1.1 200") {
            self.told.lock().unwrap().unlike = format!("{head}: {said}");
        }
        let answer = answer?;
        if head.starts_with("POST ") && answer.starts_with(b"HTTP/1.1 200") {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let (_, json) = text.split_once("\r\n\r\n")?;
            let message: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
            let title = message["title"].as_str().unwrap();
            let name = ["alpha", "bravo", "carol"].into_iter().find(|name| title.contains(name));
            let is_over = message["tags"].to_string().contains("check_mark");
            note("phone", name.expect("a title names the alert").to_owned(), is_over);
        }
        Some(answer)
    }
}

/// One request, whole.
fn read(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).ok()?;
        if read == 0 {
            return None;
        }
        text.extend_from_slice(&buffer[..read]);
        let request = String::from_utf8_lossy(&text);
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let len = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        if body.len() >= len.map_or(0, |len| len.parse().unwrap()) {
            return Some(request.into_owned());
        }
    }
}

fn forward(server: &str, head: &str, body: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).ok()?;
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: Vec<&str> = kept.collect();
    write!(stream, "{}\r\nConnection: close\r\n\r\n{body}", head.join("\r\n")).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}
