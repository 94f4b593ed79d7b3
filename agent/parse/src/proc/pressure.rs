//! `/proc/pressure/*`: time that tasks waited.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// Totals since boot, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some task waited.
    pub some_us: Option<u64>,
    /// All tasks waited.
    pub full_us: Option<u64>,
}

/// The totals; a line that this kernel lacks is absent.
///
/// # Errors
/// A line of another kind.
pub fn parse(bytes: &[u8]) -> Result<Pressure, ParseError> {
    let mut pressure = Pressure::default();
    for (at, text) in lines(bytes) {
        let mut parts = fields(text);
        let kind = parts.next();
        let total = parts.find_map(|field| number(field.strip_prefix(b"total=")?));
        match (kind, total) {
            (Some(b"some"), Some(total)) => pressure.some_us = Some(total),
            (Some(b"full"), Some(total)) => pressure.full_us = Some(total),
            _ => return Err(bad("pressure", at, text)),
        }
    }
    Ok(pressure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_or_errors() {
        let text = b"some avg10=0.10 avg60=2.00 avg300=3.85 total=15\nfull avg10=0.20 avg60=3.00 avg300=4.95 total=25\n";
        assert_eq!(parse(text).unwrap(), Pressure { some_us: Some(15), full_us: Some(25) });
        let one = parse(b"some avg10=0.00 total=0\n").unwrap();
        assert_eq!(one, Pressure { some_us: Some(0), full_us: None });
        assert!(parse(b"some avg10=0.00\n").is_err());
        assert!(parse(b"most total=3\n").is_err());
    }
}
