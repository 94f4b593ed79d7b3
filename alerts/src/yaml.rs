//! YAML as Go's libraries read it into the structures of Prometheus.
//!
//! Rule files are read by Prometheus with version 3 of the `yaml` package, unit tests with version 2,
//! both strictly: a key that is not known or comes twice is a fault, and so is a value of another
//! kind. This module gives a tree of nodes with their lines ([`first`]) and takes values out of it
//! as the chosen [`Dialect`] does ([`Reader`]), keeping all faults on the way.
//!
//! Only the first document of a text is read, as there. Not here: what the keys mean.

mod forgive;
mod scalar;

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

pub(crate) use scalar::Resolved;

/// Nodes of a document with all its aliases put in place. The largest rule file known has about
/// 40,000; a "billion laughs" has more.
const NODES_MAX: usize = 1_000_000;

/// How deep nodes may nest: rule files have seven levels, and reading recurses.
const DEPTH_MAX: usize = 100;

/// Bytes that are read anew, the whole text once for each place in it that has to be forgiven: a
/// hundred places in a large rule file, and a few in one as large as may be.
const FORGIVEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The mapping key that takes in the pairs of other mappings.
const MERGE: &str = "<<";

/// The control character that ends a line in YAML 1.1, and is read as any other end.
const NEXT_LINE: char = '\u{85}';

/// A thing that is wrong, and the line it is in, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

/// A node of a document. Aliases share what they stand for.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its line, counted from 1.
    pub(crate) line: usize,
    kind: Kind,
    /// Nodes in it, itself included and aliases put in place.
    size: usize,
    /// Levels of nodes from itself down.
    depth: usize,
}

#[derive(Debug)]
enum Kind {
    Scalar { text: String, plain: bool, tag: Option<String> },
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// Whose reading of YAML it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `yaml.v3`: rule files.
    Three,
    /// `yaml.v2`: unit tests.
    Two,
}

/// A scalar and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// The pairs of one mapping whose keys are known, merged mappings included.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(Text, Rc<Node>)>);

impl Fields {
    /// The value of a key; `None` too where nothing stands there.
    pub(crate) fn get(&self, name: &str) -> Option<&Rc<Node>> {
        let found = self.0.iter().find(|(key, _)| key.value == name);
        found.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// The line of a key, or `or` where it is not given.
    pub(crate) fn line(&self, name: &str, or: usize) -> usize {
        self.0.iter().find(|(key, _)| key.value == name).map_or(or, |(key, _)| key.line)
    }
}

/// The first document of a text; `None` where there is none.
pub(crate) fn first(text: &str) -> Result<Option<Rc<Node>>, Fault> {
    first_within(text, FORGIVEN_BYTES_MAX)
}

fn first_within(text: &str, mut left_bytes: usize) -> Result<Option<Rc<Node>>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut text = match text.contains(NEXT_LINE) {
        true => Cow::Owned(text.replace(NEXT_LINE, "\n")),
        false => Cow::Borrowed(text),
    };
    loop {
        let error = match document(&text) {
            Ok(root) => return Ok(root),
            Err(Trouble::Fault(fault)) => return Err(fault),
            Err(Trouble::Parser(error)) => error,
        };
        let Some(rewritten) = forgive::rewritten(&text, &error, left_bytes) else {
            return Err(told(&error));
        };
        left_bytes -= rewritten.len();
        text = Cow::Owned(rewritten);
    }
}

/// Why a text could not be read.
enum Trouble {
    Parser(ScanError),
    Fault(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn told(error: &ScanError) -> Fault {
    let line = Some(error.marker().line()).filter(|line| *line > 0);
    Fault { line, message: error.info() }
}

fn document(text: &str) -> Result<Option<Rc<Node>>, Trouble> {
    let (mut builder, mut gap) = (Builder::default(), Gap::default());
    let options = granit_parser::options! { emit_anchor_events: true };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(Trouble::Parser)?;
        let line = span.start.line();
        if let Some(line) = gap.stray_tab(text, &event, span, &builder) {
            return Err(fault(line, "a tab where a line or an item begins".to_owned()).into());
        }
        match &event {
            Event::Scalar(plain, ScalarStyle::Plain, ..) if builder.is_in_flow() => {
                if let Some(indicator) = forgive::flow_indicator(plain) {
                    let message = format!("a text with {indicator} needs quotes within brackets");
                    return Err(fault(line, message).into());
                }
            }
            Event::DocumentStart(_, Some(version)) if (version.major, version.minor) != (1, 1) => {
                return Err(fault(line, "not a document of YAML 1.1".to_owned()).into());
            }
            Event::DocumentEnd => break,
            Event::Anchor(_, name) if !forgive::is_anchor(name) => {
                return Err(fault(line, format!("{name:?} is not the name of an anchor")).into());
            }
            Event::Scalar(_, ScalarStyle::DoubleQuoted, ..) => {
                let bytes = span.start.byte_offset().zip(span.end.byte_offset());
                let quoted = bytes.and_then(|(start, end)| text.get(start..end)).unwrap_or("");
                if let Some(escape) = forgive::unknown_escape(quoted) {
                    return Err(fault(line, format!("unknown escape {escape}")).into());
                }
            }
            _ => {}
        }
        builder.take(event, span)?;
    }
    Ok(builder.root)
}

/// Looks at what is between the tokens of a document.
#[derive(Default)]
struct Gap {
    /// Where the last token ended: bytes, and the line.
    from: usize,
    line: usize,
    /// After a plain text, the column from which on lines might go on with it.
    goes_on: Option<usize>,
}

impl Gap {
    /// The line of a tab before this event that Go's refuses.
    fn stray_tab(
        &mut self,
        text: &str,
        event: &Event<'_>,
        span: Span,
        builder: &Builder,
    ) -> Option<usize> {
        let is_end = matches!(event, Event::SequenceEnd | Event::MappingEnd);
        let is_token = match event {
            Event::Scalar(..) | Event::Alias(_) | Event::DocumentEnd => true,
            Event::SequenceStart(style, ..) | Event::MappingStart(style, ..) => {
                *style == StructureStyle::Flow
            }
            _ => is_end && builder.is_in_flow(),
        };
        let (start, end) = span.start.byte_offset().zip(span.end.byte_offset())?;
        if !is_token || end < self.from {
            return None;
        }
        let between = text.get(self.from..start).filter(|_| !builder.is_in_flow());
        let is_start = text.get(..self.from).is_none_or(|it| it.is_empty() || it.ends_with('\n'));
        let stray = between.and_then(|it| forgive::stray_tab(it, is_start, self.goes_on));
        let stray = stray.map(|lines| self.line.max(1) + lines);
        (self.from, self.line) = (end, span.end.line());
        let is_plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
        self.goes_on = is_plain.then(|| builder.column() + 1);
        stray
    }
}

/// Puts nodes together from the events of the parser.
#[derive(Default)]
struct Builder {
    root: Option<Rc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
}

/// A collection that has not ended.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    is_flow: bool,
    /// The column it began at, counted from 0.
    column: usize,
    nodes: Vec<Rc<Node>>,
}

impl Builder {
    /// Whether what comes next is between brackets or braces.
    fn is_in_flow(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_flow)
    }

    /// The column of the innermost collection.
    fn column(&self) -> usize {
        self.open.last().map_or(0, |open| open.column)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.as_deref().map(Tag::original);
                let kind = Kind::Scalar { text: text.into_owned(), plain, tag };
                self.put(Rc::new(Node { line, kind, size: 1, depth: 1 }), anchor)
            }
            Event::SequenceStart(style, anchor, _) | Event::MappingStart(style, anchor, _) => {
                let is_map = matches!(event, Event::MappingStart(..));
                let (is_flow, column) = (style == StructureStyle::Flow, span.start.col());
                let nodes = Vec::new();
                self.open.push(Open { line, anchor, is_map, is_flow, column, nodes });
                if self.open.len() > DEPTH_MAX {
                    return Err(fault(line, format!("more than {DEPTH_MAX} levels of nodes")));
                }
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let anchor = open.anchor;
                    self.put(Rc::new(open.close()?), anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.put(node, 0),
                None => Err(fault(line, "an alias within what it stands for".to_owned())),
            },
            _ => Ok(()),
        }
    }

    fn put(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

impl Open {
    fn close(self) -> Result<Node, Fault> {
        let sizes = self.nodes.iter().map(|node| node.size);
        let size = sizes.fold(1_usize, usize::saturating_add);
        let depth = self.nodes.iter().map(|node| node.depth).max().unwrap_or(0) + 1;
        if size > NODES_MAX || depth > DEPTH_MAX {
            return Err(fault(self.line, "the document contains excessive aliasing".to_owned()));
        }
        let kind = if self.is_map {
            let mut pairs = Vec::with_capacity(self.nodes.len() / 2);
            let mut nodes = self.nodes.into_iter();
            while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                pairs.push((key, value));
            }
            Kind::Map(pairs)
        } else {
            Kind::List(self.nodes)
        };
        Ok(Node { line: self.line, kind, size, depth })
    }
}

fn fault(line: usize, message: String) -> Fault {
    Fault { line: Some(line), message }
}

impl Node {
    /// Whether nothing stands there.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.resolved(Dialect::Three), Some(Resolved::Null))
    }

    /// The value of a scalar.
    fn resolved(&self, dialect: Dialect) -> Option<Resolved> {
        match &self.kind {
            Kind::Scalar { text, plain, tag } => {
                Some(scalar::resolve(text, *plain, tag.as_deref(), dialect))
            }
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    fn is_merge(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true, .. } if text == MERGE)
    }

    /// What it is, for messages.
    fn described(&self) -> String {
        match &self.kind {
            Kind::Scalar { text, .. } => {
                let start: String = text.chars().take(30).collect();
                format!("{start:?}")
            }
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Takes values out of nodes, and keeps what is wrong with them.
#[derive(Debug)]
pub(crate) struct Reader {
    dialect: Dialect,
    /// Whether keys that nobody knows are passed over.
    lenient: bool,
    pub(crate) faults: Vec<Fault>,
}

impl Reader {
    pub(crate) fn new(dialect: Dialect, lenient: bool) -> Self {
        Self { dialect, lenient, faults: Vec::new() }
    }

    pub(crate) fn fault(&mut self, line: usize, message: impl Into<String>) {
        self.faults.push(Fault { line: (line > 0).then_some(line), message: message.into() });
    }

    /// The pairs of a mapping that is a `what` and has the keys `known`.
    pub(crate) fn fields(&mut self, node: &Node, known: &[&str], what: &str) -> Fields {
        let mut fields = Fields::default();
        for (key, value) in self.pairs(node, what) {
            if !known.contains(&key.value.as_str()) {
                if !self.lenient {
                    self.fault(key.line, format!("unknown key {:?} in a {what}", key.value));
                }
                continue;
            }
            fields.0.push((key, value));
        }
        fields
    }

    /// Names with texts: labels, annotations. The line is that of the text.
    pub(crate) fn texts(&mut self, node: Option<&Rc<Node>>, what: &str) -> Vec<(Text, Text)> {
        let Some(node) = node else { return Vec::new() };
        let mut texts = Vec::new();
        for (key, value) in self.pairs(node, what) {
            let line = value.line;
            // Nothing is an empty text there, whatever it was written as; version 2 keeps a `~`.
            let value = match value.is_null() {
                true if self.dialect == Dialect::Three => String::new(),
                true => value.scalar().unwrap_or_default().to_owned(),
                false => match self.text(&value) {
                    Some(text) => text.value,
                    None => continue,
                },
            };
            texts.push((key, Text { value, line }));
        }
        texts
    }

    /// The nodes of a list.
    pub(crate) fn list(&mut self, node: Option<&Rc<Node>>, what: &str) -> Vec<Rc<Node>> {
        match node.map(|node| (&node.kind, node)) {
            None => Vec::new(),
            // Entries where nothing stands are passed over.
            Some((Kind::List(nodes), _)) => {
                nodes.iter().filter(|node| !node.is_null()).cloned().collect()
            }
            Some((_, node)) => {
                self.fault(node.line, format!("{what}: a list, not {}", node.described()));
                Vec::new()
            }
        }
    }

    /// A scalar as it is written.
    pub(crate) fn text(&mut self, node: &Node) -> Option<Text> {
        match node.resolved(self.dialect) {
            Some(Resolved::Binary(value)) => Some(Text { value, line: node.line }),
            Some(Resolved::Wrong(message)) => {
                self.fault(node.line, message);
                None
            }
            Some(_) => {
                Some(Text { value: node.scalar().unwrap_or_default().to_owned(), line: node.line })
            }
            None => {
                self.fault(node.line, format!("a text, not {}", node.described()));
                None
            }
        }
    }

    /// A whole number; a fraction is cut off, as there.
    pub(crate) fn integer(&mut self, node: &Node, what: &str) -> Option<i64> {
        match node.resolved(self.dialect) {
            Some(Resolved::Integer(value)) => Some(value),
            // 2^63 is exact as a float; what lies below it fits.
            #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
            Some(Resolved::Float(value)) if value.abs() < 9_223_372_036_854_775_808.0 => {
                Some(value as i64)
            }
            _ => {
                self.fault(node.line, format!("{what} {} is not a number", node.described()));
                None
            }
        }
    }

    pub(crate) fn float(&mut self, node: &Node, what: &str) -> Option<f64> {
        match node.resolved(self.dialect) {
            #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
            Some(Resolved::Integer(value)) => Some(value as f64),
            Some(Resolved::Float(value)) => Some(value),
            _ => {
                let what = format!("{what} {} is not a number", node.described());
                self.fault(node.line, what + " (infinities are written .inf and -.inf here)");
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.resolved(self.dialect) {
            Some(Resolved::Bool(value)) => Some(value),
            _ => {
                self.fault(node.line, format!("{what}: true or false, not {}", node.described()));
                None
            }
        }
    }

    /// A duration in milliseconds.
    pub(crate) fn duration(&mut self, node: Option<&Rc<Node>>, what: &str) -> Option<i64> {
        let node = node?;
        let text = self.text(node)?;
        match labstat_model::duration::parse_ms(&text.value) {
            // What is longer than this, Prometheus' nanoseconds cannot hold.
            Ok(ms) if ms <= i64::MAX / 1_000_000 => Some(ms),
            Ok(_) => {
                self.fault(text.line, format!("{what}: duration out of range"));
                None
            }
            Err(error) => {
                self.fault(text.line, format!("{what}: {error}"));
                None
            }
        }
    }

    /// The pairs of a mapping, with what it merges, each key once.
    fn pairs(&mut self, node: &Node, what: &str) -> Vec<(Text, Rc<Node>)> {
        let Kind::Map(pairs) = &node.kind else {
            if !node.is_null() {
                self.fault(node.line, format!("{what}: a mapping, not {}", node.described()));
            }
            return Vec::new();
        };
        let mut found: Vec<(Text, Rc<Node>)> = Vec::new();
        let mut merged = Vec::new();
        for (at, (key, value)) in pairs.iter().enumerate() {
            if key.is_merge() {
                self.merge(value, what, &mut merged);
                continue;
            }
            let Some(name) = self.text(key) else { continue };
            let before = pairs.get(..at).unwrap_or_default();
            let known = before.iter().find(|(other, _)| other.scalar() == key.scalar());
            if let Some((known, _)) = known {
                let message =
                    format!("duplicate key {:?}, given at line {}", name.value, known.line);
                self.fault(name.line, message);
                continue;
            }
            found.push((name, Rc::clone(value)));
        }
        // What the mapping says itself wins, and then what comes first.
        for (name, value) in merged {
            if !found.iter().any(|(known, _)| known.value == name.value) {
                found.push((name, value));
            }
        }
        found
    }

    fn merge(&mut self, node: &Rc<Node>, what: &str, out: &mut Vec<(Text, Rc<Node>)>) {
        match &node.kind {
            Kind::Map(_) => out.extend(self.pairs(node, what)),
            Kind::List(nodes) if nodes.iter().all(|node| matches!(node.kind, Kind::Map(_))) => {
                for node in nodes {
                    out.extend(self.pairs(node, what));
                }
            }
            _ => {
                let message = "a merge takes a mapping or a list of mappings".to_owned();
                self.fault(node.line, message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
