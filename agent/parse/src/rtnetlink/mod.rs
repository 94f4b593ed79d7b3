//! What the kernel says of network interfaces over a route netlink socket: requests,
//! [links](link) and the [VLANs of bridges](bridge).
//!
//! The [messages](crate::netlink) of an answer are rows of attributes, each of which says its own
//! length. Values lend from the answer, so that reading hundreds of interfaces allocates nothing.
//!
//! A length that does not fit is an error: whatever sent it is not the kernel. An attribute that is
//! not known is passed over, and one that is shorter than its number is absent: kernels differ in
//! what they know. Not here: the socket.

pub mod bridge;
pub mod link;

use crate::ParseError;
use crate::netlink::{self, after, broken, messages, number_at};

/// The bits of an attribute's kind that are not its number.
const KIND_FLAGS: u16 = 0xc000;

/// Bytes of an attribute's header.
const ATTRIBUTE_HEADER_LEN: usize = 4;

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

/// A request for all there is of `kind`: the fixed part and one number as attribute.
fn dump_request(kind: u16, fixed: &[u8], attribute: u16, value: u32) -> Vec<u8> {
    /// The length of an attribute with a number of 32 bits.
    const ATTRIBUTE_LEN: u16 = 8;
    let mut payload = fixed.to_vec();
    payload.extend(ATTRIBUTE_LEN.to_ne_bytes());
    payload.extend(attribute.to_ne_bytes());
    payload.extend(value.to_ne_bytes());
    netlink::dump_request(kind, &payload)
}
