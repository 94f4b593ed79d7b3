//! Metric families: a name, what kind of number it is, and what it means.

use std::borrow::Cow;

/// What kind of number a family's samples are, as text exposition and metadata name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows, except when it starts anew at 0.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with `le`, `_sum` and `_count`.
    Histogram,
    /// Quantiles with `_sum` and `_count`.
    Summary,
    /// Not known, or not said by its source.
    Untyped,
}

impl Kind {
    /// The word of the text exposition format's `# TYPE` line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

/// A metric family. Those known in advance are `static`s beside the code that fills them; those
/// whose name comes from the machine (`node_memory_…`) own their strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The metric name.
    pub name: Cow<'static, str>,
    /// What kind of number it is.
    pub kind: Kind,
    /// One sentence for people.
    pub help: Cow<'static, str>,
}

impl Family {
    /// A counter known in advance.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind: Kind::Counter, help: Cow::Borrowed(help) }
    }

    /// A gauge known in advance.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind: Kind::Gauge, help: Cow::Borrowed(help) }
    }

    /// A family whose kind its source does not say.
    pub const fn untyped(name: &'static str, help: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind: Kind::Untyped, help: Cow::Borrowed(help) }
    }

    /// A family whose name was found at run time.
    pub fn dynamic(name: String, kind: Kind, help: impl Into<Cow<'static, str>>) -> Self {
        Self { name: Cow::Owned(name), kind, help: help.into() }
    }
}
