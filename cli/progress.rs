//! How far a long command has come, on one line of a terminal; nothing where there is none.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use labstat_aggregator::Progress;

use crate::output;

/// How often the line is written anew: often enough to move, seldom enough not to flicker.
const INTERVAL: Duration = Duration::from_millis(100);

/// Goes to the line's start and clears it.
const CLEAR: &str = "\r\x1b[K";

/// The line. It is cleared when this is dropped.
pub(crate) struct Line {
    shown: Option<Instant>,
    terminal: bool,
}

impl Line {
    /// An empty line.
    pub(crate) fn new() -> Self {
        Self { shown: None, terminal: io::stderr().is_terminal() }
    }

    /// Shows `now`, when it is time to.
    pub(crate) fn show(&mut self, now: Progress) {
        self.say(&text(now));
    }

    /// Shows these words, when it is time to. Whether there is a terminal to show them.
    pub(crate) fn say(&mut self, words: &str) -> bool {
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= INTERVAL);
        if self.terminal && due {
            output::message(&format!("{CLEAR}{words}"));
            self.shown = Some(Instant::now());
        }
        self.terminal
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shown.is_some() {
            output::message(CLEAR);
        }
    }
}

fn text(now: Progress) -> String {
    match (now.done.saturating_mul(100)).checked_div(now.total) {
        Some(percent) => format!("{}: {percent} %", now.stage),
        None => format!("{} …", now.stage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_has_no_percentage() {
        assert_eq!(text(Progress { stage: "copying", done: 1, total: 3 }), "copying: 33 %");
        assert_eq!(text(Progress { stage: "log", done: 0, total: 0 }), "log …");
    }
}
