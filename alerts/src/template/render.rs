//! Walks a tree over its data.

use std::collections::BTreeMap;

use super::Data;
use super::ast::{Branch, BranchKind, Command, Node, Operand, Pipe, Tree};
use super::functions;
use super::value::Value;

/// Bytes of a rendered text. A message holds a few hundred.
pub(super) const OUTPUT_LEN_MAX: usize = 64 * 1024;

/// Nodes and commands of one rendering, so that no loop outlasts its evaluation.
const STEPS_MAX: usize = 100_000;

/// How deep blocks and templates may nest while they are rendered: a template may call itself, and
/// recursion must end before the thread's stack does.
const DEPTH_MAX: usize = 150;

/// The text of a tree; the error is what went wrong.
pub(super) fn render(tree: &Tree, data: &Data<'_>) -> Result<String, String> {
    let mut renderer = Renderer {
        tree,
        data,
        out: String::new(),
        variables: vec![
            ("$".to_owned(), Value::Root),
            ("$labels".to_owned(), Value::Texts(data.labels.clone())),
            ("$externalLabels".to_owned(), Value::Texts(data.external_labels.clone())),
            ("$externalURL".to_owned(), Value::Text(data.external_url.clone())),
            ("$value".to_owned(), Value::Float(data.value)),
        ],
        steps: 0,
        depth: 0,
    };
    renderer.nodes(&tree.nodes, &Value::Root)?;
    Ok(renderer.out)
}

struct Renderer<'a> {
    tree: &'a Tree,
    data: &'a Data<'a>,
    out: String,
    variables: Vec<(String, Value)>,
    steps: usize,
    depth: usize,
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
                    if pipe.variables.is_empty() {
                        value.print(&mut self.out);
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

    fn template(&mut self, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<(), String> {
        let value = pipe.map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
        let tree = self.tree;
        let nodes =
            tree.defined.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
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
        let pairs = elements(self.pipe(&plain, dot)?)?;
        if pairs.is_empty() {
            return self.nodes(&branch.otherwise, dot);
        }
        for (key, element) in pairs {
            let scope = self.variables.len();
            match branch.pipe.variables.as_slice() {
                [one] => self.bind(one, branch.pipe.declares, element.clone()),
                [first, second] => {
                    self.bind(first, branch.pipe.declares, key);
                    self.bind(second, branch.pipe.declares, element.clone());
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

    fn bind(&mut self, name: &str, declares: bool, value: Value) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, slot)) if !declares => *slot = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            self.bind(name, pipe.declares, value.clone());
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
        let Operand::Function(name) = first else { return self.operand(first, dot) };
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
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        let value = functions::call(name, &arguments, self.data)
            .map_err(|error| format!("error calling {name}: {error}"))?;
        // A text that a loop puts together with itself doubles each time.
        match &value {
            Value::Text(text) if text.len() > OUTPUT_LEN_MAX => Err(too_long()),
            _ => Ok(value),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Int(value) => Ok(Value::Int(*value)),
            Operand::Float(value) => Ok(Value::Float(*value)),
            Operand::Text(text) => Ok(Value::Text(text.clone())),
            Operand::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| format!("undefined variable {name}"))
            }
            Operand::Function(name) => functions::call(name, &[], self.data)
                .map_err(|error| format!("error calling {name}: {error}")),
            Operand::Pipe(pipe) => self.pipe(pipe, dot),
            Operand::Fields(inner, fields) => {
                let mut value = self.operand(inner, dot)?;
                for field in fields {
                    value = self.field(&value, field)?;
                }
                Ok(value)
            }
        }
    }

    /// A field of a struct or the element of a map; maps give an empty value for what they have not.
    fn field(&self, value: &Value, field: &str) -> Result<Value, String> {
        let text = |map: &BTreeMap<String, String>| map.get(field).cloned().unwrap_or_default();
        match (value, field) {
            (Value::Root, "Labels") => Ok(Value::Texts(self.data.labels.clone())),
            (Value::Root, "ExternalLabels") => Ok(Value::Texts(self.data.external_labels.clone())),
            (Value::Root, "ExternalURL") => Ok(Value::Text(self.data.external_url.clone())),
            (Value::Root, "Value") => Ok(Value::Float(self.data.value)),
            (Value::Sample { labels, .. }, "Labels") => Ok(Value::Texts(labels.clone())),
            (Value::Sample { value, .. }, "Value") => Ok(Value::Float(*value)),
            (Value::Texts(map), _) => Ok(Value::Text(text(map))),
            (Value::Map(map), _) => Ok(map.get(field).cloned().unwrap_or(Value::Nil)),
            (Value::Nil, _) => Err(format!("nil data; no entry for key {field:?}")),
            (other, _) => {
                Err(format!("can't evaluate field {field} in type {}", other.type_name()))
            }
        }
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
