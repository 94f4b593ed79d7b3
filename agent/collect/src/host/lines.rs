//! Questions to many Unix sockets at the same time, without a thread for any.
//!
//! No call here blocks: a connection to a Unix socket is there at once or refused, and what is not
//! there to be read is waited for with all others together. A peer that was stopped takes
//! connections until its queue is full and answers none of them: it costs the deadline and nothing else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::socket::is_whole;
use super::{ANSWER_LEN_MAX, Framing};

/// How soon a peer whose queue is full is tried again.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Bytes asked for in one read: what the kernel keeps of one answer, more or less.
const READ_LEN: usize = 64 * 1024;

/// One socket, and the questions to it that are still to be answered.
struct Line<'a> {
    path: &'a str,
    /// Places in the list of questions.
    questions: VecDeque<usize>,
    /// The connection on which the first of them was asked.
    stream: Option<OwnedFd>,
    answer: Vec<u8>,
}

/// See [`Host::ask_all`](super::Host::ask_all).
pub(super) fn ask_all(
    asks: &[(&str, &[u8])],
    framing: Framing,
    deadline: Duration,
) -> Vec<io::Result<Vec<u8>>> {
    let until = Instant::now() + deadline;
    let mut results: Vec<Option<io::Result<Vec<u8>>>> = asks.iter().map(|_| None).collect();
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (at, (path, _)) in asks.iter().enumerate() {
        match lines.iter_mut().find(|line| line.path == *path) {
            Some(line) => line.questions.push_back(at),
            None => lines.push(Line {
                path,
                questions: VecDeque::from([at]),
                stream: None,
                answer: Vec::new(),
            }),
        }
    }
    loop {
        for line in &mut lines {
            line.begin(asks, &mut results);
        }
        lines.retain(|line| !line.questions.is_empty());
        let left = until.saturating_duration_since(Instant::now());
        if lines.is_empty() || left.is_zero() {
            break;
        }
        if let Err(error) = wait(&mut lines, left, framing, &mut results) {
            // The kernel is out of memory, or worse; nobody can be asked.
            tracing::debug!(%error, "sockets not waited for");
            break;
        }
    }
    let late = || Err(io::ErrorKind::TimedOut.into());
    results.into_iter().map(|result| result.unwrap_or_else(late)).collect()
}

/// Waits until a peer says something, or one with a full queue is to be tried again, and takes what
/// is there.
fn wait(
    lines: &mut [Line<'_>],
    left: Duration,
    framing: Framing,
    results: &mut [Option<io::Result<Vec<u8>>>],
) -> io::Result<()> {
    let is_full = lines.iter().any(|line| line.stream.is_none());
    let patience = if is_full { left.min(FULL_QUEUE_PAUSE) } else { left };
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut waiting = Vec::with_capacity(lines.len());
    let mut streams = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        if let Some(stream) = &line.stream {
            streams.push(PollFd::new(stream, PollFlags::IN));
            waiting.push(at);
        }
    }
    match poll(&mut streams, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready: Vec<usize> = waiting
        .into_iter()
        .zip(&streams)
        .filter(|(_, stream)| !stream.revents().is_empty())
        .map(|(at, _)| at)
        .collect();
    drop(streams);
    for at in ready {
        if let Some(line) = lines.get_mut(at)
            && let Some(result) = line.take(framing)
        {
            line.end(result, results);
        }
    }
    Ok(())
}

impl Line<'_> {
    /// Asks the next question if none is under way. When nobody is there, none of them is answered.
    fn begin(&mut self, asks: &[(&str, &[u8])], results: &mut [Option<io::Result<Vec<u8>>>]) {
        while self.stream.is_none()
            && let Some(&at) = self.questions.front()
        {
            let request = asks.get(at).map(|(_, request)| *request).unwrap_or_default();
            match connect(self.path, request) {
                Ok(stream) => self.stream = Some(stream),
                // Its queue is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.end(Err(error), results),
            }
        }
    }

    /// Takes what is there of the answer; something when that is all of it, or an error.
    fn take(&mut self, framing: Framing) -> Option<io::Result<Vec<u8>>> {
        let stream = self.stream.as_ref()?;
        loop {
            self.answer.reserve(READ_LEN);
            match rustix::io::read(stream, rustix::buffer::spare_capacity(&mut self.answer)) {
                Ok(0) if framing == Framing::UntilClosed => break,
                Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if self.answer.len() > ANSWER_LEN_MAX => {
                    return Some(Err(io::ErrorKind::FileTooLarge.into()));
                }
                Ok(_) => match is_whole(&self.answer, framing) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => return Some(Err(error)),
                },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
        Some(Ok(std::mem::take(&mut self.answer)))
    }

    /// Keeps the result of the question that is under way.
    fn end(&mut self, result: io::Result<Vec<u8>>, results: &mut [Option<io::Result<Vec<u8>>>]) {
        self.stream = None;
        self.answer.clear();
        if let Some(slot) = self.questions.pop_front().and_then(|at| results.get_mut(at)) {
            *slot = Some(result);
        }
    }
}

/// A connection on which `request` was sent. A request is a few bytes, which always have room in a
/// new connection.
fn connect(path: &str, request: &[u8]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(path)?)?;
    // Not by a plain write: a peer that has just gone would end this process by a signal.
    let sent = rustix::net::send(&stream, request, rustix::net::SendFlags::NOSIGNAL)?;
    if sent < request.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(300);

    /// A peer that answers each request of three bytes with those bytes in a frame.
    fn echo(listener: UnixListener) {
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                let (mut peer, mut request) = (peer.unwrap(), [0; 3]);
                if peer.read_exact(&mut request).is_ok() {
                    // In two parts, as long answers come.
                    peer.write_all(&[0, 0]).unwrap();
                    peer.write_all(&[[0, 3].as_slice(), &request].concat()).unwrap();
                }
            }
        });
    }

    #[test]
    fn a_peer_that_is_silent_holds_up_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let silent = UnixListener::bind(at("silent")).unwrap();
        echo(UnixListener::bind(at("well")).unwrap());
        drop(UnixListener::bind(at("dead")).unwrap());
        let (silent_path, well, dead) = (at("silent"), at("well"), at("dead"));
        let asks: [(&str, &[u8]); 6] = [
            (&silent_path, b"one"),
            (&well, b"two"),
            (&dead, b"thr"),
            (&well, b"fou"),
            (&dead, b"fiv"),
            ("/nonexistent.asok", b"six"),
        ];
        let results = ask_all(&asks, Framing::LengthPrefix, SHORT);
        let kinds: Vec<_> = results.iter().map(|it| it.as_ref().map_err(io::Error::kind)).collect();
        assert_eq!(kinds[0], Err(io::ErrorKind::TimedOut));
        assert_eq!(kinds[1], Ok(&b"\0\0\0\x03two".to_vec()));
        assert_eq!(kinds[2], Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(kinds[3], Ok(&b"\0\0\0\x03fou".to_vec()));
        assert_eq!(kinds[4], Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(kinds[5], Err(io::ErrorKind::NotFound));
        drop(silent);
    }

    /// One that was stopped for long has a full queue, which is no error of its own.
    #[test]
    fn a_full_queue_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s").to_str().unwrap().to_owned();
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&fd, &SocketAddrUnix::new(path.as_str()).unwrap()).unwrap();
        rustix::net::listen(&fd, 1).unwrap();
        let mut held = Vec::new();
        while let Ok(stream) = connect(&path, b"x") {
            held.push(stream);
            assert!(held.len() < 100, "the queue has an end");
        }
        let asks: [(&str, &[u8]); 1] = [(&path, b"one")];
        let result = ask_all(&asks, Framing::LengthPrefix, SHORT).remove(0);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Those who waited went away, and the peer goes on: it answers.
        drop(held);
        echo(UnixListener::from(fd));
        let result = ask_all(&asks, Framing::LengthPrefix, LONG).remove(0);
        assert_eq!(result.unwrap(), b"\0\0\0\x03one");
    }

    #[test]
    fn frames_that_are_cut_or_too_large_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        for (answer, kind) in [
            (b"\xff\xff\xff\xff".as_slice(), io::ErrorKind::FileTooLarge),
            (b"\0\0\0\x09{", io::ErrorKind::UnexpectedEof),
            (b"", io::ErrorKind::UnexpectedEof),
        ] {
            let path = dir.path().join(format!("{}", answer.len()));
            let listener = UnixListener::bind(&path).unwrap();
            let peer = std::thread::spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                peer.read_exact(&mut [0; 3]).unwrap();
                peer.write_all(answer).unwrap();
            });
            let asks: [(&str, &[u8]); 1] = [(path.to_str().unwrap(), b"ask")];
            let result = ask_all(&asks, Framing::LengthPrefix, LONG).remove(0);
            assert_eq!(result.unwrap_err().kind(), kind, "{answer:?}");
            peer.join().unwrap();
        }
    }
}
