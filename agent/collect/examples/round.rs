//! One round of all collectors as text: `round [ROOT]`, for looking at a machine by hand.

use std::path::Path;
use std::sync::Arc;

use labstat_collect::{Host, Options, RealHost, ReplayHost, registry};
use labstat_model::{Batch, SystemClock, number};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an example for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host: Box<dyn Host> = match std::env::args().nth(1) {
        Some(root) => Box::new(ReplayHost::open(Path::new(&root), Arc::new(SystemClock))?),
        None => Box::new(RealHost::new(Arc::new(SystemClock))),
    };
    for entry in registry() {
        let mut batch = Batch::new();
        match (entry.make)(&Options::default()).collect(&*host, &mut batch) {
            Ok(status) => eprintln!("{}: {status:?}, {} samples", entry.name, batch.len()),
            Err(error) => eprintln!("{}: {error}", entry.name),
        }
        for sample in batch.iter() {
            let value = number::format_g(sample.value);
            println!("{}{} {value}", sample.family.name, sample.labels);
        }
    }
    Ok(())
}
