//! `/proc/interrupts`: a table of CPUs and sources.

use super::{bad, fields, lines, number};
use crate::ParseError;

/// The numbers of the CPUs that have a column: those that are on.
///
/// # Errors
/// A first line that does not name them.
pub fn cpus(bytes: &[u8], into: &mut Vec<u32>) -> Result<(), ParseError> {
    into.clear();
    let (at, head) = lines(bytes).next().unwrap_or((1, &[]));
    for name in fields(head) {
        let id = name.strip_prefix(b"CPU").and_then(number).and_then(|id| u32::try_from(id).ok());
        into.push(id.ok_or_else(|| bad("interrupts", at, head))?);
    }
    if into.is_empty() {
        return Err(bad("interrupts", at, head));
    }
    Ok(())
}

/// One source of interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its number, or three letters.
    pub name: &'a [u8],
    /// What stands behind the counts: the controller and devices, or what the letters mean.
    pub rest: &'a [u8],
}

/// The sources with a count for each of `cpu_count` CPUs, which `counts` has until the next one.
/// Lines of fewer, such as `ERR`, are skipped, as are those that do not say what they are.
///
/// # Errors
/// A line without a name.
pub fn sources(
    bytes: &[u8],
    cpu_count: usize,
    counts: &mut Vec<u64>,
    mut each: impl FnMut(Source<'_>, &[u64]),
) -> Result<(), ParseError> {
    for (at, text) in lines(bytes).skip(1) {
        let colon = text.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or_else(|| bad("interrupts", at, text))?;
        let (name, rest) = text.split_at_checked(colon).unwrap_or_default();
        counts.clear();
        let rest = take_counts(rest.get(1..).unwrap_or_default(), cpu_count, counts);
        if counts.len() == cpu_count && !rest.is_empty() {
            each(Source { name: name.trim_ascii(), rest }, counts);
        }
    }
    Ok(())
}

/// Takes up to `max` numbers from the start of `text`; gives what is left.
fn take_counts<'a>(text: &'a [u8], max: usize, counts: &mut Vec<u64>) -> &'a [u8] {
    let mut rest = text.trim_ascii();
    while counts.len() < max {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (field, tail) = rest.split_at_checked(end).unwrap_or_default();
        let Some(count) = number(field) else { break };
        counts.push(count);
        rest = tail.trim_ascii_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::tests::captured;

    fn all(bytes: &[u8]) -> Vec<(String, String, Vec<u64>)> {
        let (mut ids, mut counts, mut all) = (Vec::new(), Vec::new(), Vec::new());
        cpus(bytes, &mut ids).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        sources(bytes, ids.len(), &mut counts, |source, counts| {
            all.push((text(source.name), text(source.rest), counts.to_vec()));
        })
        .unwrap();
        all
    }

    #[test]
    fn cpus_that_are_off_have_no_column() {
        let mut ids = Vec::new();
        cpus(b"      CPU0   CPU2  \n", &mut ids).unwrap();
        assert_eq!(ids, [0, 2]);
        for head in [&b""[..], b"\n", b"CPU0 CPUx\n", b" 1: 2 3\n", b"CPU99999999999\n"] {
            assert!(cpus(head, &mut ids).is_err(), "{head:?}");
        }
    }

    #[test]
    fn lines_of_fewer_counts_are_skipped() {
        let text = b"  CPU0 CPU1\n 28: 1 22  PCI-MSIX-0000:00:01.0   0-edge      virtio0-config\nNMI: 3 4   Non-maskable interrupts\nERR:  0\nMIS: 0 0\n9: 1 x  y\n";
        let wanted = [
            ("28", "PCI-MSIX-0000:00:01.0   0-edge      virtio0-config", vec![1, 22]),
            ("NMI", "Non-maskable interrupts", vec![3, 4]),
        ];
        let got = all(text);
        assert_eq!(got.len(), 2);
        for (got, wanted) in got.iter().zip(wanted) {
            assert_eq!((got.0.as_str(), got.1.as_str(), got.2.clone()), wanted);
        }
        let mut counts = Vec::new();
        assert!(sources(b"CPU0\nno name\n", 1, &mut counts, |_, _| {}).is_err());
    }

    #[test]
    fn a_captured_file_is_read() {
        let Some(bytes) = captured("proc/node_exporter/interrupts") else { return };
        let got = all(&bytes);
        assert_eq!(got.len(), 28, "all but ERR and MIS");
        assert_eq!(got[0], ("0".into(), "IR-IO-APIC-edge      timer".into(), vec![18, 0, 0, 0]));
    }
}
