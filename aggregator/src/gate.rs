//! How many queries and look-ups run at a time, and who waits for whom.
//!
//! There is a number of places (`queries` of `[limits]`). Whoever finds none waits in line, first
//! come first served, for a bounded time and in a bounded number; then the answer is an error that
//! says so. Of the places, long queries may have all but one: so a light query never waits for long
//! ones only, whatever a dashboard over a year does. That place is the whole difference: within
//! their own line, long queries wait for long ones. With `queries = 1` there is none to spare.
//!
//! What is long is said beforehand by whoever asks, as well as can be told; and what is not done
//! after [`LIGHT_MAX`] turns out to be long. It becomes one of the long ones where there is a place
//! for it, and else it is stopped, to begin anew when there is. So of the places at least one is
//! free again after that time at the latest.
//!
//! Reading queries that may take a while to read has places of its own.
//!
//! Not here: how the threads of the engine are shared by the queries that run.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Limits, duration_of};

/// How long a light query may run before it is a long one. Panels of dashboards take a tenth of it.
pub(crate) const LIGHT_MAX: Duration = Duration::from_millis(500);

/// Queries that are read at a time, where that may take a while.
const READING_MAX: usize = 2;

/// How much a reader will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Done soon.
    Light,
    /// Reads much of history.
    Long,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// None became free in time.
    #[error("query timed out in query queue")]
    Timeout,
    /// Too many wait already.
    #[error("query timed out in query queue: {0} wait already")]
    Full(usize),
}

/// The places of readers.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    /// Those that long queries may have.
    long: Arc<Semaphore>,
    /// Those of texts that are read.
    reading: Arc<Semaphore>,
    waiting_max: usize,
    wait_max: Duration,
    running: IntGauge,
    waiting: IntGauge,
}

/// A place to read in; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    rank: Rank,
    _running: Counted,
}

/// Of what kind the reader is that has a place: a long one has its permit in here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rank(Arc<OnceLock<OwnedSemaphorePermit>>);

impl Place {
    /// The kind of its reader, which may become a long one.
    pub(crate) fn rank(&self) -> Rank {
        self.rank.clone()
    }
}

/// Counted in a gauge for as long as it lives.
#[derive(Debug)]
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Gate {
    /// As many places as `limits` say; `running` and `waiting` count who has one and who wants one.
    pub(crate) fn new(limits: &Limits, running: &IntGauge, waiting: &IntGauge) -> Self {
        let long = limits.queries_max.saturating_sub(1).max(1);
        Self {
            places: Arc::new(Semaphore::new(limits.queries_max)),
            long: Arc::new(Semaphore::new(long)),
            reading: Arc::new(Semaphore::new(READING_MAX)),
            waiting_max: limits.queries_waiting_max,
            wait_max: duration_of(limits.query_wait_ms),
            running: running.clone(),
            waiting: waiting.clone(),
        }
    }

    /// A place, as soon as there is one, but not after `timeout`. Whoever stops waiting leaves the
    /// line.
    pub(crate) async fn enter(&self, weight: Weight, timeout: Duration) -> Result<Place, Refused> {
        let waiting = usize::try_from(self.waiting.get()).unwrap_or(0);
        let free = self.places.available_permits() > 0
            && (weight == Weight::Light || self.long.available_permits() > 0);
        if waiting >= self.waiting_max && !free {
            return Err(Refused::Full(waiting));
        }
        let _waiting = Counted::new(&self.waiting);
        let until = Instant::now() + timeout.min(self.wait_max);
        let rank = Rank::default();
        if weight == Weight::Long {
            let _ = rank.0.set(acquire(&self.long, until).await?);
        }
        let place = acquire(&self.places, until).await?;
        Ok(Place { _place: place, rank, _running: Counted::new(&self.running) })
    }

    /// Makes a light reader a long one; false when the long ones have all their places.
    pub(crate) fn make_long(&self, rank: &Rank) -> bool {
        let permit = Arc::clone(&self.long).try_acquire_owned();
        permit.is_ok_and(|permit| rank.0.set(permit).is_ok())
    }

    /// A place to read a text in that may take a while, as soon as there is one.
    pub(crate) async fn read(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, Refused> {
        acquire(&self.reading, Instant::now() + timeout.min(self.wait_max)).await
    }
}

async fn acquire(places: &Arc<Semaphore>, until: Instant) -> Result<OwnedSemaphorePermit, Refused> {
    let place = Arc::clone(places).acquire_owned();
    let got = tokio::time::timeout_at(until.into(), place).await;
    got.ok().and_then(Result::ok).ok_or(Refused::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(queries_max: usize, waiting_max: usize) -> Gate {
        let gauge = |name: &str| IntGauge::new(name, "a gauge").unwrap();
        let limits = Limits {
            queries_max,
            queries_waiting_max: waiting_max,
            query_wait_ms: 20,
            ..Limits::default()
        };
        Gate::new(&limits, &gauge("running"), &gauge("waiting"))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn long_queries_leave_a_place_for_light_ones() {
        let gate = gate(3, 9);
        let first = gate.enter(Weight::Long, LONG).await.unwrap();
        let _second = gate.enter(Weight::Long, LONG).await.unwrap();
        assert_eq!(gate.enter(Weight::Long, LONG).await.unwrap_err(), Refused::Timeout);
        let light = gate.enter(Weight::Light, LONG).await.unwrap();
        assert_eq!(gate.enter(Weight::Light, LONG).await.unwrap_err(), Refused::Timeout);
        assert_eq!((gate.running.get(), gate.waiting.get()), (3, 0));
        drop(first);
        gate.enter(Weight::Long, LONG).await.unwrap();
        drop(light);
        assert_eq!((gate.running.get(), gate.waiting.get()), (1, 0));
    }

    #[tokio::test]
    async fn a_light_query_that_takes_long_becomes_a_long_one_where_there_is_room() {
        let gate = gate(3, 9);
        let light = gate.enter(Weight::Light, LONG).await.unwrap();
        assert!(gate.make_long(&light.rank()));
        let _long = gate.enter(Weight::Long, LONG).await.unwrap();
        assert_eq!(gate.enter(Weight::Long, LONG).await.unwrap_err(), Refused::Timeout);
        let second = gate.enter(Weight::Light, LONG).await.unwrap();
        assert!(!gate.make_long(&second.rank()), "one place is for light ones");
        drop(light);
        assert!(gate.make_long(&second.rank()), "a place of a long one is free again");
    }

    #[tokio::test]
    async fn one_place_is_for_all() {
        let gate = gate(1, 9);
        let long = gate.enter(Weight::Long, LONG).await.unwrap();
        assert_eq!(gate.enter(Weight::Light, LONG).await.unwrap_err(), Refused::Timeout);
        drop(long);
        gate.enter(Weight::Light, LONG).await.unwrap();
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_takes_nobody() {
        let gate = gate(1, 0);
        let place = gate.enter(Weight::Light, LONG).await.unwrap();
        assert_eq!(gate.enter(Weight::Light, LONG).await.unwrap_err(), Refused::Full(0));
        drop(place);
        gate.enter(Weight::Light, Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_line() {
        let gate = gate(1, 9);
        let _place = gate.enter(Weight::Light, LONG).await.unwrap();
        let waiting = gate.enter(Weight::Light, LONG);
        let left = tokio::time::timeout(Duration::from_millis(1), waiting).await;
        assert!(left.is_err() && gate.waiting.get() == 0);
    }
}
