//! What labstat does, line by line, on standard error.

use tracing_subscriber::EnvFilter;

use crate::output;

/// The environment's say on what is logged, in tracing's filter language.
const VARIABLE: &str = "RUST_LOG";

/// Starts logging: `RUST_LOG` when it is set, else as much as `-v` asks for. A service tells what
/// it does without being asked; a command is quiet unless something is wrong.
pub(crate) fn start(verbose: u8, service: bool) {
    let level = match (verbose, service) {
        (0, false) => "warn",
        (0, true) => "warn,labstat_agent=info,labstat_aggregator=info,labstat_alerts=info",
        (1, _) => {
            "info,labstat_agent=debug,labstat_aggregator=debug,labstat_alerts=debug,\
             labstat_store=debug"
        }
        (_, _) => "debug",
    };
    let filter = match std::env::var_os(VARIABLE) {
        Some(text) if !text.is_empty() => text.to_str().and_then(|text| {
            let filter = EnvFilter::try_new(text).ok();
            if filter.is_none() {
                output::message(&format!("labstat: {VARIABLE}={text:?} is no filter; ignored\n"));
            }
            filter
        }),
        _ => None,
    };
    // A second start in one process keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(level)))
        .with_writer(std::io::stderr)
        .with_ansi(output::message_colour())
        .try_init();
}
