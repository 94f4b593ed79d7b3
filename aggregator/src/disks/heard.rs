//! What the newest samples say of each place: who is there, and how the last attempt to read it
//! ended. Samples in, values out.

use std::collections::BTreeMap;

use labstat_disks::State;
use labstat_disks::families::name;
use labstat_model::{Labels, Series, is_stale};

use super::identity::{Identity, Marks, Place, model_of};
use super::registry::DISKS_MAX;

/// Places that one look listens to: some devices have no serial number, some are seen twice.
const PLACES_MAX: usize = 2 * DISKS_MAX;

/// What a node tells of each disk without asking it.
const INFO: &str = "labstat_disk_info";

/// The families that tell whether there is anything new of a disk.
pub(crate) const NEWS: [&str; 6] =
    [name::DEVICE, name::STATE, name::LAST_SUCCESS, name::READ_SUCCESS, name::POWER_MODE, INFO];

/// What one look says of one place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) place: Place,
    /// Who reports it.
    pub(crate) job: String,
    /// Who is there, where that is told.
    pub(crate) identity: Option<Identity>,
    /// The model, which is told even where there is no serial number.
    pub(crate) model: String,
    /// The time of the newest samples.
    pub(crate) at_ms: i64,
    /// What tells it from another of the same model and serial number, where its node says.
    pub(crate) marks: Marks,
    /// When the disk itself last answered.
    pub(crate) read_ms: Option<i64>,
    /// How the last attempt to read it ended.
    pub(crate) state: State,
    /// Why: a word.
    pub(crate) reason: String,
    /// Whether a labstat agent says so, which tells more than other exporters.
    agent: bool,
    /// Whether who says so tells each disk once, however many paths lead to it: an agent that tells
    /// states.
    pub(crate) once: bool,
}

#[cfg(test)]
impl Heard {
    /// A disk that an agent read at `read_ms`.
    pub(crate) fn read(
        place: Place,
        identity: Option<Identity>,
        model: &str,
        read_ms: i64,
    ) -> Self {
        Self {
            place,
            job: "smartctl".to_owned(),
            identity,
            model: model.to_owned(),
            marks: Marks::default(),
            at_ms: read_ms,
            read_ms: Some(read_ms),
            state: State::Read,
            reason: String::new(),
            agent: true,
            once: true,
        }
    }
}

/// A series with the time and the value of its newest sample.
type Newest<'a> = (&'a Series, i64, f64);

/// What the newest sample of each series says, by place. Series that have ended say nothing.
pub(crate) fn heard(newest: &[Series]) -> Vec<Heard> {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<Newest<'_>>> = BTreeMap::new();
    let mut infos: BTreeMap<(&str, &str), (i64, &Labels)> = BTreeMap::new();
    for series in newest {
        let Some(sample) = series.samples().last().filter(|sample| !is_stale(sample.value)) else {
            continue;
        };
        let label = |name| series.labels.get(name).unwrap_or_default();
        let key = (label("instance"), label("device"), label("job"));
        if series.labels.metric_name() == INFO {
            let info = infos.entry((key.0, key.1)).or_insert((sample.time_ms, &series.labels));
            if sample.time_ms > info.0 {
                *info = (sample.time_ms, &series.labels);
            }
            continue;
        }
        if !key.0.is_empty() && !key.1.is_empty() {
            groups.entry(key).or_default().push((series, sample.time_ms, sample.value));
        }
    }
    let mut places: Vec<Heard> = Vec::new();
    for ((instance, device, job), samples) in groups {
        let place = Place { instance: instance.to_owned(), device: device.to_owned() };
        let mut next = one(place, job, &samples);
        if let Some((_, labels)) = infos.get(&(instance, device)) {
            next.marks = Marks::of(labels);
        }
        let is_full = places.len() >= PLACES_MAX;
        // Two that report the same place: an agent knows more, and else the one that came first.
        match places.last_mut().filter(|last| last.place == next.place) {
            Some(last) if next.agent && !last.agent => *last = next,
            Some(_) => {}
            None if is_full => break,
            None => places.push(next),
        }
    }
    places
}

fn one(place: Place, job: &str, samples: &[Newest<'_>]) -> Heard {
    // One round, one timestamp: what is older belongs to a round before.
    let at_ms = samples.iter().map(|(_, time_ms, _)| *time_ms).max().unwrap_or_default();
    let of = |wanted: &str| {
        let mut round = samples.iter().filter(|(_, time_ms, _)| *time_ms == at_ms);
        let found = round.find(|(series, _, _)| series.labels.metric_name() == wanted);
        found.map(|(series, _, value)| (&series.labels, *value))
    };
    let device = of(name::DEVICE).map(|(labels, _)| labels);
    let told = of(name::STATE).filter(|(_, value)| *value == 1.0);
    let success = of(name::READ_SUCCESS).map(|(_, value)| value == 1.0);
    let sleeps =
        of(name::POWER_MODE).and_then(|(labels, _)| labels.get("mode")).is_some_and(sleeps);
    let state = match told.and_then(|(labels, _)| labels.get("state")).and_then(state_of) {
        Some(state) => state,
        // An agent from before there were states, or somebody else's exporter.
        None => match success {
            Some(false) if sleeps => State::Asleep,
            Some(false) => State::Failed,
            _ => State::Read,
        },
    };
    let reason = told.and_then(|(labels, _)| labels.get("reason")).unwrap_or_default().to_owned();
    let last = of(name::LAST_SUCCESS).map(|(_, value)| value).filter(|value| value.is_finite());
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is bounded by the sample")]
    let last_ms = last.map(|seconds| ((seconds * 1000.0) as i64).min(at_ms));
    // Who does not say when the disk was read has read it now.
    let is_stock = success.is_none() && told.is_none() && device.is_some();
    let read_ms = last_ms.or_else(|| is_stock.then_some(at_ms));
    Heard {
        place,
        job: job.to_owned(),
        identity: device.and_then(Identity::of),
        model: device.map(model_of).unwrap_or_default(),
        marks: Marks::default(),
        at_ms,
        read_ms,
        state,
        reason,
        agent: success.is_some() || told.is_some(),
        once: told.is_some(),
    }
}

fn sleeps(mode: &str) -> bool {
    mode.starts_with("standby") || mode.starts_with("sleep")
}

fn state_of(word: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state.as_str() == word)
}

#[cfg(test)]
pub(crate) mod tests {
    use labstat_model::stale_marker;

    use super::*;

    /// The newest sample of a series.
    pub(crate) fn newest(labels: &[(&str, &str)], time_ms: i64, value: f64) -> Series {
        let labels = Labels::new(labels.iter().copied());
        Series { labels, times: vec![time_ms], values: vec![value] }
    }

    fn at<'a>(name: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut labels = vec![("__name__", name), ("instance", "nas"), ("device", "sda")];
        labels.extend(more);
        labels
    }

    fn device(job: &'static str) -> Vec<(&'static str, &'static str)> {
        let more = [("job", job), ("model_name", "WDC"), ("serial_number", "WD-1")];
        at("smartctl_device", &more)
    }

    #[test]
    fn an_agent_says_how_its_last_attempt_ended() {
        let state = [("state", "denied"), ("reason", "permission")];
        let found = heard(&[
            newest(&at("labstat_smart_state", &state), 60_000, 1.0),
            newest(&at("labstat_smart_read_success", &[]), 60_000, 0.0),
            newest(&at("labstat_smart_last_success_timestamp_seconds", &[]), 60_000, 12.5),
        ]);
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (one.state, &*one.reason, one.read_ms),
            (State::Denied, "permission", Some(12_500))
        );
        assert_eq!(one.identity, None);
    }

    #[test]
    fn an_older_agent_says_it_in_fewer_words() {
        let success = newest(&at("labstat_smart_read_success", &[]), 60_000, 0.0);
        assert_eq!(heard(std::slice::from_ref(&success))[0].state, State::Failed);
        let mode = newest(&at("labstat_smart_power_mode", &[("mode", "standby")]), 60_000, 1.0);
        assert_eq!(heard(&[success, mode])[0].state, State::Asleep);
    }

    #[test]
    fn what_a_stock_exporter_shows_was_read_now() {
        let found = heard(&[newest(&device("smart"), 60_000, 1.0)]);
        assert_eq!((found[0].state, found[0].read_ms), (State::Read, Some(60_000)));
        assert_eq!(found[0].identity.as_ref().unwrap().serial, "WD-1");
    }

    #[test]
    fn the_node_says_where_a_disk_is_plugged_in() {
        let info = |path: &str, time_ms: i64| {
            let more = [("job", "node"), ("path", path), ("wwn", "0x5")];
            newest(&at("labstat_disk_info", &more), time_ms, 1.0)
        };
        let device = newest(&device("smartctl"), 60_000, 1.0);
        let found = heard(&[info("new", 60_000), device, info("old", 50_000)]);
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.marks.path.as_str(), one.marks.wwn.as_str()), ("new", "0x5"));
        assert!(heard(&[info("alone", 60_000)]).is_empty(), "that alone is no reading");
    }

    #[test]
    fn what_has_ended_or_is_of_another_round_says_nothing() {
        assert!(heard(&[newest(&device("smart"), 60_000, stale_marker())]).is_empty());
        let found = heard(&[
            newest(&device("smartctl"), 50_000, 1.0),
            newest(&at("labstat_smart_read_success", &[("job", "smartctl")]), 60_000, 0.0),
        ]);
        assert_eq!(found[0].identity, None, "it is no longer said who that is");
    }

    #[test]
    fn invented_places_are_listened_to_within_bounds() {
        let many: Vec<Series> = (0..=PLACES_MAX)
            .map(|at| {
                let device = format!("sd{at}");
                let labels =
                    [("__name__", "smartctl_device"), ("instance", "evil"), ("device", &device)];
                newest(&labels, 1, 1.0)
            })
            .collect();
        assert_eq!(heard(&many).len(), PLACES_MAX);
    }

    #[test]
    fn of_two_reporters_the_agent_counts() {
        let success = newest(&at("labstat_smart_read_success", &[("job", "smartctl")]), 7, 1.0);
        for other in ["a", "z"] {
            let both = [newest(&device(other), 9, 1.0), newest(&device("smartctl"), 7, 1.0)];
            let found = heard(&[both.as_slice(), std::slice::from_ref(&success)].concat());
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].job, "smartctl");
        }
    }
}
