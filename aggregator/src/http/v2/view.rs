//! What the Alertmanager API answers, in its shapes and in its order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use labstat_alerts::manners::{AlertStatus, GroupView, Silence, SilenceMatcher, SilenceState};
use serde::Serialize;

use super::time::Time;

type Pairs = BTreeMap<String, String>;

/// An alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert<'a> {
    annotations: &'a Pairs,
    ends_at: Time,
    fingerprint: &'a str,
    receivers: Vec<Receiver<'a>>,
    starts_at: Time,
    status: Status<'a>,
    updated_at: Time,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
    labels: &'a Pairs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    inhibited_by: &'a [String],
    muted_by: &'a [String],
    silenced_by: &'a [String],
    state: &'static str,
}

/// A receiver.
#[derive(Debug, Serialize)]
pub(super) struct Receiver<'a> {
    name: &'a str,
}

/// A group of a receiver.
#[derive(Debug, Serialize)]
pub(super) struct Group<'a> {
    alerts: Vec<Alert<'a>>,
    labels: &'a Pairs,
    receiver: Receiver<'a>,
}

/// A silence.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Silenced<'a> {
    id: &'a str,
    status: State,
    updated_at: Time,
    comment: &'a str,
    created_by: &'a str,
    ends_at: Time,
    matchers: &'a [SilenceMatcher],
    starts_at: Time,
}

#[derive(Debug, Serialize)]
struct State {
    state: &'static str,
}

pub(super) fn alert(alert: &AlertStatus) -> Alert<'_> {
    Alert {
        annotations: &alert.alert.annotations,
        ends_at: Time(alert.ends_at_ms),
        fingerprint: &alert.alert.fingerprint,
        receivers: alert.receivers.iter().map(|name| receiver(name)).collect(),
        starts_at: Time(alert.alert.starts_at_ms),
        status: Status {
            inhibited_by: &alert.inhibited_by,
            muted_by: &alert.muted_by,
            silenced_by: &alert.silenced_by,
            state: alert.state(),
        },
        updated_at: Time(alert.updated_ms),
        generator_url: &alert.alert.generator_url,
        labels: &alert.alert.labels,
    }
}

pub(super) fn receiver(name: &str) -> Receiver<'_> {
    Receiver { name }
}

/// The groups in the order of their labels, those with fewer first, then of their receivers; in each,
/// alerts in the order of their job, their instance and all labels.
pub(super) fn groups(groups: &[GroupView]) -> Vec<Group<'_>> {
    let mut sorted: Vec<&GroupView> = groups.iter().collect();
    sorted.sort_by(|a, b| before(&a.labels, &b.labels).then_with(|| a.receiver.cmp(&b.receiver)));
    sorted.into_iter().map(group).collect()
}

fn group(group: &GroupView) -> Group<'_> {
    let mut alerts: Vec<&AlertStatus> = group.alerts.iter().collect();
    alerts.sort_by(|a, b| place(&a.alert.labels, &b.alert.labels));
    Group {
        alerts: alerts.into_iter().map(alert).collect(),
        labels: &group.labels,
        receiver: receiver(&group.receiver),
    }
}

fn place(a: &Pairs, b: &Pairs) -> Ordering {
    let by = |name: &str| a.get(name).cmp(&b.get(name));
    by("job").then_with(|| by("instance")).then_with(|| before(a, b))
}

/// The order of label sets in Alertmanager.
fn before(a: &Pairs, b: &Pairs) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| {
        for (left, right) in a.iter().zip(b) {
            match left.0.cmp(right.0).then_with(|| left.1.cmp(right.1)) {
                Ordering::Equal => {}
                other => return other,
            }
        }
        Ordering::Equal
    })
}

pub(super) fn silence(silence: &Silence, state: SilenceState) -> Silenced<'_> {
    Silenced {
        id: &silence.id,
        status: State { state: state.as_str() },
        updated_at: Time(silence.updated_at_ms),
        comment: &silence.comment,
        created_by: &silence.created_by,
        ends_at: Time(silence.ends_at_ms),
        matchers: &silence.matchers,
        starts_at: Time(silence.starts_at_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Pairs {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn label_sets_are_ordered_as_in_alertmanager() {
        for (less, more) in
            [("z=9", "a=1 b=1"), ("a=1", "a=2"), ("a=1 b=2", "a=1 c=1"), ("", "a=1")]
        {
            assert_eq!(before(&pairs(less), &pairs(more)), Ordering::Less, "{less} | {more}");
            assert_eq!(before(&pairs(more), &pairs(less)), Ordering::Greater, "{less} | {more}");
        }
        let (a, b) = (pairs("job=b instance=a"), pairs("job=a instance=z extra=1"));
        assert_eq!(place(&a, &b), Ordering::Greater);
        assert_eq!(place(&pairs("x=1"), &pairs("job=a")), Ordering::Less);
    }

    #[test]
    fn a_silence_is_written_as_in_alertmanager() {
        let kept: Silence = serde_json::from_value(serde_json::json!({
            "id": "50f6d5fa-c9f0-4d9b-8889-c7ae5ee7cc2d",
            "matchers": [{"name": "a", "value": "b.*", "isRegex": true}],
            "starts_at_ms": 0, "ends_at_ms": 3_600_000, "updated_at_ms": 5,
            "created_by": "me", "comment": "c",
        }))
        .unwrap();
        assert_eq!(
            serde_json::to_string(&silence(&kept, SilenceState::Expired)).unwrap(),
            r#"{"id":"50f6d5fa-c9f0-4d9b-8889-c7ae5ee7cc2d","status":{"state":"expired"},"updatedAt":"1970-01-01T00:00:00.005Z","comment":"c","createdBy":"me","endsAt":"1970-01-01T01:00:00.000Z","matchers":[{"name":"a","value":"b.*","isRegex":true,"isEqual":true}],"startsAt":"1970-01-01T00:00:00.000Z"}"#
        );
    }
}
