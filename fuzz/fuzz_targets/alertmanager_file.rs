//! Any text is an Alertmanager's configuration or an error; what it becomes is written as the same again,
//! and says at any time who hears of an alert.
#![no_main]

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use labstat_alerts::manners::alertmanager::{self, AlertmanagerFile};
use labstat_alerts::manners::{
    AlertsFilter, Manners, MannersConfig, MannersSpec, Posted, Recipient,
};
use libfuzzer_sys::fuzz_target;

/// Days at whose ends it is looked who hears of an alert: each day of the week, and a month's last.
const DAYS: i64 = 9;
const DAY_MS: i64 = 86_400_000;

/// Late on a Sunday in November of 2026.
const NOW_MS: i64 = 1_795_391_940_000;

fn built(file: &AlertmanagerFile, spec: MannersSpec) -> Option<MannersConfig> {
    let recipients: Vec<Recipient> =
        file.receivers.iter().map(|receiver| Recipient::new(&receiver.name, true)).collect();
    spec.build(&recipients, &TimeZone::UTC).ok()
}

fuzz_target!(|text: &str| {
    let Ok(file) = alertmanager::read(text) else { return };
    file.remarks();
    let Some(config) = built(&file, file.spec.clone()) else { return };
    let written = config.to_alertmanager_yaml();
    let again = alertmanager::read(&written).expect("BUG: what is written can be read");
    let again = built(&again, again.spec.clone()).expect("BUG: what is written is sound");
    assert_eq!(again.to_alertmanager_yaml(), written);
    let pairs = [("alertname", "A"), ("instance", "nas"), ("severity", "critical")];
    let labels: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(config.test_route(&labels), again.test_route(&labels));
    let (mut manners, _) = Manners::new(config, Vec::new(), NOW_MS);
    for day in 0..DAYS {
        let now_ms = NOW_MS + day * DAY_MS;
        let posted = Posted { labels: labels.clone(), ..Posted::default() };
        manners.post(&[posted], now_ms);
        manners.advance(now_ms);
        let filter = AlertsFilter::default();
        assert_eq!(manners.alerts(&filter, now_ms).len(), 1);
        manners.groups(&filter, now_ms);
    }
});
