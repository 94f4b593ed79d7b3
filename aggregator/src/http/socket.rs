//! What stands between a connection's socket and hyper.
//!
//! - Some clients write a query into a URL as it is, and Prometheus takes it: `curl -g
//!   'http://HOST/api/v1/query?query=up{job="node"}'`. hyper refuses a URL with `"`, `<` or `>`, and
//!   ends it at `#`. So these bytes are percent-encoded in the first line of each request, before
//!   hyper sees them. Where requests begin and end is found as hyper finds it, by `Content-Length`
//!   or chunks; where anything is in doubt, all that follows is handed on as it is.
//! - A client that asks and then takes nothing keeps its answer in memory. So a connection on which
//!   nothing can be sent for [`SEND_TIMEOUT`] is ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may take nothing of its answer. A slow network moves something within it, and
/// one that is gone for longer is asked again.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a head that are looked at in one go.
const HEAD_PART_LEN: usize = 4096;

/// What one byte may become.
const ESCAPE_LEN: usize = 3;

/// Bytes of a line that are kept to find out how long a body is. Longer ones tell something else.
const LINE_LEN_MAX: usize = 64;

/// A socket whose requests are put right as they are read, and which ends when nobody takes what is
/// written to it.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    inner: S,
    requests: Requests,
    /// What found no room in the buffer of the last read: a part of an escape.
    pending: Vec<u8>,
    send_timeout: Duration,
    /// When what cannot be sent was waited for long enough.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(crate) fn new(inner: S, send_timeout: Duration) -> Self {
        let (requests, pending) = (Requests::default(), Vec::new());
        Self { inner, requests, pending, send_timeout, stalled: None }
    }

    /// What came of a write; an error when too long nothing did.
    fn sent<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        let timeout = self.send_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer"))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.pending.is_empty() {
            let len = this.pending.len().min(buffer.remaining());
            this.pending.drain(..len).for_each(|byte| buffer.put_slice(&[byte]));
            return Poll::Ready(Ok(()));
        }
        let plain = usize::try_from(this.requests.plain_len()).unwrap_or(usize::MAX);
        if plain > 0 {
            let room = buffer.initialize_unfilled_to(plain.min(buffer.remaining()));
            let mut part = ReadBuf::new(room);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut part);
            let len = part.filled().len();
            buffer.advance(len);
            this.requests.skip(len as u64);
            return read;
        }
        let mut head = [0; HEAD_PART_LEN];
        // Each byte may become an escape, for which there should be room.
        let len = (buffer.remaining() / ESCAPE_LEN).clamp(1, HEAD_PART_LEN);
        let mut part = ReadBuf::new(head.get_mut(..len).unwrap_or_default());
        let read = Pin::new(&mut this.inner).poll_read(cx, &mut part);
        for byte in part.filled() {
            let escape = escape(*byte);
            let passed =
                if this.requests.pass(*byte) { &escape } else { std::slice::from_ref(byte) };
            let (now, later) = passed.split_at_checked(buffer.remaining()).unwrap_or((passed, &[]));
            buffer.put_slice(now);
            this.pending.extend_from_slice(later);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.sent(cx, sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.sent(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.inner).poll_flush(cx);
        this.sent(cx, sent)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.sent(cx, sent)
    }
}

/// A byte as a URL may always have it.
fn escape(byte: u8) -> [u8; ESCAPE_LEN] {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'A' + half - 10 };
    [b'%', digit(byte >> 4), digit(byte & 15)]
}

/// Whether a byte cannot stand in a URL for hyper, or means something else there than to Prometheus.
fn is_foreign(byte: u8) -> bool {
    !byte.is_ascii() || b"\"#<>\\^`|".contains(&byte)
}

/// How long a body is, as far as its head has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked,
    /// hyper will refuse it.
    Unsure,
}

/// Where in its requests a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before the first space of a request's first line.
    Method,
    Target,
    /// What is left of the first line.
    Version,
    Header,
    Body(u64),
    ChunkLength,
    Chunk(u64),
    /// The end of the line behind a chunk.
    ChunkEnd,
    Trailer,
    /// Where, is not known any more; hyper will refuse what follows, or has.
    Unknown,
}

/// Follows the requests of a connection, byte by byte.
#[derive(Debug)]
struct Requests {
    part: Part,
    /// The beginning of the line, in small letters.
    line: Vec<u8>,
    line_len: usize,
    length: Length,
}

impl Default for Requests {
    fn default() -> Self {
        let (part, length) = (Part::Method, Length::Known(0));
        Self { part, line: Vec::new(), line_len: 0, length }
    }
}

impl Requests {
    /// How many bytes that are next need not be looked at.
    fn plain_len(&self) -> u64 {
        match self.part {
            Part::Body(left) | Part::Chunk(left) => left,
            Part::Unknown => u64::MAX,
            _ => 0,
        }
    }

    /// Goes over bytes of which [`Self::plain_len`] told.
    fn skip(&mut self, len: u64) {
        self.part = match self.part {
            Part::Body(left) if left <= len => Part::Method,
            Part::Body(left) => Part::Body(left - len),
            Part::Chunk(left) if left <= len => Part::ChunkEnd,
            Part::Chunk(left) => Part::Chunk(left - len),
            other => other,
        };
    }

    /// Goes over one byte; whether it has to be escaped.
    fn pass(&mut self, byte: u8) -> bool {
        match (self.part, byte) {
            (Part::Body(_) | Part::Chunk(_) | Part::Unknown, _) => self.skip(1),
            (Part::Method, b' ') => self.part = Part::Target,
            (Part::Target, b' ') => self.part = Part::Version,
            // Without a version it is no request that hyper knows.
            (Part::Target, b'\n') => self.part = Part::Unknown,
            (Part::Target, _) => return is_foreign(byte),
            (Part::Version, b'\n') => {
                (self.part, self.length) = (Part::Header, Length::Known(0));
            }
            (Part::ChunkEnd, b'\n') => self.part = Part::ChunkLength,
            (Part::Header | Part::ChunkLength | Part::Trailer, b'\n') => self.end_line(),
            (Part::Header | Part::ChunkLength | Part::Trailer, _) => {
                self.line_len = self.line_len.saturating_add(1);
                if self.line.len() < LINE_LEN_MAX {
                    self.line.push(byte.to_ascii_lowercase());
                }
            }
            _ => {}
        }
        false
    }

    fn end_line(&mut self) {
        let whole = self.line.len() == self.line_len;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        self.part = match (self.part, line.is_empty()) {
            (Part::Header, false) => {
                self.length = length_of(line, whole, self.length);
                Part::Header
            }
            (Part::Header, true) => match self.length {
                Length::Known(0) => Part::Method,
                Length::Known(length) => Part::Body(length),
                Length::Chunked => Part::ChunkLength,
                Length::Unsure => Part::Unknown,
            },
            (Part::ChunkLength, _) => match chunk_len(line) {
                Some(0) => Part::Trailer,
                Some(length) => Part::Chunk(length),
                None => Part::Unknown,
            },
            (Part::Trailer, true) => Part::Method,
            (other, _) => other,
        };
        self.line.clear();
        self.line_len = 0;
    }
}

/// How long a body is after a line of its head. That it comes in chunks counts more than a length.
fn length_of(line: &[u8], whole: bool, before: Length) -> Length {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
    match name {
        b"transfer-encoding" => Length::Chunked,
        b"content-length" if before != Length::Chunked => {
            let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
            let digits = whole && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            length.filter(|_| digits).map_or(Length::Unsure, Length::Known)
        }
        _ => before,
    }
}

/// The length of a chunk, from the line before it.
fn chunk_len(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let digits = std::str::from_utf8(line.get(..end)?).ok()?;
    // A line that was cut in its digits has too many of them.
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What hyper gets to read of what was sent, when it reads and the network brings parts of these
    /// lengths.
    fn read(sent: &[u8], brought: usize, room: usize) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(sent.len().max(1));
            let mut socket = Socket::new(server, SEND_TIMEOUT);
            let mut got = Vec::new();
            for part in sent.chunks(brought) {
                client.write_all(part).await.unwrap();
                while let Some(len) = read_some(&mut socket, room, &mut got) {
                    assert!(len > 0, "nothing is no end");
                }
            }
            drop(client);
            socket.read_to_end(&mut got).await.unwrap();
            got
        })
    }

    /// One read, if there is anything.
    fn read_some(
        socket: &mut (impl AsyncRead + Unpin),
        room: usize,
        got: &mut Vec<u8>,
    ) -> Option<usize> {
        let mut buffer = vec![0; room];
        let mut buffer = ReadBuf::new(&mut buffer);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(socket).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => return None,
        }
        got.extend_from_slice(buffer.filled());
        Some(buffer.filled().len())
    }

    /// Requests one behind the other, as sent and as read: in the first lines, and nowhere else, is
    /// what has to be escaped.
    const SENT: [&str; 7] = [
        "GET /q?query=up{job=\"node\"}>1<2 HTTP/1.1\r\nHost: \"#<>\"\r\n\r\n",
        "POST /q?a=\"b\" HTTP/1.1\r\ncontent-LENGTH:  9 \r\n\r\nGET /\"<> ",
        "\r\nPOST /q#a HTTP/1.1\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
         A ;x=\"y\"\r\nG /\" HTTP/\r\n1\r\n>\r\n000\r\nTrailer: \"\r\n\r\n",
        "GET /\u{fc}|^`\\%22+ HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "GET /\"\" HTTP/1.0\r\nX: 1\r\n\r\n",
        "POST /< HTTP/1.1\r\nContent-Length: 1x\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
    ];
    const READ: [&str; 7] = [
        "GET /q?query=up{job=%22node%22}%3E1%3C2 HTTP/1.1\r\nHost: \"#<>\"\r\n\r\n",
        "POST /q?a=%22b%22 HTTP/1.1\r\ncontent-LENGTH:  9 \r\n\r\nGET /\"<> ",
        "\r\nPOST /q%23a HTTP/1.1\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
         A ;x=\"y\"\r\nG /\" HTTP/\r\n1\r\n>\r\n000\r\nTrailer: \"\r\n\r\n",
        "GET /%C3%BC%7C%5E%60%5C%22+ HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "GET /%22%22 HTTP/1.0\r\nX: 1\r\n\r\n",
        "POST /%3C HTTP/1.1\r\nContent-Length: 1x\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
    ];

    #[test]
    fn only_the_first_lines_of_requests_are_put_right() {
        let (sent, wanted) = (SENT.concat(), READ.concat());
        for (brought, room) in [(usize::MAX, 8192), (1, 8192), (usize::MAX, 1), (7, 5), (3, 2)] {
            let got = read(sent.as_bytes(), brought, room);
            assert_eq!(String::from_utf8_lossy(&got), wanted, "{brought} {room}");
        }
    }

    proptest! {
        /// Bodies come through as they are, and the request behind one is found.
        #[test]
        fn bodies_are_never_touched(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 1_usize..200,
            brought in 1_usize..400,
            room in 1_usize..400,
        ) {
            let mut sent = Vec::new();
            sent.extend(format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).bytes());
            sent.extend(&body);
            sent.extend(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(cut) {
                sent.extend(format!("{:x}\r\n", chunk.len()).bytes());
                sent.extend(chunk);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\n\r\n");
            let mut wanted = sent.clone();
            sent.extend(b"GET /\" HTTP/1.1\r\n\r\n");
            wanted.extend(b"GET /%22 HTTP/1.1\r\n\r\n");
            prop_assert_eq!(read(&sent, brought, room), wanted);
        }

        #[test]
        fn any_bytes_are_handed_on(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes, 50, 50).len() >= bytes.len());
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let timeout = Duration::from_millis(50);
        let (client, server) = tokio::io::duplex(16);
        let mut socket = Socket::new(server, timeout);
        let error = socket.write_all(&[0; 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);

        let (mut client, server) = tokio::io::duplex(16);
        let mut socket = Socket::new(server, Duration::from_secs(60));
        let begun = std::time::Instant::now();
        let take = async {
            let mut bytes = [0; 16];
            for _ in 0..64 {
                client.read_exact(&mut bytes).await.unwrap();
            }
        };
        let (sent, ()) = tokio::join!(socket.write_all(&[0; 1024]), take);
        sent.unwrap();
        assert!(socket.stalled.is_none() && begun.elapsed() < Duration::from_secs(60));
    }
}
