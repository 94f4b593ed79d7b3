//! The command line, driven as people and scripts drive it: the real binary, its arguments, its
//! output, its exit status.

// Marked as tests, so that the lints allow their helpers what tests may do.
#[cfg(test)]
mod errors;
#[cfg(test)]
mod help;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod parse;
#[cfg(test)]
mod query;
#[cfg(test)]
mod selftest;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
