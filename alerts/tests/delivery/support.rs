//! Failing doubles for the receivers; the real servers are those of all end-to-end tests.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use labstat_alerts::{Notification, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "../../../tests/support/servers.rs"]
mod servers;

pub(crate) use servers::{MailServer, NtfyServer, free_port};

/// How long a server may take to come up.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A critical alert on vertex with this summary.
pub(crate) fn notification(summary: &str) -> Notification {
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    };
    Notification {
        fingerprint: "0123456789abcdef".to_owned(),
        status: Status::Firing,
        labels: pairs(&[("alertname", "Test"), ("instance", "vertex"), ("severity", "critical")]),
        annotations: pairs(&[("summary", summary), ("description", "Next: look at it")]),
        active_at_ms: 1_767_275_100_000,
        starts_at_ms: 1_767_275_160_000,
        ends_at_ms: None,
        value: 1.5,
        generator_url: "http://lab.test:5227/graph?g0.expr=up".to_owned(),
    }
}

/// What a [`Double`] does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// Answers with a status and more headers.
    Status(u16, &'static str),
    /// Answers with a status and this body.
    Body(u16, &'static str),
    /// Answers with a status, and the request as its body.
    Echo(u16),
    /// Answers with a status that sends elsewhere, and a page that says where.
    Moved(u16, &'static str),
    /// Answers with 200 after a time that passes at once.
    Late(Duration),
    /// Ends the connection without an answer.
    Cut,
    /// Never answers.
    Stall,
}

thread_local! {
    /// How many tasks let time pass; a runtime of these tests has one thread, and a thread one runtime.
    static PASSING: Cell<usize> = const { Cell::new(0) };
}

/// Time stands still but for what is waited for, as long as one of these is there.
struct Passing;

impl Passing {
    fn begin() -> Self {
        if PASSING.replace(PASSING.get() + 1) == 0 {
            tokio::time::pause();
        }
        Self
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if PASSING.replace(PASSING.get() - 1) == 1 {
            tokio::time::resume();
        }
    }
}

/// Lets time pass at once, for all in the runtime that wait for it, and of several at a time with the first.
pub(crate) async fn pass(time: Duration) {
    let _passing = Passing::begin();
    tokio::time::sleep(time).await;
}

/// An HTTP server that fails as told: the answers in order, the last one for all that follow.
pub(crate) struct Double {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Double {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            let mut at = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers[at.min(answers.len() - 1)];
                at += 1;
                tokio::spawn(serve(stream, answer, seen.clone()));
            }
        });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns once `count` requests have come.
    pub(crate) async fn reached(&self, count: usize) {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.requests.lock().unwrap().len() < count {
            assert!(Instant::now() < deadline, "{count} requests did not come");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(mut stream: tokio::net::TcpStream, answer: Answer, seen: Arc<Mutex<Vec<String>>>) {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Ok(read) = stream.read(&mut buffer).await else { return };
        text.extend_from_slice(&buffer[..read]);
        let request = String::from_utf8_lossy(&text).into_owned();
        let whole = request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let len = head.lines().find_map(|l| {
                l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            body.len() >= len.map_or(0, |len| len.parse().unwrap())
        });
        if read == 0 || whole {
            seen.lock().unwrap().push(request);
            break;
        }
    }
    let echo = String::from_utf8_lossy(&text).into_owned();
    let body = |status: u16, body: &str| {
        let len = body.len();
        format!("HTTP/1.1 {status} X\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")
    };
    match answer {
        Answer::Stall => std::future::pending().await,
        Answer::Cut => {}
        Answer::Moved(status, to) => {
            let page = format!("<a href=\"{to}\">Moved</a>");
            let head = format!("HTTP/1.1 {status} X\r\nlocation: {to}\r\n");
            let text =
                format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{page}", page.len());
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Answer::Late(time) => {
            pass(time).await;
            let _ = stream.write_all(body(200, "").as_bytes()).await;
        }
        Answer::Body(status, text) => {
            let _ = stream.write_all(body(status, text).as_bytes()).await;
        }
        Answer::Echo(status) => {
            let _ = stream.write_all(body(status, &echo).as_bytes()).await;
        }
        Answer::Status(status, headers) => {
            let text = format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: 2\r\nconnection: close\r\n\r\nno"
            );
            let _ = stream.write_all(text.as_bytes()).await;
        }
    }
}
