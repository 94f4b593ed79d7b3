//! `/proc/net/{tcp,tcp6}`: TCP's sockets, counted. [`crate::sock_diag`] counts the same without files.

use super::{bad, fields, lines};
use crate::ParseError;

/// The states by the kernel's number less one.
pub const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

/// The kernel's number of a socket that waits for connections.
const LISTEN: usize = 10;

/// A request for a connection that has no socket of its own yet, to whom asks it is one that was
/// received.
const NEW_SYN_RECV: usize = 12;
const SYN_RECV: usize = 3;

/// How many sockets there are, and what waits in their queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sockets in each of the [`STATES`].
    pub states: [u64; STATES.len()],
    /// Bytes that programs have not taken yet.
    pub received_bytes: u64,
    /// Bytes that the other side has not acknowledged yet.
    pub sent_bytes: u64,
}

impl Tcp {
    /// Adds the sockets of a file.
    ///
    /// Queues of sockets that listen are left out: they are of connections and not of bytes.
    ///
    /// # Errors
    /// A line that is no socket's, or a state that is not known. A file without headings: that there is
    /// no socket in it does not say that there is none.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        if !bytes.trim_ascii_start().starts_with(b"sl ") {
            let found = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Err(bad("net/tcp", 1, found));
        }
        for (at, text) in lines(bytes).skip(1) {
            self.add_line(text).ok_or_else(|| bad("net/tcp", at, text))?;
        }
        Ok(())
    }

    /// Adds what was counted elsewhere.
    pub fn join(&mut self, other: &Self) {
        for (count, more) in self.states.iter_mut().zip(other.states) {
            *count += more;
        }
        self.received_bytes = self.received_bytes.saturating_add(other.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
    }

    fn add_line(&mut self, text: &[u8]) -> Option<()> {
        let mut fields = fields(text).skip(3);
        let state = usize::try_from(hex(fields.next()?)?).ok()?;
        let queues = fields.next()?;
        let colon = queues.iter().position(|byte| *byte == b':')?;
        let (sent, received) = (hex(queues.get(..colon)?)?, hex(queues.get(colon + 1..)?)?);
        self.add_socket(state, received, sent)
    }

    /// Adds a socket in the state of this number; nothing when no state has it.
    pub(crate) fn add_socket(&mut self, state: usize, received: u64, sent: u64) -> Option<()> {
        let state = if state == NEW_SYN_RECV { SYN_RECV } else { state };
        let count = self.states.get_mut(state.checked_sub(1)?)?;
        *count += 1;
        if state != LISTEN {
            self.sent_bytes = self.sent_bytes.saturating_add(sent);
            self.received_bytes = self.received_bytes.saturating_add(received);
        }
        Some(())
    }
}

/// A number of at most eight hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |number, byte| Some(number * 16 + u64::from(char::from(*byte).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n";

    fn socket(rest: &str) -> String {
        format!("{HEAD}   0: 0100007F:4AA7 00000000:0000 {rest} 00:00000000 00000000 0 0 1\n")
    }

    #[test]
    fn states_and_queues() {
        let mut tcp = Tcp::default();
        for rest in ["0A 00000080:00000003", "01 00000A40:0000000f", "0C 00000000:00000000"] {
            tcp.add(socket(rest).as_bytes()).unwrap();
        }
        assert_eq!((tcp.sent_bytes, tcp.received_bytes), (0xa40, 15), "none of the listening one");
        assert_eq!(tcp.states, [1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0]);
        tcp.add(HEAD.as_bytes()).unwrap();
        assert_eq!(tcp.states.iter().sum::<u64>(), 3);
    }

    #[test]
    fn a_cut_or_foreign_line_is_an_error() {
        for rest in ["01 00000A40", "0D 0:0", "00 0:0", "1 x:0", "01 000000000:0", "01 :"] {
            assert!(Tcp::default().add(socket(rest).as_bytes()).is_err(), "{rest}");
        }
        let whole = socket("01 00000A40:00000000");
        for end in [HEAD.len() + 5, HEAD.len() + 33, HEAD.len() + 40] {
            assert!(Tcp::default().add(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
