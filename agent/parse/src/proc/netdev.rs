//! `/proc/net/dev`: counters of interfaces.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// One interface's counters, in the columns' order: received bytes, packets, errs, drop, fifo,
/// frame, compressed, multicast; sent bytes, packets, errs, drop, fifo, colls, carrier, compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// The sixteen columns.
    pub counters: [u64; 16],
}

/// The interfaces in the order of the file.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Result<Interface<'_>, ParseError>> {
    lines(bytes)
        // The two lines of headings are the only ones with bars.
        .filter(|(_, text)| !text.contains(&b'|'))
        .map(|(at, text)| interface(text).ok_or_else(|| bad("net/dev", at, text)))
}

fn interface(text: &[u8]) -> Option<Interface<'_>> {
    // An alias such as `eth0:1` has a colon of its own: the last one ends the name.
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    let (name, rest) = text.split_at_checked(colon)?;
    let mut counters = [0; 16];
    let mut numbers = fields(rest.get(1..)?).map(number);
    for counter in &mut counters {
        *counter = numbers.next()??;
    }
    Some(Interface { name: std::str::from_utf8(name.trim_ascii()).ok()?, counters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    const HEAD: &str = "Inter-| Receive | Transmit\n face |bytes ...|bytes ...\n";

    #[test]
    fn glued_numbers_and_aliases() {
        let text = format!(
            "{HEAD}eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  lo:5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n"
        );
        let all: Vec<_> = parse(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(all[0].name, "eth0:1");
        assert_eq!(all[0].counters[15], 16);
        assert_eq!((all[1].name, all[1].counters[8]), ("lo", 5));
    }

    #[test]
    fn a_missing_column_is_an_error() {
        let text = format!("{HEAD}eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n");
        let error = parse(text.as_bytes()).next().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("failed to parse net/dev at line 3: \"eth0: 1"), "{error}");
        assert_eq!(parse(b"").count(), 0);
    }

    #[test]
    fn every_captured_file_is_read() {
        for path in ["proc/jc/net_dev", "qemu-node-live/deb12-k6.1/net/bond-healthy/proc-net-dev"] {
            let Some(bytes) = captured(path) else { continue };
            assert!(parse(&bytes).map(Result::unwrap).count() > 1, "{path}");
        }
    }
}
