//! Writes whose labels are known by their hash: read once, refused one by one, forgotten in time.

use std::cell::Cell;
use std::sync::Arc;

use labstat_model::{
    Labels, LabelsHash, Layout, ManualClock, Metadata, Sample, SeriesError, SeriesView, WriteView,
};
use labstat_store::Options;

use super::common::{NOW_MS, everything, labels, one, open, open_with, samples};

/// A write whose series have labels in some layout of their own; a series named "bad" has bad ones.
struct View {
    series: Vec<(&'static str, Vec<Sample>)>,
    /// How often labels were read.
    read: Cell<usize>,
}

impl View {
    fn new<const N: usize>(series: [(&'static str, &[(i64, f64)]); N]) -> Self {
        let sample = |&(time_ms, value): &(i64, f64)| Sample { time_ms, value };
        let series = series.map(|(name, samples)| (name, samples.iter().map(sample).collect()));
        Self { series: series.into(), read: Cell::new(0) }
    }
}

impl WriteView for View {
    fn series_len(&self) -> usize {
        self.series.len()
    }

    fn series(&self, at: usize) -> Option<SeriesView<'_>> {
        let (name, samples) = self.series.get(at)?;
        let hash = LabelsHash::new(Layout::RemoteWrite1, name.as_bytes());
        Some(SeriesView { hash, samples })
    }

    fn labels(&self, at: usize) -> Result<Labels, SeriesError> {
        self.read.set(self.read.get() + 1);
        match self.series.get(at).map(|(name, _)| *name) {
            Some("bad") => Err(SeriesError::NoMetricName("{}".to_owned())),
            // Upper and lower case are two layouts of the same labels.
            Some(name) => Ok(labels(&name.to_lowercase(), "a")),
            None => Err(SeriesError::Malformed),
        }
    }

    fn metadata(&self) -> &[Metadata] {
        &[]
    }
}

#[test]
fn labels_are_read_once_and_layouts_of_one_set_are_one_series() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let append = |name, time_ms| {
        let view = View::new([(name, &[(time_ms, 1.0)])]);
        let appended = store.append(&view).unwrap();
        (appended.accepted, appended.duplicates, view.read.get())
    };
    assert_eq!(append("m", 1), (1, 0, 1));
    assert_eq!(append("m", 2), (1, 0, 0));
    assert_eq!(append("M", 2), (0, 1, 1), "the same sample in another layout");
    assert_eq!(append("M", 3), (1, 0, 0));
    assert_eq!(store.append(&one("m", &[(3, 1.0), (4, 1.0)])).unwrap().duplicates, 1);
    assert_eq!(samples(&store, "m"), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
    let both = View::new([("n", &[(1, 1.0)]), ("N", &[(1, 1.0), (2, 2.0)])]);
    let appended = store.append(&both).unwrap();
    assert_eq!((appended.accepted, appended.duplicates), (2, 1), "two layouts of a new series");
    assert_eq!(everything(&store).len(), 2);
}

#[test]
fn bad_labels_cost_only_their_series_and_are_told_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for time_ms in [1, 2] {
        let two = [(time_ms, 1.0), (time_ms + 10, 1.0)];
        let view = View::new([("bad", &two), ("m", &[(time_ms, 1.0)]), ("bad", &[(9, 9.0)])]);
        let appended = store.append(&view).unwrap();
        assert_eq!((appended.accepted, appended.refused), (1, 0));
        assert_eq!((appended.bad_labels.series, appended.bad_labels.samples), (2, 3));
        let first = appended.bad_labels.first.unwrap().to_string();
        assert_eq!(first, "series {} has no metric name (label __name__)");
    }
    assert_eq!(samples(&store, "m"), [(1, 1.0), (2, 1.0)]);
}

#[test]
fn refused_samples_of_known_series_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(&View::new([("m", &[(1, 1.0)])])).unwrap();
    let appended = store.append(&View::new([("m", &[(1, 2.0), (i64::MAX, 1.0)])])).unwrap();
    let refused: Vec<String> = appended.refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            r#"duplicate sample for timestamp: m{instance="a"} at 1"#,
            r#"out of bounds: m{instance="a"} at 9223372036854775807"#,
        ]
    );
}

#[test]
fn a_forgotten_series_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = Options {
        retention_ms: Some(1_000),
        rollups_ms: [Some(0); 2],
        ..Options::new(Arc::<ManualClock>::clone(&clock))
    };
    let store = open_with(dir.path(), options);
    store.append(&View::new([("old", &[(NOW_MS, 1.0)])])).unwrap();
    let later_ms = NOW_MS + 10 * 86_400_000;
    clock.set_ms(later_ms);
    store.append(&View::new([("new", &[(later_ms, 1.0)])])).unwrap();
    store.compact().unwrap();
    assert_eq!(everything(&store).len(), 1, "the old one is gone");
    let again = View::new([("old", &[(later_ms, 2.0)])]);
    assert_eq!(store.append(&again).unwrap().accepted, 1);
    assert_eq!(again.read.get(), 1, "its labels are read again");
    assert_eq!(samples(&store, "old"), [(later_ms, 2.0)]);
    drop(store);
    let store = open(dir.path());
    assert_eq!(samples(&store, "old"), [(later_ms, 2.0)], "the new series is on disk");
}
