//! From the nodes of a rule file to groups and rules, with every problem on the way.
//!
//! What is refused is what Prometheus 3 refuses, no more and no less, so that a file that works there
//! works here. What is merely doubtful is for `labstat rules check` to say.

use std::collections::BTreeMap;
use std::rc::Rc;

use labstat_model::METRIC_NAME;

use super::{
    AlertRule, Group, INTERVAL_DEFAULT_MS, INTERVAL_MIN_MS, KEEP_WHILE, Problem, Reading, Rule,
    RuleKind,
};
use crate::template::Template;
use crate::yaml::{self, Dialect, Fields, Node, Reader, Text};

/// The groups of a file. When problems were added, what is returned is not whole.
pub(super) fn groups(
    file: &str,
    text: &str,
    reading: Reading,
    problems: &mut Vec<Problem>,
) -> Vec<Group> {
    let mut reader = Reader::new(Dialect::Three, reading.ignore_unknown);
    let mut groups: Vec<Group> = Vec::new();
    match yaml::first(text) {
        Ok(None) => {}
        Ok(Some(document)) => {
            let mut checker = Checker { file, reading, reader: &mut reader };
            let fields = checker.reader.fields(&document, &["groups"], "rule file");
            for node in checker.reader.list(fields.get("groups"), "groups") {
                let group = checker.group(&node);
                if groups.iter().any(|known| known.name == group.name) && !group.name.is_empty() {
                    let message =
                        format!("group name {:?} is repeated in the same file", group.name);
                    checker.reader.fault(node.line, message);
                }
                groups.push(group);
            }
        }
        Err(fault) => reader.faults.push(fault),
    }
    let file = file.to_owned();
    let problem = |fault: yaml::Fault| Problem {
        file: file.clone(),
        line: fault.line,
        message: fault.message,
    };
    problems.extend(reader.faults.into_iter().map(problem));
    groups
}

/// Where problems go while a file is checked.
struct Checker<'a> {
    file: &'a str,
    reading: Reading,
    reader: &'a mut Reader,
}

impl Checker<'_> {
    fn group(&mut self, node: &Node) -> Group {
        const KEYS: [&str; 6] = ["name", "interval", "limit", "query_offset", "labels", "rules"];
        let fields = self.reader.fields(node, &KEYS, "group");
        let name = self.text(&fields, "name").map(|name| name.value).unwrap_or_default();
        if name.is_empty() {
            self.reader.fault(node.line, "a group needs a name");
        }
        let mut interval_ms = self.duration(&fields, "interval");
        if interval_ms == 0 {
            interval_ms = INTERVAL_DEFAULT_MS; // as Prometheus reads it: not given
        }
        let limit = fields.get("limit").and_then(|node| self.reader.integer(node, "limit"));
        let query_offset_ms = self.duration(&fields, "query_offset");
        let labels = self.reader.texts(fields.get("labels"), "labels");
        let labels = self.named(labels, "label");
        let rules = self.reader.list(fields.get("rules"), "rules");
        let rules = rules.iter().filter_map(|node| self.rule(node, &labels)).collect();
        Group {
            file: self.file.to_owned(),
            name,
            // A shorter one is taken for the shortest that makes sense here.
            interval_ms: interval_ms.max(INTERVAL_MIN_MS),
            limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
            query_offset_ms,
            rules,
        }
    }

    fn rule(&mut self, node: &Rc<Node>, shared: &[(Text, Text)]) -> Option<Rule> {
        const KEYS: [&str; 7] =
            ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];
        let fields = self.reader.fields(node, &KEYS, "rule");
        let expr = self.expr(&fields, node.line);
        let labels = self.reader.texts(fields.get("labels"), "labels");
        let labels = self.named(labels, "label");
        let annotations = self.reader.texts(fields.get("annotations"), "annotations");
        let annotations = self.named(annotations, "annotation");
        let (for_ms, keep_firing_for_ms) =
            (self.duration(&fields, "for"), self.duration(&fields, "keep_firing_for"));
        let (name, kind) = match (self.text(&fields, "alert"), self.text(&fields, "record")) {
            (Some(name), None) => {
                let labels = self.alert_labels(&name.value, shared, &labels);
                let annotations = self.templates(&name.value, "annotation", &annotations);
                let alert = AlertRule { for_ms, keep_firing_for_ms, labels, annotations };
                (name, RuleKind::Alert(alert))
            }
            (None, Some(name)) => {
                self.record(&fields, &name, (for_ms, keep_firing_for_ms, annotations.len()));
                let pairs = shared.iter().chain(&labels);
                let pairs = pairs.map(|(name, text)| (name.value.clone(), text.value.clone()));
                // Of two with the same name the later one counts: the rule's own.
                let labels: BTreeMap<String, String> = pairs.collect();
                (name, RuleKind::Record { labels: labels.into_iter().collect() })
            }
            (Some(name), Some(_)) => {
                self.reader.fault(name.line, "a rule has either alert or record, not both");
                return None;
            }
            (None, None) => {
                self.reader.fault(node.line, "a rule needs alert or record");
                return None;
            }
        };
        Some(Rule { name: name.value, expr: expr?, line: node.line, kind })
    }

    /// The scalar `name`, unless it is empty.
    fn text(&mut self, fields: &Fields, name: &str) -> Option<Text> {
        self.reader.text(fields.get(name)?).filter(|text| !text.value.is_empty())
    }

    fn duration(&mut self, fields: &Fields, name: &str) -> i64 {
        self.reader.duration(fields.get(name), name).unwrap_or(0)
    }

    fn expr(&mut self, fields: &Fields, at: usize) -> Option<String> {
        let Some(expr) = self.text(fields, "expr") else {
            self.reader.fault(fields.line("expr", at), "a rule needs an expr");
            return None;
        };
        match labstat_promql::check(&expr.value) {
            Ok(checked) => {
                if let Some(beyond) = checked.beyond.first().filter(|_| self.reading.strict) {
                    let message = format!("expr: {beyond} is not enabled in Prometheus");
                    self.reader.fault(expr.line, message);
                }
                Some(expr.value)
            }
            Err(error) => {
                self.reader.fault(expr.line, format!("expr: {error}"));
                None
            }
        }
    }

    /// What must not, and what may not be in a recording rule.
    fn record(&mut self, fields: &Fields, name: &Text, given: (i64, i64, usize)) {
        if name.value.contains(['{', '}']) {
            let message = format!("{:?} has braces: a selector belongs into expr", name.value);
            self.reader.fault(name.line, message);
        }
        let (for_ms, keep_firing_for_ms, annotations_len) = given;
        let keys = [
            ("for", for_ms != 0),
            ("keep_firing_for", keep_firing_for_ms != 0),
            ("annotations", annotations_len > 0),
        ];
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            let message = format!("{key} has no meaning in a recording rule");
            self.reader.fault(fields.line(key, name.line), message);
        }
    }

    /// Those with valid names. Any text but none is one: Prometheus 3 has no others.
    fn named(&mut self, texts: Vec<(Text, Text)>, what: &str) -> Vec<(Text, Text)> {
        let mut named = texts;
        named.retain(|(name, _)| {
            let is_name = !name.value.is_empty() && (what != "label" || name.value != METRIC_NAME);
            if !is_name {
                let message = format!("{:?} is not a name for a {what}", name.value);
                self.reader.fault(name.line, message);
            }
            is_name
        });
        named
    }

    /// The labels of an alert: its own win over those of the group.
    fn alert_labels(
        &mut self,
        alert: &str,
        shared: &[(Text, Text)],
        own: &[(Text, Text)],
    ) -> Vec<(String, Template)> {
        let mut labels = self.templates(alert, "label", own);
        for (name, text) in shared {
            if !own.iter().any(|(other, _)| other.value == name.value) {
                // What is wrong with these is told when they are used, as there.
                let template = Template::lenient(&format!("__alert_{alert}"), &text.value);
                labels.push((name.value.clone(), template));
            }
        }
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        labels
    }

    fn templates(
        &mut self,
        alert: &str,
        what: &str,
        texts: &[(Text, Text)],
    ) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for (name, text) in texts {
            if what == "annotation"
                && name.value == KEEP_WHILE
                && let Err(error) = labstat_promql::check(&text.value)
            {
                self.reader.fault(text.line, format!("{what} {}: {error}", name.value));
            }
            match Template::parse(&format!("__alert_{alert}"), &text.value) {
                Ok(template) => {
                    if let Some(function) = template.beyond().filter(|_| self.reading.strict) {
                        let what = format!("{what} {}: function {function:?}", name.value);
                        self.reader.fault(text.line, format!("{what} is not in Prometheus 3.5"));
                    }
                    templates.push((name.value.clone(), template));
                }
                Err(error) => {
                    self.reader.fault(text.line, format!("{what} {}: {error}", name.value));
                }
            }
        }
        templates.sort_by(|(a, _), (b, _)| a.cmp(b));
        templates
    }
}
