//! Just enough HTTP for a test: requests one after the other over connections that are kept.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

/// Longer than any answer takes on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in small letters, and values.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Asks one server; several threads may at once.
#[derive(Debug)]
pub(crate) struct Client {
    to: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl Client {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, idle: Mutex::new(Vec::new()) }
    }

    /// Who is asked, as it stands in `Host`.
    pub(crate) fn host(&self) -> String {
        self.to.to_string()
    }

    /// One request, one response.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let kept = self.idle.lock().expect("nobody panicked").pop();
        if let Some(stream) = kept
            && let Ok(response) = self.exchange(stream, method, path, headers, body)
        {
            return Ok(response);
        }
        // None was kept, or the other end has closed it meanwhile.
        let stream = TcpStream::connect_timeout(&self.to, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        self.exchange(BufReader::new(stream), method, path, headers, body)
    }

    fn exchange(
        &self,
        mut stream: BufReader<TcpStream>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let (to, length) = (self.to, body.len());
        let mut message =
            format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        message.push_str("\r\n");
        let mut message = message.into_bytes();
        message.extend_from_slice(body);
        stream.get_mut().write_all(&message)?;
        let (response, kept) = response(&mut stream, method == "HEAD")?;
        if kept {
            self.idle.lock().expect("nobody panicked").push(stream);
        }
        Ok(response)
    }
}

/// A response, and whether another may follow it. That to a HEAD tells a length and has no body.
fn response(from: &mut impl BufRead, bodiless: bool) -> std::io::Result<(Response, bool)> {
    let no = || std::io::Error::other("not an HTTP response");
    let first = line(from)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no)?;
    let (mut length, mut chunked, mut kept) = (None, false, true);
    let mut headers = Vec::new();
    loop {
        let header = line(from)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(no)?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match (name.as_str(), value.as_str()) {
            ("content-length", value) => length = value.parse::<usize>().ok(),
            ("transfer-encoding", "chunked") => chunked = true,
            ("connection", "close") => kept = false,
            _ => {}
        }
        headers.push((name, value));
    }
    let mut body = Vec::new();
    match length {
        _ if bodiless => {}
        _ if chunked => loop {
            let size = usize::from_str_radix(line(from)?.trim(), 16).map_err(|_| no())?;
            let start = body.len();
            body.resize(start + size, 0);
            from.read_exact(&mut body[start..])?;
            line(from)?;
            if size == 0 {
                break;
            }
        },
        Some(length) => {
            body.resize(length, 0);
            from.read_exact(&mut body)?;
        }
        None if status == 204 => {}
        None => {
            kept = false;
            from.read_to_end(&mut body)?;
        }
    }
    Ok((Response { status, headers, body }, kept))
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

#[test]
fn responses_are_read_to_their_ends_and_no_further() {
    let two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 400 No\r\n\
                Transfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n1\r\n!\r\n0\r\n\r\nrest";
    let mut from = &two[..];
    for (status, body) in [(200, "ab"), (400, "xyz!")] {
        let (response, kept) = response(&mut from, false).expect("a response");
        assert_eq!(
            (response.status, response.body.as_slice(), kept),
            (status, body.as_bytes(), true)
        );
    }
    assert_eq!(from, b"rest");
    let mut from = &b"HTTP/1.1 405 No\r\nContent-Length: 9\r\n\r\nrest"[..];
    let (response, kept) = response(&mut from, true).expect("a response");
    assert_eq!((response.body.len(), kept, from), (0, true, &b"rest"[..]));
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, String)]) -> String {
    let encode = |text: &str| -> String {
        let byte = |byte: u8| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        };
        text.bytes().map(byte).collect()
    };
    let pair = |(name, value): &(&str, String)| format!("{}={}", encode(name), encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// What may not stand in a request's path as it is, encoded.
pub(crate) fn encode_path(path: &str) -> String {
    let byte = |byte: u8| match byte {
        b'{' | b'}' | b'"' | b'[' | b']' | b' ' | b'<' | b'>' | b'^' | b'|' | b'`' => {
            format!("%{byte:02X}")
        }
        byte => char::from(byte).to_string(),
    };
    path.bytes().map(byte).collect()
}
