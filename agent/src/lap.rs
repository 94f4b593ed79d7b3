//! Collectors run one after the other on a thread that can be left behind.
//!
//! One hand-over serves all collectors of a round: to wake a thread and to be woken by it costs
//! more than most of them do. The thread writes down which one runs and since when; whoever waits
//! looks there once the time of that one is up, and takes back what has not begun. The thread then
//! ends with the collector it hangs in.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use labstat_collect::{CollectError, Collector, Host, Status};
use labstat_model::Batch;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Stack of a collector's thread. Collectors hold their buffers on the heap; JSON is the deepest
/// they go, and its depth is bounded. Only pages that are touched cost memory.
const STACK_SIZE_BYTES: usize = 1024 * 1024;

/// One run of a collector.
pub(crate) struct Job {
    /// Whose it is.
    pub(crate) slot: usize,
    pub(crate) collector: Box<dyn Collector>,
    /// Empty.
    pub(crate) batch: Batch,
}

/// What came of a [`Job`].
pub(crate) struct Done {
    pub(crate) slot: usize,
    /// Absent when it panicked: what is left of it is not to be trusted.
    pub(crate) collector: Option<Box<dyn Collector>>,
    pub(crate) batch: Batch,
    /// Whom the samples are about, if not the node.
    pub(crate) instance: Option<String>,
    /// Whether it found what is not to wait for a round.
    pub(crate) has_news: bool,
    pub(crate) result: Result<Status, Failure>,
    pub(crate) took: Duration,
}

/// Why a run gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Collect(CollectError),
    #[error("the collector panicked: {0}")]
    Panic(String),
}

/// Jobs on their way, shared by the thread that does them and the one who waits.
#[derive(Default)]
pub(crate) struct Lap {
    progress: Mutex<Progress>,
    news: Notify,
}

#[derive(Default)]
struct Progress {
    todo: VecDeque<Job>,
    done: Vec<Done>,
    /// The slot whose job is being done, and since when.
    running: Option<(usize, Instant)>,
    ended: bool,
    left: bool,
}

/// How a lap ended for the one who waits.
pub(crate) struct Lapped {
    /// What was done, in its order.
    pub(crate) done: Vec<Done>,
    /// The one that did not return in its time, and since when it runs.
    pub(crate) hung: Option<(usize, Instant)>,
    /// What had not begun then.
    pub(crate) todo: VecDeque<Job>,
}

impl Lap {
    /// One with these jobs.
    pub(crate) fn new(todo: VecDeque<Job>) -> Arc<Self> {
        let progress = Progress { todo, ..Progress::default() };
        Arc::new(Self { progress: Mutex::new(progress), news: Notify::new() })
    }

    /// Does all jobs, on the thread that calls it. `false` when it was left behind: what it was
    /// busy with then goes to `late`.
    pub(crate) fn run(&self, host: &dyn Host, late: impl FnOnce(Done)) -> bool {
        let mut last: Option<Done> = None;
        loop {
            let mut progress = self.lock();
            if progress.left {
                drop(progress);
                last.map(late);
                return false;
            }
            progress.done.extend(last);
            let Some(job) = progress.todo.pop_front() else {
                (progress.running, progress.ended) = (None, true);
                drop(progress);
                self.news.notify_one();
                return true;
            };
            let start = Instant::now();
            progress.running = Some((job.slot, start));
            drop(progress);
            last = Some(run(host, job, start));
        }
    }

    /// Waits until all is done, one job has taken longer than `limit`, or it is `deadline`.
    pub(crate) async fn wait(&self, limit: Duration, deadline: Instant) -> Lapped {
        let mut look_at = Instant::now() + limit;
        loop {
            // Either way the state is what counts: the last job may end at this very moment.
            let _ = timeout_at(look_at.min(deadline), self.news.notified()).await;
            let mut progress = self.lock();
            let now = Instant::now();
            let until = match progress.running {
                Some((_, since)) => since + limit,
                // No thread has come to it yet.
                None => look_at,
            };
            if progress.ended || now >= until.min(deadline) {
                progress.left = true;
                return Lapped {
                    done: std::mem::take(&mut progress.done),
                    hung: progress.running,
                    todo: std::mem::take(&mut progress.todo),
                };
            }
            look_at = until;
        }
    }

    /// Takes all jobs back, for want of a thread.
    pub(crate) fn take_back(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.lock().todo)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a thread that does `work` with whatever it is sent, until that says `false` or the
/// sender is dropped.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    mut work: impl FnMut(T) -> bool + Send + 'static,
) -> Option<Sender<T>> {
    let (sender, given) = std::sync::mpsc::channel::<T>();
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_SIZE_BYTES);
    let started = thread.spawn(move || while given.recv().is_ok_and(&mut work) {});
    match started {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "failed to start a thread for a collector");
            None
        }
    }
}

/// Does one job, which began at `start`.
pub(crate) fn run(host: &dyn Host, job: Job, start: Instant) -> Done {
    let Job { slot, mut collector, mut batch } = job;
    // A bug in one collector must not end the agent; the collector is made anew after it.
    let result = catch_unwind(AssertUnwindSafe(|| collector.collect(host, &mut batch)));
    let took = start.elapsed();
    let (collector, result) = match result {
        Ok(result) => (Some(collector), result.map_err(Failure::Collect)),
        Err(panic) => (None, Err(Failure::Panic(panic_text(&*panic)))),
    };
    let instance = collector.as_ref().and_then(|collector| collector.instance());
    let has_news = collector.as_ref().is_some_and(|collector| collector.has_news());
    Done { slot, collector, batch, instance, has_news, result, took }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use labstat_collect::RealHost;
    use labstat_model::{Family, SystemClock};

    use super::*;

    static VALUE: Family = Family::gauge("demo", "A value.");
    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(30);

    /// Gives a sample once it is let through.
    struct Gate(Option<Receiver<()>>);

    impl Collector for Gate {
        fn collect(&mut self, _: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
            if let Some(gate) = &self.0 {
                let _ = gate.recv_timeout(LONG);
            }
            out.push(&VALUE, &[], 1.0);
            Ok(Status::Collected)
        }
    }

    fn jobs(gates: Vec<Option<Receiver<()>>>) -> VecDeque<Job> {
        let jobs = gates.into_iter().enumerate();
        jobs.map(|(slot, gate)| Job { slot, collector: Box::new(Gate(gate)), batch: Batch::new() })
            .collect()
    }

    fn start(lap: &Arc<Lap>) -> Receiver<(Option<Done>, bool)> {
        let (lap, (sender, ended)) = (Arc::clone(lap), channel());
        std::thread::spawn(move || {
            let host = RealHost::new(Arc::new(SystemClock));
            let mut late = None;
            let all = lap.run(&host, |done| late = Some(done));
            let _ = sender.send((late, all));
        });
        ended
    }

    fn slots(done: &[Done]) -> Vec<usize> {
        done.iter().map(|done| done.slot).collect()
    }

    #[tokio::test]
    async fn all_are_done_in_their_order_by_one_thread() {
        let lap = Lap::new(jobs(vec![None, None, None]));
        let thread = start(&lap);
        let outcome = lap.wait(LONG, Instant::now() + LONG).await;
        assert_eq!(slots(&outcome.done), [0, 1, 2]);
        assert!(outcome.hung.is_none() && outcome.todo.is_empty());
        assert!(outcome.done.iter().all(|done| done.batch.len() == 1));
        assert!(thread.recv_timeout(LONG).unwrap().1, "the thread is free for the next");
    }

    #[tokio::test]
    async fn one_that_hangs_is_left_behind_and_the_rest_comes_back() {
        let (release, gate) = channel();
        let lap = Lap::new(jobs(vec![None, Some(gate), None]));
        let thread = start(&lap);
        let outcome = lap.wait(SHORT, Instant::now() + LONG).await;
        assert_eq!(slots(&outcome.done), [0]);
        assert_eq!(outcome.hung.map(|(slot, _)| slot), Some(1));
        assert_eq!(outcome.todo.iter().map(|job| job.slot).collect::<Vec<_>>(), [2]);
        release.send(()).unwrap();
        let (late, goes_on) = thread.recv_timeout(LONG).unwrap();
        assert_eq!(late.unwrap().slot, 1, "what it gave in the end is not lost");
        assert!(!goes_on, "nobody sends that thread more");
    }

    /// Each has its own time: many that take a while are not one that hangs.
    #[tokio::test]
    async fn the_time_of_one_begins_with_it() {
        let (gates, doors): (Vec<_>, Vec<_>) = (0..4).map(|_| channel()).unzip();
        let lap = Lap::new(jobs(doors.into_iter().map(Some).collect()));
        let _thread = start(&lap);
        let limit = 10 * SHORT;
        let opener = async {
            for gate in gates {
                // Together they take longer than one may, and each much less.
                tokio::time::sleep(limit / 3).await;
                gate.send(()).unwrap();
            }
        };
        let (outcome, ()) = tokio::join!(lap.wait(limit, Instant::now() + LONG), opener);
        assert_eq!(slots(&outcome.done), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_lap_ends_at_its_deadline_and_without_a_thread() {
        let lap = Lap::new(jobs(vec![None, None]));
        let outcome = lap.wait(LONG, Instant::now() + SHORT).await;
        assert!(outcome.done.is_empty() && outcome.hung.is_none());
        assert_eq!(outcome.todo.len(), 2);
        assert!(!start(&lap).recv_timeout(LONG).unwrap().1, "a thread that comes too late");
    }
}
