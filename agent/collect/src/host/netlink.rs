//! One question to the kernel over a route netlink socket.
//!
//! The kernel works out its answer piece by piece, as it is read. When something changes meanwhile, it
//! says so, and the question is asked again.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use labstat_parse::rtnetlink::{self, ALIGN};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt,
};

/// Bytes asked for in one read. The kernel puts no more than 32 KiB into one piece.
const READ_LEN: usize = 64 * 1024;

/// Bytes of a whole answer: an interface has under 2 KiB, and a port with all 4,094 VLANs and
/// their counters 500 KiB.
const ANSWER_LEN_MAX: usize = 32 * 1024 * 1024;

/// How often a question is asked while things change. Where interfaces come and go all the time, the
/// last answer is as good as the next one would be: it may lack one or tell of it twice, and
/// what it tells of each is whole.
const TRIES: usize = 3;

/// Routes and interfaces have the number 0 among the protocols, which is said by saying nothing.
const ROUTE: Option<Protocol> = None;

/// The kernel's address; other programs could send to the socket as well.
const KERNEL: u32 = 0;

/// Whether an answer is what was there at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Whole,
    Interrupted,
}

/// Sends a request for all there is of something and takes the messages of the answer, which
/// replace what is in `into`.
pub(super) fn ask(request: &[u8], deadline: Duration, into: &mut Vec<u8>) -> io::Result<()> {
    let until = Instant::now() + deadline;
    for rest in (0..TRIES).rev() {
        match ask_once(request, until, into) {
            Ok(Answer::Whole) => return Ok(()),
            Ok(Answer::Interrupted) if rest == 0 => return Ok(()),
            Ok(Answer::Interrupted) => {}
            // The kernel had no room for a piece of its answer, which is lost.
            Err(Errno::NOBUFS) if rest > 0 => {}
            Err(error) => return Err(kind_of(error)),
        }
    }
    Ok(())
}

/// Kernels and sandboxes that have no such socket, or not this question, say so in many ways.
fn kind_of(error: Errno) -> io::Error {
    match error {
        Errno::AFNOSUPPORT
        | Errno::PROTONOSUPPORT
        | Errno::OPNOTSUPP
        | Errno::NOSYS
        | Errno::PERM
        | Errno::ACCESS => io::Error::new(io::ErrorKind::Unsupported, error),
        Errno::AGAIN => io::ErrorKind::TimedOut.into(),
        error => error.into(),
    }
}

fn ask_once(request: &[u8], until: Instant, into: &mut Vec<u8>) -> Result<Answer, Errno> {
    into.clear();
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Errno::AGAIN);
    }
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        ROUTE,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(left))?;
    rustix::net::sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(KERNEL, 0))?;
    let mut answer = Answer::Whole;
    loop {
        let start = into.len();
        if !receive(&socket, into)? {
            continue;
        }
        for message in rtnetlink::messages(into.get(start..).unwrap_or_default()) {
            let message = message.map_err(|_| Errno::BADMSG)?;
            if message.flags & rtnetlink::INTERRUPTED != 0 {
                answer = Answer::Interrupted;
            }
            if matches!(message.kind, rtnetlink::DONE | rtnetlink::ERROR) {
                return match message.error_number() {
                    0 => Ok(answer),
                    number => Err(Errno::from_raw_os_error(number)),
                };
            }
        }
        if into.len() > ANSWER_LEN_MAX {
            return Err(Errno::FBIG);
        }
        if Instant::now() > until {
            return Err(Errno::AGAIN);
        }
    }
}

/// Adds the next piece to `into`; not one that somebody else sent.
fn receive(socket: &OwnedFd, into: &mut Vec<u8>) -> Result<bool, Errno> {
    let start = into.len();
    into.reserve(READ_LEN);
    let room = into.capacity() - start;
    // With this flag, the length is that of the piece, whether there was room for it or not.
    let received =
        rustix::net::recvfrom(socket, rustix::buffer::spare_capacity(into), RecvFlags::TRUNC);
    let (_, len, from) = match received {
        Err(Errno::INTR) => return Ok(false),
        received => received?,
    };
    if len > room {
        return Err(Errno::MSGSIZE);
    }
    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
    if from.is_none_or(|from| from.pid() != KERNEL) {
        into.truncate(start);
        return Ok(false);
    }
    // The next piece begins where a message may begin.
    into.resize(into.len().next_multiple_of(ALIGN), 0);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_kernel_tells_of_its_interfaces() {
        let mut answer = b"what was there before".to_vec();
        ask(&rtnetlink::link::request(), LONG, &mut answer).unwrap();
        let names: Vec<_> =
            rtnetlink::link::links(&answer).map(|link| link.unwrap().name.to_owned()).collect();
        assert!(names.contains(&"lo".to_owned()), "{names:?}");
    }

    #[test]
    fn a_question_that_the_kernel_does_not_know_is_unsupported() {
        let mut request = rtnetlink::link::request();
        // No message of routes has this number.
        request[4..6].copy_from_slice(&9_999_u16.to_ne_bytes());
        let error = ask(&request, LONG, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    }

    #[test]
    fn no_time_is_an_error_at_once() {
        let error = ask(&rtnetlink::link::request(), Duration::ZERO, &mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_another_program_sends_is_no_answer() {
        let socket = || {
            rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                ROUTE,
            )
            .unwrap()
        };
        let (ours, theirs) = (socket(), socket());
        rustix::net::bind(&ours, &SocketAddrNetlink::new(0, 0)).unwrap();
        let at = rustix::net::getsockname(&ours).unwrap();
        // Only root may.
        if rustix::net::sendto(&theirs, &[0; 16], SendFlags::empty(), &at).is_ok() {
            let mut into = Vec::new();
            assert_eq!(receive(&ours, &mut into), Ok(false));
            assert!(into.is_empty());
        }
    }
}
