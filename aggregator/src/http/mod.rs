//! Everything that is HTTP: the listener, who may ask, and one file per group of paths.

pub(crate) mod listen;
pub(crate) mod write;
