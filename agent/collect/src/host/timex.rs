//! How well the kernel keeps its clock, as `adjtimex` tells it.

use std::io;

use serde_json::{Value, json};

/// What the kernel knows of its clock, in its own units: those of the fields of the same names in
/// `struct timex`. Microseconds, or nanoseconds where [`NANO`](Self::NANO) is in the status, for
/// `offset` and `jitter`; microseconds for errors and ticks; 2^-16 ppm for frequencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timex {
    /// The state that the call returns; [`ERROR`](Self::ERROR) when the clock is not synchronised.
    pub state: i64,
    /// What the clock still has to be moved by.
    pub offset: i64,
    /// How much faster the clock is made to go.
    pub freq: i64,
    /// The largest error there can be.
    pub maxerror: i64,
    /// The error there probably is.
    pub esterror: i64,
    /// Bits of status.
    pub status: i64,
    /// The time constant of the loop that follows a server.
    pub constant: i64,
    /// Microseconds between two ticks.
    pub tick: i64,
    /// Frequency of the pulse a second, of a machine that is given one.
    pub ppsfreq: i64,
    /// Its jitter.
    pub jitter: i64,
    /// Its interval, as a power of two of seconds.
    pub shift: i64,
    /// Its stability.
    pub stabil: i64,
    /// How often its jitter was too large.
    pub jitcnt: i64,
    /// Its calibration intervals.
    pub calcnt: i64,
    /// Its calibrations that failed.
    pub errcnt: i64,
    /// How often its stability was exceeded.
    pub stbcnt: i64,
    /// Seconds between TAI and UTC.
    pub tai: i64,
}

/// The name of a field and the place of its value.
type Field = (&'static str, fn(&mut Timex) -> &mut i64);

/// All fields, by their names in a capture.
const FIELDS: [Field; 17] = [
    ("state", |t| &mut t.state),
    ("offset", |t| &mut t.offset),
    ("freq", |t| &mut t.freq),
    ("maxerror", |t| &mut t.maxerror),
    ("esterror", |t| &mut t.esterror),
    ("status", |t| &mut t.status),
    ("constant", |t| &mut t.constant),
    ("tick", |t| &mut t.tick),
    ("ppsfreq", |t| &mut t.ppsfreq),
    ("jitter", |t| &mut t.jitter),
    ("shift", |t| &mut t.shift),
    ("stabil", |t| &mut t.stabil),
    ("jitcnt", |t| &mut t.jitcnt),
    ("calcnt", |t| &mut t.calcnt),
    ("errcnt", |t| &mut t.errcnt),
    ("stbcnt", |t| &mut t.stbcnt),
    ("tai", |t| &mut t.tai),
];

impl Timex {
    /// The bit of the status that says that times are in nanoseconds.
    pub const NANO: i64 = 0x2000;
    /// The state of a clock that is not synchronised.
    pub const ERROR: i64 = 5;

    /// Asks the kernel. Needs no rights, since nothing is set.
    pub(super) fn read() -> io::Result<Self> {
        // SAFETY: all fields are numbers, of which all bits may be zero; with `modes` zero the
        // kernel sets nothing, and it writes to this structure only, which is as long as it
        // expects.
        #[expect(unsafe_code, reason = "the kernel has no other door to the state of its clock")]
        let (timex, state) = unsafe {
            let mut timex: libc::timex = std::mem::zeroed();
            let state = libc::adjtimex(&raw mut timex);
            (timex, state)
        };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        #[expect(clippy::useless_conversion, reason = "the C types differ by architecture")]
        Ok(Self {
            state: state.into(),
            offset: timex.offset.into(),
            freq: timex.freq.into(),
            maxerror: timex.maxerror.into(),
            esterror: timex.esterror.into(),
            status: timex.status.into(),
            constant: timex.constant.into(),
            tick: timex.tick.into(),
            ppsfreq: timex.ppsfreq.into(),
            jitter: timex.jitter.into(),
            shift: timex.shift.into(),
            stabil: timex.stabil.into(),
            jitcnt: timex.jitcnt.into(),
            calcnt: timex.calcnt.into(),
            errcnt: timex.errcnt.into(),
            stbcnt: timex.stbcnt.into(),
            tai: timex.tai.into(),
        })
    }

    /// As a capture has it.
    pub(super) fn to_json(mut self) -> Value {
        let pairs =
            FIELDS.iter().map(|(name, field)| ((*name).to_owned(), json!(*field(&mut self))));
        Value::Object(pairs.collect())
    }

    /// What [`to_json`](Self::to_json) made; a field that is not there is 0, and nothing is there
    /// without a state.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        value.get("state")?.as_i64()?;
        let mut timex = Self::default();
        for (name, field) in FIELDS {
            *field(&mut timex) = value.get(name).and_then(Value::as_i64).unwrap_or_default();
        }
        Some(timex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_a_capture_keeps_the_answer() {
        let timex = Timex::read().unwrap();
        assert!((0..=Timex::ERROR).contains(&timex.state), "{timex:?}");
        assert!((9_000..=11_000).contains(&timex.tick), "{timex:?}");
        assert_eq!(Timex::from_json(&timex.to_json()), Some(timex));
    }

    #[test]
    fn a_capture_that_does_not_say_knows_nothing() {
        assert_eq!(Timex::from_json(&json!({"offset": 3})), None);
        assert_eq!(Timex::from_json(&json!([])), None);
    }
}
