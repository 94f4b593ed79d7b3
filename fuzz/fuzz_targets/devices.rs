//! Any bytes in the place of udev's data or a disk's pages give values or nothing.
#![no_main]

use labstat_parse::{udev, vpd};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = vpd::serial_number(bytes);
    let _ = vpd::ata_identity(bytes);
    let text = String::from_utf8_lossy(bytes);
    for (_, value) in udev::parse(&text).properties {
        let _ = udev::decoded(value);
    }
});
