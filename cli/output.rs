//! The way out: results to standard output, messages to standard error. Nothing else in labstat
//! writes to either.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::failure::Failure;

/// Writes a result. A reader that has gone away (`| head`) ends the command quietly.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(error) => Err(Failure::new("failed to write to standard output").because(&error)),
    }
}

/// Writes a message. When even standard error cannot be written there is nobody left to tell.
pub(crate) fn message(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Whether standard output takes colour: a terminal that has some, and a user who has not said no.
pub(crate) fn result_colour() -> bool {
    io::stdout().is_terminal() && colour_wanted()
}

/// As [`result_colour`], for standard error.
pub(crate) fn message_colour() -> bool {
    io::stderr().is_terminal() && colour_wanted()
}

/// Columns of the terminal that shows the results; none when they go elsewhere.
pub(crate) fn result_width() -> Option<u16> {
    comfy_table::Table::new().width().filter(|_| io::stdout().is_terminal())
}

/// See <https://no-color.org>: any value but the empty one means no.
fn colour_wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}
