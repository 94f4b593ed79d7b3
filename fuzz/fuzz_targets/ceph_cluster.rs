//! Any text is a reply of every command, or an error of its parser.
#![no_main]

use labstat_parse::ceph_cluster::{daemons, osds, page, pgs, pools, seconds, status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = seconds(text);
    let _ = status::status(text);
    let _ = daemons::quorum_status(text);
    let _ = daemons::mon_status(text);
    let _ = daemons::osdmap_epoch(text);
    let _ = daemons::metadata(text);
    let _ = daemons::mgr_dump(text);
    let _ = daemons::fs_dump(text);
    let _ = daemons::crashes(text);
    let _ = osds::dump(text);
    let _ = osds::tree(text);
    let _ = osds::df(text);
    let _ = osds::perf(text);
    for about in osds::metadata(text).unwrap_or_default() {
        about.disk();
    }
    let _ = pools::df(text);
    let _ = pools::rates(text);
    let _ = pools::objects(text);
    let _ = pgs::brief(text);
    let _ = pgs::oldest_scrubs(text);
    if let Ok(page) = page::read(&page::kept(text)) {
        page.tells_of(&[1]);
    }
});
