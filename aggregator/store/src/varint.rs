//! Integers in as few bytes as they need, and a reader over bytes that never runs over the end.
//!
//! Unsigned integers are LEB128 (seven bits a byte, lowest first); signed ones are zigzagged
//! first, so that small negative numbers are short too. The layout is in
//! `docs/formats/store.md`.

/// The bytes end too early, or hold what no encoder wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Bytes of the longest varint.
pub(crate) const VARINT_LEN_MAX: usize = 10;

/// Appends an unsigned integer.
pub(crate) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

/// Appends a signed integer.
pub(crate) fn push_signed(out: &mut Vec<u8>, value: i64) {
    push(out, zigzag(value));
}

/// Maps 0, -1, 1, -2 … to 0, 1, 2, 3 ….
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

const fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed("byte"))?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        // Most integers of a good encoding are below 128.
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        let mut value = 0_u64;
        for (at, &byte) in self.rest.iter().take(VARINT_LEN_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == VARINT_LEN_MAX - 1 && byte > 1 {
                return Err(Malformed("varint"));
            }
            value |= bits << (7 * at);
            if byte < 0x80 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Malformed("varint"))
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// A length or a count; what is larger than `max` was not written by us.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        let value = usize::try_from(self.varint()?).map_err(|_| Malformed("count"))?;
        if value <= max { Ok(value) } else { Err(Malformed("count")) }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("number"))
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed("word"))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed("length"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        let len = self.count(max)?;
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Malformed("text"))
    }
}

/// The checksum of some numbers and bytes, such as a row's key and its content: with the key in
/// it, a row that took another's place is found out.
pub(crate) fn checksum(numbers: &[i64], bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for number in numbers {
        crc.update(&number.to_le_bytes());
    }
    crc.update(bytes);
    crc.finalize()
}

/// Appends the [`checksum`] of `key` and all that is in `out`.
pub(crate) fn seal(key: i64, out: &mut Vec<u8>) {
    let crc = checksum(&[key], out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What [`seal`] was given, when the checksum is right.
pub(crate) fn unseal(key: i64, bytes: &[u8]) -> Result<&[u8], Malformed> {
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or(Malformed("checksum"))?;
    if checksum(&[key], content) == u32::from_le_bytes(*crc) {
        Ok(content)
    } else {
        Err(Malformed("checksum"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cut_and_overlong_varints_are_refused() {
        assert!(Reader::new(&[]).varint().is_err());
        assert!(Reader::new(&[0x80]).varint().is_err());
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        let mut max = Vec::new();
        push(&mut max, u64::MAX);
        assert_eq!(Reader::new(&max).varint(), Ok(u64::MAX));
        max[9] = 2;
        assert!(Reader::new(&max).varint().is_err(), "more than 64 bits");
    }

    #[test]
    fn a_sealed_row_is_bound_to_its_key() {
        let mut row = b"abc".to_vec();
        seal(7, &mut row);
        assert_eq!(unseal(7, &row), Ok(&b"abc"[..]));
        assert!(unseal(8, &row).is_err());
        row[1] ^= 1;
        assert!(unseal(7, &row).is_err());
        assert!(unseal(7, b"ab").is_err());
    }

    proptest! {
        #[test]
        fn round_trip(unsigned in any::<u64>(), signed in any::<i64>(), shift in 0_u32..64) {
            let unsigned = unsigned >> shift;
            let signed = signed >> shift;
            let mut out = Vec::new();
            push(&mut out, unsigned);
            push_signed(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(unsigned));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert!(reader.is_empty());
        }
    }
}
