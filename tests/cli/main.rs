//! The command line, driven as people and scripts drive it: the real binary, its arguments, its
//! output, its exit status.

mod errors;
mod help;
mod parse;
mod query;
mod support;
