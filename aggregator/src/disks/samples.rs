//! The aggregator's own samples of disks: verdict, reason, silence, and when something will be
//! used up. A series ends with a stale marker when what it says is no longer so.

use std::collections::BTreeSet;

use labstat_disks::{Projection, Verdict};
use labstat_model::limits::LABEL_VALUE_LEN_MAX;
use labstat_model::{
    Kind, Labels, METRIC_NAME, Metadata, Sample, TimeSeries, WriteRequest, stale_marker,
};

use super::disk::{Disk, Told, sentence};
use super::identity::Identity;
use super::registry::{Calling, Registry};

/// The families, each with its help.
const FAMILIES: [(&str, &str); 7] = [
    ("labstat_disk_verdict", "What to think of a disk; always 1."),
    ("labstat_disk_reason", "Why a disk is judged so, in a sentence without numbers; always 1."),
    ("labstat_disk_finding", "What asks for attention in a disk, one series a code; always 1."),
    ("labstat_disk_finding_value", "The number behind a finding, of what `evidence` says."),
    (
        "labstat_disk_silent_seconds",
        "Time since a disk last answered that has been silent for too long.",
    ),
    (
        "labstat_disk_wear_out_timestamp_seconds",
        "When the flash of a disk will be worn out, in unixtime.",
    ),
    (
        "labstat_disk_spare_out_timestamp_seconds",
        "When the spare of a disk will be down to its own threshold, in unixtime.",
    ),
];

/// Whether the aggregator says this of a disk, and not the disk's node.
pub(crate) fn is_ours(metric: &str) -> bool {
    FAMILIES.iter().any(|(name, _)| *name == metric)
}

/// The job of these series, that of a labstat agent's readings of disks.
const JOB: &str = "smartctl";

/// How far the clock may go back before its new time is taken as it is.
const CLOCK_BACK_MS: i64 = 60_000;

/// Bytes of a name in a label that a disk's firmware gives.
const NAME_LEN_MAX: usize = LABEL_VALUE_LEN_MAX / 2;

impl Registry {
    /// What is to be stored now, and what is shown from now on.
    pub(crate) fn tell(&mut self, now_ms: i64) -> WriteRequest {
        let mut out = WriteRequest::default();
        // Two looks within a millisecond must not end a series at the time of its last sample.
        let last_ms = self.told_ms.filter(|last_ms| last_ms.saturating_sub(now_ms) < CLOCK_BACK_MS);
        let time_ms = last_ms.map_or(now_ms, |last_ms| now_ms.max(last_ms.saturating_add(1)));
        let is_time = time_ms == now_ms;
        let callings = self.callings();
        let mut ended = Vec::new();
        for disk in self.disks.values_mut() {
            let shown = disk.shown();
            if shown != disk.verdict {
                disk.verdict = shown;
                disk.verdict_ms = now_ms;
                self.changed = true;
            }
            let calling = callings.get(&disk.identity).copied();
            let is_told = disk.retired_ms.is_none() && calling != Some(Calling::Untold);
            let next = is_told.then(|| Told {
                unnamed: calling == Some(Calling::Place),
                placed: calling.is_some(),
                ..told(disk, shown)
            });
            let before = disk.told.as_ref().map_or_else(Vec::new, |told| series(disk, told));
            let after = next.as_ref().map_or_else(Vec::new, |told| series(disk, told));
            ended.extend(before.iter().filter(|labels| !after.contains(labels)).cloned());
            for labels in after.into_iter().filter(|it| is_time || !before.contains(it)) {
                if let Some(value) = value(disk, &labels, now_ms) {
                    out.series.push(one(labels, time_ms, value));
                }
            }
            self.changed |= disk.told != next;
            disk.told = next;
        }
        // What one disk was called another may be called now.
        let begun: BTreeSet<&Labels> = out.series.iter().map(|series| &series.labels).collect();
        ended.retain(|labels| !begun.contains(labels));
        let ended = ended.into_iter().map(|labels| one(labels, time_ms, stale_marker()));
        out.series.splice(..0, ended);
        if !self.described && !out.series.is_empty() {
            self.described = true;
            out.metadata = FAMILIES.map(|(name, help)| metadata(name, help)).into();
        }
        if is_time || !out.series.is_empty() {
            self.told_ms = Some(time_ms);
        }
        out
    }
}

fn told(disk: &Disk, verdict: Verdict) -> Told {
    let reason = disk.reasons(0).into_iter().next();
    let code = reason.map(|reason| reason.code).unwrap_or_default();
    let mut findings = disk.findings();
    for name in findings.iter_mut().filter_map(|finding| finding.evidence.as_mut()) {
        let mut end = name.len().min(NAME_LEN_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    Told {
        place: disk.place.clone(),
        unnamed: false,
        placed: false,
        verdict,
        reason: sentence(&code).to_owned(),
        code,
        findings,
        silent: disk.is_told_silent(),
        wear_out: disk.wear_out.is_some(),
        spare_out: disk.spare_out.is_some(),
    }
}

/// The series of what is told.
fn series(disk: &Disk, told: &Told) -> Vec<Labels> {
    let of = |name, more: &[(&str, &str)]| labels(&disk.identity, told, name, more);
    let mut all = vec![
        of("labstat_disk_verdict", &[("verdict", told.verdict.as_str())]),
        of("labstat_disk_reason", &[("code", &told.code), ("reason", &told.reason)]),
    ];
    for finding in &told.findings {
        let (code, verdict) = (("code", &*finding.code), ("verdict", finding.verdict.as_str()));
        let news = [("cause", &*finding.cause), ("reason", sentence(&finding.code))];
        all.push(of("labstat_disk_finding", &[code, verdict, news[0], news[1]]));
        let number = finding.evidence.iter();
        all.extend(
            number.map(|name| of("labstat_disk_finding_value", &[code, ("evidence", name)])),
        );
    }
    let more = [
        (told.silent, "labstat_disk_silent_seconds"),
        (told.wear_out, "labstat_disk_wear_out_timestamp_seconds"),
        (told.spare_out, "labstat_disk_spare_out_timestamp_seconds"),
    ];
    all.extend(more.iter().filter(|(is_told, _)| *is_told).map(|(_, name)| of(name, &[])));
    all
}

fn labels(identity: &Identity, told: &Told, name: &str, more: &[(&str, &str)]) -> Labels {
    // Whoever asks by a serial number wants one disk.
    let serial = if told.unnamed { "" } else { identity.serial.as_str() };
    // What it is called at the command line, wherever it is if its serial number names it.
    let disk =
        if told.placed || serial.is_empty() { told.place.to_string() } else { serial.to_owned() };
    let all = [
        (METRIC_NAME, name),
        ("instance", &told.place.instance),
        ("job", JOB),
        ("device", &told.place.device),
        ("disk", &disk),
        ("serial_number", serial),
        ("model_name", &identity.model),
    ];
    let all = all.into_iter().chain(more.iter().copied());
    // An empty label is none.
    Labels::new(all.filter(|(_, value)| !value.is_empty()))
}

fn value(disk: &Disk, labels: &Labels, now_ms: i64) -> Option<f64> {
    let at = |projection: &Option<Projection>| Some(projection.as_ref()?.at_seconds.round());
    match labels.metric_name() {
        "labstat_disk_finding_value" => disk.number(labels.get("code").unwrap_or_default()),
        "labstat_disk_silent_seconds" => {
            Some(now_ms.saturating_sub(disk.answered_ms).max(0) as f64 / 1000.0)
        }
        "labstat_disk_wear_out_timestamp_seconds" => at(&disk.wear_out),
        "labstat_disk_spare_out_timestamp_seconds" => at(&disk.spare_out),
        _ => Some(1.0),
    }
}

fn metadata(name: &str, help: &str) -> Metadata {
    Metadata {
        family: name.to_owned(),
        kind: Kind::Gauge,
        help: help.to_owned(),
        unit: String::new(),
    }
}

fn one(labels: Labels, time_ms: i64, value: f64) -> TimeSeries {
    TimeSeries { labels, samples: vec![Sample { time_ms, value }] }
}
