//! How fast a remote-write body is made and taken apart: the hot path of every agent and of ingest.
//!
//! `cargo bench --bench wire`. One request has 2,000 series of one sample, with labels as long as
//! those of node_exporter.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::hint::black_box;
use std::time::Instant;

use labstat_model::{Labels, Sample, TimeSeries, WriteRequest};
use labstat_wire::remote_write;

const SERIES: u32 = 2_000;

const ROUNDS: u32 = 500;

fn main() {
    let series = (0..SERIES).map(|at| {
        let (device, instance) = (format!("nvme{}n1", at % 50), format!("vertex{}", at / 50));
        let labels = [
            ("__name__", "node_disk_io_time_weighted_seconds_total"),
            ("device", &device),
            ("instance", &instance),
            ("job", "node"),
        ];
        let value = f64::from(at) * 1.37;
        let samples = vec![Sample { time_ms: 1_767_275_100_000, value }];
        TimeSeries { labels: Labels::new(labels), samples }
    });
    let request = WriteRequest { series: series.collect(), metadata: Vec::new() };
    let body = remote_write::encode(&request).unwrap();
    println!("one request: {SERIES} samples, {} bytes", body.len());
    measure("encode", || {
        black_box(remote_write::encode(black_box(&request)).unwrap());
    });
    measure("decode", || {
        black_box(remote_write::decode(black_box(&body)).unwrap());
    });
}

fn measure(name: &str, work: impl Fn()) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    let seconds = start.elapsed().as_secs_f64();
    let millions = f64::from(SERIES) * f64::from(ROUNDS) / 1e6;
    println!("{name:<8} {:>6.3} s per million samples", seconds / millions);
}
