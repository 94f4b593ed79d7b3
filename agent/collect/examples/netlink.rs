//! Writes what the kernel says of this machine's interfaces into a folder, byte by byte: the answers
//! that `labstat_parse::rtnetlink` is tested with.
//!
//! `netlink DIR [BRIDGE…]` makes `DIR/links`, `DIR/vlans` and, for the number of each bridge or port,
//! `DIR/vlans-NUMBER` with what its VLANs carried.

#![expect(clippy::print_stderr, reason = "a tool for people")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use labstat_collect::parse::rtnetlink::{bridge, link};
use labstat_collect::{Host, RealHost};
use labstat_model::SystemClock;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| ".".to_owned());
    let host = RealHost::new(Arc::new(SystemClock));
    let write = |name: String, request: Vec<u8>| {
        let mut answer = Vec::new();
        let asked = host.netlink(&request, Duration::from_secs(10), &mut answer);
        let written = asked.and_then(|()| std::fs::write(Path::new(&dir).join(&name), &answer));
        if let Err(error) = written {
            eprintln!("{name}: {error}");
        }
    };
    write("links".to_owned(), link::request());
    write("vlans".to_owned(), bridge::request());
    for number in arguments {
        let index = number.parse().unwrap_or_default();
        write(format!("vlans-{number}"), bridge::counters_request(index));
    }
}
