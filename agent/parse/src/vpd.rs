//! Pages of vital product data of SCSI devices, as sysfs hands them over: the serial number (page
//! 80h) and what an ATA disk behind a translation says of itself (page 89h).
//!
//! The kernel reads the pages when it finds the disk, so that looking at them asks and wakes nothing.
//! Lengths and layouts are those of SPC-4 and SAT-3, words of the identity those of ACS-3.

/// Bytes before the content of a page: device type, page, and two of its length.
const HEAD_LEN: usize = 4;

/// Where the disk's own data begin in page 89h.
const IDENTIFY_AT: usize = 60;

/// What an ATA disk says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtaIdentity {
    /// Model, without spaces around it.
    pub model: String,
    /// Serial number, without spaces around it.
    pub serial: String,
    /// World wide name; absent where the disk has none.
    pub wwn: Option<u64>,
}

/// The serial number in page 80h, without spaces around it; absent when there is none or when this is
/// another page.
pub fn serial_number(page: &[u8]) -> Option<String> {
    text(content(page, 0x80)?)
}

/// The identity in page 89h; absent when the page is another one, is cut off, or has no model.
pub fn ata_identity(page: &[u8]) -> Option<AtaIdentity> {
    content(page, 0x89)?;
    let words: Vec<u16> = page
        .get(IDENTIFY_AT..IDENTIFY_AT + 512)?
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(*pair.first_chunk()?)))
        .collect();
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let string = |from: usize, to: usize| {
        let range = words.get(from..to).unwrap_or_default();
        let bytes: Vec<u8> = range.iter().flat_map(|word| word.to_be_bytes()).collect();
        text(&bytes)
    };
    let wwn = (108..112).fold(0, |wwn: u64, at| (wwn << 16) | u64::from(word(at)));
    // Bits 15 and 14 of word 87 are 01 where its other bits mean something.
    let has_wwn = word(87) & 0xc100 == 0x4100;
    Some(AtaIdentity {
        model: string(27, 47)?,
        serial: string(10, 20).unwrap_or_default(),
        wwn: Some(wwn).filter(|wwn| has_wwn && *wwn != 0),
    })
}

/// What is in a page of this number, as long as it says and is.
fn content(page: &[u8], number: u8) -> Option<&[u8]> {
    let (head, rest) = page.split_first_chunk::<HEAD_LEN>()?;
    let [_, found, high, low] = *head;
    let len = usize::from(u16::from_be_bytes([high, low]));
    (found == number).then(|| rest.get(..len).unwrap_or(rest))
}

/// Printable text without spaces and zeros around it; absent where nothing is left, or noise.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.trim_matches(|c: char| c == ' ' || c == '\0');
    let clean = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    clean.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page 89h of a disk with these words of its identity.
    fn page_89(words: &[(usize, &str)], numbers: &[(usize, u16)]) -> Vec<u8> {
        let mut page = vec![0; IDENTIFY_AT + 512];
        page[1..4].copy_from_slice(&[0x89, 0x02, 0x38]);
        for (at, text) in words {
            for (index, pair) in text.as_bytes().chunks(2).enumerate() {
                let at = IDENTIFY_AT + (at + index) * 2;
                page[at] = pair[1];
                page[at + 1] = pair[0];
            }
        }
        for (at, number) in numbers {
            let at = IDENTIFY_AT + at * 2;
            page[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
        page
    }

    #[test]
    fn the_serial_number_is_trimmed_and_bounded_by_its_length() {
        assert_eq!(serial_number(b"\0\x80\0\x08  S1 23 x").as_deref(), Some("S1 23"));
        assert_eq!(serial_number(b"\0\x80\xff\xffS123").as_deref(), Some("S123"), "cut off");
        for none in [&b""[..], b"\0\x80", b"\0\x80\0\0S123", b"\0\x80\0\x04    ", b"\0\x83\0\x01S"]
        {
            assert_eq!(serial_number(none), None, "{none:?}");
        }
        assert_eq!(serial_number(b"\0\x80\0\x03S\x011"), None, "noise");
    }

    #[test]
    fn an_ata_disk_is_read_with_its_long_name_and_its_wwn() {
        let words =
            [(10, "S5STNF0R504242D     "), (27, "Samsung SSD 870 EVO 500GB               ")];
        let wwn = [(87, 0x4163), (108, 0x5002), (109, 0x538f), (110, 0x3123), (111, 0x4567)];
        let page = page_89(&words, &wwn);
        let identity = ata_identity(&page).unwrap();
        assert_eq!(identity.model, "Samsung SSD 870 EVO 500GB");
        assert_eq!(identity.serial, "S5STNF0R504242D");
        assert_eq!(identity.wwn, Some(0x5002_538f_3123_4567));
        let no_wwn = ata_identity(&page_89(&words, &[(87, 0x4063), (108, 0x5002)])).unwrap();
        assert_eq!(no_wwn.wwn, None, "a disk that does not say it has one");
        assert_eq!(ata_identity(&page[..300]), None, "cut off");
        assert_eq!(ata_identity(&page_89(&[], &[])), None, "no model");
    }
}
