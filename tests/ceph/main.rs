//! labstat beside a real, small Ceph cluster: Debian's daemons on loopback, provoked and watched.
//!
//! [`cluster`] starts it and does to it what happens to clusters; the other modules are stories. All
//! of them share one cluster and take turns: [`cluster::shared`] gives it whole and healthy. Where
//! the daemons cannot be had, each story says `SKIPPED`.

// Marked as tests, so that the lints allow their helpers what tests may do.
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod sockets;
