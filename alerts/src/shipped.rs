//! The rules labstat ships, embedded, so that one binary is enough.

/// The rule files, each by the name it is shown with.
pub const FILES: &[(&str, &str)] = &[];
