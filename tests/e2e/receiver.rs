//! A receiver of whatever is posted to it, which takes all or nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::eventually;

/// What was asked for: the first line and the body of each request.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) heard: Arc<Mutex<Vec<(String, String)>>>,
    /// Whether it takes nothing, and says why with all that it was told: path and login, too.
    refuses: bool,
}

impl Receiver {
    /// Listens until the test ends; gives its URL, whose path is a secret.
    pub(crate) fn start() -> (Self, String) {
        Self::listen(Self::default())
    }

    /// The same of one that refuses whatever comes.
    pub(crate) fn refusing() -> (Self, String) {
        Self::listen(Self { refuses: true, ..Self::default() })
    }

    fn listen(receiver: Self) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/s3cret-uuid-4b7d", listener.local_addr().unwrap());
        let heard = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                heard.answer(stream);
            }
        });
        (receiver, url)
    }

    fn answer(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while let Ok(len) = stream.read(&mut buffer) {
            text.push_str(&String::from_utf8_lossy(&buffer[..len]));
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) || len == 0 {
                let line = head.lines().next().unwrap_or("").to_owned();
                self.heard.lock().unwrap().push((line, body.to_owned()));
                break;
            }
        }
        let (status, said) = match (self.refuses, text.split_once("\r\n\r\n")) {
            (true, Some((head, _))) => ("403 Forbidden", head.replace("\r\n", " ")),
            _ => ("200 OK", "OK".to_owned()),
        };
        let len = said.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{said}"
        );
    }

    /// How much has come.
    pub(crate) fn len(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Waits until `more` have come since `before`.
    pub(crate) fn wait(&self, before: usize, more: usize) {
        eventually("the receiver hears", || match self.len() {
            len if len >= before + more => Ok(()),
            len => Err(format!("{len} have come")),
        });
    }

    /// How many come within some intervals of one second. Nothing to wait for: nothing is to come.
    pub(crate) fn within(&self, time: Duration) -> usize {
        let before = self.len();
        std::thread::sleep(time);
        self.len() - before
    }

    /// The alerts of all messages, in the form of Alertmanager's webhooks: the name, the instance where it has
    /// one, and whether it is over.
    pub(crate) fn alerts(&self) -> Vec<(String, String, bool)> {
        let mut alerts = Vec::new();
        for (_, body) in self.heard.lock().unwrap().iter() {
            let message: Value = serde_json::from_str(body).unwrap();
            alerts.extend(message["alerts"].as_array().unwrap().iter().map(|alert| {
                let label = |name: &str| alert["labels"][name].as_str().unwrap_or("").to_owned();
                (label("alertname"), label("instance"), alert["status"] == "resolved")
            }));
        }
        alerts
    }
}
