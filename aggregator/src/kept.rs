//! What is known and kept across a restart as a document, which several threads bring up to date: the document
//! is never older than what was kept before it.
//!
//! Not here: what the document says, where it is kept, and when.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    known: Mutex<T>,
    /// Held from the look at what is known until that is kept. Who looked earlier would else write later, and
    /// bring back what was forgotten in between.
    turn: Mutex<()>,
}

impl<T> Kept<T> {
    pub(crate) fn new(known: T) -> Self {
        Self { known: Mutex::new(known), turn: Mutex::default() }
    }

    /// What is known. To be held for moments only, never over a read or a write.
    pub(crate) fn known(&self) -> MutexGuard<'_, T> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `put` the document that `snapshot` makes of what is known, when it is its turn. What is known goes
    /// on changing meanwhile.
    pub(crate) fn keep<E>(
        &self,
        snapshot: impl FnOnce(&T) -> Vec<u8>,
        put: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let document = snapshot(&self.known());
        put(&document)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// Changes of each thread; enough for the threads to meet many times on any machine.
    const CHANGES: u64 = 2_000;

    /// Two threads that keep what is known as it changes: a node that is forgotten must not be in the document
    /// of the other.
    #[test]
    fn what_is_kept_is_never_older_than_what_was_kept_before() {
        let kept = Kept::new(0_u64);
        let document = Mutex::new(0_u64);
        let is_older = AtomicBool::new(false);
        let put = |bytes: &[u8]| -> Result<(), Infallible> {
            // A write takes a while.
            thread::yield_now();
            let new = u64::from_le_bytes(bytes.try_into().unwrap());
            let mut document = document.lock().unwrap();
            is_older.fetch_or(new < *document, Ordering::SeqCst);
            *document = new;
            Ok(())
        };
        let change = || {
            for _ in 0..CHANGES {
                *kept.known() += 1;
                kept.keep(|known| known.to_le_bytes().to_vec(), put).unwrap();
            }
        };
        thread::scope(|scope| {
            scope.spawn(change);
            scope.spawn(change);
        });
        assert!(!is_older.load(Ordering::SeqCst), "an older document took the place of a newer");
        assert_eq!(*document.lock().unwrap(), 2 * CHANGES);
    }

    /// Writes are held up by nothing but the look at what is known.
    #[test]
    fn what_is_known_changes_while_it_is_put_down() {
        let kept = Kept::new(1_u8);
        let put = |document: &[u8]| -> Result<(), Infallible> {
            *kept.known() = 2;
            assert_eq!(document, [1]);
            Ok(())
        };
        kept.keep(|known| vec![*known], put).unwrap();
        assert_eq!(*kept.known(), 2);
    }
}
