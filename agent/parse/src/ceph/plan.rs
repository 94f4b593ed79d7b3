//! How the counters of a daemon stand in what it dumps, and how they are read without looking for
//! them.
//!
//! A daemon dumps the same names in the same order until it is started anew, or until it has counters
//! for one more bucket or client. So a [`Plan`] is made of one dump: every name that comes and the
//! samples among them. Reading the next dump compares the names and takes the numbers; the first
//! name that differs ends that, and a new plan is due.
//!
//! Two forms are read: `perf dump`, `{"osd": {"op": 1}}`, and `counter dump` of Reef and later,
//! `{"osd": [{"labels": {}, "counters": {"op": 1}}]}`.

use std::collections::HashSet;
use std::mem::take;

use labstat_model::{Family, Kind};

use super::schema::{CounterKind, Description, Schema};
use super::walk::{Visit, Walked, walk};
use super::{COUNTERS_MAX, metric_name};
use crate::ParseError;

/// What errors call a dump.
const WHAT: &str = "perf dump";

/// Names in one dump. A counter has one, three more where it is a running average.
const STEPS_MAX: usize = 4 * COUNTERS_MAX;

/// What stands in the name of a section that is called after an object in memory, such as
/// `objecter-0x7fe9b4054480`: it has another name after each start.
const ADDRESS: &str = "-0x";

/// Where RGW counts what it fetches from another zone, whose name follows.
const DATA_SYNC: &str = "data-sync-from-";

/// Where rbd-mirror counts for one image: `POOL/NAMESPACE/IMAGE` or `POOL/IMAGE` follows.
const MIRROR_IMAGE: &str = "rbd_mirror_image_";

/// Labels that say whose a sample is; a counter's own of that name would make it another's.
const NOT_OWN_LABELS: [&str; 5] = ["ceph_daemon", "cluster", "instance", "instance_id", "job"];

/// One sample of each dump: half a running average, or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Name, kind and help as Ceph's own exporter has them; untyped when the daemon did not say.
    pub family: Family,
    /// Its labels besides whose it is; those of one counter in several copies.
    pub labels: Vec<(String, String)>,
}

/// How the counters of a daemon stand in its dumps.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    steps: Vec<Step>,
    /// All keys, and the texts of labels, one after the other.
    text: Vec<u8>,
    series: Vec<Series>,
}

/// What comes next in a dump. Places are those in [`Plan::text`], each beginning where the last ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Open {
        key_end: u32,
        is_list: bool,
    },
    Close,
    /// A number of a series, or of none.
    Number {
        key_end: u32,
        series: Option<u32>,
    },
    /// A label, whose text matters.
    Label {
        key_end: u32,
        text_end: u32,
    },
    /// A text, or true, false or null.
    Other {
        key_end: u32,
    },
}

impl Plan {
    /// The plan that this dump is written by: with all counters that `schema` describes, or with all
    /// there are.
    ///
    /// # Errors
    /// JSON that is broken or of another shape; more than [`COUNTERS_MAX`] counters.
    pub fn new(schema: Option<&Schema>, dump: &str) -> Result<Self, ParseError> {
        let mut builder = Builder::new(schema);
        match walk(dump.as_bytes(), &mut builder) {
            Walked::Whole if builder.is_object => Ok(builder.finish()),
            Walked::Stopped => {
                let (what, max) = ("counters of a Ceph daemon", COUNTERS_MAX);
                Err(ParseError::Limit { what, count: COUNTERS_MAX + 1, max })
            }
            Walked::Whole | Walked::Broken => Err(broken(dump)),
        }
    }

    /// The samples of a dump, in the order of the values that [`read`](Self::read) gives.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// Takes the values of a dump, which replace what is in `values`: one for each of
    /// [`series`](Self::series), NaN for one that is no number. Whether the dump is written by this
    /// plan; where it is not, `values` holds nothing of use.
    ///
    /// # Errors
    /// JSON that is broken.
    pub fn read(&self, dump: &str, values: &mut Vec<f64>) -> Result<bool, ParseError> {
        values.clear();
        values.resize(self.series.len(), f64::NAN);
        let mut reader = Reader { plan: self, next: 0, at: 0, values };
        match walk(dump.as_bytes(), &mut reader) {
            Walked::Whole => Ok(reader.next == self.steps.len()),
            Walked::Stopped => Ok(false),
            Walked::Broken => Err(broken(dump)),
        }
    }
}

/// What is wrong with a dump that could not be walked.
fn broken(dump: &str) -> ParseError {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(dump) {
        Err(cause) => ParseError::Json { what: WHAT, cause },
        Ok(_) => ParseError::Missing { what: WHAT, missing: "shape that is known" },
    }
}

/// Compares a dump with a plan.
struct Reader<'a> {
    plan: &'a Plan,
    /// The step that is due, and where its text begins.
    next: usize,
    at: usize,
    values: &'a mut [f64],
}

impl Reader<'_> {
    fn step(&mut self) -> Option<Step> {
        let step = self.plan.steps.get(self.next).copied();
        self.next += 1;
        step
    }

    /// Whether `text` is what the plan has up to `end`.
    fn is_next(&mut self, text: &[u8], end: u32) -> bool {
        let end = end as usize;
        let is_same = self.plan.text.get(self.at..end) == Some(text);
        self.at = end;
        is_same
    }
}

impl Visit for Reader<'_> {
    fn open(&mut self, key: &[u8], is_list: bool) -> bool {
        match self.step() {
            Some(Step::Open { key_end, is_list: wanted }) => {
                is_list == wanted && self.is_next(key, key_end)
            }
            _ => false,
        }
    }

    fn close(&mut self) -> bool {
        self.step() == Some(Step::Close)
    }

    fn number(&mut self, key: &[u8], digits: &[u8]) -> bool {
        let Some(Step::Number { key_end, series }) = self.step() else { return false };
        if let Some(series) = series
            && let Some(value) = self.values.get_mut(series as usize)
        {
            *value = number(digits);
        }
        self.is_next(key, key_end)
    }

    fn text(&mut self, key: &[u8], raw: &[u8]) -> bool {
        match self.step() {
            Some(Step::Label { key_end, text_end }) => {
                self.is_next(key, key_end) && self.is_next(raw, text_end)
            }
            Some(Step::Other { key_end }) => self.is_next(key, key_end),
            _ => false,
        }
    }

    fn other(&mut self, key: &[u8]) -> bool {
        match self.step() {
            Some(Step::Other { key_end }) => self.is_next(key, key_end),
            _ => false,
        }
    }
}

/// Digits of a whole number that has an exact place in a float.
const DIGITS_EXACT: usize = 15;

/// The number that is written; NaN when it is none, or none that can be known.
fn number(digits: &[u8]) -> f64 {
    if digits.len() <= DIGITS_EXACT && digits.iter().all(u8::is_ascii_digit) {
        // Most counters, and many times faster than the general way.
        let whole = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        return whole as f64;
    }
    let value = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    value.filter(|value: &f64| value.is_finite()).unwrap_or(f64::NAN)
}

/// Notes how a dump is written.
struct Builder<'a> {
    schema: Option<&'a Schema>,
    plan: Plan,
    is_object: bool,
    /// The keys of what is open, the whole dump left out; `None` for a place in a list.
    path: Vec<Option<String>>,
    /// Whether the whole dump was begun.
    is_inside: bool,
    /// Labels of the group that is open, and its first series.
    labels: Vec<(String, String)>,
    group_start: usize,
    counters: usize,
}

impl<'a> Builder<'a> {
    fn new(schema: Option<&'a Schema>) -> Self {
        Self {
            schema,
            plan: Plan { steps: Vec::new(), text: Vec::new(), series: Vec::new() },
            is_object: false,
            path: Vec::new(),
            is_inside: false,
            labels: Vec::new(),
            group_start: 0,
            counters: 0,
        }
    }

    /// The end of the text with `more` behind it.
    fn push(&mut self, more: &[u8]) -> u32 {
        self.plan.text.extend_from_slice(more);
        // An answer is far smaller than what this holds.
        u32::try_from(self.plan.text.len()).unwrap_or(u32::MAX)
    }

    fn step(&mut self, step: Step) -> bool {
        self.plan.steps.push(step);
        self.plan.steps.len() <= STEPS_MAX && self.counters <= COUNTERS_MAX
    }

    /// The section and the path within it, whichever form the dump has; nothing for what is beside
    /// the counters.
    fn counter<'b>(&'b self, key: &'b str) -> Option<(&'b str, Vec<&'b str>)> {
        let (section, within) = self.path.split_first()?;
        let within = match within {
            [None, Some(counters), names @ ..] if counters == "counters" => names,
            names => names,
        };
        let names: Option<Vec<&str>> = within.iter().map(Option::as_deref).collect();
        let mut names = names?;
        names.push(key);
        Some((section.as_deref()?, names))
    }

    /// The series of a number, if it is wanted.
    fn series(&self, key: &str) -> Option<Series> {
        let (section, mut names) = self.counter(key)?;
        if section.contains(ADDRESS) || key == "avgtime" {
            return None;
        }
        let half = if names.len() > 1 { Half::of(key) } else { None };
        if half.is_some() {
            names.pop();
        }
        let name = names.join(".");
        let about = match self.schema {
            Some(schema) => Some(schema.get(section, &name)?),
            None => None,
        };
        let (section, labels) = labels_of(section, &name);
        Some(Series { family: family(&section, &name, half, about), labels })
    }

    fn finish(mut self) -> Plan {
        // Two sections may be called alike once their names are made fit; the first is kept.
        let mut seen = HashSet::new();
        let is_first: Vec<bool> = (self.plan.series.iter())
            .map(|series| seen.insert((&series.family.name, &series.labels)))
            .collect();
        for step in &mut self.plan.steps {
            if let Step::Number { series: number, .. } = step
                && number.is_some_and(|at| is_first.get(at as usize) != Some(&true))
            {
                *number = None;
            }
        }
        self.plan.steps.shrink_to_fit();
        self.plan.text.shrink_to_fit();
        self.plan.series.shrink_to_fit();
        self.plan
    }
}

impl Visit for Builder<'_> {
    fn open(&mut self, key: &[u8], is_list: bool) -> bool {
        if self.is_inside {
            // A value in a list has no key of its own.
            let is_in_list = key.is_empty();
            self.path.push((!is_in_list).then(|| unescaped(key)));
        } else {
            self.is_object = !is_list;
            self.is_inside = true;
        }
        if let [Some(_), None] = self.path.as_slice() {
            self.group_start = self.plan.series.len();
            self.labels.clear();
        }
        let key_end = self.push(key);
        self.step(Step::Open { key_end, is_list })
    }

    fn close(&mut self) -> bool {
        if let [Some(_), None] = self.path.as_slice() {
            let labels = take(&mut self.labels);
            let group = self.plan.series.get_mut(self.group_start..).unwrap_or_default();
            group.iter_mut().for_each(|series| series.labels.extend(labels.iter().cloned()));
        }
        self.path.pop();
        self.step(Step::Close)
    }

    fn number(&mut self, key: &[u8], _: &[u8]) -> bool {
        let series = if key.is_empty() { None } else { self.series(&unescaped(key)) };
        let number = series.map(|series| {
            self.plan.series.push(series);
            u32::try_from(self.plan.series.len() - 1).unwrap_or(u32::MAX)
        });
        self.counters += 1;
        let key_end = self.push(key);
        self.step(Step::Number { key_end, series: number })
    }

    fn text(&mut self, key: &[u8], raw: &[u8]) -> bool {
        let is_label =
            matches!(self.path.as_slice(), [Some(_), None, Some(labels)] if labels == "labels");
        let key_end = self.push(key);
        if !is_label {
            return self.step(Step::Other { key_end });
        }
        let name = label_name(&unescaped(key));
        if !NOT_OWN_LABELS.contains(&name.as_str()) && !raw.is_empty() {
            self.labels.push((name, unescaped(raw)));
        }
        let text_end = self.push(raw);
        self.step(Step::Label { key_end, text_end })
    }

    fn other(&mut self, key: &[u8]) -> bool {
        let key_end = self.push(key);
        self.step(Step::Other { key_end })
    }
}

/// Which half of a running average a number is.
#[derive(Debug, Clone, Copy)]
enum Half {
    Count,
    Sum,
}

impl Half {
    fn of(key: &str) -> Option<Self> {
        match key {
            "avgcount" => Some(Self::Count),
            "sum" => Some(Self::Sum),
            _ => None,
        }
    }
}

fn family(section: &str, name: &str, half: Option<Half>, about: Option<&Description>) -> Family {
    let name = metric_name(section, name);
    let help = about.map(|about| about.description.clone()).unwrap_or_default();
    match half {
        Some(Half::Sum) => {
            Family::dynamic(format!("{name}_sum"), Kind::Counter, format!("{help} Total"))
        }
        Some(Half::Count) => {
            Family::dynamic(format!("{name}_count"), Kind::Counter, format!("{help} Count"))
        }
        None => {
            let kind = match about.map(|about| about.kind) {
                Some(CounterKind::Counter) => Kind::Counter,
                Some(CounterKind::Gauge) => Kind::Gauge,
                None => Kind::Untyped,
            };
            Family::dynamic(name, kind, help)
        }
    }
}

/// What a section is called, and the labels that stand in its name: Ceph's exporter takes the zone
/// that RGW fetches from and the image that rbd-mirror replays out of the names.
fn labels_of(section: &str, name: &str) -> (String, Vec<(String, String)>) {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    if let Some(zone) = section.strip_prefix(DATA_SYNC) {
        return (format!("{DATA_SYNC}zone"), vec![pair("source_zone", zone)]);
    }
    if let Some(path) = section.strip_prefix(MIRROR_IMAGE)
        && matches!(name, "replay" | "replay_bytes" | "replay_latency")
        && let Some((pool, rest)) = path.split_once('/')
    {
        let (namespace, image) = rest.split_once('/').unwrap_or(("", rest));
        let mut labels = vec![pair("pool", pool), pair("image", image)];
        if !namespace.is_empty() {
            labels.push(pair("namespace", namespace));
        }
        return (MIRROR_IMAGE.trim_end_matches('_').to_owned(), labels);
    }
    (section.to_owned(), Vec::new())
}

/// A label's name, with what such names may not have replaced by underscores.
fn label_name(key: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = key.chars().map(fit).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// A text without the escapes that JSON has in it.
fn unescaped(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    if !text.contains('\\') {
        return text.into_owned();
    }
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.into_owned())
}
