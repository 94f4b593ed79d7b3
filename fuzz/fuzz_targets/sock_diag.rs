//! Any bytes as the kernel's answer about its sockets are counted, or an error.
#![no_main]

use labstat_parse::netlink::messages;
use labstat_parse::proc::tcp::Tcp;
use labstat_parse::sock_diag;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut tcp, mut taken) = (Tcp::default(), 0);
    for message in messages(bytes).flatten() {
        taken += u64::from(matches!(sock_diag::count(&message, &mut tcp), Ok(true)));
    }
    assert_eq!(tcp.states.iter().sum::<u64>(), taken, "each socket is in one state");
});
