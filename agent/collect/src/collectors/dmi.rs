//! What machine it is: maker, model, serial number, firmware.
//!
//! - Reads: `/sys/class/dmi/id/*`; serial numbers are told to root alone.
//! - Absent when the firmware has no such tables (most boards with ARM, containers of some kinds).
//! - Emits: [`INFO`]; what the firmware does not say, or may not be read, is no label.
//! - Not here: memory modules and slots, which take the tables themselves.

use std::io::ErrorKind;

use labstat_model::{Batch, Family};
use labstat_parse::proc::trimmed;

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::host::Host;
use crate::shared::outcome;

/// What machine it is.
pub static INFO: Family =
    Family::gauge("node_dmi_info", "What the firmware says of the machine; always 1.");

const FOLDER: &str = "/sys/class/dmi/id";

/// Labels, which but for one have the names of the files.
const LABELS: [(&str, &str); 20] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_sku", "product_sku"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
];

/// What machine it is.
#[derive(Debug, Default)]
pub struct Dmi(Vec<u8>);

impl Collector for Dmi {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let mut found = Vec::with_capacity(LABELS.len());
        for (label, file) in LABELS {
            let path = format!("{FOLDER}/{file}");
            match host.read_into(&path, &mut self.0) {
                Ok(()) => {
                    let text = String::from_utf8_lossy(trimmed(&self.0)).into_owned();
                    found.push((label, text));
                }
                Err(error) if is_absent(&error) => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(cause) => return Err(CollectError::Read { from: path, cause }),
            }
        }
        let labels: Vec<_> = found.iter().map(|(label, text)| (*label, text.as_str())).collect();
        if labels.iter().any(|(_, text)| !text.is_empty()) {
            out.push(&INFO, &labels, 1.0);
        }
        Ok(outcome(out))
    }
}
