//! A file of tests, as Go reads it. Nothing is judged here but its form.

use crate::yaml::{self, Dialect, Fault, Fields, Node, Reader, Text};

/// An evaluation interval that nobody gave, as in Prometheus.
const INTERVAL_DEFAULT_MS: i64 = 60_000;

pub(super) struct File {
    pub(super) rule_files: Vec<String>,
    pub(super) evaluation_interval_ms: i64,
    pub(super) group_eval_order: Vec<String>,
    /// Numbers that differ in their last bit are equal.
    pub(super) fuzzy_compare: bool,
    pub(super) tests: Vec<Case>,
}

pub(super) struct Case {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) interval_ms: i64,
    pub(super) input_series: Vec<Input>,
    pub(super) alerts: Vec<AlertCase>,
    pub(super) exprs: Vec<ExprCase>,
    pub(super) external_labels: Vec<(String, String)>,
    pub(super) external_url: String,
}

pub(super) struct Input {
    pub(super) line: usize,
    pub(super) series: String,
    pub(super) values: String,
}

pub(super) struct AlertCase {
    pub(super) line: usize,
    pub(super) eval_time_ms: i64,
    pub(super) alertname: String,
    pub(super) expected: Vec<Expected>,
}

pub(super) struct Expected {
    pub(super) labels: Vec<(String, String)>,
    pub(super) annotations: Vec<(String, String)>,
}

pub(super) struct ExprCase {
    pub(super) line: usize,
    pub(super) expr: String,
    pub(super) eval_time_ms: i64,
    pub(super) samples: Vec<ExpectedSample>,
}

pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    pub(super) histogram: String,
}

/// The file; the error is everything that is wrong with its form.
pub(super) fn read(text: &str) -> Result<File, String> {
    let told = |fault: &Fault| match fault.line {
        Some(line) => format!("line {line}: {}", fault.message),
        None => fault.message.clone(),
    };
    let document = yaml::first(text).map_err(|fault| told(&fault))?;
    let mut reader = Reader::new(Dialect::Two, false);
    let file = match document {
        Some(document) => reader.file(&document),
        None => reader.made(&Fields::default()),
    };
    let order = &file.group_eval_order;
    let twice =
        (1..order.len()).find(|at| order.iter().take(*at).any(|name| order.get(*at) == Some(name)));
    if let Some(name) = twice.and_then(|at| order.get(at)) {
        reader.fault(0, format!("group name repeated in evaluation order: {name}"));
    }
    if reader.faults.is_empty() {
        Ok(file)
    } else {
        Err(reader.faults.iter().map(told).collect::<Vec<_>>().join("\n"))
    }
}

impl Reader {
    fn file(&mut self, node: &Node) -> File {
        const KEYS: [&str; 5] =
            ["rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare"];
        let fields = self.fields(node, &KEYS, "file of tests");
        self.made(&fields)
    }

    fn made(&mut self, fields: &Fields) -> File {
        let given = self.duration(fields.get("evaluation_interval"), "evaluation_interval");
        let interval_ms = given.filter(|ms| *ms > 0).unwrap_or(INTERVAL_DEFAULT_MS);
        let tests = self.list(fields.get("tests"), "tests");
        let fuzzy = fields.get("fuzzy_compare");
        File {
            rule_files: self.strings(fields, "rule_files"),
            evaluation_interval_ms: interval_ms,
            group_eval_order: self.strings(fields, "group_eval_order"),
            fuzzy_compare: fuzzy.and_then(|n| self.boolean(n, "fuzzy_compare")).unwrap_or(false),
            tests: tests.iter().map(|node| self.case(node, interval_ms)).collect(),
        }
    }

    fn strings(&mut self, fields: &Fields, name: &str) -> Vec<String> {
        let nodes = self.list(fields.get(name), name);
        nodes.iter().filter_map(|node| Some(self.text(node)?.value)).collect()
    }

    fn string(&mut self, fields: &Fields, name: &str) -> String {
        let text = fields.get(name).and_then(|node| self.text(node));
        text.map(|text| text.value).unwrap_or_default()
    }

    fn pairs_of(&mut self, fields: &Fields, name: &str) -> Vec<(String, String)> {
        let texts = self.texts(fields.get(name), name);
        texts.into_iter().map(|(name, text): (Text, Text)| (name.value, text.value)).collect()
    }

    fn case(&mut self, node: &Node, interval_ms: i64) -> Case {
        const KEYS: [&str; 7] = [
            "interval",
            "input_series",
            "alert_rule_test",
            "promql_expr_test",
            "external_labels",
            "external_url",
            "name",
        ];
        let fields = self.fields(node, &KEYS, "test");
        let given = self.duration(fields.get("interval"), "interval").filter(|ms| *ms > 0);
        let input_series = self.list(fields.get("input_series"), "input_series");
        let alerts = self.list(fields.get("alert_rule_test"), "alert_rule_test");
        let exprs = self.list(fields.get("promql_expr_test"), "promql_expr_test");
        Case {
            line: node.line,
            name: self.string(&fields, "name"),
            interval_ms: given.unwrap_or(interval_ms),
            input_series: input_series.iter().map(|node| self.input(node)).collect(),
            alerts: alerts.iter().map(|node| self.alert(node)).collect(),
            exprs: exprs.iter().map(|node| self.expr(node)).collect(),
            external_labels: self.pairs_of(&fields, "external_labels"),
            external_url: self.string(&fields, "external_url"),
        }
    }

    fn input(&mut self, node: &Node) -> Input {
        let fields = self.fields(node, &["series", "values"], "series");
        Input {
            line: node.line,
            series: self.string(&fields, "series"),
            values: self.string(&fields, "values"),
        }
    }

    fn alert(&mut self, node: &Node) -> AlertCase {
        let fields = self.fields(node, &["eval_time", "alertname", "exp_alerts"], "test of alerts");
        let expected = self.list(fields.get("exp_alerts"), "exp_alerts");
        AlertCase {
            line: node.line,
            eval_time_ms: self.duration(fields.get("eval_time"), "eval_time").unwrap_or(0),
            alertname: self.string(&fields, "alertname"),
            expected: expected.iter().map(|node| self.expected(node)).collect(),
        }
    }

    fn expected(&mut self, node: &Node) -> Expected {
        let fields = self.fields(node, &["exp_labels", "exp_annotations"], "expected alert");
        Expected {
            labels: self.pairs_of(&fields, "exp_labels"),
            annotations: self.pairs_of(&fields, "exp_annotations"),
        }
    }

    fn expr(&mut self, node: &Node) -> ExprCase {
        let fields =
            self.fields(node, &["expr", "eval_time", "exp_samples"], "test of an expression");
        let samples = self.list(fields.get("exp_samples"), "exp_samples");
        ExprCase {
            line: node.line,
            expr: self.string(&fields, "expr"),
            eval_time_ms: self.duration(fields.get("eval_time"), "eval_time").unwrap_or(0),
            samples: samples.iter().map(|node| self.sample(node)).collect(),
        }
    }

    fn sample(&mut self, node: &Node) -> ExpectedSample {
        let fields = self.fields(node, &["labels", "value", "histogram"], "sample");
        let value = fields.get("value");
        ExpectedSample {
            labels: self.string(&fields, "labels"),
            value: value.and_then(|node| self.float(node, "value")).unwrap_or(0.0),
            histogram: self.string(&fields, "histogram"),
        }
    }
}
