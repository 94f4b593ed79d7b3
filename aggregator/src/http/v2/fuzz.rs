//! What a fuzzer looks for in what clients post: what is taken is listed, and what is listed can be
//! posted again.

#![expect(clippy::expect_used, reason = "a panic is what a fuzzer looks for")]

use jiff::tz::TimeZone;
use labstat_alerts::manners::{
    AlertsFilter, Manners, MannersConfig, MannersSpec, Recipient, Silence, SilenceState, Step,
};

use super::{body, posted, uuid, view, wanted};

/// One receiver, and all as it is when nothing is said.
fn config() -> MannersConfig {
    let recipients = [Recipient::new("phone", true)];
    MannersSpec::default().build(&recipients, &TimeZone::UTC).expect("BUG: the default is sound")
}

fn manners(now_ms: i64) -> Manners {
    Manners::new(config(), Vec::new(), now_ms).0
}

/// What an aggregator knows that begins with the rows of one step.
fn restored(step: Step, now_ms: i64) -> Manners {
    let rows = step.entries.into_iter().filter_map(|entry| Some((entry.key, entry.value?)));
    Manners::new(config(), rows.collect(), now_ms).0
}

/// Any body is refused, or alerts that are listed as they were posted.
pub(crate) fn alerts(body: &[u8], now_ms: i64) {
    let Ok(read) = body::read_alerts(body) else { return };
    let (mut first, mut second) = (manners(now_ms), manners(now_ms));
    let alerts: Vec<_> = read.into_iter().map(posted).collect();
    let (step, problems) = first.post(&alerts, now_ms);
    let is_told = |text: &String| !text.is_empty();
    assert!(problems.len() <= alerts.len() && problems.iter().all(is_told));
    let filter = AlertsFilter::default();
    let listed = first.alerts(&filter, now_ms);
    let shown: Vec<_> = listed.iter().map(view::alert).collect();
    let text = serde_json::to_vec(&shown).expect("BUG: texts are JSON");
    let read = body::read_alerts(&text).expect("BUG: what is listed can be read");
    let again: Vec<_> = read.into_iter().map(posted).collect();
    let (_, problems) = second.post(&again, now_ms);
    assert_eq!(problems, [""; 0], "what is listed is sound");
    let known = |manners: &Manners| -> Vec<_> {
        let all = manners.alerts(&filter, now_ms).into_iter().map(|status| status.alert);
        let texts = |alert: labstat_alerts::Notification| {
            (alert.fingerprint, alert.labels, alert.annotations, alert.generator_url)
        };
        all.map(texts).collect()
    };
    assert_eq!(known(&first), known(&second), "what is listed is the same alerts");
    assert_eq!(known(&first), known(&restored(step, now_ms)), "and so is what is kept");
    let _ = serde_json::to_vec(&view::groups(&first.groups(&filter, now_ms)));
}

/// Any body is refused, or a silence that is listed as it was posted, kept, changed and ended.
pub(crate) fn silence(body: &[u8], now_ms: i64) {
    let Ok(read) = body::read_silence(body) else { return };
    let mut manners = manners(now_ms);
    let Ok((id, step)) = manners.put_silence(wanted(read), now_ms) else { return };
    assert!(uuid(id.clone()).is_ok());
    let made = manners.silence(&id, now_ms).expect("BUG: it was made");
    assert_eq!(restored(step, now_ms).silence(&id, now_ms).as_ref(), Some(&made));
    let (silence, state): (Silence, SilenceState) = made;
    assert!(manners.silences(now_ms).iter().any(|(listed, _)| *listed == silence));
    let text = serde_json::to_vec(&view::silence(&silence, state)).expect("BUG: it is JSON");
    let again = body::read_silence(&text).expect("BUG: what is listed can be read");
    let (same, _) = manners.put_silence(wanted(again), now_ms).expect("BUG: it was taken before");
    // What is over is not changed; it is made anew.
    assert_eq!(same == id, state != SilenceState::Expired);
    let ended = manners.expire_silence(&same, now_ms);
    assert_eq!(ended.is_ok(), state != SilenceState::Expired);
}
