//! Any bytes as the kernel's answer over netlink give interfaces and VLANs, or an error.
#![no_main]

use labstat_parse::netlink::messages;
use labstat_parse::rtnetlink::{bridge, link};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let count = messages(bytes).count();
    assert!(count <= bytes.len() / 16 + 1, "every message has a header");
    for link in link::links(bytes).flatten() {
        assert!(!link.name.is_empty());
        let mut text = String::new();
        link::push_address(link.address, &mut text);
    }
    let _ = bridge::vlans(bytes, |vlans| assert!(vlans.first <= vlans.last && vlans.last <= 4094));
});
