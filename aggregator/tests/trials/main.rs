//! Alerts through receivers that fail at random and a process that is killed at random: each alert's
//! beginning and end arrive once, by the message's name, and none is lost.
//!
//! A trial starts the real service (rules, manners, delivery, the store) as a process of its own and
//! kills it (SIGKILL) at moments that follow from the trial's seed, some of them between the taking
//! of a message and the answer. The receivers are a webhook that knows repetitions by
//! `Idempotency-Key`, and a real ntfy server (`.ci/peers`), which can be asked what it has, behind a
//! proxy; both refuse, hang, cut connections and dawdle. `docs/formats/alert-state.md` has the
//! command that makes a thousand trials.

#[cfg(test)]
mod child;
#[cfg(test)]
mod double;
#[cfg(test)]
#[path = "../../../tests/support/random.rs"]
mod random;
#[cfg(test)]
#[path = "../../../tests/support/servers.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "no mail is sent here")]
mod servers;
#[cfg(test)]
mod trial;
