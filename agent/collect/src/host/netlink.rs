//! One question to the kernel over a netlink socket.
//!
//! The kernel works out its answer piece by piece, as it is read. When something changes meanwhile, it
//! says so, and the question is asked again. What is made of the pieces is a [`Taker`]'s: they are
//! [kept](ask) where all of them are wanted, and looked at and forgotten where they are
//! [counted](tcp_sockets), so that a hundred thousand sockets take no more room than one.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use labstat_parse::netlink::{self, ALIGN, Message};
use labstat_parse::proc::tcp::Tcp;
use labstat_parse::sock_diag;
use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt,
};

/// Bytes asked for in one read. The kernel puts no more than 32 KiB into one piece.
const READ_LEN: usize = 64 * 1024;

/// Bytes of a whole answer that is kept: an interface has under 2 KiB, and a port with all 4,094
/// VLANs and their counters 500 KiB.
const ANSWER_LEN_MAX: usize = 32 * 1024 * 1024;

/// How often a question is asked while things change. Where interfaces come and go all the time, the
/// last answer is as good as the next one would be: it may lack one or tell of it twice, and
/// what it tells of each is whole.
const TRIES: usize = 3;

/// Routes and interfaces have the number 0 among the protocols, which is said by saying nothing.
const ROUTE: Option<Protocol> = None;

/// The kernel's address; other programs could send to the socket as well.
const KERNEL: u32 = 0;

/// What is asked, and of whom.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    protocol: Option<Protocol>,
    request: &'a [u8],
    until: Instant,
}

/// Whether an answer is what was there at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Whole,
    Interrupted,
}

/// What is made of an answer.
trait Taker {
    /// Whether its pieces stay in the buffer, one behind the other.
    const KEEPS: bool;

    /// Forgets what was taken: the question is asked (again).
    fn begin(&mut self);

    /// Takes the next message.
    fn take(&mut self, message: &Message<'_>) -> Result<(), Errno>;
}

/// Keeps the answer as it is.
#[derive(Debug)]
struct Keep;

impl Taker for Keep {
    const KEEPS: bool = true;

    fn begin(&mut self) {}

    fn take(&mut self, _: &Message<'_>) -> Result<(), Errno> {
        Ok(())
    }
}

impl Taker for Tcp {
    const KEEPS: bool = false;

    fn begin(&mut self) {
        *self = Self::default();
    }

    fn take(&mut self, message: &Message<'_>) -> Result<(), Errno> {
        sock_diag::count(message, self).map(|_| ()).map_err(|_| Errno::BADMSG)
    }
}

/// Sends a request for all there is of something to route netlink and takes the messages of the
/// answer, which replace what is in `into`.
pub(super) fn ask(request: &[u8], deadline: Duration, into: &mut Vec<u8>) -> io::Result<()> {
    let question = Question { protocol: ROUTE, request, until: Instant::now() + deadline };
    until_whole(|| ask_once(question, into, &mut Keep)).map_err(kind_of)
}

/// Counts all TCP sockets; `buffer` is room for the pieces of the answers.
pub(super) fn tcp_sockets(deadline: Duration, buffer: &mut Vec<u8>) -> io::Result<Tcp> {
    let until = Instant::now() + deadline;
    let mut all = Tcp::default();
    for family in sock_diag::Family::ALL {
        let request = sock_diag::request(family);
        let question = Question { protocol: Some(SOCK_DIAG), request: &request, until };
        let mut tcp = Tcp::default();
        until_whole(|| ask_once(question, buffer, &mut tcp)).map_err(|error| match error {
            // A kernel without this part for TCP, and one older than the question.
            Errno::NOENT | Errno::INVAL => io::Error::new(io::ErrorKind::Unsupported, error),
            error => kind_of(error),
        })?;
        all.join(&tcp);
    }
    Ok(all)
}

/// Asks until nothing changes during the answer, or often enough.
fn until_whole(mut once: impl FnMut() -> Result<Answer, Errno>) -> Result<(), Errno> {
    for rest in (0..TRIES).rev() {
        match once() {
            Ok(Answer::Whole) => return Ok(()),
            Ok(Answer::Interrupted) if rest == 0 => return Ok(()),
            Ok(Answer::Interrupted) => {}
            // The kernel had no room for a piece of its answer, which is lost.
            Err(Errno::NOBUFS) if rest > 0 => {}
            Err(error) => return Err(error),
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

fn ask_once<T: Taker>(
    question: Question<'_>,
    into: &mut Vec<u8>,
    taker: &mut T,
) -> Result<Answer, Errno> {
    into.clear();
    taker.begin();
    let Question { protocol, request, until } = question;
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Errno::AGAIN);
    }
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(left))?;
    rustix::net::sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(KERNEL, 0))?;
    let mut answer = Answer::Whole;
    loop {
        let start = into.len();
        if !receive(&socket, into)? {
            continue;
        }
        if hear(into.get(start..).unwrap_or_default(), taker, &mut answer)? {
            return Ok(answer);
        }
        if !T::KEEPS {
            into.clear();
        }
        if into.len() > ANSWER_LEN_MAX {
            return Err(Errno::FBIG);
        }
        if Instant::now() > until {
            return Err(Errno::AGAIN);
        }
    }
}

/// Takes the messages of a piece; whether the last of the answer was among them.
fn hear(piece: &[u8], taker: &mut impl Taker, answer: &mut Answer) -> Result<bool, Errno> {
    for message in netlink::messages(piece) {
        let message = message.map_err(|_| Errno::BADMSG)?;
        if message.flags & netlink::INTERRUPTED != 0 {
            *answer = Answer::Interrupted;
        }
        if matches!(message.kind, netlink::DONE | netlink::ERROR) {
            return match message.error_number() {
                0 => Ok(true),
                number => Err(Errno::from_raw_os_error(number)),
            };
        }
        taker.take(&message)?;
    }
    Ok(false)
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
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use labstat_parse::proc::tcp::STATES;
    use labstat_parse::rtnetlink;

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

    #[test]
    fn an_answer_during_which_something_changed_is_asked_for_again_from_the_start() {
        let asked = |answers: &[Result<Answer, Errno>]| {
            let (mut rest, mut count) = (answers.iter(), 0);
            let ended = until_whole(|| {
                count += 1;
                *rest.next().unwrap()
            });
            (ended, count)
        };
        let (whole, torn, lost) = (Ok(Answer::Whole), Ok(Answer::Interrupted), Err(Errno::NOBUFS));
        assert_eq!(asked(&[whole]), (Ok(()), 1));
        assert_eq!(asked(&[torn, lost, whole]), (Ok(()), 3));
        assert_eq!(asked(&[torn, torn, torn]), (Ok(()), TRIES));
        assert_eq!(asked(&[lost, lost, lost]), (Err(Errno::NOBUFS), TRIES));
        assert_eq!(asked(&[torn, Err(Errno::NOENT)]), (Err(Errno::NOENT), 2));
    }

    /// A message of a socket that is established and has a byte in each queue.
    fn socket_message(flags: u16) -> Vec<u8> {
        let mut message = sock_diag::request(sock_diag::Family::V4);
        message.resize(16 + 72, 0);
        message[..4].copy_from_slice(&88_u32.to_ne_bytes());
        message[6..8].copy_from_slice(&flags.to_ne_bytes());
        message[17] = 1;
        message[72] = 1;
        message[76] = 1;
        message
    }

    #[test]
    fn a_piece_says_that_it_is_torn_that_it_is_the_last_and_what_went_wrong() {
        let done = |number: i32| {
            let mut message = vec![20, 0, 0, 0];
            message.extend(netlink::DONE.to_ne_bytes());
            message.resize(16, 0);
            message.extend((-number).to_ne_bytes());
            message
        };
        let heard = |piece: &[u8]| {
            let (mut tcp, mut answer) = (Tcp::default(), Answer::Whole);
            hear(piece, &mut tcp, &mut answer).map(|is_last| (is_last, answer, tcp.states[0]))
        };
        let one = socket_message(2);
        assert_eq!(heard(&[one.clone(), one.clone()].concat()), Ok((false, Answer::Whole, 2)));
        let torn = [socket_message(netlink::INTERRUPTED), done(0)].concat();
        assert_eq!(heard(&torn), Ok((true, Answer::Interrupted, 1)));
        assert_eq!(heard(&done(2)), Err(Errno::NOENT));
        assert_eq!(heard(&one[..60]), Err(Errno::BADMSG));
        let mut foreign = one;
        foreign[17] = 77;
        assert_eq!(heard(&foreign), Err(Errno::BADMSG));
    }

    #[test]
    fn thousands_of_sockets_are_counted_in_the_room_of_one_piece() {
        const COUNT: u64 = 2_000;
        let listeners = [
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap(),
        ];
        for at in 0..COUNT {
            let listener = &listeners[usize::from(at % 2 == 1)];
            // The one who closes first has the socket that waits.
            drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            drop(listener.accept().unwrap());
        }
        let mut buffer = Vec::new();
        let tcp = match tcp_sockets(LONG, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("SKIPPED: no sock_diag here: {error}");
                return;
            }
            tcp => tcp.unwrap(),
        };
        let time_wait = STATES.iter().position(|state| *state == "time_wait").unwrap();
        assert!(tcp.states[time_wait] >= COUNT, "{tcp:?}");
        assert!(tcp.states[9] >= 2, "{tcp:?}");
        assert!(buffer.capacity() <= 2 * READ_LEN, "{}", buffer.capacity());
    }

    #[test]
    fn sockets_that_are_not_told_in_time_are_an_error() {
        let error = tcp_sockets(Duration::ZERO, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
