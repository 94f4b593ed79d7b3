//! What a shelf of disks does to the rounds: `shelf DISKS INTERVAL_MS ROUNDS` times rounds of the
//! fast collectors alone, and while the disks are read beside them by a stand-in for smartctl.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use labstat_collect::{Collector, Host, Options, Pace, RealHost, registry};
use labstat_model::{Batch, SystemClock};

/// Time between two rounds, and between two looks at the disks' schedules.
const PAUSE: Duration = Duration::from_millis(25);

const STAND_IN: &str = r#"#!/bin/sh
case "$*" in *scan*) echo '{"smartctl":{"version":[7,3]},"devices":[]}';;
*) echo '{"smartctl":{"version":[7,3]},"device":{"type":"sat"},"model_name":"M","serial_number":"S'"$*"'","temperature":{"current":41}}';;
esac
"#;

#[expect(clippy::print_stdout, reason = "an example for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = |what: &'static str| -> Result<u64, Box<dyn std::error::Error>> {
        Ok(args.next().ok_or(what)?.parse()?)
    };
    let (disks, interval_ms) =
        (number("how many disks?")?, number("how many ms between readings?")?);
    let rounds = usize::try_from(number("how many rounds?")?)?;
    let program = std::env::temp_dir().join(format!("labstat-shelf-{}", std::process::id()));
    std::fs::write(&program, STAND_IN)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;

    let host = RealHost::new(Arc::new(SystemClock));
    show("alone", fast_rounds(&host, rounds));
    let stop = AtomicBool::new(false);
    let mut options = Options::default();
    options.smartctl.program = program.to_string_lossy().into_owned();
    options.smartctl.continuous = true;
    options.smartctl.interval = Some(Duration::from_millis(interval_ms));
    options.smartctl.devices =
        (0..disks).map(|n| (format!("/dev/shelf{n}"), "sat".to_owned())).collect();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_disks(&host, &options, &stop));
        let with = fast_rounds(&host, rounds);
        stop.store(true, Ordering::Relaxed);
        show("beside the disks", with);
        if let Ok(runs) = reader.join() {
            show("a look at the disks", runs);
        }
    });
    println!("{} processes", host.counts().commands);
    std::fs::remove_file(program)?;
    Ok(())
}

/// How long each of so many rounds of the fast collectors took.
fn fast_rounds(host: &dyn Host, rounds: usize) -> Vec<Duration> {
    let fast = registry().iter().filter(|entry| entry.pace == Pace::Fast);
    let mut collectors: Vec<Box<dyn Collector>> =
        fast.map(|entry| (entry.make)(&Options::default())).collect();
    let mut batch = Batch::new();
    let round = |_| {
        std::thread::sleep(PAUSE);
        let start = Instant::now();
        for collector in &mut collectors {
            batch.clear();
            // What cannot be read here is not what is timed.
            let _ = collector.collect(host, &mut batch);
        }
        start.elapsed()
    };
    (0..rounds).map(round).collect()
}

fn read_disks(host: &dyn Host, options: &Options, stop: &AtomicBool) -> Vec<Duration> {
    let mut runs = Vec::new();
    let entries = registry().iter().filter(|entry| entry.name == "smartctl");
    let mut collectors: Vec<Box<dyn Collector>> =
        entries.map(|entry| (entry.make)(options)).collect();
    let mut batch = Batch::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        for collector in &mut collectors {
            batch.clear();
            let _ = collector.collect(host, &mut batch);
        }
        runs.push(start.elapsed());
        std::thread::sleep(PAUSE);
    }
    runs
}

#[expect(clippy::print_stdout, reason = "an example for people")]
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{what}: median {:?}, 99 of 100 within {:?}", at(50), at(99));
}
