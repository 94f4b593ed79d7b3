//! A full or read-only disk fails writes with a clear error, loses nothing, and heals.

use std::path::Path;
use std::process::Command;

use super::common::{NOW_MS, everything, labels, one, open_with, options, samples, write};
use labstat_model::WriteRequest;
use labstat_store::{AppendError, MaintainError, OpenError, Options, Store};

/// A write of about 200 KB that nothing compresses.
fn large(at: i64) -> WriteRequest {
    let value = |series: i64, sample: i64| ((at * 7919 + series * 104_729 + sample) as f64).sqrt();
    write((0..20).map(|series| {
        let samples = (0..1000).map(|sample| (at * 1000 + sample, value(series, sample)));
        (labels(&format!("m{series}"), "a"), samples.collect())
    }))
}

/// Writes until the disk is full; gives how many writes were acknowledged.
fn fill(store: &Store) -> i64 {
    for at in 0..1000 {
        match store.append(&large(at)) {
            Ok(appended) => assert_eq!(appended.accepted, 20_000),
            Err(error) => {
                assert!(matches!(error, AppendError::StorageFull { .. }), "{error:?}");
                assert!(error.to_string().starts_with("no space left for "), "{error}");
                return at;
            }
        }
    }
    panic!("the disk is never full");
}

fn check_acknowledged(store: &Store, writes: i64) {
    let all = everything(store);
    assert_eq!(all.len(), 20);
    assert!(all.iter().all(|series| series.len() as i64 == writes * 1000));
}

#[test]
fn a_database_at_its_bound_refuses_and_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let bound = |size_max_bytes| Options { size_max_bytes, ..options() };
    let store = open_with(dir.path(), bound(Some(2_000_000)));
    let writes = fill(&store);
    assert!(writes > 2, "{writes}");
    check_acknowledged(&store, writes);
    // What was refused is no duplicate of anything, and new series of it are not there.
    assert!(store.append(&one("new", &[(NOW_MS, 1.0); 1])).is_err() || writes > 0);
    drop(store);
    let store = open_with(dir.path(), bound(None));
    assert_eq!(store.append(&large(writes)).unwrap().accepted, 20_000);
    store.append(&one("new", &[(NOW_MS, 1.0)])).unwrap();
    assert_eq!(samples(&store, "new"), [(NOW_MS, 1.0)]);
}

/// A tmpfs of some mebibytes, as root can mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(dir.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                println!("SKIPPED: a small disk cannot be mounted here: {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_file_system_loses_nothing_and_heals() {
    let Some(disk) = SmallDisk::mount() else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 16_000_000]).unwrap();
    let data = disk.path().join("data");
    let store = open_with(&data, options());
    let writes = fill(&store);
    assert!(writes > 2, "{writes}");
    check_acknowledged(&store, writes);
    match store.compact() {
        Ok(_) | Err(MaintainError::Write(AppendError::StorageFull { .. })) => {}
        Err(error) => panic!("{error:?}"),
    }
    check_acknowledged(&store, writes);
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(store.append(&large(writes)).unwrap().accepted, 20_000);
    store.compact().unwrap();
    check_acknowledged(&store, writes + 1);
    drop(store);
    check_acknowledged(&open_with(&data, options()), writes + 1);
}

/// A file system that became read-only refuses writes and answers reads; a start on it names the
/// directory.
#[test]
fn a_read_only_file_system_is_named() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.path().join("data");
    let remount = |mode: &str| {
        let mount = Command::new("mount").args(["-o", mode]).arg(disk.path()).status();
        mount.is_ok_and(|status| status.success())
    };
    let store = open_with(&data, options());
    store.append(&one("m", &[(1, 1.0)])).unwrap();
    store.compact().unwrap();
    drop(store);
    if !remount("remount,ro") {
        println!("SKIPPED: the small disk cannot be made read-only here");
        return;
    }
    let error = Store::open(&data, options()).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("data"), "{error}");
    let error = Store::open(&disk.path().join("other"), options()).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(remount("remount,rw"));
    assert_eq!(samples(&open_with(&data, options()), "m"), [(1, 1.0)]);
}

/// When a commit fails, so do the requests that were checked against it: each of them is taken in
/// full when it is sent again, and those that were acknowledged are there.
#[test]
fn of_many_writers_at_a_full_disk_each_knows_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let bound = |size_max_bytes| Options { size_max_bytes, ..options() };
    let store = open_with(dir.path(), bound(Some(2_000_000)));
    let request = |writer: i64, at: i64| {
        // Every writer's samples come twice, so that duplicates meet what is still on its way.
        large(at + writer / 2 * 100_000)
    };
    let (acknowledged, failed): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let send = |at| ((writer, at), store.append(&request(writer, at)).is_ok());
                    (0..8).map(send).collect::<Vec<_>>()
                })
            })
            .collect();
        let results = writers.into_iter().flat_map(|writer| writer.join().unwrap());
        results.partition(|(_, stored)| *stored)
    });
    assert!(!acknowledged.is_empty() && !failed.is_empty());
    drop(store);
    let store = open_with(dir.path(), bound(None));
    for ((writer, at), _) in &acknowledged {
        let again = store.append(&request(*writer, *at)).unwrap();
        assert_eq!((again.duplicates, again.accepted), (20_000, 0), "{writer} {at} is lost");
    }
    let stored: std::collections::BTreeSet<_> =
        acknowledged.iter().map(|((writer, at), _)| (writer / 2, *at)).collect();
    for ((writer, at), _) in &failed {
        let again = store.append(&request(*writer, *at)).unwrap();
        assert_eq!(again.accepted + again.duplicates, 20_000);
        assert!(again.accepted == 0 || !stored.contains(&(writer / 2, *at)));
    }
}
