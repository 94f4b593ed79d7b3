//! Queries out of the grammar: typed, weighted, bounded in depth, the same for the same seed.
//!
//! Most are right and find data, for every vector is made around a metric of the data, with its
//! own labels. Some are wrong on purpose: an operand of the wrong type, or a text with a piece
//! added, lost or swapped. A tree remembers how it was put together, so that a query that is
//! answered differently can be cut down to the smallest part that still is.

use std::fmt;

use crate::data::Noise;

/// How many operators and calls may stand within each other.
const DEPTH_MAX: usize = 4;
/// One query in so many has an operand of a wrong type; one in so many is a spoilt text.
const WRONG_TYPE: usize = 14;
const SPOILT: usize = 12;

/// The type of what a query gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    Vector,
    Range,
    Text,
}

/// A query and how it was put together.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) kind: Kind,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Child(Tree),
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Child(tree) => tree.fmt(f),
        })
    }
}

impl Tree {
    fn leaf(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, parts: vec![Part::Text(text.into())] }
    }

    /// A tree whose text is `template` with the children in place of each `#`.
    fn of(kind: Kind, template: &str, children: Vec<Self>) -> Self {
        let mut parts = Vec::new();
        let mut children = children.into_iter();
        for (at, text) in template.split('#').enumerate() {
            if at > 0 {
                parts.extend(children.next().map(Part::Child));
            }
            parts.push(Part::Text(text.to_owned()));
        }
        Self { kind, parts }
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Self> {
        self.parts.iter().filter_map(|part| match part {
            Part::Child(tree) => Some(tree),
            Part::Text(_) => None,
        })
    }

    /// All that is in it, itself too.
    pub(crate) fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        self.children().for_each(|child| all.extend(child.all()));
        all
    }

    /// The same with one child put in the place of its parent, wherever that has the same type.
    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            let Part::Child(child) = part else { continue };
            let others = child.all().into_iter().skip(1).filter(|inner| inner.kind == child.kind);
            let others: Vec<Self> = others.cloned().chain(child.smaller()).collect();
            for other in others {
                let mut whole = self.clone();
                whole.parts[at] = Part::Child(other);
                smaller.push(whole);
            }
        }
        smaller
    }

    /// The smallest part of it, or smaller form, that still `fails`. `None` when not even the
    /// whole does.
    pub(crate) fn shrunk(&self, fails: &mut dyn FnMut(&Self) -> bool) -> Option<Self> {
        let mut parts = self.all();
        parts.sort_by_key(|tree| tree.to_string().len());
        let mut found = parts.into_iter().find(|tree| fails(tree))?.clone();
        loop {
            let mut smaller = found.smaller();
            smaller.sort_by_key(|tree| tree.to_string().len());
            match smaller.into_iter().find(|tree| fails(tree)) {
                Some(tree) => found = tree,
                None => return Some(found),
            }
        }
    }
}

/// The data's metrics that queries are made around.
struct Metric {
    name: &'static str,
    labels: &'static [(&'static str, &'static [&'static str])],
    counter: bool,
}

const fn metric(
    name: &'static str,
    labels: &'static [(&'static str, &'static [&'static str])],
    counter: bool,
) -> Metric {
    Metric { name, labels, counter }
}

const METRICS: &[Metric] = &[
    metric(
        "http_requests_total",
        &[
            ("job", &["api"]),
            ("instance", &["vertex", "apex", "zenith"]),
            ("method", &["get", "post"]),
            ("code", &["200", "404", "500"]),
        ],
        true,
    ),
    metric("big_counter_total", &[("job", &["api"])], true),
    metric("slow_total", &[], true),
    metric("young_total", &[], true),
    metric("sawtooth_total", &[], true),
    metric("restart_total", &[("id", &["a", "b", "c"])], true),
    metric("late_total", &[("id", &["a", "b"])], true),
    metric(
        "node_temp_celsius",
        &[
            ("node", &["vertex", "apex", "zenith"]),
            ("sensor", &["cpu", "nvme", "board"]),
            ("rack", &["top", "bottom"]),
        ],
        false,
    ),
    metric("jittery", &[("job", &["api"])], false),
    metric("disk_bytes", &[("device", &["node1", "node2", "node3", "node11"])], false),
    metric(
        "disk_info",
        &[("device", &["node1", "node2", "node3", "node11"]), ("model", &["WD", "Samsung"])],
        false,
    ),
    metric("boot_time_seconds", &[], false),
    metric(
        "edge",
        &[("kind", &["nan", "inf", "minusinf", "zero", "minuszero", "huge", "tiny", "one"])],
        false,
    ),
    metric("mixed_edge", &[("kind", &["a"])], false),
    metric("huge_steps", &[], false),
    metric("cancel", &[], false),
    metric("flappy", &[("id", &["a", "b", "c"])], false),
    metric("restless", &[("id", &["a", "b", "c"])], false),
    metric("gapped", &[("id", &["exact", "short", "long"])], false),
    metric("build_info", &[("node", &["apex"]), ("version", &["1", "2"])], false),
    metric("dup_a", &[("l", &["x"])], false),
    metric("dup_b", &[("l", &["x"])], false),
    metric("half_first", &[("l", &["x"])], false),
    metric("half_second", &[("l", &["x"])], false),
    metric("twin_one", &[("a", &["1", "2"]), ("b", &["1", "2", "3"])], false),
    metric("twin_two", &[("a", &["1", "2"]), ("b", &["1", "2", "3"])], false),
    metric("dotted.metric", &[("label.x", &["1"])], false),
    metric("größe.m", &[("höhe", &["niedrig", "hoch", "🚀"]), ("a", &["1"])], false),
    metric("umlaut", &[("ort", &["Küche\\n\\\"oben\\\""])], false),
    metric("latency_seconds_sum", &[("instance", &["vertex", "apex"])], true),
    metric("latency_seconds_count", &[("instance", &["vertex", "apex"])], true),
    metric(
        "latency_seconds_bucket",
        &[("instance", &["vertex", "apex"]), ("le", &["0.05", "0.1", "0.5", "1", "5", "+Inf"])],
        true,
    ),
    metric("falling_bucket", &[("le", &["1", "2", "4", "+Inf"])], false),
    metric("signed_bucket", &[("le", &["-2", "0", "2", "+Inf"])], false),
    metric("malformed_bucket", &[("le", &["1", "much", "+Inf"])], false),
    metric("open_bucket", &[("le", &["1", "2"])], false),
    metric("twice_bucket", &[("le", &["1", "1.0", "Inf"])], false),
    metric("idle_bucket", &[("le", &["1", "+Inf"])], false),
    metric("target_info", &[("instance", &["vertex", "apex"]), ("region", &["eu", "us"])], false),
    metric("rack_info", &[("instance", &["vertex", "apex"]), ("region", &["top"])], false),
    metric("nothing_here", &[("a", &["1"]), ("b", &["2"])], false),
];

/// Names that several metrics fulfil.
const NAME_PATTERNS: &[&str] = &[
    "dup_.*",
    "half_.*",
    "twin_.*",
    "dup_.|half_.*",
    "twin_one|nothing_here",
    ".*_bucket",
    "flappy|restless|gapped",
    "edge|mixed_edge",
    "disk_(info|bytes)",
];

const ELEMENTWISE: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "sgn",
    "sqrt",
    "exp",
    "ln",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "deg",
    "rad",
    "round",
    "timestamp",
    "histogram_avg",
    "histogram_count",
    "histogram_sum",
    "histogram_stddev",
    "histogram_stdvar",
];

/// Asked only of times: what they make of NaN, infinities and what is no time is another on every
/// machine that Prometheus runs on. labstat makes NaN of it.
const CALENDAR: &[&str] = &[
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
];

const OVER_TIME: &[&str] = &[
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
    "mad_over_time",
    "changes",
    "resets",
    "delta",
    "idelta",
    "deriv",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "absent_over_time",
];

const COUNTER: &[&str] = &["rate", "irate", "increase"];

const AGGREGATES: &[&str] =
    &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "avg"];

const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISON: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
const SETS: &[&str] = &["and", "or", "unless"];

const NUMBERS: &[&str] = &[
    "0", "1", "2", "-1", "0.5", "3", "45", "1e3", "100", ".25", "0x1f", "017", "1_000", "NaN",
    "Inf", "-Inf", "+Inf", "1e-9", "5m", "1h30m", "nan", "INF", "1e308", "-0", "0XaF", "1E+2",
    "+3", "0.1e-3", "1d",
];

const RANGES: &[&str] = &[
    "5m",
    "5m",
    "10m",
    "1m",
    "2m",
    "30s",
    "15s",
    "16s",
    "14s999ms",
    "7m13s",
    "300",
    "1m0s",
    "20m",
    "1h",
    "2m*2",
    "(1m+30s)",
    "90.5",
    "1ms",
    "2h",
    "5m - 30s",
    "2^6",
    "-(-5m)",
    "300 % 77",
    "15s * 4 / 2",
];

const OFFSETS: &[&str] = &[
    "5m",
    "-5m",
    "10m",
    "1m",
    "-1m",
    "15s",
    "7s",
    "1h",
    "-1h",
    "0s",
    "300",
    "-7.5",
    "(1m * 2)",
    "-(30s)",
    "(5m - 10m)",
    "-2h",
];

/// Makes queries.
pub(crate) struct Generator {
    noise: Noise,
    /// Subqueries within each other multiply the work.
    subqueries: usize,
    /// Whether the query has to be one that cannot be answered.
    wrong: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { noise: Noise::new(seed), subqueries: 0, wrong: false }
    }

    /// A query. It is wrong in one case out of seven or so.
    pub(crate) fn query(&mut self) -> Tree {
        self.subqueries = 0;
        self.wrong = self.one_in(WRONG_TYPE);
        let depth = 1 + self.noise.below(DEPTH_MAX);
        let tree = match self.noise.below(40) {
            0 => self.text(),
            1 | 2 => self.scalar(depth),
            3 => {
                let metric = self.metric();
                self.range(metric, depth.min(2), false)
            }
            4 | 5 => {
                let metric = self.metric();
                let inner = self.vector(metric, depth);
                let name = self.pick(&["sort", "sort_desc"]);
                Tree::of(Kind::Vector, &format!("{name}(#)"), vec![inner])
            }
            _ => {
                let metric = self.metric();
                self.vector(metric, depth)
            }
        };
        if self.one_in(SPOILT) { self.spoilt(&tree.to_string()) } else { tree }
    }

    /// A number below `bound`, for whoever chooses when to ask.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.noise.below(bound)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.noise.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.noise.below(of.len())]
    }

    fn metric(&mut self) -> &'static Metric {
        &METRICS[self.noise.below(METRICS.len())]
    }

    /// The same metric again, or now and then another.
    fn near(&mut self, metric: &'static Metric) -> &'static Metric {
        if self.one_in(6) { self.metric() } else { metric }
    }

    /// What stands where a `kind` belongs: rarely, where the query shall be wrong, something else.
    fn operand(&mut self, kind: Kind, metric: &'static Metric, depth: usize) -> Tree {
        let kind = if self.wrong && self.one_in(3) {
            self.wrong = false;
            self.pick(&[Kind::Scalar, Kind::Vector, Kind::Range, Kind::Text])
        } else {
            kind
        };
        match kind {
            Kind::Scalar => self.scalar(depth.saturating_sub(1)),
            Kind::Vector => self.vector(metric, depth.saturating_sub(1)),
            Kind::Range => self.range(metric, depth.saturating_sub(1), false),
            Kind::Text => self.text(),
        }
    }

    fn text(&mut self) -> Tree {
        let text = self.pick(&["\"a\"", "'b'", "`c\\d`", "\"\"", "\"\\u00e9\"", "\"node\""]);
        Tree::leaf(Kind::Text, text)
    }

    /// The same at all times: where what is aggregated is the same at all times, Prometheus takes
    /// the parameter for that too.
    fn number(&mut self) -> Tree {
        Tree::leaf(Kind::Scalar, self.pick(NUMBERS))
    }

    fn scalar(&mut self, depth: usize) -> Tree {
        match self.noise.below(if depth == 0 { 6 } else { 10 }) {
            0..=3 => Tree::leaf(Kind::Scalar, self.pick(NUMBERS)),
            4 => Tree::leaf(Kind::Scalar, "time()"),
            5 => Tree::leaf(Kind::Scalar, self.pick(&["pi()", "-1.5", "1"])),
            6 => {
                let metric = self.metric();
                let inner = self.operand(Kind::Vector, metric, depth);
                Tree::of(Kind::Scalar, "scalar(#)", vec![inner])
            }
            7 => {
                let metric = self.metric();
                let inner = self.operand(Kind::Scalar, metric, depth);
                Tree::of(Kind::Scalar, "-#", vec![inner])
            }
            _ => {
                let metric = self.metric();
                let left = self.operand(Kind::Scalar, metric, depth);
                let right = self.operand(Kind::Scalar, metric, depth);
                let op = if self.one_in(3) {
                    format!("{} bool", self.pick(COMPARISON))
                } else {
                    self.pick(ARITHMETIC).to_owned()
                };
                Tree::of(Kind::Scalar, &format!("(# {op} #)"), vec![left, right])
            }
        }
    }

    fn vector(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        if depth == 0 {
            return self.selector(metric);
        }
        match self.noise.below(44) {
            0..=2 => self.selector(metric),
            3..=10 => self.over_time(metric, depth),
            11..=13 => self.elementwise(metric, depth),
            14..=20 => self.aggregate(metric, depth),
            21..=28 => self.binary(metric, depth),
            29..=31 => self.with_scalar(metric, depth),
            32 | 33 => self.labels(metric, depth),
            34..=36 => self.buckets(metric, depth),
            40 => self.info(),
            41 => self.sorted_by_label(metric, depth),
            42 if self.wrong => self.any_call(metric, depth),
            _ => self.odd(metric, depth),
        }
    }

    fn selector(&mut self, metric: &'static Metric) -> Tree {
        let text = format!("{}{}", self.series(metric), self.shift());
        Tree::leaf(Kind::Vector, text)
    }

    /// `name{matchers}`, in one of the ways to write it.
    fn series(&mut self, metric: &'static Metric) -> String {
        let mut matchers = Vec::new();
        for (label, values) in metric.labels {
            if self.one_in(4) {
                matchers.push(self.matcher(label, values));
            }
        }
        if self.one_in(25) {
            let missing =
                self.pick(&["missing=\"\"", "missing!=\"x\"", "missing=~\".*\"", "a=\"\""]);
            matchers.push(missing.to_owned());
        }
        let name = metric.name;
        if self.one_in(12) {
            matchers.push(format!("__name__=~\"{}\"", self.pick(NAME_PATTERNS)));
            return format!("{{{}}}", matchers.join(","));
        }
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match self.noise.below(if plain { 8 } else { 2 }) {
            0 => {
                matchers.insert(0, format!("\"{name}\""));
                format!("{{{}}}", matchers.join(", "))
            }
            1 => {
                matchers.push(format!("__name__=\"{name}\""));
                format!("{{{}}}", matchers.join(","))
            }
            _ if matchers.is_empty() => name.to_owned(),
            _ => format!("{name}{{{}}}", matchers.join(",")),
        }
    }

    fn matcher(&mut self, label: &str, values: &[&str]) -> String {
        let (one, other) = (self.pick(values), self.pick(values));
        let label = quoted(label);
        let first = one.chars().next().map(String::from).unwrap_or_default();
        let plain = one.chars().all(char::is_alphanumeric);
        match self.noise.below(if plain { 9 } else { 4 }) {
            0 | 1 => format!("{label}=\"{one}\""),
            2 => format!("{label}!=\"{one}\""),
            3 => format!("{label}=~\".+\""),
            4 => format!("{label}=~\"{one}|{other}\""),
            5 => format!("{label}!~\"{one}|{other}\""),
            6 => format!("{label}=~\"{first}.*\""),
            7 => format!("{label}!~\".*{first}\""),
            _ => format!("{label}=~\"(?i:{})\"", one.to_uppercase()),
        }
    }

    /// An offset and a fixed time, one, both or mostly neither.
    fn shift(&mut self) -> String {
        let offset =
            if self.one_in(7) { format!(" offset {}", self.pick(OFFSETS)) } else { String::new() };
        let at = if self.one_in(14) {
            let at = self.pick(&["start()", "end()", "1700005000", "1700006123.456", "1700002800"]);
            format!(" @ {at}")
        } else {
            String::new()
        };
        if self.one_in(2) { format!("{offset}{at}") } else { format!("{at}{offset}") }
    }

    fn range(&mut self, metric: &'static Metric, depth: usize, counter: bool) -> Tree {
        if depth == 0 || self.subqueries >= 2 || !self.one_in(5) {
            let text = format!("{}[{}]{}", self.series(metric), self.pick(RANGES), self.shift());
            return Tree::leaf(Kind::Range, text);
        }
        self.subqueries += 1;
        let inner = if counter || self.one_in(2) {
            self.operand(Kind::Vector, metric, depth.min(2))
        } else if self.one_in(12) {
            self.operand(Kind::Scalar, metric, depth)
        } else {
            self.vector(metric, depth - 1)
        };
        let range = self.pick(&["5m", "10m", "20m", "30m", "3m17s", "600"]);
        let step = self.pick(&["30s", "1m", "", "15s", "77s", "2m", "45"]);
        let shift = self.shift();
        Tree::of(Kind::Range, &format!("(#)[{range}:{step}]{shift}"), vec![inner])
    }

    fn over_time(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let counter = metric.counter;
        if self.one_in(6) {
            let range = self.operand(Kind::Range, metric, depth);
            let metric = self.metric();
            let parameter = self.operand(Kind::Scalar, metric, 1);
            return match self.noise.below(5) {
                0 | 1 => {
                    let parameter = self.number();
                    let template = "quantile_over_time(#, #)";
                    Tree::of(Kind::Vector, template, vec![parameter, range])
                }
                2 | 3 => Tree::of(Kind::Vector, "predict_linear(#, #)", vec![range, parameter]),
                _ => {
                    let template = "double_exponential_smoothing(#, 0.3, 0.6)";
                    Tree::of(Kind::Vector, template, vec![range])
                }
            };
        }
        let name =
            if counter && !self.one_in(4) { self.pick(COUNTER) } else { self.pick(OVER_TIME) };
        let range = if self.wrong {
            self.operand(Kind::Range, metric, depth)
        } else {
            self.range(metric, depth - 1, counter)
        };
        Tree::of(Kind::Vector, &format!("{name}(#)"), vec![range])
    }

    fn elementwise(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let inner = self.operand(Kind::Vector, metric, depth);
        match self.noise.below(11) {
            10 => {
                let name = self.pick(CALENDAR);
                let time = self.pick(&["boot_time_seconds", "timestamp(#)", "vector(time())"]);
                let children = if time.contains('#') { vec![inner] } else { Vec::new() };
                Tree::of(Kind::Vector, &format!("{name}({time})"), children)
            }
            0 => {
                let (low, high) = (self.scalar(0), self.scalar(0));
                Tree::of(Kind::Vector, "clamp(#, #, #)", vec![inner, low, high])
            }
            1 => {
                let name = self.pick(&["clamp_min", "clamp_max", "round"]);
                let to = self.scalar(0);
                Tree::of(Kind::Vector, &format!("{name}(#, #)"), vec![inner, to])
            }
            _ => {
                let name = self.pick(ELEMENTWISE);
                Tree::of(Kind::Vector, &format!("{name}(#)"), vec![inner])
            }
        }
    }

    /// Some labels of the metric, rarely one of another.
    fn label_list(&mut self, metric: &'static Metric) -> String {
        let mut labels: Vec<String> = Vec::new();
        for (label, _) in metric.labels {
            if self.one_in(2) {
                labels.push(quoted(label));
            }
        }
        if self.one_in(10) {
            labels.push(self.pick(&["missing", "__name__", "node", "le", "a"]).to_owned());
        }
        labels.join(", ")
    }

    fn grouping(&mut self, metric: &'static Metric) -> String {
        match self.noise.below(5) {
            0 | 1 => String::new(),
            2 | 3 => format!(" by ({})", self.label_list(metric)),
            _ => format!(" without ({})", self.label_list(metric)),
        }
    }

    fn aggregate(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let inner = self.operand(Kind::Vector, metric, depth);
        let grouping = self.grouping(metric);
        let behind = self.one_in(3);
        let finish = |name: &str, args: &str, children: Vec<Tree>| {
            let template = match behind {
                true => format!("{name}({args}){grouping}"),
                false => format!("{name}{grouping} ({args})"),
            };
            Tree::of(Kind::Vector, &template, children)
        };
        match self.noise.below(12) {
            0..=2 => {
                let name = self.pick(&["topk", "bottomk", "limitk"]);
                let count = match self.noise.below(6) {
                    0 => self.number(),
                    _ => Tree::leaf(Kind::Scalar, self.pick(&["1", "2", "3", "5", "100"])),
                };
                finish(name, "#, #", vec![count, inner])
            }
            3 => {
                let part = Tree::leaf(
                    Kind::Scalar,
                    self.pick(&["0.5", "-0.5", "0.1", "1", "-1", "0", "-0.9"]),
                );
                finish("limit_ratio", "#, #", vec![part, inner])
            }
            4 => {
                let quantile = match self.noise.below(4) {
                    0 => self.number(),
                    _ => Tree::leaf(Kind::Scalar, self.pick(&["0.5", "0.9", "0", "1", "0.25"])),
                };
                finish("quantile", "#, #", vec![quantile, inner])
            }
            5 => {
                let label = self.pick(&["\"v\"", "\"node\"", "\"id\"", "\"v\"", "\"a.b\""]);
                finish("count_values", &format!("{label}, #"), vec![inner])
            }
            _ => {
                let name = self.pick(AGGREGATES);
                finish(name, "#", vec![inner])
            }
        }
    }

    fn binary(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let op = match self.noise.below(8) {
            0..=3 => self.pick(ARITHMETIC).to_owned(),
            4 => self.pick(COMPARISON).to_owned(),
            5 => format!("{} bool", self.pick(COMPARISON)),
            _ => self.pick(SETS).to_owned(),
        };
        let sets = SETS.contains(&op.as_str());
        // One group on the right of many on the left is what people write.
        if !sets && self.one_in(4) {
            return self.one_to_many(metric, depth, &op);
        }
        let other = self.near(metric);
        let left = self.operand(Kind::Vector, metric, depth);
        let right = self.operand(Kind::Vector, other, depth);
        let matching = match self.noise.below(8) {
            0 => format!(" on({})", self.label_list(metric)),
            1 => format!(" ignoring({})", self.label_list(metric)),
            2 if self.one_in(3) => format!(" on({}) group_left", self.label_list(metric)),
            3 if self.one_in(3) => format!(" ignoring({}) group_right()", self.label_list(other)),
            _ => String::new(),
        };
        self.put(Kind::Vector, &format!("# {op}{matching} #"), vec![left, right])
    }

    fn one_to_many(&mut self, metric: &'static Metric, depth: usize, op: &str) -> Tree {
        let many = self.operand(Kind::Vector, metric, depth);
        let one = self.operand(Kind::Vector, metric, depth);
        let labels = self.label_list(metric);
        let name = self.pick(&["sum", "max", "avg", "count"]);
        let one = Tree::of(Kind::Vector, &format!("{name} by ({labels}) (#)"), vec![one]);
        let carried = self.pick(&["", "()", "", "(le)", "(node)", "(missing)"]);
        if self.one_in(2) {
            let template = format!("# {op} on({labels}) group_left{carried} #");
            return self.put(Kind::Vector, &template, vec![many, one]);
        }
        self.put(
            Kind::Vector,
            &format!("# {op} on({labels}) group_right{carried} #"),
            vec![one, many],
        )
    }

    fn with_scalar(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let op = match self.noise.below(6) {
            0..=2 => self.pick(ARITHMETIC).to_owned(),
            3 | 4 => self.pick(COMPARISON).to_owned(),
            _ => format!("{} bool", self.pick(COMPARISON)),
        };
        let vector = self.operand(Kind::Vector, metric, depth);
        let scalar = self.operand(Kind::Scalar, metric, depth.min(2));
        let children = if self.one_in(2) { vec![vector, scalar] } else { vec![scalar, vector] };
        self.put(Kind::Vector, &format!("# {op} #"), children)
    }

    /// With parentheses about all, or about each operand, or about nothing.
    fn put(&mut self, kind: Kind, template: &str, children: Vec<Tree>) -> Tree {
        let template = match self.noise.below(5) {
            0 => template.to_owned(),
            1 => template.replace('#', "(#)"),
            _ => format!("({template})"),
        };
        Tree::of(kind, &template, children)
    }

    fn labels(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let inner = self.operand(Kind::Vector, metric, depth);
        let mut label = || match metric.labels.len() {
            0 => "missing",
            len => metric.labels[self.noise.below(len)].0,
        };
        let (from, to) = (label(), label());
        let to = if self.one_in(2) { "new" } else { to };
        let template = match self.noise.below(6) {
            0 => format!("label_join(#, \"{to}\", \"-\", \"{from}\", \"missing\", \"{to}\")"),
            1 => format!("label_join(#, \"{to}\", \"\")"),
            2 => format!("label_replace(#, \"{to}\", \"<$1>\", \"{from}\", \"(.).*\")"),
            3 => {
                format!("label_replace(#, \"{to}\", \"${{x}}$0\", \"{from}\", \"(?P<x>[a-z]+).*\")")
            }
            4 => format!("label_replace(#, \"__name__\", \"n_$1\", \"{from}\", \"(.*)\")"),
            _ => format!("label_replace(#, \"{to}\", \"\", \"\", \"\")"),
        };
        Tree::of(Kind::Vector, &template, vec![inner])
    }

    fn buckets(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let bucket = &METRICS[self.noise.below(METRICS.len())];
        let metric = if bucket.name.ends_with("_bucket") { bucket } else { metric };
        let metric = match metric.name.ends_with("_bucket") {
            true => metric,
            false => METRICS.iter().find(|one| one.name.ends_with("_bucket")).unwrap_or(metric),
        };
        let inner = match self.noise.below(3) {
            0 => self.operand(Kind::Vector, metric, depth.min(2)),
            1 => {
                let range = self.range(metric, 0, true);
                Tree::of(Kind::Vector, "rate(#)", vec![range])
            }
            _ => {
                let range = self.range(metric, 0, true);
                Tree::of(Kind::Vector, "sum by (le) (rate(#))", vec![range])
            }
        };
        if metric.name == "latency_seconds_bucket" && self.one_in(4) {
            // Within the lowest bucket Prometheus 3.5 gives NaN, later ones do not.
            let bounds = self.pick(&["5, +Inf", "-Inf, +Inf", "1, 0", "NaN, 1"]);
            let range = self.pick(&["2m", "5m", "10m"]);
            let buckets = format!("rate(latency_seconds_bucket[{range}])");
            let buckets = Tree::leaf(Kind::Vector, buckets);
            let template = format!("histogram_fraction({bounds}, #)");
            return Tree::of(Kind::Vector, &template, vec![buckets]);
        }
        let quantile = match self.noise.below(4) {
            0 => self.number(),
            _ => Tree::leaf(Kind::Scalar, self.pick(&["0.5", "0.9", "0.99", "0", "1"])),
        };
        Tree::of(Kind::Vector, "histogram_quantile(#, #)", vec![quantile, inner])
    }

    /// With the labels of info metrics, which not all metrics have.
    fn info(&mut self) -> Tree {
        // Without gaps: Prometheus 3.5 takes the labels of one series for another's where some are
        // missing.
        let series = "http_requests_total{method=\"get\",code!=\"404\"}";
        let inner = match self.noise.below(4) {
            0 => format!("rate({series}[{}])", self.pick(&["2m", "5m", "10m"])),
            1 => format!("sum by (instance, job) ({series})"),
            2 => format!("max by (instance, job, code) ({series} * 2)"),
            _ => series.to_owned(),
        };
        let inner = Tree::leaf(Kind::Vector, inner);
        let template = self.pick(&[
            "info(#)",
            "info(#, {region=~\".+\"})",
            "info(#, {__name__=\"rack_info\"})",
            "info(#, {__name__=~\"(target|rack)_info\", region=~\".*\"})",
            "info(#, {region=\"eu\"})",
            "info(#, {version!=\"2\"})",
        ]);
        Tree::of(Kind::Vector, template, vec![inner])
    }

    fn sorted_by_label(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        let name = self.pick(&["sort_by_label", "sort_by_label_desc"]);
        let inner = self.operand(Kind::Vector, metric, depth);
        let label = metric.labels.first().map_or("missing", |(label, _)| label);
        let more = self.pick(&["", ", \"__name__\"", ", \"missing\"", ", \"rack\", \"le\""]);
        Tree::of(Kind::Vector, &format!("{name}(#, \"{label}\"{more})"), vec![inner])
    }

    /// Any function or aggregation with any operands, most of them not its own.
    fn any_call(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        const OTHERS: &[&str] = &[
            "histogram_quantile",
            "histogram_fraction",
            "label_replace",
            "label_join",
            "clamp",
            "clamp_min",
            "quantile_over_time",
            "predict_linear",
            "double_exponential_smoothing",
            "holt_winters",
            "info",
            "pi",
            "time",
            "vector",
            "scalar",
            "absent",
            "sort",
            "sort_by_label",
            "topk",
            "quantile",
            "count_values",
            "limitk",
            "limit_ratio",
            "nosuch",
            "SUM",
            "Rate",
        ];
        let lists = [OTHERS, OTHERS, ELEMENTWISE, CALENDAR, OVER_TIME, COUNTER, AGGREGATES];
        let list = self.pick(&lists);
        let name = self.pick(list);
        let count = self.noise.below(5);
        let mut children = Vec::new();
        for _ in 0..count {
            let kind =
                self.pick(&[Kind::Scalar, Kind::Vector, Kind::Vector, Kind::Range, Kind::Text]);
            children.push(self.operand(kind, metric, depth.min(2)));
        }
        let template = format!("{name}({})", vec!["#"; count].join(", "));
        Tree::of(Kind::Vector, &template, children)
    }

    fn odd(&mut self, metric: &'static Metric, depth: usize) -> Tree {
        match self.noise.below(8) {
            7 => {
                let template = self.pick(&["absent(#)", "sgn(absent(#))", "absent(#) * 2"]);
                let inner = Tree::leaf(Kind::Vector, self.series(metric));
                Tree::of(Kind::Vector, template, vec![inner])
            }
            0 => {
                let inner = self.operand(Kind::Scalar, metric, depth);
                Tree::of(Kind::Vector, "vector(#)", vec![inner])
            }
            1 => {
                let inner = self.operand(Kind::Vector, metric, depth);
                Tree::of(Kind::Vector, "absent(#)", vec![inner])
            }
            2 | 3 => {
                let inner = self.operand(Kind::Vector, metric, depth);
                Tree::of(Kind::Vector, "-#", vec![inner])
            }
            4 => {
                let inner = self.operand(Kind::Vector, metric, depth);
                Tree::of(Kind::Vector, "(#)", vec![inner])
            }
            5 => {
                let name = self.pick(&["sort", "sort_desc"]);
                let inner = self.operand(Kind::Vector, metric, depth);
                Tree::of(Kind::Vector, &format!("{name}(#)"), vec![inner])
            }
            _ => {
                let what =
                    self.pick(&["hour()", "minute()", "day_of_week()", "year()", "vector(1)"]);
                Tree::leaf(Kind::Vector, what)
            }
        }
    }

    /// A text with something wrong in it, or perhaps not.
    fn spoilt(&mut self, text: &str) -> Tree {
        const EXTRA: &[&str] = &[
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            "=",
            "+",
            "-",
            " and ",
            " by ",
            "5m",
            "offset",
            "@",
            "\"",
            "bool",
            "on",
            "(a)",
            "1",
            ".",
            "\\",
            "$",
            "#x\n",
            "é",
            " or ",
            ":",
            "sum",
            "group_left",
            "!=",
            "=~",
            "!",
            "1.5.2",
            "0x",
            "`",
        ];
        let mut pieces = pieces(text);
        let at = self.noise.below(pieces.len());
        match self.noise.below(4) {
            0 => drop(pieces.remove(at)),
            1 => pieces.insert(at, self.pick(EXTRA).to_owned()),
            2 => {
                let other = self.noise.below(pieces.len());
                pieces.swap(at, other);
            }
            _ => pieces.truncate(at),
        }
        Tree { kind: Kind::Text, parts: pieces.into_iter().map(Part::Text).collect() }
    }
}

/// A label as it may stand in a query.
fn quoted(label: &str) -> String {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { label.to_owned() } else { format!("\"{label}\"") }
}

/// Words, and every other character by itself.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut in_word = false;
    for character in text.chars() {
        let word = character.is_alphanumeric() || matches!(character, '_' | '.');
        match pieces.last_mut() {
            Some(last) if word && in_word => last.push(character),
            _ => pieces.push(character.to_string()),
        }
        in_word = word;
    }
    pieces
}

#[test]
fn the_same_seed_gives_the_same_queries() {
    let some = |seed: u64| {
        let mut generator = Generator::new(seed);
        (0..50).map(|_| generator.query().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(some(7), some(7));
    assert_ne!(some(7), some(8));
}

#[test]
fn a_query_is_cut_down_to_what_is_wrong_with_it() {
    let selector = Tree::leaf(Kind::Vector, "edge");
    let abs = Tree::of(Kind::Vector, "abs(#)", vec![selector]);
    let culprit = Tree::of(Kind::Vector, "ceil(#)", vec![abs]);
    let other = Tree::leaf(Kind::Vector, "dup_a");
    let whole = Tree::of(Kind::Vector, "sum(# + #)", vec![other, culprit]);
    assert_eq!(whole.to_string(), "sum(dup_a + ceil(abs(edge)))");
    let shrunk = whole.shrunk(&mut |tree| tree.to_string().contains("ceil("));
    assert_eq!(shrunk.map(|tree| tree.to_string()), Some("ceil(edge)".to_owned()));
    assert!(whole.shrunk(&mut |_| false).is_none());
}
