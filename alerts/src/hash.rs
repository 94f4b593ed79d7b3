//! FNV-1a in 64 bits: the hash by which Prometheus' tools name a label set.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Stands between the parts of a hashed list; no UTF-8 text holds this byte.
const SEPARATOR: u8 = 0xff;

/// The hash of `parts`, each followed by a separator, so that `["ab", "c"]` and `["a", "bc"]`
/// differ.
pub(crate) fn fnv<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = OFFSET;
    for part in parts {
        for byte in part.bytes().chain([SEPARATOR]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    hash
}

/// The fingerprint of a label set as Alertmanager writes it: 16 hexadecimal digits. The labels
/// come ascending by name.
pub fn fingerprint<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let parts = labels.into_iter().flat_map(|(name, value)| [name, value]);
    format!("{:016x}", fnv(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value Alertmanager 0.25 gave for these labels (`alertmanager-live`).
    #[test]
    fn fingerprint_is_that_of_alertmanager() {
        let labels = [("alertname", "CephOSDDown"), ("osd", "2"), ("severity", "critical")];
        assert_eq!(fingerprint(labels), "50169d93bcde0c02");
    }
}
