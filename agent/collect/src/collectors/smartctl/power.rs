//! Whether a disk may be asked without waking it or keeping it awake: a state machine for each.
//!
//! - The kernel's counters of I/O (`/sys/block/X/stat`) cost nothing to read and wake nothing. What
//!   we send to read SMART values is not counted there.
//! - A disk that was asleep and has had no I/O since still sleeps: it is not asked, but for a rare
//!   look at its power mode, which wakes no disk that keeps to the standard. One that we seem to
//!   have woken that way is left alone until there is I/O.
//! - A disk that turns and has had no I/O since our last reading is left alone for longer and
//!   longer, since with many drives any command starts their idle timer anew.
//! - One without a counter (behind a RAID controller) is asked at every interval, and says itself
//!   whether it sleeps.
//! - One that says it sleeps just when others use it is asked at its time only, and after a few such
//!   answers without that question, while others use it.
//! - One that the kernel has put to sleep (runtime power management) is not even opened, since that
//!   would resume it.
//!
//! - What is known of a disk outlives a restart of the agent ([`Kept`]), so that one that sleeps is not
//!   asked for it.
//!
//! Pure: the caller reads the files and says what time it is.

use serde::{Deserialize, Serialize};

/// How many times longer than at first a disk without I/O is left alone at most. With the usual
/// hour it is longer than the longest idle timer that drives know, five and a half hours.
const QUIET_MAX: i64 = 6;

/// How old the earlier of two looks may be, between which others used the disk, for it to be awake
/// still. No idle timer in use is shorter.
const JUST_NOW_MS: i64 = 30_000;

/// How many times a disk may say that it sleeps just when others use it, until it is not believed.
const CONTRADICTIONS_MAX: u32 = 3;

/// What a wake-up is put down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Nobody read or wrote, but we had sent a command.
    Labstat,
    /// Somebody read or wrote, or resumed it.
    Other,
}

/// What the kernel says of a disk at one look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Requests completed since the disk came; absent where there is no such counter.
    pub(super) io: Option<u64>,
    /// Those of them for which the disk must be awake: reads and writes.
    pub(super) transfers: Option<u64>,
    /// Whether runtime power management has suspended it.
    pub(super) suspended: bool,
}

/// What of it outlives a restart of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// It turned out not to turn.
    stands_still: bool,
    we_wake: bool,
    by_labstat: u64,
    by_other: u64,
    asleep: Option<Sleep>,
}

impl Kept {
    /// The disk was taken out, or the machine was started anew: nobody knows whether it sleeps.
    pub(super) fn forget_sleep(&mut self) {
        self.asleep = None;
    }
}

/// A disk that said that it sleeps, with the kernel's counter at that time and when it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Sleep {
    io: u64,
    asked_ms: i64,
    quiet: i64,
}

/// What is known of a disk's power state.
#[derive(Debug, Clone)]
pub(super) struct Power {
    /// Whether it turns, so that waking it costs something.
    spins: bool,
    mode: Mode,
    last: Look,
    /// The counter when the disk was asked last.
    io_asked: Option<u64>,
    asked_ms: Option<i64>,
    /// When the last look was.
    looked_ms: Option<i64>,
    /// When the look before it was, where others used the disk between the two.
    used_since_ms: Option<i64>,
    /// How often it said that it sleeps just when others used it, since it was last believed.
    contradictions: u32,
    /// How long it is left alone when nothing happens, in first such times.
    quiet: i64,
    /// Whether a look of ours at its power mode seems to have woken it.
    we_wake: bool,
    /// Whether it was not asked yet since the agent was started again.
    restored: bool,
    by_labstat: u64,
    by_other: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Unknown,
    Awake,
    /// It said so itself, with the counter at that time.
    Asleep {
        io: Option<u64>,
    },
    Suspended,
}

/// Whether a disk may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// At its time.
    AtItsTime,
    /// At its time, but not if its power mode cannot be told.
    IfKnownAwake,
    /// Not now.
    No,
}

impl Power {
    /// Nothing is known yet.
    pub(super) fn new(spins: bool) -> Self {
        Self {
            spins,
            mode: Mode::Unknown,
            last: Look::default(),
            io_asked: None,
            asked_ms: None,
            looked_ms: None,
            used_since_ms: None,
            contradictions: 0,
            quiet: 1,
            we_wake: false,
            restored: false,
            by_labstat: 0,
            by_other: 0,
        }
    }

    /// What is to be known after a restart.
    pub(super) fn kept(&self) -> Kept {
        let asleep = match (self.mode, self.asked_ms) {
            (Mode::Asleep { io: Some(io) }, Some(asked_ms)) => {
                Some(Sleep { io, asked_ms, quiet: self.quiet })
            }
            _ => None,
        };
        let Self { we_wake, by_labstat, by_other, .. } = *self;
        Kept { stands_still: !self.spins, we_wake, by_labstat, by_other, asleep }
    }

    /// Takes in what was known before the restart. A disk that slept and has had no I/O since still
    /// sleeps: it is left alone as if there had been no restart.
    pub(super) fn restore(&mut self, kept: &Kept) {
        self.spins &= !kept.stands_still;
        self.we_wake = kept.we_wake;
        (self.by_labstat, self.by_other) = (kept.by_labstat, kept.by_other);
        if let Some(Sleep { io, asked_ms, quiet }) = kept.asleep {
            self.restored = true;
            self.mode = Mode::Asleep { io: Some(io) };
            self.last = Look { io: Some(io), ..Look::default() };
            (self.io_asked, self.asked_ms) = (Some(io), Some(asked_ms));
            self.quiet = quiet.clamp(1, QUIET_MAX);
        }
    }

    /// Whether it said that it sleeps, and has had no I/O since.
    pub(super) fn still_sleeps(&self) -> bool {
        matches!(self.mode, Mode::Asleep { io } if io.is_some() && io == self.last.io)
    }

    /// Whether it turns, as far as is known.
    pub(super) fn spins(&self) -> bool {
        self.spins
    }

    /// It turned out not to turn: reading it disturbs nobody.
    pub(super) fn stands_still(&mut self) {
        self.spins = false;
    }

    /// Takes in what the kernel says. Whether it must be another disk of the same name, since its
    /// counter went back.
    pub(super) fn look(&mut self, look: Look, now_ms: i64) -> bool {
        let before = std::mem::replace(&mut self.last, look);
        let looked_ms = self.looked_ms.replace(now_ms);
        let is_used = look.transfers.is_some() && look.transfers > before.transfers;
        self.used_since_ms = looked_ms.filter(|_| is_used && before.transfers.is_some());
        match (look.suspended, self.mode) {
            (true, _) => self.mode = Mode::Suspended,
            (false, Mode::Suspended) => {
                // We do not open a disk that is suspended: whoever resumed it was another.
                self.by_other = self.by_other.saturating_add(1);
                self.mode = Mode::Unknown;
            }
            _ => {}
        }
        look.io.is_some() && look.io < before.io
    }

    /// Whether the disk may be asked, apart from its own schedule; `idle_ms` is how long one
    /// without I/O is left alone at first.
    pub(super) fn may_ask(&self, now_ms: i64, idle_ms: i64) -> May {
        if self.mode == Mode::Suspended {
            return May::No;
        }
        // A disk without a counter, as behind a RAID controller, says nothing of its rest.
        if !self.spins || self.last.io.is_none() {
            return May::AtItsTime;
        }
        // It may have slept for long when we came. Not so that one in use is asked in another way:
        // a capture, whose counters stand still, must have the same calls.
        let Some(asked_ms) = self.asked_ms else { return May::IfKnownAwake };
        if self.last.io != self.io_asked {
            // The I/O of the time when nobody looked may be long past.
            return if self.restored { May::IfKnownAwake } else { May::AtItsTime };
        }
        let asleep = matches!(self.mode, Mode::Asleep { .. });
        if asleep && self.we_wake {
            return May::No;
        }
        let wait_ms = idle_ms.saturating_mul(self.quiet);
        // A clock that went back must not silence a disk for long.
        let waited = now_ms.saturating_sub(asked_ms) >= wait_ms || now_ms < asked_ms;
        if waited { May::IfKnownAwake } else { May::No }
    }

    /// Whether a disk that slept has been read or written since: it is awake now, so that this is
    /// the time to read it. One that then said that it sleeps all the same can wait for its time.
    pub(super) fn is_urgent(&self) -> bool {
        self.has_stirred() && self.contradictions == 0
    }

    fn has_stirred(&self) -> bool {
        matches!(self.mode, Mode::Asleep { io } if io.is_some() && io != self.last.io)
    }

    /// A command is sent.
    pub(super) fn asked(&mut self, now_ms: i64) {
        let is_quiet = self.asked_ms.is_some() && self.last.io == self.io_asked;
        self.quiet = if is_quiet { (self.quiet * 2).min(QUIET_MAX) } else { 1 };
        self.asked_ms = Some(now_ms);
        self.io_asked = self.last.io;
        self.restored = false;
    }

    /// Whether others used it within the last seconds, so that it is awake.
    pub(super) fn is_in_use(&self, now_ms: i64) -> bool {
        let age_ms = self.used_since_ms.map(|since_ms| now_ms.saturating_sub(since_ms));
        age_ms.is_some_and(|age_ms| (0..=JUST_NOW_MS).contains(&age_ms))
    }

    /// It says that it is in standby. Whether it has done so too often just when others used it,
    /// as now, to be believed.
    pub(super) fn contradicts(&mut self, now_ms: i64) -> bool {
        if !self.is_in_use(now_ms) {
            return false;
        }
        self.contradictions = self.contradictions.saturating_add(1);
        self.contradictions >= CONTRADICTIONS_MAX
    }

    /// It answered, so it is awake. Whether that is a wake-up, and whose; nobody knows of one that
    /// was asked `regardless` of what it said of its rest.
    pub(super) fn answered(&mut self, regardless: bool) -> Option<By> {
        let before = std::mem::replace(&mut self.mode, Mode::Awake);
        if regardless {
            return None;
        }
        self.contradictions = 0;
        let Mode::Asleep { io } = before else { return None };
        // Without a counter nobody knows.
        io?;
        if io == self.last.io {
            self.by_labstat = self.by_labstat.saturating_add(1);
            self.we_wake = true;
            return Some(By::Labstat);
        }
        self.by_other = self.by_other.saturating_add(1);
        Some(By::Other)
    }

    /// It said that it sleeps.
    pub(super) fn sleeps(&mut self, now_ms: i64) {
        // Not one that says so while it is used: that is no wake-up, but a wrong answer.
        if self.has_stirred() && !self.is_in_use(now_ms) {
            // It woke and fell asleep again between two looks.
            self.by_other = self.by_other.saturating_add(1);
        }
        self.mode = Mode::Asleep { io: self.last.io };
    }

    /// It did not answer: nothing is known any more.
    pub(super) fn lost(&mut self) {
        self.mode = Mode::Unknown;
    }

    /// Whether the kernel suspended it.
    pub(super) fn is_suspended(&self) -> bool {
        self.mode == Mode::Suspended
    }

    /// Wake-ups seen, by us and by others; nothing for what does not turn.
    pub(super) fn wakeups(&self) -> Option<(u64, u64)> {
        let is_counted = self.spins && self.last.io.is_some();
        is_counted.then_some((self.by_labstat, self.by_other))
    }
}

/// Requests completed in `/sys/block/X/stat`: all (reads, writes, discards, flushes), and reads and
/// writes alone. A drive may discard and flush in its sleep when it has nothing to write.
pub(super) fn requests(stat: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(stat).ok()?;
    let columns: Vec<u64> = text.split_whitespace().map_while(|text| text.parse().ok()).collect();
    // Older kernels count neither discards nor flushes.
    let column = |at: usize| columns.get(at).copied();
    let needed = column(0)?.wrapping_add(column(4)?);
    let all = needed.wrapping_add(column(11).unwrap_or(0)).wrapping_add(column(15).unwrap_or(0));
    Some((all, needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const MINUTE: i64 = 60_000;
    /// The time of looks that are no part of what is tried.
    const LONG_AGO: i64 = -1_000 * HOUR;

    fn at(io: u64) -> Look {
        Look { io: Some(io), transfers: Some(io), suspended: false }
    }

    /// One that was read once, at time 0 and counter 10.
    fn read() -> Power {
        let mut power = Power::new(true);
        power.look(at(10), LONG_AGO);
        power.asked(0);
        assert_eq!(power.answered(false), None, "nobody knows what it was before");
        power
    }

    #[test]
    fn a_disk_in_use_is_asked_at_its_time() {
        let mut power = read();
        power.look(at(11), LONG_AGO);
        assert_eq!(power.may_ask(5 * MINUTE, HOUR), May::AtItsTime);
        power.asked(5 * MINUTE);
        power.answered(false);
        assert_eq!(power.wakeups(), Some((0, 0)));
    }

    #[test]
    fn a_disk_at_rest_is_left_alone_for_longer_and_longer() {
        let mut power = read();
        let mut asked = 0;
        let mut gaps = Vec::new();
        for minute in 0..(48 * 60) {
            let now_ms = minute * MINUTE;
            power.look(at(10), LONG_AGO);
            if power.may_ask(now_ms, HOUR) != May::No {
                power.asked(now_ms);
                power.answered(false);
                gaps.push((now_ms - asked) / HOUR);
                asked = now_ms;
            }
        }
        assert_eq!(gaps, [1, 2, 4, 6, 6, 6, 6, 6, 6]);
        power.look(at(11), LONG_AGO);
        assert_eq!(power.may_ask(asked + MINUTE, HOUR), May::AtItsTime, "in use again");
        power.asked(asked + MINUTE);
        power.answered(false);
        assert_eq!(power.may_ask(asked + 30 * MINUTE, HOUR), May::No);
        assert_eq!(power.may_ask(asked + 62 * MINUTE, HOUR), May::IfKnownAwake, "from the start");
    }

    #[test]
    fn what_does_not_turn_or_has_no_counter_is_asked_at_its_time() {
        let mut flash = Power::new(false);
        flash.look(at(10), LONG_AGO);
        flash.asked(0);
        flash.answered(false);
        assert_eq!(flash.may_ask(1, HOUR), May::AtItsTime);
        assert_eq!(flash.wakeups(), None);
        let mut member = Power::new(true);
        member.look(Look::default(), LONG_AGO);
        member.asked(0);
        member.answered(false);
        assert_eq!(member.may_ask(1, HOUR), May::AtItsTime);
        member.sleeps(0);
        assert_eq!(member.answered(false), None, "whose it was cannot be known");
        assert_eq!(member.wakeups(), None);
    }

    #[test]
    fn a_wake_up_by_others_is_seen_and_the_disk_read_while_it_is_awake() {
        let mut power = read();
        power.look(at(12), LONG_AGO);
        power.asked(5 * MINUTE);
        power.sleeps(0);
        assert!(!power.is_urgent());
        assert_eq!(power.may_ask(10 * MINUTE, HOUR), May::No);
        power.look(at(13), LONG_AGO);
        assert!(power.is_urgent());
        assert_eq!(power.may_ask(11 * MINUTE, HOUR), May::AtItsTime);
        power.asked(11 * MINUTE);
        assert_eq!(power.answered(false), Some(By::Other));
        assert_eq!(power.wakeups(), Some((0, 1)));
    }

    #[test]
    fn one_that_wakes_when_we_look_is_left_alone_from_then_on() {
        let mut power = read();
        power.look(at(11), LONG_AGO);
        power.asked(5 * MINUTE);
        power.sleeps(0);
        power.asked(70 * MINUTE);
        assert_eq!(power.answered(false), Some(By::Labstat));
        assert_eq!(power.wakeups(), Some((1, 0)));
        power.asked(3 * HOUR);
        power.sleeps(0);
        assert_eq!(power.may_ask(100 * HOUR, HOUR), May::No);
        power.look(at(12), LONG_AGO);
        assert_eq!(power.may_ask(100 * HOUR, HOUR), May::AtItsTime);
    }

    #[test]
    fn a_disk_that_woke_and_slept_between_two_looks_is_counted() {
        let mut power = read();
        power.sleeps(0);
        power.look(at(20), LONG_AGO);
        power.sleeps(0);
        power.sleeps(0);
        assert_eq!(power.wakeups(), Some((0, 1)));
    }

    fn restarted(power: &Power) -> Power {
        let text = serde_json::to_string(&power.kept()).unwrap();
        let mut again = Power::new(true);
        again.restore(&serde_json::from_str(&text).unwrap());
        again
    }

    #[test]
    fn a_disk_that_sleeps_is_left_alone_over_a_restart() {
        let mut power = read();
        power.look(at(11), 5 * MINUTE);
        power.asked(5 * MINUTE);
        power.sleeps(5 * MINUTE);
        let mut again = restarted(&power);
        assert!(!again.look(at(11), 6 * MINUTE));
        assert!(again.still_sleeps());
        assert_eq!(again.may_ask(7 * MINUTE, HOUR), May::No);
        assert_eq!(again.may_ask(66 * MINUTE, HOUR), May::IfKnownAwake, "as without a restart");
        assert_eq!(again.kept(), power.kept());

        // Somebody used it while nobody looked: it may sleep again by now, but it did wake up.
        let mut used = restarted(&power);
        assert!(!used.look(at(15), 6 * MINUTE));
        assert!(!used.still_sleeps());
        assert_eq!(used.may_ask(6 * MINUTE, HOUR), May::IfKnownAwake);
        used.asked(6 * MINUTE);
        used.sleeps(6 * MINUTE);
        assert_eq!(used.wakeups(), Some((0, 1)));
        assert_eq!(used.may_ask(7 * MINUTE, HOUR), May::No);

        // Its counter began anew: it is another one, or the machine was started again.
        assert!(restarted(&power).look(at(3), 6 * MINUTE));
    }

    #[test]
    fn wake_ups_and_what_does_not_turn_outlive_a_restart() {
        let mut power = read();
        power.look(at(11), LONG_AGO);
        power.sleeps(0);
        power.answered(false);
        let mut again = restarted(&power);
        again.look(at(500), 0);
        assert_eq!(again.wakeups(), Some((1, 0)));
        assert_eq!(again.may_ask(0, HOUR), May::IfKnownAwake, "nobody knows what it did meanwhile");
        power.stands_still();
        assert!(!restarted(&power).spins());
        let nonsense = r#"{"asleep":{"io":5,"quiet":-7,"asked_ms":99999999999999}}"#;
        let mut odd = Power::new(true);
        odd.restore(&serde_json::from_str(nonsense).unwrap());
        odd.look(at(5), 0);
        assert_eq!(odd.may_ask(0, HOUR), May::IfKnownAwake, "it is not silenced");
    }

    #[test]
    fn one_that_the_kernel_suspended_is_never_asked() {
        let mut power = read();
        power.look(Look { suspended: true, ..at(10) }, LONG_AGO);
        assert!(power.is_suspended());
        assert_eq!(power.may_ask(100 * HOUR, HOUR), May::No);
        power.look(at(15), LONG_AGO);
        assert_eq!(power.wakeups(), Some((0, 1)));
        assert_eq!(power.may_ask(101 * HOUR, HOUR), May::AtItsTime);
    }

    #[test]
    fn a_counter_that_goes_back_is_another_disk_and_a_clock_that_does_silences_none() {
        let mut power = read();
        assert!(!power.look(at(10), LONG_AGO));
        assert_eq!(power.may_ask(-HOUR, HOUR), May::IfKnownAwake);
        assert!(power.look(at(3), LONG_AGO));
    }

    #[test]
    fn one_that_was_never_asked_may_sleep() {
        let mut power = Power::new(true);
        assert_eq!(power.may_ask(0, HOUR), May::AtItsTime, "it has no counter");
        power.look(at(10), 0);
        assert_eq!(power.may_ask(0, HOUR), May::IfKnownAwake);
        power.look(at(11), 10_000);
        assert_eq!(power.may_ask(10_000, HOUR), May::IfKnownAwake, "as in a capture");
        power.asked(10_000);
        power.look(at(12), 20_000);
        assert_eq!(power.may_ask(20_000, HOUR), May::AtItsTime, "at its next time");
    }

    #[test]
    fn only_reads_and_writes_of_the_last_seconds_show_that_it_is_awake() {
        let mut power = Power::new(true);
        power.look(at(10), 0);
        assert!(!power.is_in_use(0), "nothing to compare with");
        power.look(at(11), 10_000);
        assert!(power.is_in_use(12_000) && power.is_in_use(30_000));
        assert!(!power.is_in_use(31_000) && !power.is_in_use(-1));
        power.look(Look { io: Some(12), ..at(11) }, 20_000);
        assert!(!power.is_in_use(20_000), "a flush");
        power.look(at(13), 5 * MINUTE);
        assert!(!power.is_in_use(5 * MINUTE), "some time within minutes");
    }

    #[test]
    fn one_that_says_it_sleeps_while_it_is_used_is_not_believed_for_long() {
        let mut power = read();
        for n in 0..8 {
            let now_ms = n * 10_000;
            let io = 20 + u64::try_from(n).unwrap();
            power.look(at(io), now_ms);
            // It is first seen in use at the second look.
            assert_eq!(power.is_urgent(), n == 1, "{n}");
            assert_eq!(power.contradicts(now_ms), n >= 3, "{n}");
            power.sleeps(now_ms);
        }
        assert_eq!(power.answered(true), None);
        assert_eq!(power.wakeups(), Some((0, 0)));
        power.answered(false);
        assert!(!power.contradicts(70_000), "believed again");
    }

    #[test]
    fn counts_that_nobody_can_have_counted_overflow_nothing() {
        let mut power = read();
        power.sleeps(0);
        let kept = Kept { by_labstat: u64::MAX, by_other: u64::MAX, ..power.kept() };
        for io in [10, 11] {
            power.restore(&kept);
            power.look(at(io), MINUTE);
            power.asked(MINUTE);
            assert!(power.answered(false).is_some());
            assert_eq!(power.wakeups(), Some((u64::MAX, u64::MAX)));
        }
    }

    #[test]
    fn requests_of_old_and_new_kernels() {
        let old = b"  100 1 2 3 40 5 6 7 0 9 10\n";
        let new = b"  100 1 2 3 40 5 6 7 0 9 10 7 0 0 0 2 0\n";
        assert_eq!(requests(old), Some((140, 140)));
        assert_eq!(requests(new), Some((149, 140)));
        for broken in [&b""[..], b"100 1 2 x 40", b"\xff"] {
            assert_eq!(requests(broken), None);
        }
    }
}
