//! labstat beside a real, small Ceph cluster: Debian's daemons on loopback, provoked and watched.
//!
//! [`cluster`] starts it and does to it what happens to clusters, [`lab`] watches it; the other modules are
//! stories. Each takes a cluster over from the one before it, or starts one of its own kind:
//! [`cluster::shared`] gives one whole and healthy, that nobody else has. Where the daemons cannot be had,
//! each story says `SKIPPED`.

// Marked as tests, so that the lints allow their helpers what tests may do.
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod files;
#[cfg(test)]
mod full;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod leader;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod sockets;
