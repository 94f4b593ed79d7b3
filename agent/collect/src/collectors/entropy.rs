//! The kernel's randomness.
//!
//! - Reads: `/proc/sys/kernel/random/{entropy_avail,poolsize}`. Absent when neither is there.
//! - Emits: `node_entropy_available_bits`, `node_entropy_pool_size_bits`.
//! - Not here: hardware generators.

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{NumberFile, push_numbers};

static ENTROPY: Family = Family::gauge("node_entropy_available_bits", "Bits of available entropy.");
static ENTROPY_SIZE: Family = Family::gauge("node_entropy_pool_size_bits", "Bits of entropy pool.");

static FILES: [NumberFile; 2] = [
    ("/proc/sys/kernel/random/entropy_avail", &[Some(&ENTROPY)]),
    ("/proc/sys/kernel/random/poolsize", &[Some(&ENTROPY_SIZE)]),
];

/// The kernel's randomness.
#[derive(Debug, Default)]
pub struct Entropy(Vec<u8>);

impl Collector for Entropy {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        push_numbers(host, &FILES, &mut self.0, out)
    }
}
