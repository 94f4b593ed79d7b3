//! Just enough HTTP for a test: one request a connection, version 1.0, so that the body ends where
//! the connection does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// One request, one response.
pub(crate) fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = body.len();
    let mut head =
        format!("{method} {path} HTTP/1.0\r\nHost: {to}\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other("not an HTTP response"))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: answer[end + 4..].to_vec() })
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
