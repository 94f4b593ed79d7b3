//! The real binary, end to end: real kernel files, real processes, real servers, real signals.
//!
//! Each module is one story. All run on port 0 and in temporary folders, side by side.

// Marked as tests, so that the lints allow their helpers what tests may do.
#[cfg(test)]
mod alerting;
#[cfg(test)]
mod buttons;
#[cfg(test)]
mod captured;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disks;
#[cfg(test)]
#[path = "../support/engines.rs"]
mod engine_servers;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod heartbeat;
#[cfg(test)]
mod history;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod manners;
#[cfg(test)]
#[path = "../support/random.rs"]
mod random;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod replay;
#[cfg(test)]
#[path = "../support/servers.rs"]
#[expect(dead_code, reason = "the receivers' own tests use the rest")]
mod servers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unwritable;
#[cfg(test)]
mod up;
#[cfg(test)]
mod viewers;
