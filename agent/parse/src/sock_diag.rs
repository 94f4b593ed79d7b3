//! TCP's sockets as the kernel tells them over a netlink socket for that (`NETLINK_SOCK_DIAG`), counted.
//!
//! The same as in [`crate::proc::tcp`], from the same places of the kernel, for a fraction of the
//! work: it writes no line for each socket, and passes over what is empty of its table. What a
//! message has beyond state and queues is not looked at; nothing is kept of a socket.
//!
//! Not here: the socket that is asked.

use crate::ParseError;
use crate::netlink::{Message, broken, dump_request, number_at};
use crate::proc::tcp::Tcp;

/// `SOCK_DIAG_BY_FAMILY`: the kind of the question and of each message of its answer.
const BY_FAMILY: u16 = 20;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// The states that are wanted, a bit for the number of each: 1 to 12. The thirteenth, of sockets
/// that have a port and do nothing, is not in the files either.
const STATES: u32 = 0x1ffe;

/// Bytes that say which socket is wanted; all 0 is any.
const SOCKET_ID_LEN: usize = 48;

/// Where a message has the socket's state, a byte, and its queues, 32 bits each.
const STATE_AT: usize = 1;
const RECEIVED_AT: usize = 56;
const SENT_AT: usize = 60;

/// The two kinds of addresses, whose sockets are asked for one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4, as in `/proc/net/tcp`.
    V4 = 2,
    /// IPv6, as in `/proc/net/tcp6`.
    V6 = 10,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// A request for all TCP sockets of a family.
pub fn request(family: Family) -> Vec<u8> {
    // No extensions are wanted.
    let mut payload = vec![family as u8, TCP, 0, 0];
    payload.extend(STATES.to_ne_bytes());
    payload.extend([0; SOCKET_ID_LEN]);
    dump_request(BY_FAMILY, &payload)
}

/// Adds the socket of a message; whether it was one of a socket.
///
/// # Errors
/// A message that ends before its queues, or a state that is not known.
pub fn count(message: &Message<'_>, tcp: &mut Tcp) -> Result<bool, ParseError> {
    if message.kind != BY_FAMILY {
        return Ok(false);
    }
    let queue =
        |at| number_at(message.payload, at).map(|bytes| u64::from(u32::from_ne_bytes(bytes)));
    let state = message.payload.get(STATE_AT).copied().map(usize::from);
    let (Some(state), Some(received), Some(sent)) = (state, queue(RECEIVED_AT), queue(SENT_AT))
    else {
        return Err(broken("whole socket"));
    };
    tcp.add_socket(state, received, sent).ok_or(broken("known state of a socket"))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::{DONE, messages};
    use crate::proc::tcp;

    fn socket(state: u8, received: u32, sent: u32) -> Vec<u8> {
        let mut bytes = vec![Family::V4 as u8, state];
        bytes.resize(RECEIVED_AT, 0xee);
        bytes.extend(received.to_ne_bytes());
        bytes.extend(sent.to_ne_bytes());
        // Owner, inode, and an attribute that nobody asked for.
        bytes.extend([0xee; 16]);
        dump_request(BY_FAMILY, &bytes)
    }

    fn counted(bytes: &[u8]) -> Result<Tcp, ParseError> {
        let mut tcp = Tcp::default();
        for message in messages(bytes) {
            count(&message?, &mut tcp)?;
        }
        Ok(tcp)
    }

    #[test]
    fn states_and_queues() {
        let mut bytes = [socket(10, 3, 128), socket(1, 15, 0xa40), socket(12, 0, 0)].concat();
        bytes.extend(dump_request(DONE, &[0; 4]));
        let tcp = counted(&bytes).unwrap();
        assert_eq!((tcp.sent_bytes, tcp.received_bytes), (0xa40, 15), "none of the listening one");
        assert_eq!(tcp.states, [1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_state_that_is_not_known_is_an_error() {
        for state in [0, 13, 255] {
            assert!(counted(&socket(state, 0, 0)).is_err(), "{state}");
        }
    }

    #[test]
    fn a_message_that_ends_early_is_an_error() {
        let whole = socket(1, 1, 1);
        let message = messages(&whole).next().unwrap().unwrap();
        for end in 0..RECEIVED_AT + 8 {
            let cut = Message { payload: &message.payload[..end], ..message };
            assert!(count(&cut, &mut Tcp::default()).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_asked_for_is_every_socket_of_a_family() {
        let bytes = request(Family::V6);
        let message = messages(&bytes).next().unwrap().unwrap();
        assert_eq!((message.kind, message.payload.len()), (20, 56));
        assert_eq!(message.payload[..4], [10, 6, 0, 0]);
        let states = u32::from_ne_bytes(message.payload[4..8].try_into().unwrap());
        assert_eq!(states.count_ones() as usize, tcp::STATES.len() + 1, "and the new SYN_RECV");
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = counted(&bytes);
        }

        #[test]
        fn a_damaged_answer_is_counted_or_an_error(
            at in 0_usize..200, byte: u8, cut in 0_usize..200,
        ) {
            let mut bytes = [socket(1, 2, 3), socket(8, 5, 8)].concat();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            if let Ok(tcp) = counted(&bytes) {
                prop_assert!(tcp.states.iter().sum::<u64>() <= 2);
            }
        }
    }
}
