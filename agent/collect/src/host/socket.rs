//! One question to a Unix socket, or to a server by TCP.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{ANSWER_LEN_MAX, Framing};

/// Bytes of a [`Framing::LengthPrefix`].
const PREFIX_LEN: usize = 4;

/// Bytes asked for in one read.
const READ_LEN: usize = 64 * 1024;

/// Connects, asks and takes the answer. `connect` itself may block when the peer accepts no more,
/// so this runs where it can be abandoned.
pub(super) fn ask(
    path: &str,
    request: &[u8],
    framing: Framing,
    deadline: Duration,
) -> io::Result<Vec<u8>> {
    let until = Instant::now() + deadline;
    let mut stream = Stream::connect(path, until)?;
    stream.set_timeout(left(until)?)?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut chunk = vec![0; READ_LEN];
    while !is_whole(&answer, framing)? {
        stream.set_timeout(left(until)?)?;
        let len = match stream.read(&mut chunk) {
            Ok(0) if framing == Framing::UntilClosed => break,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(chunk.get(..len).unwrap_or_default());
        if answer.len() > ANSWER_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(answer)
}

/// A connection to what a path (`/run/x.sock`) or an address (`host:port`) names.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(path: &str, until: Instant) -> io::Result<Self> {
        if path.starts_with('/') {
            return UnixStream::connect(path).map(Self::Unix);
        }
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in path.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(until)?) {
                Ok(stream) => return Ok(Self::Tcp(stream)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Whether the answer is all there; refuses one that announces too much.
pub(super) fn is_whole(answer: &[u8], framing: Framing) -> io::Result<bool> {
    match (framing, answer.first_chunk::<PREFIX_LEN>()) {
        (Framing::UntilClosed, _) | (Framing::LengthPrefix, None) => Ok(false),
        (Framing::LengthPrefix, Some(prefix)) => {
            let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            if len > ANSWER_LEN_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(answer.len() >= PREFIX_LEN + len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A server that takes one request and answers with `answer`, then keeps the line open.
    fn ask_a_server_that_says(answer: &'static [u8], deadline: Duration) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.asok");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = [0; 3];
            peer.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"ask");
            peer.write_all(answer).unwrap();
            // Held open until the other side is done: no end of file tells the end.
            let _ = peer.read(&mut request);
        });
        let result = ask(path.to_str().unwrap(), b"ask", Framing::LengthPrefix, deadline);
        server.join().unwrap();
        result
    }

    #[test]
    fn a_framed_answer_is_whole_without_the_peer_closing() {
        let answer = ask_a_server_that_says(b"\0\0\0\x02{}", Duration::from_secs(20)).unwrap();
        assert_eq!(answer, b"\0\0\0\x02{}");
    }

    #[test]
    fn a_frame_larger_than_any_answer_is_refused_at_once() {
        let error = ask_a_server_that_says(b"\xff\xff\xff\xff", Duration::from_secs(20));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_peer_that_falls_silent_costs_the_deadline_only() {
        let error = ask_a_server_that_says(b"\0\0\0\x09{", Duration::from_millis(200));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn nobody_there_is_an_error() {
        let error = ask("/nonexistent.asok", b"", Framing::LengthPrefix, Duration::from_secs(1));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
