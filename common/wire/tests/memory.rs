//! What the most wasteful bodies cost in memory. A binary of its own, since memory is counted by
//! process.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]

use labstat_model::limits::{LABELS_MAX, WRITE_DECODED_LEN_MAX};
use labstat_wire::remote_write::{compress, decode};

/// Decoding may take the message, what becomes of it (of samples, at most 120 bytes each, labels
/// included), and a little.
const GROWTH_MAX: u64 = 192 * 1024 * 1024;

/// A number of bytes from `/proc/self/status`.
fn status_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A length-delimited field.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend_from_slice(content);
    out
}

#[test]
fn no_body_costs_much_more_than_its_message() {
    let room = WRITE_DECODED_LEN_MAX - 64;
    let (label, sample) = (field(1, b""), field(2, b""));
    let named = field(1, &[field(1, b"__name__"), field(2, b"m")].concat());
    let one = field(1, &[named, sample.clone()].concat());
    let all_labels = [label.repeat(room / label.len() - 8), sample.clone()].concat();
    let help = field(3, &[field(2, b"m"), field(4, &[0xff; 4096])].concat());
    let messages = [
        ("labels of one series", field(1, &all_labels)),
        ("samples of one series", field(1, &sample.repeat(room / sample.len()))),
        ("series of one sample", one.repeat(room / one.len())),
        ("help that is not UTF-8", help.repeat(8_000)),
    ];
    for (what, message) in messages {
        assert!(message.len() <= WRITE_DECODED_LEN_MAX, "{what}: {}", message.len());
        let body = compress(&message).unwrap();
        drop(message);
        // Makes the peak begin anew.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status_bytes("VmHWM");
        let decoded = decode(&body);
        let grown = status_bytes("VmHWM").saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{what}: {} MiB", grown >> 20);
        drop(decoded);
    }
}

#[test]
fn labels_beyond_the_limit_are_counted() {
    let labels = field(1, &[field(1, b"a"), field(2, b"b")].concat()).repeat(LABELS_MAX + 7);
    let message = field(1, &[labels, field(2, b"")].concat());
    let refused = decode(&compress(&message).unwrap()).unwrap().refused;
    assert!(refused.first.unwrap().to_string().ends_with("71 labels, over the limit of 64"));
}
