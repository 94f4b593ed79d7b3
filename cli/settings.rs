//! Reading configuration files and durations for the commands that serve.

use std::fmt::Display;
use std::path::Path;

use labstat_model::duration;

use crate::environment::{self, Form};
use crate::failure::Failure;

/// Bytes of a configuration file; a longer one is some other file.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// The text of a configuration file.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    let what = || Failure::new(format!("failed to read {}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| what().because(&error))?.len();
    if size > FILE_LEN_MAX {
        return Err(Failure::new(format!(
            "{} has {size} bytes: not a configuration file",
            file.display()
        )));
    }
    std::fs::read_to_string(file).map_err(|error| what().because(&error))
}

/// Reads `file` by `parse`, which gives all problems at once.
pub(crate) fn parse<T, P: Display>(
    file: &Path,
    parse: impl FnOnce(&str) -> Result<T, Vec<P>>,
) -> Result<T, Failure> {
    let text = read(file)?;
    parse(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("{problem}")).collect();
        let count = crate::view::count(lines.len(), "problem");
        Failure::new(format!("{} has {count}", file.display())).cure(lines.join("\n  "))
    })
}

/// A time between two rounds that agents take, for clap.
pub(crate) fn interval_ms(text: &str) -> Result<i64, String> {
    let text = environment::setting("interval", Form::Text, text);
    match labstat_agent::Config::parse(&text) {
        Ok(config) => Ok(config.interval_ms),
        Err(problems) => {
            let problem = problems.into_iter().next().map(|problem| problem.message);
            Err(problem.unwrap_or_default().trim_start_matches("interval: ").to_owned())
        }
    }
}

/// A positive duration such as `10s`, for clap.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    match duration::parse_ms(text) {
        Ok(ms) if ms > 0 => Ok(ms),
        Ok(_) => Err("must be longer than nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_one_that_an_agent_takes() {
        assert_eq!(interval_ms("1s"), Ok(1_000));
        for text in ["5ms", "3m", "10", "soon", "", "-1s"] {
            let error = interval_ms(text).unwrap_err();
            assert!(!error.is_empty() && !error.contains("interval"), "{error}");
        }
    }
}
