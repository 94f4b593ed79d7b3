//! What the kernel says of network interfaces over a route netlink socket: requests, the frames of
//! an answer, [links](link) and the [VLANs of bridges](bridge).
//!
//! An answer is a row of messages, a message a header and a row of attributes, each of which says
//! its own length; numbers are in the byte order of the machine. Values lend from the answer, so
//! that reading hundreds of interfaces allocates nothing.
//!
//! A length that does not fit is an error: whatever sent it is not the kernel. An attribute that is
//! not known is passed over, and one that is shorter than its number is absent: kernels differ in
//! what they know. Not here: the socket.

pub mod bridge;
pub mod link;

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

/// The bits of an attribute's kind that are not its number.
const KIND_FLAGS: u16 = 0xc000;

/// Bytes of an attribute's header.
const ATTRIBUTE_HEADER_LEN: usize = 4;

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

/// The kind of an attribute and what it holds.
type Attribute<'a> = (u16, &'a [u8]);

/// A row of attributes: their kinds and what they hold. After an error there is nothing more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = attribute(self.0);
        self.0 = taken.map_or(&[], |(_, rest)| rest);
        Some(taken.map(|(attribute, _)| attribute).ok_or(broken("whole attribute")))
    }
}

fn attribute(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let len = usize::from(number_at(bytes, 0).map(u16::from_ne_bytes)?);
    let kind = number_at(bytes, 2).map(u16::from_ne_bytes)? & !KIND_FLAGS;
    Some(((kind, bytes.get(ATTRIBUTE_HEADER_LEN..len)?), after(bytes, len)))
}

/// What follows the first `len` bytes and the room to the next multiple of [`ALIGN`].
fn after(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or_default()
}

fn broken(missing: &'static str) -> ParseError {
    ParseError::Missing { what: "netlink answer", missing }
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u8_of(value: &[u8]) -> Option<u8> {
    value.first().copied()
}

fn u16_of(value: &[u8]) -> Option<u16> {
    number_at(value, 0).map(u16::from_ne_bytes)
}

fn u32_of(value: &[u8]) -> Option<u32> {
    number_at(value, 0).map(u32::from_ne_bytes)
}

fn u64_of(value: &[u8]) -> Option<u64> {
    number_at(value, 0).map(u64::from_ne_bytes)
}

/// A text that ends at its first NUL; absent when it is not UTF-8.
fn text_of(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(value.get(..end)?).ok()
}

/// A request for all there is of `kind`: its header, the fixed part and one number as attribute.
/// Its sequence number is 1.
fn dump_request(kind: u16, fixed: &[u8], attribute: u16, value: u32) -> Vec<u8> {
    /// The length of an attribute with a number of 32 bits.
    const ATTRIBUTE_LEN: u16 = 8;
    let len = HEADER_LEN + fixed.len() + usize::from(ATTRIBUTE_LEN);
    let mut bytes = Vec::with_capacity(len);
    // Both fixed parts have a few bytes.
    bytes.extend(u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(fixed);
    bytes.extend(ATTRIBUTE_LEN.to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value.to_ne_bytes());
    bytes
}
