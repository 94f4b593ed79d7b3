//! Whether whoever asked still waits for the answer: reads that go through many series look now
//! and then, and end early when nobody does.

use std::cell::Cell;

use crate::ReadError;

/// Says whether nobody waits for a read any more. It is asked from the thread that reads, every
/// fraction of a millisecond, so it should be cheap.
pub type Stop<'a> = &'a dyn Fn() -> bool;

/// For reads that nobody stops.
pub const NEVER: Stop<'static> = &|| false;

/// Series, or values of labels, between two questions: some tens of microseconds of the plainest
/// work, and less than a millisecond of regular expressions.
const ASK_EVERY: u32 = 1_024;

/// See the module. Who has lost it once does not get it back.
pub(crate) struct Patience<'a> {
    stop: Stop<'a>,
    left: Cell<u32>,
    lost: Cell<bool>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(stop: Stop<'a>) -> Self {
        Self { stop, left: Cell::new(0), lost: Cell::new(false) }
    }

    /// For what is done with all the same.
    pub(crate) fn endless() -> Patience<'static> {
        Patience::new(NEVER)
    }

    /// Whether to go on with one series, or one value, more.
    #[inline]
    pub(crate) fn lasts(&self) -> bool {
        match self.left.get() {
            0 => self.ask(),
            left => {
                self.left.set(left - 1);
                true
            }
        }
    }

    /// Asks now.
    #[cold]
    pub(crate) fn ask(&self) -> bool {
        if !self.lost.get() {
            self.lost.set((self.stop)());
        }
        // Who has lost it is asked each time.
        self.left.set(if self.lost.get() { 0 } else { ASK_EVERY });
        !self.lost.get()
    }

    /// What was found, when it is all there is.
    pub(crate) fn whole<T>(&self, found: T) -> Result<T, ReadError> {
        if self.lost.get() { Err(ReadError::Stopped) } else { Ok(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stopped_once_is_not_whole() {
        let asked = Cell::new(0_u32);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let patience = Patience::new(&stop);
        let done = (0..10 * ASK_EVERY).take_while(|_| patience.lasts()).count();
        // A question, and the series after it, twice.
        assert_eq!(done, 2 * (ASK_EVERY as usize + 1));
        assert!(!patience.lasts() && matches!(patience.whole(()), Err(ReadError::Stopped)));
        assert_eq!(asked.get(), 3, "nobody is asked again");
        assert!(Patience::endless().lasts() && Patience::endless().whole(()).is_ok());
    }
}
