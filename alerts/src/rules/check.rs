//! From the mappings of a rule file to groups and rules, with every problem on the way.

use labstat_model::{Labels, METRIC_NAME, duration, is_label_name, is_metric_name};

use super::file::{Field, Mapping, Text, Texts, line};
use super::{AlertRule, Group, INTERVAL_DEFAULT_MS, INTERVAL_MIN_MS, Problem, Rule, RuleKind};
use crate::template::Template;

/// The groups of a file. When problems were added, what is returned is not whole.
pub(super) fn groups(file: &str, document: &Mapping, problems: &mut Vec<Problem>) -> Vec<Group> {
    let mut checker = Checker { file, problems };
    let fields = checker.fields(document, &["groups"], "rule file");
    let mut groups: Vec<Group> = Vec::new();
    for node in fields.list("groups") {
        let group = checker.group(&node.value, line(node));
        if groups.iter().any(|known| known.name == group.name) && !group.name.is_empty() {
            let message = format!("group name {:?} is repeated in the same file", group.name);
            checker.problem(line(node), message);
        }
        groups.push(group);
    }
    groups
}

/// Where problems go while a file is checked.
struct Checker<'a> {
    file: &'a str,
    problems: &'a mut Vec<Problem>,
}

/// The fields of one mapping, those with unknown keys left out.
struct Fields<'a>(Vec<(&'a Text, &'a Field)>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Field> {
        self.0.iter().find(|(key, _)| key.value == name).map(|(_, field)| *field)
    }

    /// The line of the key `name`, or `or` where it is not given.
    fn line(&self, name: &str, or: usize) -> usize {
        self.0.iter().find(|(key, _)| key.value == name).map_or(or, |(key, _)| line(key))
    }

    /// The scalar `name`; `None` too when nothing stands there.
    fn text(&self, name: &str) -> Option<&'a Text> {
        match self.get(name) {
            Some(Field::Text(text)) => text.as_ref().filter(|text| !text.value.is_empty()),
            _ => None,
        }
    }

    fn texts(&self, name: &str) -> Option<&'a Texts> {
        match self.get(name) {
            Some(Field::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    fn list(&self, name: &str) -> &'a [serde_saphyr::Spanned<Mapping>] {
        match self.get(name) {
            Some(Field::List(list)) => list,
            _ => &[],
        }
    }
}

impl Checker<'_> {
    fn problem(&mut self, line: usize, message: impl Into<String>) {
        let line = (line > 0).then_some(line);
        self.problems.push(Problem { file: self.file.to_owned(), line, message: message.into() });
    }

    fn fields<'m>(&mut self, mapping: &'m Mapping, known: &[&str], what: &str) -> Fields<'m> {
        let mut fields = Vec::new();
        for (key, field) in &mapping.0 {
            if known.contains(&key.value.as_str()) {
                fields.push((key, field));
            } else {
                self.problem(line(key), format!("unknown key {:?} in a {what}", key.value));
            }
        }
        Fields(fields)
    }

    fn group(&mut self, mapping: &Mapping, at: usize) -> Group {
        const KEYS: [&str; 6] = ["name", "interval", "limit", "query_offset", "labels", "rules"];
        let fields = self.fields(mapping, &KEYS, "group");
        let name = fields.text("name").map(|name| name.value.clone()).unwrap_or_default();
        if name.is_empty() {
            self.problem(at, "a group needs a name");
        }
        let mut interval_ms = self.duration(&fields, "interval").unwrap_or(INTERVAL_DEFAULT_MS);
        if interval_ms == 0 {
            interval_ms = INTERVAL_DEFAULT_MS; // as Prometheus reads it: not given
        } else if interval_ms < INTERVAL_MIN_MS {
            let least = duration::format_ms(INTERVAL_MIN_MS);
            self.problem(fields.line("interval", at), format!("interval is below {least}"));
        }
        let limit = fields.text("limit").map_or(0, |limit| {
            limit.value.parse().unwrap_or_else(|_| {
                self.problem(line(limit), format!("limit {:?} is not a number", limit.value));
                0
            })
        });
        let query_offset_ms = self.duration(&fields, "query_offset").unwrap_or(0);
        let group_labels = self.named(fields.texts("labels"), "label");
        let rules = fields.list("rules").iter();
        let rules =
            rules.filter_map(|node| self.rule(&node.value, line(node), &group_labels)).collect();
        Group { file: self.file.to_owned(), name, interval_ms, limit, query_offset_ms, rules }
    }

    fn rule(&mut self, mapping: &Mapping, at: usize, shared: &[(String, Text)]) -> Option<Rule> {
        const KEYS: [&str; 7] =
            ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];
        let fields = self.fields(mapping, &KEYS, "rule");
        let expr = self.expr(&fields, at);
        let own = self.named(fields.texts("labels"), "label");
        // The rule's own labels win over those of its group.
        let mut labels: Vec<(String, Text)> = shared.to_vec();
        labels.retain(|(name, _)| own.iter().all(|(other, _)| other != name));
        labels.extend(own);
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (name, kind) = match (fields.text("alert"), fields.text("record")) {
            (Some(name), None) => {
                (name, RuleKind::Alert(self.alert(&fields, &name.value, &labels)))
            }
            (None, Some(name)) => (name, self.record(&fields, name, &labels)),
            (Some(name), Some(_)) => {
                self.problem(line(name), "a rule has either alert or record, not both");
                return None;
            }
            (None, None) => {
                self.problem(at, "a rule needs alert or record");
                return None;
            }
        };
        Some(Rule { name: name.value.clone(), expr: expr?, line: at, kind })
    }

    fn expr(&mut self, fields: &Fields<'_>, at: usize) -> Option<String> {
        let Some(expr) = fields.text("expr") else {
            self.problem(fields.line("expr", at), "a rule needs an expr");
            return None;
        };
        match labstat_promql::check(&expr.value) {
            Ok(_) => Some(expr.value.clone()),
            Err(error) => {
                self.problem(line(expr), format!("expr: {error}"));
                None
            }
        }
    }

    fn alert(&mut self, fields: &Fields<'_>, name: &str, labels: &[(String, Text)]) -> AlertRule {
        let annotations = self.named(fields.texts("annotations"), "annotation");
        AlertRule {
            for_ms: self.duration(fields, "for").unwrap_or(0),
            keep_firing_for_ms: self.duration(fields, "keep_firing_for").unwrap_or(0),
            labels: self.templates(name, "label", labels),
            annotations: self.templates(name, "annotation", &annotations),
        }
    }

    fn record(&mut self, fields: &Fields<'_>, name: &Text, labels: &[(String, Text)]) -> RuleKind {
        if !is_metric_name(&name.value) {
            self.problem(line(name), format!("{:?} is not a metric name", name.value));
        }
        for key in ["for", "keep_firing_for", "annotations"] {
            if fields.get(key).is_some() {
                let message = format!("{key} has no meaning in a recording rule");
                self.problem(fields.line(key, line(name)), message);
            }
        }
        let labels = labels.iter().map(|(name, text)| (name.as_str(), text.value.as_str()));
        RuleKind::Record { labels: Labels::new(labels) }
    }

    fn duration(&mut self, fields: &Fields<'_>, name: &str) -> Option<i64> {
        let text = fields.text(name)?;
        match duration::parse_ms(&text.value) {
            Ok(ms) => Some(ms),
            Err(error) => {
                self.problem(line(text), format!("{name}: {error}"));
                None
            }
        }
    }

    /// Names and texts with valid names; a text that is not given is empty.
    fn named(&mut self, texts: Option<&Texts>, what: &str) -> Vec<(String, Text)> {
        let mut named = Vec::new();
        for (name, text) in texts.map_or(&[][..], |texts| &texts.0) {
            if !is_label_name(&name.value) || (what == "label" && name.value == METRIC_NAME) {
                self.problem(line(name), format!("{:?} is not a name for a {what}", name.value));
            } else if let Some(text) = text {
                named.push((name.value.clone(), text.clone()));
            }
        }
        named
    }

    fn templates(
        &mut self,
        alert: &str,
        what: &str,
        texts: &[(String, Text)],
    ) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for (name, text) in texts {
            match Template::parse(&format!("__alert_{alert}"), &text.value) {
                Ok(template) => templates.push((name.clone(), template)),
                Err(error) => self.problem(line(text), format!("{what} {name}: {error}")),
            }
        }
        templates.sort_by(|(a, _), (b, _)| a.cmp(b));
        templates
    }
}
