//! How fast reports of drives and the state of arrays are read.
//!
//! `cargo bench --bench parse`. The inputs are the captures in `agent/parse/fixtures`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use labstat_parse::{ceph, mdstat, smartctl};

const ROUNDS: usize = 200;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/parse/fixtures");
    for kind in ["txt", "json"] {
        let reports = read(&root.join("smartctl/reports"), kind);
        measure(&format!("smartctl {kind}"), &reports, |input| {
            black_box(smartctl::parse(input));
        });
        measure(&format!("smartctl {kind}, printed"), &reports, |input| {
            black_box(smartctl::to_json(input));
        });
    }
    measure("mdstat", &read(&root.join("mdstat"), "txt"), |input| {
        black_box(mdstat::parse(std::str::from_utf8(input).unwrap()).unwrap());
    });
    let dumps: Vec<_> = vec![fs::read(root.join("ceph/asok-osd.0-perf-dump.json")).unwrap()];
    let first = std::str::from_utf8(dumps.first().unwrap()).unwrap();
    let plan = ceph::Plan::new(None, first).unwrap();
    let values = RefCell::new(Vec::new());
    measure("perf dump", &dumps, |input| {
        let text = std::str::from_utf8(input).unwrap();
        assert!(plan.read(text, &mut values.borrow_mut()).unwrap());
        black_box(&values);
    });
    measure("perf dump, first", &dumps, |input| {
        black_box(ceph::Plan::new(None, std::str::from_utf8(input).unwrap()).unwrap());
    });
}

fn read(folder: &Path, kind: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == kind));
    files.map(|path| fs::read(path).unwrap()).collect()
}

fn measure(name: &str, inputs: &[Vec<u8>], parse: impl Fn(&[u8])) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        inputs.iter().for_each(|input| parse(input));
    }
    let elapsed = start.elapsed().as_secs_f64();
    let count = ROUNDS * inputs.len();
    let bytes = ROUNDS * inputs.iter().map(Vec::len).sum::<usize>();
    let each = elapsed * 1e6 / f64::from(u32::try_from(count).unwrap());
    let speed = f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0 / elapsed;
    println!("{name:<24} {each:>8.1} us each, {speed:>7.1} MiB/s");
}
