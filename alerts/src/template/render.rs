//! Walks a tree over its data.

use std::collections::BTreeMap;

use labstat_model::Histogram;

use super::Data;
use super::ast::{Branch, BranchKind, Command, Node, Operand, Pipe, Tree};
use super::value::Value;
use super::{functions, message, times};

/// Bytes of a rendered text. A message holds a few hundred.
pub(super) const OUTPUT_LEN_MAX: usize = 64 * 1024;

/// Nodes and commands of one rendering, so that no loop outlasts its evaluation.
const STEPS_MAX: usize = 100_000;

/// Bytes of values that are made or copied in one rendering, since a list of arguments or a variable may hold each
/// of them to its end. What a query gives, in a loop over it, is far less.
const MADE_MAX: usize = 256 * 1024 * 1024;

/// How deep blocks and templates may nest while they are rendered: a template may call itself, and
/// recursion must end before the thread's stack does.
const DEPTH_MAX: usize = 150;

/// The text of a tree; the error is what went wrong.
pub(super) fn render(tree: &Tree, data: &Data<'_>) -> Result<String, String> {
    render_over(tree, data, &Value::Root)
}

/// The text of a tree over `root` in place of what a rule's template is rendered over.
pub(super) fn render_over(tree: &Tree, data: &Data<'_>, root: &Value) -> Result<String, String> {
    let mut renderer = Renderer {
        tree,
        data,
        is_message: *root != Value::Root,
        out: String::new(),
        variables: vec![
            ("$".to_owned(), root.clone()),
            ("$labels".to_owned(), Value::Texts(data.labels.clone())),
            ("$externalLabels".to_owned(), Value::Texts(data.external_labels.clone())),
            ("$externalURL".to_owned(), Value::Text(data.external_url.clone())),
            ("$value".to_owned(), Value::of(&data.value)),
        ],
        steps: 0,
        made: Made::default(),
        depth: 0,
    };
    renderer.nodes(&tree.nodes, root)?;
    Ok(renderer.out)
}

struct Renderer<'a> {
    tree: &'a Tree,
    data: &'a Data<'a>,
    /// Whether it is about a message, whose values have methods of their own.
    is_message: bool,
    out: String,
    variables: Vec<(String, Value)>,
    steps: usize,
    made: Made,
    depth: usize,
}

/// Bytes of values that a rendering has made or copied.
#[derive(Default)]
struct Made(usize);

impl Made {
    fn note(&mut self, weight: usize) -> Result<(), String> {
        self.0 = self.0.saturating_add(weight);
        if self.0 > MADE_MAX {
            return Err(format!("more than {MADE_MAX} bytes of values"));
        }
        Ok(())
    }

    fn value(&mut self, value: Value) -> Result<Value, String> {
        self.note(value.weight())?;
        Ok(value)
    }

    /// A copy, noted before it is made.
    fn copy(&mut self, value: &Value) -> Result<Value, String> {
        self.note(value.weight())?;
        Ok(value.clone())
    }
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Renderer<'_> {
    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(format!("more than {STEPS_MAX} steps"));
        }
        if self.out.len() > OUTPUT_LEN_MAX {
            return Err(too_long());
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("exceeded maximum template depth".to_owned());
        }
        let flow = self.each_node(nodes, dot);
        self.depth -= 1;
        flow
    }

    fn each_node(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            self.step()?;
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Pipe(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    match value {
                        _ if !pipe.variables.is_empty() => {}
                        Value::Root => self.out.push_str(&self.root()),
                        // An action prints what a pointer points to.
                        Value::Sample { .. } => {
                            self.out.push_str(value.printed().trim_start_matches('&'));
                        }
                        value => value.print(&mut self.out),
                    }
                    if self.out.len() > OUTPUT_LEN_MAX {
                        return Err(too_long());
                    }
                }
                Node::Branch(branch) => {
                    let scope = self.variables.len();
                    let flow = self.branch(branch, dot)?;
                    self.variables.truncate(scope);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Template { name, pipe } => self.template(name, pipe.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    /// What stands at the top, as Go prints it.
    fn root(&self) -> String {
        let data = self.data;
        let (labels, external) =
            (Value::Texts(data.labels.clone()), Value::Texts(data.external_labels.clone()));
        let value = Value::of(&data.value).printed();
        let url = &data.external_url;
        format!("{{{} {} {url} {value}}}", labels.printed(), external.printed())
    }

    fn template(&mut self, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<(), String> {
        let value = pipe.map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
        let tree = self.tree;
        let nodes =
            tree.defined.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        let root = self.made.copy(&value)?;
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), root)]);
        self.nodes(nodes, &value)?;
        self.variables = outer;
        Ok(())
    }

    fn branch(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, String> {
        if branch.kind == BranchKind::Range {
            return self.range(branch, dot);
        }
        let value = self.pipe(&branch.pipe, dot)?;
        let scope = self.variables.len();
        let flow = match (value.truth(), branch.kind) {
            (true, BranchKind::With) => self.nodes(&branch.then, &value),
            (true, _) => self.nodes(&branch.then, dot),
            (false, _) => self.nodes(&branch.otherwise, dot),
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, String> {
        // The variables of a range get an element each time, not the whole.
        let plain = Pipe { variables: Vec::new(), ..branch.pipe.clone() };
        let whole = self.pipe(&plain, dot)?;
        if let (Value::Int(count), [_, _]) = (&whole, branch.pipe.variables.as_slice()) {
            return Err(format!("can't use {count} to iterate over more than one variable"));
        }
        let pairs = elements(whole)?;
        if pairs.is_empty() {
            return self.nodes(&branch.otherwise, dot);
        }
        for (key, element) in pairs {
            let scope = self.variables.len();
            match branch.pipe.variables.as_slice() {
                [one] => self.bind(one, branch.pipe.declares, &element)?,
                [first, second] => {
                    self.bind(first, branch.pipe.declares, &key)?;
                    self.bind(second, branch.pipe.declares, &element)?;
                }
                _ => {}
            }
            let flow = self.nodes(&branch.then, &element)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
            self.step()?;
        }
        Ok(Flow::On)
    }

    fn bind(&mut self, name: &str, declares: bool, value: &Value) -> Result<(), String> {
        let value = self.made.copy(value)?;
        if declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let mut known = self.variables.iter_mut().rev();
        match known.find(|(known, _)| known == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err(format!("undefined variable: {name}")),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            self.bind(name, pipe.declares, &value)?;
        }
        Ok(value)
    }

    /// A command with the value of the one before it as its last argument.
    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        self.step()?;
        let Some((first, rest)) = command.0.split_first() else { return Ok(Value::Nil) };
        if *first == Operand::Nil {
            return Err("nil is not a command".to_owned());
        }
        let Operand::Function(name) = first else {
            return match (rest.is_empty() && last.is_none(), first) {
                (true, _) => self.operand(first, dot),
                (false, Operand::Fields(inner, fields)) => {
                    let (inner, fields) = (inner.as_ref(), fields.as_slice());
                    self.method(inner, fields, (rest, last), dot)
                }
                (false, _) => Err("can't give argument to non-function".to_owned()),
            };
        };
        // These two look at their arguments one by one and stop when the answer is clear.
        if name == "and" || name == "or" {
            let mut value = None;
            for operand in rest {
                let next = self.operand(operand, dot)?;
                let decided = next.truth() == (name == "or");
                value = Some(next);
                if decided {
                    return value.ok_or_else(String::new);
                }
            }
            return last.or(value).ok_or_else(|| wrong_count(name, "at least 1", 0));
        }
        let mut arguments = self.arguments(rest, last, dot)?;
        if matches!(name.as_str(), "print" | "println" | "printf" | "html" | "js" | "urlquery") {
            for argument in &mut arguments {
                if *argument == Value::Root {
                    let text = self.root();
                    *argument = self.made.value(Value::Text(text))?;
                }
            }
        }
        self.call(name, &arguments)
    }

    fn arguments(
        &mut self,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Vec<Value>, String> {
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        Ok(arguments)
    }

    fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        // Many a function gives what it is given once more, or makes a text of it on its way.
        let given: usize = arguments.iter().map(Value::weight).sum();
        self.made.note(given)?;
        let outcome = match self.is_message.then(|| message::call(name, arguments)).flatten() {
            Some(outcome) => outcome,
            None => functions::call(name, arguments, self.data),
        };
        let value = outcome.map_err(|error| called(name, &error))?;
        // A text that a loop puts together with itself doubles each time.
        if matches!(&value, Value::Text(text) if text.len() > OUTPUT_LEN_MAX) {
            return Err(too_long());
        }
        self.made.note(value.weight().saturating_sub(given))?;
        Ok(value)
    }

    /// A method with arguments: times have a few.
    fn method(
        &mut self,
        inner: &Operand,
        fields: &[String],
        (rest, last): (&[Operand], Option<Value>),
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((name, before)) = fields.split_last() else { return self.operand(inner, dot) };
        let value = self.fields(inner, before, dot)?;
        let arguments = self.arguments(rest, last, dot)?;
        match (&value, arguments.as_slice()) {
            (Value::Time(ms), [Value::Text(layout)]) if name == "Format" => {
                let text = times::format(*ms, layout)?;
                self.made.value(Value::Text(text))
            }
            _ => Err(format!("{name} has arguments but cannot be invoked as function")),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Dot => self.made.copy(dot),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Int(value) => Ok(Value::Int(*value)),
            Operand::Float(value) => Ok(Value::Float(*value)),
            Operand::Text(text) => self.made.value(Value::Text(text.clone())),
            Operand::Variable(name) => {
                let value = variable(&self.variables, name)?;
                self.made.copy(value)
            }
            Operand::Function(name) => self.call(name, &[]),
            Operand::Pipe(pipe) => self.pipe(pipe, dot),
            Operand::Fields(inner, fields) => self.fields(inner, fields, dot),
        }
    }

    fn fields(&mut self, inner: &Operand, fields: &[String], dot: &Value) -> Result<Value, String> {
        let (mut value, rest) = match inner {
            Operand::Dot => {
                let (value, rest) = walked(dot, fields);
                (self.made.copy(value)?, rest)
            }
            Operand::Variable(name) => {
                let (value, rest) = walked(variable(&self.variables, name)?, fields);
                (self.made.copy(value)?, rest)
            }
            inner => (self.operand(inner, dot)?, fields),
        };
        for field in rest {
            let next = self.field(&value, field)?;
            value = self.made.value(next)?;
        }
        Ok(value)
    }

    /// A field of a struct or the element of a map; maps give an empty value for what they have not.
    fn field(&self, value: &Value, field: &str) -> Result<Value, String> {
        if self.is_message
            && let Some(value) = message::method(value, field)
        {
            return Ok(value);
        }
        let text = |map: &BTreeMap<String, String>| map.get(field).cloned().unwrap_or_default();
        match (value, field) {
            (Value::Root, "Labels") => Ok(Value::Texts(self.data.labels.clone())),
            (Value::Root, "ExternalLabels") => Ok(Value::Texts(self.data.external_labels.clone())),
            (Value::Root, "ExternalURL") => Ok(Value::Text(self.data.external_url.clone())),
            (Value::Root, "Value") => Ok(Value::of(&self.data.value)),
            (Value::Sample { labels, .. }, "Labels") => Ok(Value::Texts(labels.clone())),
            (Value::Sample { value, .. }, "Value") => Ok(Value::of(value)),
            (Value::Texts(map), _) => Ok(Value::Text(text(map))),
            (Value::Map(map), _) => Ok(map.get(field).cloned().unwrap_or(Value::Nil)),
            (Value::Histogram(histogram), _) => histogram_field(histogram, field),
            (Value::Time(ms), _) => times::method(*ms, field),
            (Value::Duration(ns), _) => times::duration_method(*ns, field),
            (Value::Nil, _) => Err(format!("nil pointer evaluating interface {{}}.{field}")),
            (Value::Root, _) => {
                let fields = "Labels map[string]string; ExternalLabels map[string]string; \
                              ExternalURL string; Value interface {}";
                Err(format!("can't evaluate field {field} in type struct {{ {fields} }}"))
            }
            (other, _) => {
                Err(format!("can't evaluate field {field} in type {}", other.type_name()))
            }
        }
    }
}

/// A field of Go's type of histograms; those that are lists are left out.
fn histogram_field(histogram: &Histogram, field: &str) -> Result<Value, String> {
    match field {
        "Count" => Ok(Value::Float(histogram.count)),
        "Sum" => Ok(Value::Float(histogram.sum)),
        "Schema" => Ok(Value::Int(i64::from(histogram.schema))),
        "ZeroThreshold" => Ok(Value::Float(histogram.zero_threshold)),
        "ZeroCount" => Ok(Value::Float(histogram.zero_count)),
        _ => Err(format!("can't evaluate field {field} in type *histogram.FloatHistogram")),
    }
}

fn variable<'v>(variables: &'v [(String, Value)], name: &str) -> Result<&'v Value, String> {
    let found = variables.iter().rev().find(|(known, _)| known == name);
    found.map(|(_, value)| value).ok_or_else(|| format!("undefined variable {name}"))
}

/// How far a path of fields leads through maps, and what is left of it: a message is not to be copied for
/// each of its parts.
fn walked<'v, 'f>(mut value: &'v Value, mut fields: &'f [String]) -> (&'v Value, &'f [String]) {
    while let (Value::Map(map), Some((field, rest))) = (value, fields.split_first()) {
        let Some(next) = map.get(field) else { break };
        (value, fields) = (next, rest);
    }
    (value, fields)
}

/// What went wrong in a function; a wrong number of arguments is found before it is called.
fn called(name: &str, error: &str) -> String {
    if error.starts_with("wrong number of args") {
        error.to_owned()
    } else {
        format!("error calling {name}: {error}")
    }
}

fn too_long() -> String {
    format!("more than {OUTPUT_LEN_MAX} bytes of text")
}

/// What `range` goes through: keys or positions, and elements.
fn elements(value: Value) -> Result<Vec<(Value, Value)>, String> {
    let numbered = |list: Vec<Value>| {
        let keys = (0_i64..).map(Value::Int);
        keys.zip(list).collect()
    };
    match value {
        Value::List(list) => Ok(numbered(list)),
        Value::Texts(map) => {
            Ok(map.into_iter().map(|(k, v)| (Value::Text(k), Value::Text(v))).collect())
        }
        Value::Map(map) => Ok(map.into_iter().map(|(k, v)| (Value::Text(k), v)).collect()),
        Value::Int(count) => {
            let most = i64::try_from(STEPS_MAX).unwrap_or(i64::MAX);
            Ok(numbered((0..count.min(most)).map(Value::Int).collect()))
        }
        Value::Nil => Ok(Vec::new()),
        other => Err(format!("range can't iterate over {}", other.printed())),
    }
}

/// Go's words for a call with too few or too many arguments.
pub(super) fn wrong_count(name: &str, want: &str, got: usize) -> String {
    format!("wrong number of args for {name}: want {want} got {got}")
}
