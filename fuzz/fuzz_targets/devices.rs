//! Any bytes in the place of udev's data or a disk's pages give values or nothing.
#![no_main]

use labstat_parse::nvme::{self, Pages};
use labstat_parse::{udev, vpd};
use libfuzzer_sys::fuzz_target;

/// Bytes of the pages of an NVMe controller that are read: what it is, how it is, its self-tests.
const PAGES: [usize; 3] = [4096, 512, 564];

fuzz_target!(|bytes: &[u8]| {
    let _ = vpd::serial_number(bytes);
    let _ = vpd::ata_identity(bytes);
    let text = String::from_utf8_lossy(bytes);
    for (_, value) in udev::parse(&text).properties {
        let _ = udev::decoded(value);
    }
    nvme_pages(bytes);
});

/// The smaller pages come first, so that few bytes reach into all that is read of them.
fn nvme_pages(bytes: &[u8]) {
    let mut rest = bytes.iter().copied().chain(std::iter::repeat(0));
    let [identity, health, self_tests] = PAGES;
    let mut page = |len| rest.by_ref().take(len).collect::<Vec<u8>>();
    let (health, self_tests, identity) = (page(health), page(self_tests), page(identity));
    let pages = Pages { identity: &identity, health: &health, self_tests: Some(&self_tests) };
    let _ = nvme::has_self_tests(&identity);
    let report = nvme::report("/dev/nvme0", pages, None);
    serde_json::to_string(&report.expect("pages of full length")).expect("BUG: it is JSON");
    let cut = Pages { identity: &identity, health: bytes, self_tests: Some(bytes) };
    let _ = nvme::report("/dev/nvme0", cut, None);
}
