//! The collectors that fail on this machine, and the files of scripts that are not taken: each with
//! the file at fault and what was wrong with it.

use std::sync::Arc;

use labstat_agent::collect::parse::exposition::{self, Exposition};
use labstat_agent::{Config, Outcome, StartError};
use labstat_model::SystemClock;

use super::sensors::{self, Sensor};
use super::{Advice, Facts, Tone, in_short, line};
use crate::failure::Failure;
use crate::runtime;

/// The collector of disks, which are asked elsewhere, each once.
const DISKS: &str = "smartctl";

/// What is in the place of a collector's name when none could run.
const ANY: &str = "";

/// What the textfile collector names the files with that it does not take.
const TEXTFILE_ERROR: &str = "labstat_textfile_error_info";

/// How the collectors fared.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) failures: Vec<Failed>,
    /// Text files that were not taken: the file and why.
    pub(super) textfiles: Vec<(String, String)>,
    /// The sensors of temperatures.
    pub(super) sensors: Vec<Sensor>,
}

/// A collector that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) collector: String,
    /// The error and its causes, which name the file.
    pub(super) reason: String,
}

/// Runs all collectors of the agent here once, but for those of disks.
pub(super) fn run(config: &Config) -> Ran {
    let mut config = config.clone();
    config.exclude.push(DISKS.to_owned());
    let once = runtime::block_on(async {
        match labstat_agent::once(&config, Arc::new(SystemClock)).await {
            // It is told to ask disks and nothing else.
            Err(StartError::NoCollectors) => Ok(None),
            once => once.map(Some).map_err(|cause| Failure::new("none could run").because(&cause)),
        }
    });
    let once = match once {
        Ok(Some(once)) => once,
        Ok(None) => return Ran::default(),
        Err(failure) => {
            let failed = Failed { collector: ANY.to_owned(), reason: in_short(&failure) };
            return Ran { failures: vec![failed], ..Ran::default() };
        }
    };
    let failures = once.findings.into_iter().filter_map(|finding| match finding.outcome {
        Outcome::Failed { reason } => {
            Some(Failed { collector: finding.collector.to_owned(), reason })
        }
        _ => None,
    });
    let failures = failures.collect();
    let Ok(found) = exposition::parse(once.text.as_bytes()) else {
        return Ran { failures, ..Ran::default() };
    };
    Ran { failures, textfiles: textfiles(&found), sensors: sensors::found(&found) }
}

/// The files that an exposition says were not taken, and why.
fn textfiles(found: &Exposition) -> Vec<(String, String)> {
    let is_error = |family: usize| {
        found.families.get(family).is_some_and(|family| family.name == TEXTFILE_ERROR)
    };
    let wrong = found.samples.iter().filter(|sample| is_error(sample.family)).map(|sample| {
        let label = |wanted: &str| {
            let label = sample.labels.iter().find(|(name, _)| name == wanted);
            label.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        (label("file"), label("reason"))
    });
    wrong.collect()
}

/// What to do about them.
pub(super) fn advice(facts: &Facts) -> Vec<Advice> {
    let failures = facts.failures.iter().map(|failed| {
        if failed.collector == ANY {
            return line("collectors", Tone::Bad, &*failed.reason, "labstat agent --once");
        }
        let has_no_right = failed.reason.to_lowercase().contains("permission denied");
        let cure = match has_no_right && !facts.root {
            true => "run the agent as root, or exclude this collector".to_owned(),
            false => format!("look at it: labstat agent --once --only {}", failed.collector),
        };
        line(format!("collector {}", failed.collector), Tone::Bad, &*failed.reason, &cure)
    });
    let textfiles = facts.textfiles.iter().map(|(file, reason)| {
        let found = format!("not taken: {reason}");
        line(format!("text file {file}"), Tone::Bad, found, "mend what writes it, or take it away")
    });
    failures.chain(textfiles).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bad_text_files_are_named_with_their_reason() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("good.prom"), "good 1\n").unwrap();
        fs::write(dir.path().join("bad.prom"), "good 1\nthis is \"no\" metric\n").unwrap();
        let mut config = Config { only: vec!["textfile".to_owned()], ..Config::default() };
        config.collect.textfile.directories = vec![dir.path().to_str().unwrap().to_owned()];
        // What was written just now is not looked at yet.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let ran = loop {
            let ran = run(&config);
            if !ran.textfiles.is_empty() || std::time::Instant::now() > until {
                break ran;
            }
        };
        assert!(ran.failures.is_empty(), "{ran:?}");
        let [(file, reason)] = &ran.textfiles[..] else { panic!("{ran:?}") };
        assert!(file.ends_with("/bad.prom"), "{file}");
        assert!(reason.contains('2'), "the line: {reason}");
        let facts = Facts { textfiles: ran.textfiles.clone(), ..Facts::default() };
        let [advice] = &advice(&facts)[..] else { panic!() };
        assert!(advice.what.contains("bad.prom") && advice.found.contains(reason.as_str()));
        assert!(advice.tone >= Tone::Warn);
    }

    #[test]
    fn a_collector_that_fails_is_named_with_the_file_at_fault() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/net")).unwrap();
        fs::write(dir.path().join("proc/net/tcp"), "heads\nno socket\n").unwrap();
        fs::write(dir.path().join("proc/loadavg"), "1 1 1 1/1 1\n").unwrap();
        let config = Config {
            only: vec!["tcpstat".to_owned(), "loadavg".to_owned()],
            host_root: Some(dir.path().to_owned()),
            ..Config::default()
        };
        let ran = run(&config);
        let [failure] = &ran.failures[..] else { panic!("{ran:?}") };
        assert_eq!(failure.collector, "tcpstat");
        assert!(failure.reason.contains("/proc/net/tcp"), "{failure:?}");
        let facts = Facts { failures: ran.failures.clone(), root: true, ..Facts::default() };
        let [advice] = &advice(&facts)[..] else { panic!() };
        assert_eq!(advice.what, "collector tcpstat");
        assert!(advice.found.contains("/proc/net/tcp") && advice.cure.contains("--only tcpstat"));
    }

    #[test]
    fn a_machine_that_cannot_be_read_is_told_and_an_agent_of_disks_alone_is_in_order() {
        let config = Config { host_root: Some("/nonexistent/tree".into()), ..Config::default() };
        let facts = Facts { failures: run(&config).failures, ..Facts::default() };
        let [advice] = &advice(&facts)[..] else { panic!("{facts:?}") };
        assert!(advice.what == "collectors" && advice.found.contains("/nonexistent/tree"));
        let config = Config { only: vec![DISKS.to_owned()], ..Config::default() };
        assert!(run(&config).failures.is_empty());
    }

    #[test]
    fn what_only_root_may_read_is_cured_by_root() {
        let failure = Failed {
            collector: "rapl".to_owned(),
            reason: "failed to read /sys/x: Permission denied (os error 13)".to_owned(),
        };
        let cure = |root| {
            let facts = Facts { failures: vec![failure.clone()], root, ..Facts::default() };
            advice(&facts).remove(0).cure
        };
        assert!(cure(false).contains("as root"));
        assert!(!cure(true).contains("as root"));
    }
}
