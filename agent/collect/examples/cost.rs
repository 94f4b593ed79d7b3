//! What rounds cost: `cost ROUNDS [COLLECTOR…]` runs the fast collectors of this machine that many
//! times and prints what one round of each took in CPU time, user and system.

use std::sync::Arc;
use std::time::Duration;

use labstat_collect::{Options, Pace, RealHost, registry};
use labstat_model::{Batch, SystemClock};
use rustix::time::{ClockId, clock_gettime};

#[expect(clippy::print_stdout, reason = "an example for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let rounds: u32 = args.next().ok_or("how many rounds?")?.parse()?;
    let wanted: Vec<String> = args.collect();
    let host = RealHost::new(Arc::new(SystemClock));
    let mut total = 0.0;
    let mut batch = Batch::new();
    for entry in registry().iter().filter(|entry| entry.pace == Pace::Fast) {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == entry.name) {
            continue;
        }
        let mut collector = (entry.make)(&Options::default());
        let before = cpu_time();
        for _ in 0..rounds {
            batch.clear();
            collector.collect(&host, &mut batch)?;
        }
        let micros = (cpu_time() - before).as_secs_f64() * 1e6 / f64::from(rounds);
        println!("{:14} {micros:8.1} us {:5} samples", entry.name, batch.len());
        total += micros;
    }
    println!("{:14} {total:8.1} us", "one round");
    Ok(())
}

/// CPU time of the whole process, its helper threads included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}
