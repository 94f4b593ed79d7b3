//! What is left after `kill -9` and after a loss of power, counted sample by sample.
//!
//! `cargo bench --bench durability -- [--trials N] [--kind kill|power] [--seed S] [--program FILE]`
//!
//! Each trial starts an aggregator on an empty folder and sends 20,000 samples a second over
//! several connections, some of them backwards in time, while the store is told to seal and merge
//! at random moments. After two to four seconds the server is cut off:
//!
//! - `kill`: it gets SIGKILL.
//! - `power`: its folder is an ext4 file system in an image on a loop device. The server is
//!   stopped, the image is copied as it is on the device, and the next server starts on the copy:
//!   whatever was not synced is gone. Needs root; left out without.
//!
//! Then a new server starts on what is left, all samples are read back, the store is merged, and
//! they are read again. Everything about a trial follows from its seed but the timing of threads.
//! Lost, doubled or half-taken samples make the benchmark fail; their folder is kept and named.
//!
//! That the second kind sees what was not synced is easily shown: with a library preloaded
//! (`LD_PRELOAD`) whose `fsync` and `fdatasync` do nothing, every sample is lost.
//! `cargo test --bench durability -- …` runs the same with a debug build.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::print_stderr, reason = "and says how far it is")]

mod check;
mod disk;
mod http;
mod load;
mod server;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use check::Losses;
use disk::Disk;
use load::{Load, Plan, Sent};
use server::Server;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    Power,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Power => "power loss",
        }
    }
}

struct Args {
    trials: u64,
    kinds: Vec<Kind>,
    seed: u64,
    program: PathBuf,
}

impl Args {
    fn read() -> Result<Self> {
        let mut args = Self {
            trials: 20,
            kinds: vec![Kind::Kill, Kind::Power],
            seed: 1,
            program: env!("CARGO_BIN_EXE_labstat").into(),
        };
        let mut given = std::env::args().skip(1);
        while let Some(arg) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--trials" => args.trials = value()?.parse()?,
                "--seed" => args.seed = value()?.parse()?,
                "--program" => args.program = value()?.into(),
                "--kind" => {
                    args.kinds = match value()?.as_str() {
                        "kill" => vec![Kind::Kill],
                        "power" => vec![Kind::Power],
                        other => return Err(format!("no kind {other}").into()),
                    }
                }
                // What cargo gives every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        Ok(args)
    }
}

/// What came of the trials of one kind.
#[derive(Default)]
struct Totals {
    trials: usize,
    acknowledged: usize,
    refused: usize,
    losses: Losses,
    latencies: Vec<Duration>,
    restarts: Vec<Duration>,
}

impl Totals {
    fn is_whole(&self) -> bool {
        self.losses.is_none() && self.refused == 0
    }

    fn row(&mut self, kind: Kind) -> String {
        self.latencies.sort_unstable();
        self.restarts.sort_unstable();
        let ack = |quantile| milliseconds(&self.latencies, quantile);
        let restart = |quantile| milliseconds(&self.restarts, quantile);
        let Losses { lost, doubled, strange, halves } = self.losses;
        format!(
            "{:<10} {:>6} {:>13} {:>7} {lost:>5} {doubled:>7} {strange:>7} {halves:>6} \
             {:>7.1} {:>7.1} {:>7.1} {:>8.0} {:>8.0}",
            kind.name(),
            self.trials,
            self.acknowledged,
            self.refused,
            ack(50),
            ack(99),
            ack(100),
            restart(50),
            restart(100),
        )
    }
}

const HEADING: [&str; 2] = [
    "                   acknowledged                                 half-   acknowledged in ms      ready in ms",
    "kind       trials       samples refused  lost doubled strange  taken     p50     p99     max      p50      max",
];

/// A percentile of ascending times, in milliseconds.
fn milliseconds(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// One trial: load, cut, restart, count, merge, count again.
fn trial(args: &Args, kind: Kind, seed: u64, totals: &mut Totals) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("labstat-durability-").tempdir()?;
    let plan = Plan::of_seed(seed);
    let disk = match kind {
        Kind::Kill => None,
        Kind::Power => Some(Disk::new(folder.path())?),
    };
    let data = disk.as_ref().map_or(folder.path(), Disk::mounted).join("data");
    let server = Server::start(&args.program, &data)?;
    server.ready()?;
    let load = Load::start(&plan, server.base());
    std::thread::sleep(plan.lasts);
    let sent = match &disk {
        None => {
            server.kill()?;
            load.end()?
        }
        Some(disk) => {
            server.freeze()?;
            disk.copy()?;
            server.kill()?;
            load.end()?
        }
    };
    // The old file system goes before its copy, which has the same identity, is mounted.
    let copy = disk.map(Disk::lose).transpose()?;
    let data = copy.as_ref().map_or(folder.path(), Disk::mounted).join("data");
    let losses = count(args, &plan, &sent, &data, totals)?;
    totals.trials += 1;
    totals.acknowledged += sent.iter().map(Sent::samples_len).sum::<usize>();
    totals.refused += sent.iter().map(|sent| sent.refused).sum::<usize>();
    totals.latencies.extend(sent.iter().flat_map(|sent| sent.latencies.iter().copied()));
    totals.losses.add(&losses);
    if !losses.is_none() {
        let kept = keep(&data)?;
        println!(
            "{} with --seed {seed}: {losses:?}; its data is in {}",
            kind.name(),
            kept.display()
        );
    }
    Ok(())
}

/// What is missing after a restart, or after everything was merged then.
fn count(
    args: &Args,
    plan: &Plan,
    sent: &[Sent],
    data: &Path,
    totals: &mut Totals,
) -> Result<Losses> {
    let started = Instant::now();
    let server = Server::start(&args.program, data)?;
    server.ready()?;
    totals.restarts.push(started.elapsed());
    let found = check::count(plan, sent, server.base())?;
    server.compact()?;
    let merged = check::count(plan, sent, server.base())?;
    server.kill()?;
    Ok(found.worse(merged))
}

/// Copies a folder that tells of a loss to where it stays.
fn keep(data: &Path) -> Result<PathBuf> {
    let kept = tempfile::Builder::new().prefix("labstat-lost-").tempdir()?.keep();
    disk::run("cp", &["-a".as_ref(), data.as_os_str(), kept.as_os_str()])?;
    Ok(kept)
}

fn run() -> Result<bool> {
    let args = Args::read()?;
    let mut rows = Vec::new();
    let mut is_whole = true;
    for &kind in &args.kinds {
        if kind == Kind::Power && !rustix::process::geteuid().is_root() {
            println!("left out: a loss of power needs root, for a loop device");
            continue;
        }
        let mut totals = Totals::default();
        for seed in args.seed..args.seed + args.trials {
            trial(&args, kind, seed, &mut totals)
                .map_err(|error| format!("{} with --seed {seed}: {error}", kind.name()))?;
            eprintln!("{} --seed {seed}: {} samples", kind.name(), totals.acknowledged);
        }
        is_whole &= totals.is_whole();
        rows.push(totals.row(kind));
    }
    HEADING.iter().for_each(|line| println!("{line}"));
    rows.iter().for_each(|row| println!("{row}"));
    Ok(is_whole)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
