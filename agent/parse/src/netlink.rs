//! The frames of what is asked and answered over netlink, whichever of its protocols is spoken.
//!
//! An answer is a row of messages, each of which says its own length; numbers are in the byte order
//! of the machine. A length that does not fit is an error: whatever sent it is not the kernel.
//!
//! Not here: what is in a message ([`crate::rtnetlink`], [`crate::sock_diag`]), and the socket.

use crate::ParseError;

/// Bytes of a message's header.
pub const HEADER_LEN: usize = 16;

/// Messages and attributes begin at multiples of this many bytes.
pub const ALIGN: usize = 4;

/// The last message of an answer of several.
pub const DONE: u16 = 3;
/// A refusal, or, with the number 0, a receipt.
pub const ERROR: u16 = 2;
/// The flag of an answer during which something changed, so that it may lack an interface or tell
/// of one twice.
pub const INTERRUPTED: u16 = 0x10;

/// The flags of a request for all there is.
const DUMP: u16 = 0x301;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is: a `RTM_*` number, [`DONE`] or [`ERROR`].
    pub kind: u16,
    /// Flags, such as [`INTERRUPTED`].
    pub flags: u16,
    /// The number of the request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The error number of a [`DONE`] or an [`ERROR`]; 0 is none.
    pub fn error_number(&self) -> i32 {
        self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes).saturating_neg())
    }
}

/// The messages in `bytes`, in their order. After an error there is nothing more.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages(bytes)
}

/// See [`messages`].
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = message(self.0);
        self.0 = taken.map_or(&[], |(_, rest)| rest);
        Some(taken.map(|(message, _)| message).ok_or(broken("whole message")))
    }
}

fn message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let len = usize::try_from(number_at::<4>(bytes, 0).map(u32::from_ne_bytes)?).ok()?;
    let message = Message {
        kind: number_at(bytes, 4).map(u16::from_ne_bytes)?,
        flags: number_at(bytes, 6).map(u16::from_ne_bytes)?,
        sequence: number_at(bytes, 8).map(u32::from_ne_bytes)?,
        payload: bytes.get(HEADER_LEN..len)?,
    };
    Some((message, after(bytes, len)))
}

/// What follows the first `len` bytes and the room to the next multiple of [`ALIGN`].
pub(crate) fn after(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or_default()
}

pub(crate) fn broken(missing: &'static str) -> ParseError {
    ParseError::Missing { what: "netlink answer", missing }
}

pub(crate) fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A request for all there is of `kind`: its header and `payload`. Its sequence number is 1.
pub(crate) fn dump_request(kind: u16, payload: &[u8]) -> Vec<u8> {
    let len = HEADER_LEN + payload.len();
    let mut bytes = Vec::with_capacity(len);
    // A payload has some fifty bytes.
    bytes.extend(u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(payload);
    bytes
}
