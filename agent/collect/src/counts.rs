//! Tables that say which count of a kernel file is which sample.
//!
//! For files whose lines are a name and counts ([`labstat_parse::proc::counts`]): the collector has a
//! table, and what stands here reads the lines the table knows and leaves the others alone.

use labstat_model::{Batch, Family};
use labstat_parse::proc::counts::{self, Line};

use crate::collector::CollectError;

/// A label of a sample.
pub(crate) type Label = (&'static str, &'static str);

/// A line and what its counts are: the place of each, its family and the label that tells it from
/// others of the family.
pub(crate) type Row = (&'static str, &'static [(usize, &'static Family, Option<Label>)]);

/// A line that counts calls, which tells first how many kinds there are: its name, the version of the
/// protocol, how many kinds are left out at its start, and the others in their order, with nothing
/// for one that is not shown.
pub(crate) type Calls = (&'static str, &'static str, usize, &'static [&'static str]);

/// Adds what `bytes` says by `rows` and `calls`; `more` is a label of every sample of the rows.
pub(crate) fn push(
    (path, bytes): (&'static str, &[u8]),
    (rows, more): (&[Row], Option<(&str, &str)>),
    (calls, family): (&[Calls], &Family),
    out: &mut Batch,
) -> Result<(), CollectError> {
    let mut found = Vec::new();
    for line in counts::parse(path, bytes) {
        if let Some((_, row)) = rows.iter().find(|(name, _)| name.as_bytes() == line.name) {
            push_row(&line, row, more, &mut found, out).map_err(CollectError::parse(path))?;
        }
        let Some((_, version, left_out, methods)) =
            calls.iter().find(|c| c.0.as_bytes() == line.name)
        else {
            continue;
        };
        line.counted(&mut found).map_err(CollectError::parse(path))?;
        let named = found.iter().skip(*left_out).zip(*methods);
        for (count, method) in named.filter(|(_, method)| !method.is_empty()) {
            out.push(family, &[("method", method), ("proto", version)], *count as f64);
        }
    }
    Ok(())
}

fn push_row(
    line: &Line<'_>,
    row: &[(usize, &Family, Option<Label>)],
    more: Option<(&str, &str)>,
    found: &mut Vec<u64>,
    out: &mut Batch,
) -> Result<(), labstat_parse::ParseError> {
    let len = row.iter().map(|(place, ..)| place + 1).max().unwrap_or_default();
    line.counts(len, found)?;
    for (place, family, label) in row {
        let Some(count) = found.get(*place) else { continue };
        let count = *count as f64;
        match (label, more) {
            (Some(label), Some(more)) => out.push(family, &[*label, more], count),
            (Some(label), None) => out.push(family, &[*label], count),
            (None, Some(more)) => out.push(family, &[more], count),
            (None, None) => out.push(family, &[], count),
        }
    }
    Ok(())
}
