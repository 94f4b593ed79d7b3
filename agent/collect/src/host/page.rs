//! The page of the manager's prometheus module, fetched.
//!
//! By HTTP/1.0 over TCP, since the module speaks nothing else; for a process that ends with the reading
//! (see [`super::cluster`]), since a name may take any time to be looked up: a thread that still waits for it
//! is left behind.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::Framing;
use super::socket;

/// How long the page may take, and the look-up of its server's name with it. It takes some milliseconds, since
/// it was made before.
const PAGE_TIME_MAX: Duration = Duration::from_secs(3);

/// Fetches the page of the module that says it is at `url` (`http://apex:9283/`); words when that fails.
pub(super) fn fetch(url: &str) -> Result<String, String> {
    let failed = |why: &str| format!("the manager's page at {url}: {why}");
    let (server, path) = parts(url).ok_or_else(|| failed("not an address of HTTP"))?;
    let request = format!(
        "GET {path}metrics HTTP/1.0\r\nHost: {server}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
    );
    let ask = move || socket::ask(&server, request.as_bytes(), Framing::UntilClosed, PAGE_TIME_MAX);
    let answer = within(PAGE_TIME_MAX, ask);
    let answer = answer.map_err(|error| failed(&error.to_string()))?;
    body(&answer).map(str::to_owned).map_err(|why| failed(&why))
}

/// What comes of work that may hang where no deadline reaches, if it comes in time.
fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let run = move || {
        // Nobody listens to one that comes too late.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("labstat-page".to_owned()).spawn(run)?;
    receiver.recv_timeout(deadline).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(io::ErrorKind::TimedOut.into()),
        RecvTimeoutError::Disconnected => Err(io::ErrorKind::BrokenPipe.into()),
    })
}

/// The server of an address, with its port, and the path, which ends with a slash.
fn parts(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if server.is_empty() || server.starts_with(':') || !is_plain(rest) {
        return None;
    }
    let server = if has_port { server.to_owned() } else { format!("{server}:80") };
    let path = path.trim_end_matches('/');
    Some((server, if path.is_empty() { "/".to_owned() } else { format!("/{path}/") }))
}

/// What an answer has to say, when it is whole and good.
fn body(answer: &[u8]) -> Result<&str, String> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let end = answer.windows(BLANK.len()).position(|window| window == BLANK);
    let (head, body) = end
        .and_then(|end| Some((answer.get(..end)?, answer.get(end + BLANK.len()..)?)))
        .ok_or("no answer of HTTP")?;
    let head = std::str::from_utf8(head).map_err(|error| error.to_string())?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("it says {status:?}"));
    }
    let header = |wanted: &str| {
        let pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, v)| v.trim()).next()
    };
    if header("transfer-encoding").is_some() {
        return Err("it comes in pieces, which was not asked for".to_owned());
    }
    let len = header("content-length").and_then(|len| len.parse::<usize>().ok());
    let body = match len {
        Some(len) => body.get(..len).ok_or("it is cut off")?,
        None => body,
    };
    std::str::from_utf8(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_of_modules() {
        for (url, wanted) in [
            ("http://apex:9283/", Some(("apex:9283", "/"))),
            ("http://10.0.0.1:9283", Some(("10.0.0.1:9283", "/"))),
            ("http://[fd00::1]:9283/", Some(("[fd00::1]:9283", "/"))),
            ("http://apex/mgr", Some(("apex:80", "/mgr/"))),
            ("https://apex:9283/", None),
            ("http:///", None),
            ("http://:9283/", None),
            ("http://a\r\nb:1/", None),
            ("", None),
        ] {
            let parts = parts(url);
            let parts = parts.as_ref().map(|(server, path)| (server.as_str(), path.as_str()));
            assert_eq!(parts, wanted, "{url}");
        }
    }

    #[test]
    fn answers() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\nab";
        assert_eq!(body(whole.as_bytes()), Ok("\nab"));
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nabc"), Ok("abc"));
        for (answer, why) in [
            ("", "no answer of HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "it is cut off"),
            ("HTTP/1.1 503 Gone\r\n\r\n", "it says \"HTTP/1.1 503 Gone\""),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "it comes in pieces, which was not asked for",
            ),
        ] {
            assert_eq!(body(answer.as_bytes()), Err(why.to_owned()), "{answer}");
        }
        assert!(body(b"HTTP/1.1 200 OK\r\n\r\n\xff").is_err());
    }

    /// As one does that waits for a server of names, which no deadline of a connection ends.
    #[test]
    fn work_that_hangs_is_left_behind() {
        let (release, held) = mpsc::channel::<()>();
        let hangs = move || held.recv().map_err(io::Error::other);
        let error = within(Duration::from_millis(50), hangs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(release);
        assert_eq!(within(Duration::from_secs(600), || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_page_is_fetched_and_one_that_is_not_there_is_named() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let peer = std::thread::spawn(move || {
            let (mut peer, _) = server.accept().unwrap();
            let mut request = [0; 512];
            let len = peer.read(&mut request).unwrap();
            peer.write_all(b"HTTP/1.1 200 OK\r\n\r\nup 1\n").unwrap();
            String::from_utf8(request[..len].to_vec()).unwrap()
        });
        assert_eq!(fetch(&url).as_deref(), Ok("up 1\n"));
        assert!(peer.join().unwrap().starts_with("GET /metrics HTTP/1.0\r\n"));
        let refused = fetch(&url).unwrap_err();
        assert!(refused.starts_with(&format!("the manager's page at {url}: ")), "{refused}");
    }
}
