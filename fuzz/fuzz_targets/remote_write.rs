//! Any body gives a request or a reason; what was read can be written and is read the same again.
#![no_main]

use labstat_wire::remote_write;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let _ = remote_write::decode(message);
    // Most bytes are no snappy block; a block of any bytes brings them to the decoder itself.
    let Ok(block) = remote_write::compress(message) else { return };
    let Ok(read) = remote_write::decode(&block) else { return };
    let Ok(written) = remote_write::encode(&read.request) else { return };
    let again = remote_write::decode(&written).expect("BUG: what we write is well formed");
    assert_eq!(read.request.series.len(), again.request.series.len(), "BUG: a series was lost");
});
