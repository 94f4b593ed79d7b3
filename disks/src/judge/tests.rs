//! Rules, one by one. Real reports are judged by the tests of the command line.

use labstat_model::Labels;

use super::*;
use crate::families::name;

/// A reading of samples written as `name{label="value",…} number`, one a line.
fn reading(samples: &str) -> Reading {
    let lines = samples.lines().map(str::trim).filter(|line| !line.is_empty());
    let parsed: Vec<(String, Labels, f64)> = lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
            let pairs: Vec<_> = labels
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""))
                .map(|(name, value)| (name.trim(), value.trim_end_matches('"')))
                .collect();
            (name.to_owned(), Labels::new(pairs), value.parse().unwrap())
        })
        .collect();
    let samples =
        parsed.iter().map(|(name, labels, value)| (name.as_str(), labels.as_ref(), *value));
    Reading::from_samples(samples).unwrap()
}

fn verdict(samples: &str) -> Verdict {
    judge(&reading(samples), None).unwrap().verdict
}

#[test]
fn the_disk_s_own_word_counts() {
    assert_eq!(verdict(&format!("{}{{}} 0", name::STATUS)), Verdict::Act);
    assert_eq!(verdict(&format!("{}{{}} 1", name::STATUS)), Verdict::Ok);
}
