//! The watched machine's clock.
//!
//! - Asks: the clock. Never absent.
//! - Emits: `node_time_seconds`.
//! - Not here: how well the clock is kept.

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;

static TIME: Family =
    Family::gauge("node_time_seconds", "System time in seconds since epoch (1970).");

/// The watched machine's clock.
#[derive(Debug, Default)]
pub struct Time;

impl Collector for Time {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        out.push(&TIME, &[], host.now_ms() as f64 / 1000.0);
        Ok(Status::Collected)
    }
}
