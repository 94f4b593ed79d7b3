//! How long a thousand reports of smartctl take on one core.
//!
//! `cargo bench -p labstat-parse --bench smartctl`. The inputs are our own captures and, where
//! they are at hand, those of other projects, each as often as it takes to make a thousand.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use labstat_parse::smartctl;

/// Reports of one round.
const REPORTS: usize = 1_000;
/// Rounds of which the fastest and the middle one are shown.
const ROUNDS: usize = 15;

fn main() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = read(&manifest.join("fixtures/smartctl/reports"));
    let others = read(&manifest.join("../../../shared/fixtures/smartctl"));
    for (whose, reports) in [("own captures", own), ("other projects' captures", others)] {
        let is_json = |report: &&Vec<u8>| report.starts_with(b"{");
        let json: Vec<_> = reports.iter().filter(is_json).collect();
        let text: Vec<_> = reports.iter().filter(|report| !is_json(report)).collect();
        for (kind, reports) in [("text", text), ("JSON", json)] {
            if reports.is_empty() {
                continue;
            }
            let thousand: Vec<_> = reports.iter().cycle().take(REPORTS).collect();
            let bytes: usize = thousand.iter().map(|report| report.len()).sum();
            println!("{whose}, {kind}: {REPORTS} reports of {} bytes on average", bytes / REPORTS);
            measure("read", || {
                thousand.iter().for_each(|report| {
                    black_box(smartctl::parse(report));
                });
            });
            measure("read and printed", || {
                thousand.iter().for_each(|report| {
                    black_box(smartctl::to_json(report));
                });
            });
        }
    }
}

fn measure(what: &str, round: impl Fn()) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .collect();
    times.sort();
    let middle = times.get(ROUNDS / 2).unwrap().as_secs_f64() * 1e3;
    let fastest = times.first().unwrap().as_secs_f64() * 1e3;
    println!("  {what:<17} {middle:>8.1} ms, fastest {fastest:.1} ms");
}

/// All files in `folder` and the folders in it.
fn read(folder: &Path) -> Vec<Vec<u8>> {
    let (mut reports, mut folders) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                reports.push(fs::read(&path).unwrap());
            }
        }
    }
    reports
}
