//! The `labstat` command.
fn main() {}
