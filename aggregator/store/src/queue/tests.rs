//! What goes in comes out, in order, whatever happens in between.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const LARGE: u64 = 1 << 30;

fn open(dir: &Path) -> Queue {
    let (queue, notices) = Queue::open(dir, LARGE, NOW_MS).unwrap();
    assert_eq!(notices, []);
    queue
}

fn push(queue: &Queue, at: usize) {
    queue.push(NOW_MS + at as i64, 2, content(at)).unwrap();
}

fn content(at: usize) -> Vec<u8> {
    format!("write {at} ").repeat(at % 7 * 40 + 1).into_bytes()
}

/// All that is left, in order, taken in small parts.
fn drain(queue: &Queue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let items = queue.peek(3, 1_000).unwrap();
        let Some(last) = items.last() else { return all };
        queue.ack(last.id).unwrap();
        all.extend(items.into_iter().map(|item| item.content));
    }
}

#[test]
fn what_goes_in_comes_out_in_order_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    (0..50).for_each(|at| push(&queue, at));
    let first = queue.peek(10, 1 << 20).unwrap();
    assert_eq!((first.len(), first[0].time_ms, first[0].samples), (10, NOW_MS, 2));
    queue.ack(first[9].id).unwrap();
    drop(queue);
    let queue = open(dir.path());
    let stats = queue.stats();
    assert_eq!((stats.items, stats.samples), (40, 80));
    assert_eq!(stats.oldest_ms, Some(NOW_MS + 10));
    push(&queue, 50);
    assert_eq!(drain(&queue), (10..=50).map(content).collect::<Vec<_>>());
    assert_eq!(queue.stats(), QueueStats::default());
}

#[test]
fn a_batch_is_bounded_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    (0..5).for_each(|_| queue.push(0, 1, vec![7; 100]).unwrap());
    assert_eq!(queue.peek(3, 1_000).unwrap().len(), 3);
    assert_eq!(queue.peek(5, 250).unwrap().len(), 2);
    assert_eq!(queue.peek(5, 1).unwrap().len(), 1);
}

#[test]
fn a_full_queue_refuses_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, _) = Queue::open(dir.path(), 3_500, NOW_MS).unwrap();
    (0..3).for_each(|_| queue.push(0, 1, vec![7; 1_000]).unwrap());
    let refused = queue.push(0, 1, vec![7; 1_000]).unwrap_err();
    assert_eq!(refused.to_string(), "the queue holds as much as it may (3500 bytes)");
    assert_eq!(queue.stats().items, 3);
    queue.ack(queue.peek(1, 1).unwrap()[0].id).unwrap();
    queue.push(0, 1, vec![7; 1_000]).unwrap();
}

#[test]
fn many_senders_share_commits_and_each_keeps_its_order() {
    const EACH: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    std::thread::scope(|scope| {
        for sender in 0..8_u8 {
            let queue = &queue;
            scope.spawn(move || {
                for at in 0..EACH {
                    let at = u8::try_from(at).unwrap();
                    queue.push(0, 1, vec![sender, at]).unwrap();
                }
            });
        }
    });
    let all = drain(&queue);
    assert_eq!(all.len(), 8 * EACH);
    for sender in 0..8 {
        let own: Vec<u8> = all.iter().filter(|item| item[0] == sender).map(|i| i[1]).collect();
        assert!(own.is_sorted() && own.len() == EACH, "{sender}: {own:?}");
    }
}

#[test]
fn room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    (0..40_u8).for_each(|at| queue.push(0, 1, vec![at; 1 << 20]).unwrap());
    for _ in 0..40 {
        queue.ack(queue.peek(1, 1).unwrap()[0].id).unwrap();
    }
    queue.close().unwrap();
    let len = fs::metadata(dir.path().join(Queue::FILE)).unwrap().len();
    assert!(len < 8 << 20, "{len} bytes");
}

/// The place of some content in the database file.
fn place(file: &[u8], content: &[u8]) -> usize {
    file.windows(content.len()).position(|window| window == content).unwrap()
}

#[test]
fn a_damaged_item_costs_only_itself() {
    for last in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let queue = open(dir.path());
        for at in 0..=2 {
            queue.push(0, 1, format!("content of {at}").into_bytes()).unwrap();
        }
        queue.close().unwrap();
        drop(queue);
        let path = dir.path().join(Queue::FILE);
        let mut file = fs::read(&path).unwrap();
        let which: &[u8] = if last { b"content of 2" } else { b"content of 1" };
        let at = place(&file, which);
        file[at] ^= 1;
        fs::write(&path, &file).unwrap();
        let queue = open(dir.path());
        assert_eq!(drain(&queue).len(), 2);
        assert_eq!(queue.stats(), QueueStats { damaged: 1, ..QueueStats::default() });
    }
}

#[test]
fn a_damaged_database_is_set_aside_and_what_reads_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    (0..200).for_each(|at| push(&queue, at));
    queue.close().unwrap();
    drop(queue);
    let path = dir.path().join(Queue::FILE);
    let mut file = fs::read(&path).unwrap();
    // A page in the middle, which holds rows or a part of one.
    let at = file.len() / 2 / 4096 * 4096;
    file[at..at + 4096].fill(0xa5);
    fs::write(&path, &file).unwrap();
    let (queue, notices) = Queue::open(dir.path(), LARGE, NOW_MS).unwrap();
    let kept = drain(&queue);
    assert!(kept.len() > 100, "{} of 200, {notices:?}", kept.len());
    assert!(kept.iter().all(|item| (0..200).any(|at| *item == content(at))));
    push(&queue, 7);
    drop(queue);
    assert_eq!(drain(&open(dir.path())), [content(7)]);
    let aside = fs::read_dir(dir.path()).unwrap().flatten();
    let aside = aside.filter(|file| file.file_name().to_string_lossy().contains(".damaged-"));
    assert!(aside.count() > 0);
}

#[test]
fn a_database_of_another_kind_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(Queue::FILE), "no database at all, but some text".repeat(99))
        .unwrap();
    let (queue, notices) = Queue::open(dir.path(), LARGE, NOW_MS).unwrap();
    assert!(notices[0].set_aside.as_ref().is_some_and(|path| path.exists()), "{notices:?}");
    push(&queue, 1);
    assert_eq!(drain(&queue), [content(1)]);
}

#[test]
fn a_queue_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let conn = rusqlite::Connection::open(dir.path().join(Queue::FILE)).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let error = Queue::open(dir.path(), LARGE, NOW_MS).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 99, known: 1, .. }), "{error}");
}

/// What one does to a queue.
#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    /// Takes up to so many and acknowledges all but so many of them.
    Deliver(usize, usize),
    /// A power cut: the files as they are, in another folder.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_000_usize).prop_map(Step::Push),
        3 => (1..6_usize, 0..3_usize).prop_map(|(take, keep)| Step::Deliver(take, keep)),
        1 => Just(Step::Crash),
    ]
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        // The index of the log is made anew, as after a power cut.
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
    }
    to
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever is done, what comes out is what went in, in order, from the first that was not
    /// acknowledged on.
    #[test]
    fn any_steps_equal_a_list(steps in prop::collection::vec(step(), 1..60)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut queue = open(dir.path());
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Step::Push(at) => {
                    push(&queue, at);
                    model.push_back(content(at));
                }
                Step::Deliver(take, keep) => {
                    let items = queue.peek(take, 1 << 20).unwrap();
                    prop_assert_eq!(items.len(), take.min(model.len()));
                    prop_assert!(items.iter().zip(&model).all(|(item, m)| item.content == *m));
                    let done = items.len().saturating_sub(keep);
                    if let Some(last) = done.checked_sub(1).and_then(|last| items.get(last)) {
                        queue.ack(last.id).unwrap();
                        model.drain(..done);
                    }
                }
                Step::Crash => {
                    let fresh = copy(dir.path());
                    drop(std::mem::replace(&mut queue, open(fresh.path())));
                    dir = fresh;
                }
            }
            prop_assert_eq!(queue.stats().items, model.len() as u64);
            let bytes: usize = model.iter().map(|m| m.len() + 64).sum();
            prop_assert_eq!(queue.stats().size_bytes, bytes as u64);
        }
        prop_assert_eq!(drain(&queue), Vec::from(model));
    }
}
