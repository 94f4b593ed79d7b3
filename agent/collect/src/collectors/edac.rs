//! Errors of memory that its controllers found, and those they corrected.
//!
//! - Reads: `/sys/devices/system/edac/mc/*`. Absent where memory has no ECC, or the kernel no driver
//!   for its controller.
//! - Emits: `node_edac_*_total` by controller, row and channel.
//! - Not here: errors of other parts, which the kernel only logs.

use labstat_model::{Batch, Family};
use labstat_parse::proc::{number, trimmed};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::{not_understood, outcome, read_if_there};

const FOLDER: &str = "/sys/devices/system/edac/mc";

/// Controllers of a machine, rows of a controller and channels of a row.
const PARTS_MAX: usize = 256;

/// The row of errors that no row is known of.
const UNKNOWN: &str = "unknown";

static CORRECTED: Family =
    Family::counter("node_edac_correctable_errors_total", "Errors of memory that were corrected.");
static NOT_CORRECTED: Family = Family::counter(
    "node_edac_uncorrectable_errors_total",
    "Errors of memory that could not be corrected.",
);
static ROW_CORRECTED: Family = Family::counter(
    "node_edac_csrow_correctable_errors_total",
    "Errors of a row of memory that were corrected.",
);
static ROW_NOT_CORRECTED: Family = Family::counter(
    "node_edac_csrow_uncorrectable_errors_total",
    "Errors of a row of memory that could not be corrected.",
);
static CHANNEL_CORRECTED: Family = Family::counter(
    "node_edac_channel_correctable_errors_total",
    "Errors of a channel of a row of memory that were corrected.",
);
static CHANNEL_NOT_CORRECTED: Family = Family::counter(
    "node_edac_channel_uncorrectable_errors_total",
    "Errors of a channel of a row of memory that could not be corrected.",
);

/// Errors of memory.
#[derive(Debug, Default)]
pub struct Edac(Vec<u8>);

impl Collector for Edac {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        for (controller, folder) in parts(host, FOLDER, "mc")? {
            let labels = [("controller", controller.as_str())];
            self.push(host, (&folder, "ce_count"), (&CORRECTED, &labels), out)?;
            self.push(host, (&folder, "ue_count"), (&NOT_CORRECTED, &labels), out)?;
            let labels = [("controller", controller.as_str()), ("csrow", UNKNOWN)];
            self.push(host, (&folder, "ce_noinfo_count"), (&ROW_CORRECTED, &labels), out)?;
            self.push(host, (&folder, "ue_noinfo_count"), (&ROW_NOT_CORRECTED, &labels), out)?;
            for (row, folder) in parts(host, &folder, "csrow")? {
                let labels = [("controller", controller.as_str()), ("csrow", row.as_str())];
                self.push(host, (&folder, "ce_count"), (&ROW_CORRECTED, &labels), out)?;
                self.push(host, (&folder, "ue_count"), (&ROW_NOT_CORRECTED, &labels), out)?;
                self.push_channels(host, &folder, &labels, out)?;
            }
        }
        Ok(outcome(out))
    }
}

impl Edac {
    fn push_channels(
        &mut self,
        host: &dyn Host,
        folder: &str,
        row: &[(&str, &str); 2],
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let names = host.list(folder).map_err(CollectError::read(folder))?;
        let counts = ["_ce_count", "_ue_count"];
        for name in &names {
            let Some(rest) = name.strip_prefix("ch") else { continue };
            let found = counts.iter().find_map(|end| Some((rest.strip_suffix(end)?, *end)));
            let Some((channel, end)) = found else { continue };
            let of_module = format!("{folder}/ch{channel}_dimm_label");
            let module = match read_if_there(host, &of_module, &mut self.0)? {
                true => String::from_utf8_lossy(trimmed(&self.0)).into_owned(),
                false => String::new(),
            };
            let [controller, csrow] = *row;
            let labels = [controller, csrow, ("channel", channel), ("dimm_label", module.as_str())];
            let family =
                if end == "_ce_count" { &CHANNEL_CORRECTED } else { &CHANNEL_NOT_CORRECTED };
            self.push(host, (folder, name), (family, &labels), out)?;
        }
        Ok(())
    }

    /// Adds what a file counts, if it is there.
    fn push(
        &mut self,
        host: &dyn Host,
        (folder, file): (&str, &str),
        (family, labels): (&Family, &[(&str, &str)]),
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let path = format!("{folder}/{file}");
        if read_if_there(host, &path, &mut self.0)? {
            let text = String::from_utf8_lossy(trimmed(&self.0));
            let count = number(text.as_bytes()).ok_or_else(|| not_understood(FOLDER, &text))?;
            out.push(family, labels, count as f64);
        }
        Ok(())
    }
}

/// The numbers and folders of the parts of a kind in a folder; none where it is not there.
fn parts(host: &dyn Host, folder: &str, kind: &str) -> Result<Vec<(String, String)>, CollectError> {
    let names = match host.list(folder) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(CollectError::read(folder))?,
    };
    let is_number = |text: &&str| number(text.as_bytes()).is_some();
    let numbers = names.iter().filter_map(|name| name.strip_prefix(kind).filter(is_number));
    let found: Vec<_> =
        numbers.map(|number| (number.to_owned(), format!("{folder}/{kind}{number}"))).collect();
    if found.len() > PARTS_MAX {
        let (what, count) = ("memory controllers or rows", found.len());
        return Err(CollectError::Limit { what, count, max: PARTS_MAX });
    }
    Ok(found)
}
