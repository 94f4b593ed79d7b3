//! smartctl's JSON in the two other notations it prints it in: YAML (`--json=y`), and one
//! assignment a line (`--json=g`, which greps well). Both become JSON and are read as such.
//!
//! Of YAML only what smartctl prints is read: blocks by indentation, plain and quoted scalars.

use serde_json::{Map, Value};

/// Lines before the first one of a notation: a shell's prompt, a warning of sudo.
const LINES_BEFORE_MAX: usize = 20;
/// Levels of lists and maps; smartctl's JSON has seven. What is deeper ends the program, which frees
/// each level within the one above it.
const DEPTH_MAX: usize = 64;
/// Places of a list; the longest known, the extended error log of a disk, has a few hundred.
const LIST_LEN_MAX: usize = 4096;
/// Places of lists that no line fills, as in what `grep` left; each of its lines may skip some hundred.
const GAPS_MAX: usize = 65_536;

/// Whether an input can be one of them: a look at its first lines, which costs nothing where it
/// is not.
pub(super) fn begins(input: &[u8]) -> bool {
    let mut lines = input.split(|&byte| byte == b'\n').take(LINES_BEFORE_MAX);
    lines.any(|line| line.trim_ascii_start().starts_with(b"json"))
}

/// The JSON that `text` holds in another notation, if it holds any.
pub(super) fn json(text: &str) -> Option<String> {
    let mut at = 0;
    for line in text.split_inclusive('\n').take(LINES_BEFORE_MAX) {
        let from = text.get(at..)?;
        let begin = line.trim();
        let value = match begin {
            "json = {};" | "json={};" => assignments(from),
            _ if begin.starts_with("json.") => assignments(from),
            "json_format_version:" => block(from),
            _ => {
                at += line.len();
                continue;
            }
        };
        return value.map(|value| value.to_string());
    }
    None
}

/// `json.device.name = "/dev/sda";`, one a line. A line that is none is passed over.
fn assignments(text: &str) -> Option<Value> {
    let mut root = Value::Object(Map::new());
    let mut found = false;
    let mut gaps = GAPS_MAX;
    for line in text.lines() {
        found |= assignment(&mut root, line.trim(), &mut gaps).is_some();
    }
    found.then_some(root)
}

fn assignment(root: &mut Value, line: &str, gaps: &mut usize) -> Option<()> {
    let rest = line.strip_prefix("json")?.strip_suffix(';')?;
    let (path, value) = rest.split_once('=')?;
    if path.bytes().filter(|byte| matches!(byte, b'.' | b'[')).count() > DEPTH_MAX {
        return None;
    }
    let value: Value = serde_json::from_str(value.trim()).ok()?;
    let steps = path.trim().strip_prefix('.')?.split('.').map(step);
    let steps: Vec<_> = steps.collect::<Option<_>>()?;
    let mut place = root;
    for (key, places) in steps {
        place = member(place, key);
        for index in places {
            place = element(place, index, gaps)?;
        }
    }
    *place = value;
    Some(())
}

/// `table[3]`: a key, and places of lists below it.
fn step(text: &str) -> Option<(&str, Vec<usize>)> {
    let (key, places) = text.split_at(text.find('[').unwrap_or(text.len()));
    let index = |text: &str| text.strip_suffix(']')?.parse().ok().filter(|&it| it < LIST_LEN_MAX);
    let places = places.split('[').skip(1).map(index).collect::<Option<_>>()?;
    (!key.is_empty()).then_some((key, places))
}

/// The value at `key`, of what is made a map if it was none.
fn member<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    match place {
        Value::Object(map) => map.entry(key).or_insert(Value::Null),
        other => other,
    }
}

/// The value at `index`, of what is made a list if it was none; none when too much of it would be
/// empty.
fn element<'a>(place: &'a mut Value, index: usize, gaps: &mut usize) -> Option<&'a mut Value> {
    if !place.is_array() {
        *place = Value::Array(Vec::new());
    }
    let list = place.as_array_mut()?;
    if list.len() <= index {
        *gaps = gaps.checked_sub(index - list.len())?;
        list.resize(index + 1, Value::Null);
    }
    list.get_mut(index)
}

/// YAML as smartctl prints it, from its first key on.
fn block(text: &str) -> Option<Value> {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines = lines
        .map(|line| (line.len() - line.trim_start_matches(' ').len(), line.trim_start_matches(' ')))
        .collect();
    let mut reader = Yaml { lines, at: 0 };
    let indent = reader.lines.first()?.0;
    let value = reader.value(indent, 0);
    value.as_object().is_some_and(|map| !map.is_empty()).then_some(value)
}

/// Lines by their indentation, and the one that is read next.
struct Yaml<'a> {
    lines: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Yaml<'a> {
    fn next_at(&self, indent: usize) -> Option<&'a str> {
        self.lines.get(self.at).filter(|line| line.0 == indent).map(|line| line.1)
    }

    /// The list or map that begins at `indent`; ends at the first line that is not of it.
    fn value(&mut self, indent: usize, depth: usize) -> Value {
        match self.next_at(indent) {
            _ if depth > DEPTH_MAX => Value::Null,
            Some(line) if line == "-" || line.starts_with("- ") => self.list(indent, depth),
            _ => self.map(indent, depth),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Value {
        let mut list = Vec::new();
        while let Some(line) = self.next_at(indent) {
            let Some(rest) = line.strip_prefix('-') else { break };
            let rest = rest.trim_start();
            let inner = indent + (line.len() - rest.len()).max(2);
            if rest.starts_with("- ") || pair(rest).is_some() {
                // The first line of what the element holds stands behind its dash.
                if let Some(line) = self.lines.get_mut(self.at) {
                    *line = (inner, rest);
                }
                list.push(self.value(inner, depth + 1));
            } else {
                self.at += 1;
                list.push(if rest.is_empty() { self.inner(indent, depth) } else { scalar(rest) });
            }
            if list.len() >= LIST_LEN_MAX {
                break;
            }
        }
        Value::Array(list)
    }

    fn map(&mut self, indent: usize, depth: usize) -> Value {
        let mut map = Map::new();
        while let Some((key, value)) = self.next_at(indent).and_then(pair) {
            self.at += 1;
            let value = if value.is_empty() { self.inner(indent, depth) } else { scalar(value) };
            map.insert(key.to_owned(), value);
        }
        Value::Object(map)
    }

    /// What stands indented below a line that ended with its key.
    fn inner(&mut self, outer: usize, depth: usize) -> Value {
        match self.lines.get(self.at) {
            Some(&(indent, _)) if indent > outer => self.value(indent, depth + 1),
            // A list may stand as far to the left as the key it belongs to.
            Some(&(indent, line)) if indent == outer && line.starts_with("- ") => {
                self.list(indent, depth + 1)
            }
            _ => Value::Null,
        }
    }
}

/// `key: value`, or `key:` alone; what is quoted has no key.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = match line.split_once(": ") {
        Some((key, value)) => (key, value.trim()),
        None => (line.strip_suffix(':')?, ""),
    };
    let is_key = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
    (!key.is_empty() && key.chars().all(is_key)).then_some((key, value))
}

/// A number, a word, a text with quotation marks or without.
fn scalar(text: &str) -> Value {
    if let Some(quoted) = text.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
        return Value::String(quoted.replace("''", "'"));
    }
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<Value> {
        Some(serde_json::from_str(&json(text)?).unwrap())
    }

    #[test]
    fn assignments_are_json() {
        let text = "# smartctl --json=g -a /dev/sda\njson = {};\njson.a = [];\njson.a[0] = 1;\n\
            json.a[1] = {};\njson.a[1].b = \"x = [1]; y\";\njson.c.d = true;\njson.e[1][0] = 18446744073709551615;\nPrompt$\n";
        let expected = json!({
            "a": [1, {"b": "x = [1]; y"}], "c": {"d": true}, "e": [null, [u64::MAX]]
        });
        assert_eq!(read(text), Some(expected.clone()));
        assert_eq!(read(&text.replace(" = ", "=").replace("x=[1]", "x = [1]")), Some(expected));
        assert_eq!(read("json.a[1000000000] = 1;\njson.b = 2;"), Some(json!({"b": 2})));
        assert_eq!(read("json.a = ;\njson..b = 2;\njson.c[x] = 1"), None);
    }

    #[test]
    fn blocks_are_json() {
        let text = "---\njson_format_version:\n  - 1\n  - 0\nsmartctl:\n  argv:\n    - smartctl\n    \
            - '--json=y'\n  messages:\n    - string: 'it''s: so'\n      severity: error\n    - string: plain\nnested:\n  \
            - - 1\n    - 2\n  - null\nat: Sat Nov 21 21:11:20 2026 UTC\nzero: '007'\nempty: []\nyes: true\nbig: 18446744073709551615\n";
        let expected = json!({
            "json_format_version": [1, 0],
            "smartctl": {
                "argv": ["smartctl", "--json=y"],
                "messages": [{"string": "it's: so", "severity": "error"}, {"string": "plain"}]
            },
            "nested": [[1, 2], null],
            "at": "Sat Nov 21 21:11:20 2026 UTC",
            "zero": "007", "empty": [], "yes": true, "big": u64::MAX
        });
        assert_eq!(read(text), Some(expected));
        let left = "json_format_version:\n- 1\n- 0\ndevice:\n  name: '/dev/sda'\n";
        let expected = json!({"json_format_version": [1, 0], "device": {"name": "/dev/sda"}});
        assert_eq!(read(left), Some(expected));
    }

    #[test]
    fn what_is_no_such_notation_is_none() {
        for text in ["", "---\n", "smartctl 7.4\nDevice: x\n", "{\"json_format_version\":[1,0]}"] {
            assert_eq!(json(text), None, "{text}");
        }
        let deep = format!("json_format_version:\n{}", "- ".repeat(5000));
        assert!(json(&deep).is_some());
    }

    #[test]
    fn paths_without_end_and_lists_of_nothing_cost_nothing() {
        for step in [".a", "[0]", "[4095]"] {
            let path = step.repeat(100_000);
            assert_eq!(read(&format!("json.a{path} = 1;\njson.b = 2;")), Some(json!({"b": 2})));
        }
        let sparse: String = (0..10_000).map(|at| format!("json.k{at}[4095] = 1;\n")).collect();
        let read = read(&sparse).unwrap();
        let lists = read.as_object().unwrap().values().filter_map(Value::as_array);
        assert!(lists.map(Vec::len).sum::<usize>() <= 2 * GAPS_MAX);
    }
}
