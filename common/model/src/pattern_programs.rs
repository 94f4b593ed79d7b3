//! The compiled programs of patterns that are in use, so that those of one text are one: ten thousand rules
//! have few patterns between them, and a program takes 15 KB before it has matched anything, and more after.
//!
//! Programs that nobody uses any more are not kept; their texts are for a while, so that long ones are not
//! shared: whoever asks must not be able to fill the memory.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use regex::Regex;

/// How many there are at least before those are looked for that nobody uses.
const SWEEP_MIN: usize = 64;

/// Bytes of the longest text that is shared.
const TEXT_LEN_MAX: usize = 4 * 1024;

static PROGRAMS: LazyLock<Mutex<Programs>> =
    LazyLock::new(|| Mutex::new(Programs { known: HashMap::new(), sweep_at: SWEEP_MIN }));

struct Programs {
    /// By their texts.
    known: HashMap<String, Weak<Regex>>,
    /// How many there may be until the next look.
    sweep_at: usize,
}

/// The program of a pattern: the one that others of this text use, or a new one. The same text must always be
/// compiled alike. The error is that of `compile`.
pub(crate) fn shared<E>(
    text: &str,
    compile: impl FnOnce(&str) -> Result<Regex, E>,
) -> Result<Arc<Regex>, E> {
    if text.len() > TEXT_LEN_MAX {
        return compile(text).map(Arc::new);
    }
    let found = with(|programs| programs.known.get(text).and_then(Weak::upgrade));
    if let Some(program) = found {
        return Ok(program);
    }
    // Others need not wait meanwhile.
    let program = Arc::new(compile(text)?);
    with(|programs| programs.keep(text, &program));
    Ok(program)
}

fn with<T>(work: impl FnOnce(&mut Programs) -> T) -> T {
    work(&mut PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Programs {
    fn keep(&mut self, text: &str, program: &Arc<Regex>) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, program| program.strong_count() > 0);
            // Each is looked at a few times at most, however many there are.
            self.sweep_at = SWEEP_MIN.max(2 * self.known.len());
        }
        self.known.insert(text.to_owned(), Arc::downgrade(program));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(of: &str) -> usize {
        with(|programs| programs.known.keys().filter(|text| text.starts_with(of)).count())
    }

    #[test]
    fn one_text_has_one_program_while_it_is_used() {
        let first = shared("programs-(a|b+)", Regex::new).unwrap();
        let second = shared("programs-(a|b+)", |_| -> Result<Regex, ()> { Err(()) }).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = shared("programs-(a|c+)", Regex::new).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, second));
        let again = shared("programs-(a|b+)", |_| Err(()));
        assert!(again.is_err(), "nobody used it any more");
        assert!(shared("programs-(", Regex::new).is_err());
        assert_eq!(count("programs-("), 2, "what does not compile is not kept");
    }

    #[test]
    fn long_texts_are_not_kept() {
        let text = |len: usize| format!("{:a<len$}", "long-");
        let longest = shared(&text(TEXT_LEN_MAX), Regex::new).unwrap();
        let longer = shared(&text(TEXT_LEN_MAX + 1), Regex::new).unwrap();
        assert_eq!(count("long-"), 1);
        assert!(longest.is_match(&text(TEXT_LEN_MAX)) && longer.is_match(&text(TEXT_LEN_MAX + 1)));
    }

    #[test]
    fn what_nobody_uses_is_not_kept_for_long() {
        for at in 0..20 * SWEEP_MIN {
            drop(shared(&format!("sweep-{at}-(x|y+)"), Regex::new).unwrap());
        }
        assert!(count("sweep-") < 10 * SWEEP_MIN, "{}", count("sweep-"));
    }
}
