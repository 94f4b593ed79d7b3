//! How well the kernel keeps its clock.
//!
//! - Asks: the kernel, as `adjtimex` does; nothing is set. Absent when a captured machine does not
//!   know.
//! - Emits: `node_timex_*`. A clock that nobody synchronises has [`SYNC`] 0.
//! - Not here: who synchronises it, and the time itself ([`super::time`]).

use std::io;

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::{Host, Timex as State};

static OFFSET: Family =
    Family::gauge("node_timex_offset_seconds", "Time between the clock and its reference.");
static FREQUENCY: Family = Family::gauge(
    "node_timex_frequency_adjustment_ratio",
    "How much faster the clock is made to go than it would.",
);
static MAXERROR: Family =
    Family::gauge("node_timex_maxerror_seconds", "The largest error the clock can have.");
static ESTERROR: Family =
    Family::gauge("node_timex_estimated_error_seconds", "The error the clock probably has.");
static STATUS: Family = Family::gauge("node_timex_status", "Bits of the clock's status.");
static CONSTANT: Family = Family::gauge(
    "node_timex_loop_time_constant",
    "Time constant of the loop that follows a reference.",
);
static TICK: Family = Family::gauge("node_timex_tick_seconds", "Time between two ticks.");
static PPS_FREQUENCY: Family =
    Family::gauge("node_timex_pps_frequency_hertz", "Frequency of the pulse a second.");
static PPS_JITTER: Family =
    Family::gauge("node_timex_pps_jitter_seconds", "Jitter of the pulse a second.");
static PPS_SHIFT: Family =
    Family::gauge("node_timex_pps_shift_seconds", "Interval of the pulse a second.");
static PPS_STABILITY: Family =
    Family::gauge("node_timex_pps_stability_hertz", "Stability of the pulse a second.");
static PPS_JITTERS: Family = Family::counter(
    "node_timex_pps_jitter_total",
    "How often the jitter of the pulse a second was too large.",
);
static PPS_CALIBRATIONS: Family = Family::counter(
    "node_timex_pps_calibration_total",
    "Intervals of calibration by the pulse a second.",
);
static PPS_ERRORS: Family = Family::counter(
    "node_timex_pps_error_total",
    "Calibrations by the pulse a second that failed.",
);
static PPS_EXCEEDED: Family = Family::counter(
    "node_timex_pps_stability_exceeded_total",
    "How often the stability of the pulse a second was exceeded.",
);
static TAI: Family = Family::gauge("node_timex_tai_offset_seconds", "Seconds between TAI and UTC.");
/// Whether the clock is synchronised.
pub static SYNC: Family =
    Family::gauge("node_timex_sync_status", "Whether the clock is synchronised.");

const MICRO: f64 = 1e-6;
const NANO: f64 = 1e-9;
/// Frequencies are in millionths, with sixteen bits behind the point.
const PPM: f64 = 1.0 / (65536.0 * 1e6);

/// How well the kernel keeps its clock.
#[derive(Debug, Default)]
pub struct Timex;

impl Collector for Timex {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let state = match host.timex() {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Status::Absent),
            Err(cause) => return Err(CollectError::Read { from: "adjtimex".to_owned(), cause }),
        };
        push(&state, out);
        Ok(Status::Collected)
    }
}

fn push(state: &State, out: &mut Batch) {
    let times = if state.status & State::NANO != 0 { NANO } else { MICRO };
    let is_synchronised = state.state != State::ERROR;
    let values = [
        (&OFFSET, state.offset as f64 * times),
        (&FREQUENCY, 1.0 + state.freq as f64 * PPM),
        (&MAXERROR, state.maxerror as f64 * MICRO),
        (&ESTERROR, state.esterror as f64 * MICRO),
        (&STATUS, state.status as f64),
        (&CONSTANT, state.constant as f64),
        (&TICK, state.tick as f64 * MICRO),
        (&PPS_FREQUENCY, state.ppsfreq as f64 * PPM),
        (&PPS_JITTER, state.jitter as f64 * times),
        (&PPS_SHIFT, state.shift as f64),
        (&PPS_STABILITY, state.stabil as f64 * PPM),
        (&PPS_JITTERS, state.jitcnt as f64),
        (&PPS_CALIBRATIONS, state.calcnt as f64),
        (&PPS_ERRORS, state.errcnt as f64),
        (&PPS_EXCEEDED, state.stbcnt as f64),
        (&TAI, state.tai as f64),
        (&SYNC, f64::from(u8::from(is_synchronised))),
    ];
    for (family, value) in values {
        out.push(family, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_the_status_says() {
        let mut state =
            State { offset: 1_500, freq: 65_536_000_000, maxerror: 2_000_000, ..State::default() };
        let value = |state: &State, name: &str| {
            let mut out = Batch::new();
            push(state, &mut out);
            out.value(name, &[])
        };
        assert_eq!(value(&state, "node_timex_offset_seconds"), Some(1_500.0 * 1e-6));
        assert_eq!(value(&state, "node_timex_frequency_adjustment_ratio"), Some(2.0));
        assert_eq!(value(&state, "node_timex_maxerror_seconds"), Some(2.0));
        assert_eq!(value(&state, "node_timex_sync_status"), Some(1.0));
        state.status = State::NANO;
        state.state = State::ERROR;
        assert_eq!(value(&state, "node_timex_offset_seconds"), Some(1_500.0 * 1e-9));
        assert_eq!(value(&state, "node_timex_sync_status"), Some(0.0));
    }
}
