//! The history's files beside a running server: backup, check, sizes, compaction.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::support::{Labstat, command, eventually, get, post, value};
use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

fn body(time_ms: i64) -> Vec<u8> {
    let series = (0..20_u32).map(|at| TimeSeries {
        labels: Labels::new([("__name__", "backed_up"), ("series", &at.to_string())]),
        samples: vec![Sample { time_ms, value: f64::from(at) }],
    });
    remote_write::encode(&WriteRequest { series: series.collect(), metadata: Vec::new() }).unwrap()
}

fn send(base: &str, time_ms: i64) {
    let headers = [
        ("content-type", remote_write::CONTENT_TYPE),
        ("content-encoding", remote_write::CONTENT_ENCODING),
        (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
    ];
    let answer = post(&format!("{base}/api/v1/write"), &headers, &body(time_ms));
    assert!(matches!(answer, Ok((204, _))), "{answer:?}");
}

fn run(arguments: &[&str], data: &Path) -> Output {
    command(arguments).arg("--data").arg(data).output().expect("the binary runs")
}

fn start(data: &Path) -> (Labstat, String) {
    let data = data.to_str().unwrap();
    let mut server = Labstat::start(&["aggregator", "--listen", "127.0.0.1:0", "--data", data]);
    let base = server.url();
    eventually("ready", || get(&format!("{base}/-/ready")));
    (server, base)
}

#[test]
fn a_backup_of_a_busy_server_starts_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let (data, restored) = (dir.path().join("data"), dir.path().join("restored"));
    std::fs::create_dir(&restored).unwrap();
    let (_server, base) = start(&data);
    let start_ms = SystemClock.now_ms() - 600_000;
    let (sent, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let copy = restored.join("labstat.db");
    let before = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let count = sent.load(Ordering::SeqCst);
                send(&base, start_ms + count);
                sent.store(count + 1, Ordering::SeqCst);
            }
        });
        eventually("some samples", || match sent.load(Ordering::SeqCst) {
            count if count > 20 => Ok(()),
            count => Err(format!("{count}")),
        });
        // A compaction in between moves everything.
        let compacted = run(&["store", "compact", "--server", &base], &data);
        assert!(compacted.status.success(), "{compacted:?}");
        let before = sent.load(Ordering::SeqCst);
        let backup = run(&["backup", copy.to_str().unwrap()], &data);
        assert!(backup.status.success(), "{backup:?}");
        for looks in ["check", "stats"] {
            let looked = run(&["store", looks], &data);
            assert!(looked.status.success(), "{looked:?}");
        }
        stop.store(true, Ordering::SeqCst);
        before
    });
    let (_other, other) = start(&restored);
    let query = format!("min(count_over_time(backed_up[1h] @ {}))", start_ms / 1000 + 1200);
    let found = value(&other, &query).unwrap();
    assert!(
        found >= before as f64 && found <= sent.load(Ordering::SeqCst) as f64,
        "{found} {before}"
    );
}

#[test]
fn compaction_asks_the_aggregator_that_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let (_one, _) = start(&one);
    let (_two, base) = start(&two);
    let output = run(&["store", "compact", "--server", &base], &one);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("not by the aggregator at") && told.contains("--server"), "{told}");
}
