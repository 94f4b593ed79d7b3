//! `/proc/loadavg`.

use super::{bad, fields, float};
use crate::ParseError;

/// The load averages over one, five and fifteen minutes.
///
/// # Errors
/// Fewer than three numbers.
pub fn parse(bytes: &[u8]) -> Result<[f64; 3], ParseError> {
    let mut numbers = fields(bytes.trim_ascii_end()).map(float);
    let mut next = || numbers.next().flatten().ok_or_else(|| bad("loadavg", 1, bytes));
    Ok([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_or_an_error() {
        assert_eq!(parse(b"0.21 0.37 0.39 1/719 19737\n").unwrap(), [0.21, 0.37, 0.39]);
        let error = parse(b"0.21 x 0.39").unwrap_err().to_string();
        assert_eq!(error, r#"failed to parse loadavg at line 1: "0.21 x 0.39""#);
        assert!(parse(b"").is_err());
    }
}
