//! Power cuts: what was acknowledged is there afterwards, once, and with the value that was sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::support::{Labstat, eventually, get, post};
use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

/// Writers at a time, so that one sync carries several requests.
const WRITERS: usize = 4;

/// Series of one request; each gets one sample of the same time.
const SERIES: usize = 10;

fn body(writer: usize, time_ms: i64) -> Vec<u8> {
    let series = (0..SERIES).map(|at| TimeSeries {
        labels: Labels::new([
            ("__name__", "crash_sequence"),
            ("series", &at.to_string()),
            ("writer", &writer.to_string()),
        ]),
        samples: vec![Sample { time_ms, value: value_at(at, time_ms) }],
    });
    remote_write::encode(&WriteRequest { series: series.collect(), metadata: Vec::new() })
        .expect("a small request can be encoded")
}

/// A value that tells its series and its time, exact as a float.
fn value_at(series: usize, time_ms: i64) -> f64 {
    (time_ms % 1_000_000_000) as f64 + series as f64 / 16.0
}

/// Sends one sample after the other until told to stop; gives the last acknowledged time.
fn write_until(base: &str, writer: usize, from_ms: i64, stop: &AtomicBool) -> i64 {
    let headers = [
        ("content-type", remote_write::CONTENT_TYPE),
        ("content-encoding", remote_write::CONTENT_ENCODING),
        (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
    ];
    let mut acknowledged = from_ms - 1;
    while !stop.load(Ordering::SeqCst) {
        let time_ms = acknowledged + 1;
        match post(&format!("{base}/api/v1/write"), &headers, &body(writer, time_ms)) {
            Ok((204, _)) => acknowledged = time_ms,
            Ok((status, text)) => panic!("{status}: {text}"),
            // The server was killed.
            Err(_) => break,
        }
    }
    acknowledged
}

/// All stored samples of a writer: series → time → value; fails on a time given twice.
fn stored(base: &str, writer: usize, at_ms: i64) -> BTreeMap<(usize, i64), f64> {
    let url = format!(
        "{base}/api/v1/query?time={}&query=crash_sequence%7Bwriter%3D%22{writer}%22%7D%5B1h%5D",
        at_ms / 1000 + 60
    );
    let json: serde_json::Value = serde_json::from_str(&get(&url).unwrap()).unwrap();
    let mut found = BTreeMap::new();
    for row in json["data"]["result"].as_array().expect("a matrix") {
        let series: usize = row["metric"]["series"].as_str().unwrap().parse().unwrap();
        for pair in row["values"].as_array().expect("values") {
            // A time is seconds with three decimals; its digits are the milliseconds.
            let time_ms = format!("{:.3}", pair[0].as_f64().unwrap()).replace('.', "");
            let time_ms = time_ms.parse().unwrap();
            let value = pair[1].as_str().unwrap().parse().unwrap();
            let twice = found.insert((series, time_ms), value);
            assert!(twice.is_none(), "series {series} has two samples at {time_ms}");
        }
    }
    found
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let start_ms = SystemClock.now_ms() - 1_200_000;
    let ends: Vec<AtomicI64> = (0..WRITERS).map(|_| AtomicI64::new(start_ms)).collect();
    let ends = Arc::new(ends);
    let mut cuts = vec![Vec::new(); WRITERS];
    for round in 0..4_u64 {
        let mut server = Labstat::start(&["aggregator", "--listen", "127.0.0.1:0", "--data", data]);
        let base = server.url();
        eventually("ready", || get(&format!("{base}/-/ready")));
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (base, stop, ends) = (base.clone(), stop.clone(), ends.clone());
                std::thread::spawn(move || {
                    let from = ends[writer].load(Ordering::SeqCst);
                    let last = write_until(&base, writer, from, &stop);
                    // The next round begins behind a request that may have been half taken.
                    ends[writer].store(last + 2, Ordering::SeqCst);
                    last + 1
                })
            })
            .collect();
        // The moment of the cut differs each round; its exact time does not matter.
        std::thread::sleep(Duration::from_millis(300 + 170 * round));
        server.kill();
        stop.store(true, Ordering::SeqCst);
        for (cuts, writer) in cuts.iter_mut().zip(writers) {
            cuts.push(writer.join().unwrap());
        }
    }
    let mut server = Labstat::start(&["aggregator", "--listen", "127.0.0.1:0", "--data", data]);
    let base = server.url();
    for (writer, end) in ends.iter().enumerate() {
        let found = stored(&base, writer, start_ms + 1_200_000);
        check(&found, start_ms, end.load(Ordering::SeqCst), &cuts[writer]);
    }
}

/// Every time up to the last acknowledged one is there for all series or, where it is one of the
/// `cuts`, whose answer was cut off, for all or none.
fn check(found: &BTreeMap<(usize, i64), f64>, start_ms: i64, end_ms: i64, cuts: &[i64]) {
    assert!(end_ms > start_ms + 20, "the writer came to write");
    let mut missing = Vec::new();
    for time_ms in start_ms..end_ms - 1 {
        let here = (0..SERIES).filter(|at| found.contains_key(&(*at, time_ms))).count();
        assert!(here == SERIES || here == 0, "{here} of {SERIES} series at {time_ms}");
        if here == 0 {
            missing.push(time_ms);
        }
    }
    missing.retain(|time_ms| !cuts.contains(time_ms));
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    for ((series, time_ms), value) in found {
        assert_eq!(value.to_bits(), value_at(*series, *time_ms).to_bits(), "{series} {time_ms}");
    }
}
