//! The engine against scripts: what is loaded, what is asked, what must come out.
//!
//! A script in `scripts/*.test` has commands that begin at the margin; what belongs to a command is
//! indented. Times are durations since the epoch.
//!
//! ```text
//! load 30s                     each value a step of 30s after the last, from 0 on
//!   up{job="x"}  1 2 _ stale 5 10+2x3    `_` is no sample, `10+2x3` is 10 12 14 16, `7x2` is 7 7 7
//! clear                        forgets all series
//! at 1m: sum(up)               an instant query; `ordered` in front of it wants the order too
//!   {} 3                       a series and its value; no line for no result
//!   = 3                        a scalar
//!   = "text"                   a string
//!   warning: …                 with such lines (or `info: …`), each has to be part of a remark of
//!                              its own, and there may be no other; `silent` in front of `at`
//!                              or `range` wants none at all
//! range 0 to 1m step 30s: up
//!   {job="x"} 1 _ 5            a value per step
//! fails at 1m: up + up         the indented text is part of the error
//!   many-to-many
//! warns at 1m: …               an indented text is part of a remark, the values do not matter
//! remarks at 1m: …             the indented lines are all the remarks there are
//! ```

#![expect(
    clippy::cast_possible_wrap,
    reason = "a test fails by panicking, and its scripts are short"
)]

use std::path::Path;

use super::memory::Memory;
use labstat_model::{Labels, Series, duration, stale_marker};
use labstat_promql::{Answer, Engine, QueryError, QueryOptions, Value};

/// A command and the lines that belong to it.
struct Command<'a> {
    line: usize,
    text: &'a str,
    body: Vec<&'a str>,
}

fn commands(script: &str) -> Vec<Command<'_>> {
    let mut commands: Vec<Command<'_>> = Vec::new();
    for (at, line) in script.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            commands.last_mut().expect("a command comes first").body.push(line.trim());
        } else {
            commands.push(Command { line: at + 1, text: line.trim(), body: Vec::new() });
        }
    }
    commands
}

/// A series and its value at each step.
type Row = (Labels, Vec<Option<f64>>);

fn ms(text: &str) -> i64 {
    match text.strip_prefix('-') {
        Some(text) => -duration::parse_ms(text).expect(text),
        None => duration::parse_ms(text).expect(text),
    }
}

fn number(text: &str) -> f64 {
    match text {
        "stale" => stale_marker(),
        text => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
    }
}

/// `1 _ 10+2x3 7x2 _x3`.
fn values(text: &str) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let repeated = word.rsplit_once('x').filter(|(_, count)| count.parse::<u32>().is_ok());
        let Some((line, count)) = repeated else {
            values.push((word != "_").then(|| number(word)));
            continue;
        };
        let count: u32 = count.parse().expect("a count");
        if line == "_" {
            values.extend((0..count).map(|_| None));
            continue;
        }
        let (start, slope) = match slope(line) {
            Some(sign) => (number(&line[..sign]), number(&line[sign..])),
            None => (number(line), 0.0),
        };
        values.extend((0..=count).map(|n| Some(start + slope * f64::from(n))));
    }
    values
}

/// Where the sign of the slope is in `10+2`: not in front, and not that of an exponent.
fn slope(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let is_sign = |at: &usize| matches!(bytes[*at], b'+' | b'-') && bytes[*at - 1] != b'e';
    (1..bytes.len()).rfind(is_sign)
}

/// `name{a="b"} rest`; names and labels may be quoted, and quoted text may hold anything.
fn labelled(line: &str) -> (Labels, &str) {
    let (mut quoted, mut escaped, mut end) = (false, false, None);
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => end = Some(at),
            _ => continue,
        }
        if end.is_some() {
            break;
        }
    }
    let (head, rest) = match end {
        Some(end) => (&line[..=end], &line[end + 1..]),
        None => line.split_once(char::is_whitespace).expect("a series and its values"),
    };
    let matchers = match head {
        "{}" => Vec::new(),
        head => labstat_promql::selector(head).unwrap_or_else(|error| panic!("{head}: {error}")),
    };
    (Labels::new(matchers.iter().map(|matcher| (matcher.name(), matcher.value()))), rest)
}

fn load(memory: &mut Memory, step_ms: i64, body: &[&str]) {
    for line in body {
        let (labels, rest) = labelled(line);
        let mut series = Series::new(labels);
        for (at, value) in values(rest).into_iter().enumerate() {
            if let Some(value) = value {
                series.push(at as i64 * step_ms, value);
            }
        }
        memory.0.push(series);
    }
    memory.0.sort_by(|a, b| a.labels.cmp(&b.labels));
}

enum When {
    At(i64),
    Range(i64, i64, i64),
}

/// `at 1m: query` or `range 0 to 1m step 30s: query`.
fn question(text: &str) -> (When, &str) {
    let (when, query) = text.split_once(": ").expect("a time, a colon and a query");
    let words: Vec<&str> = when.split_whitespace().collect();
    let when = match words.as_slice() {
        ["at", time] => When::At(ms(time)),
        ["range", start, "to", end, "step", step] => When::Range(ms(start), ms(end), ms(step)),
        _ => panic!("when is {when:?}?"),
    };
    (when, query)
}

fn ask(memory: &Memory, text: &str) -> (When, Result<Answer, QueryError>) {
    let (when, query) = question(text);
    let (engine, options) = (Engine::default(), QueryOptions::default());
    let answer = match when {
        When::At(time) => engine.instant(memory, query, time, &options),
        When::Range(start, end, step) => engine.range(memory, query, start, end, step, &options),
    };
    (when, answer)
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Whether the remarks on an answer are those that the body wants.
fn remarks_verdict(answer: &Answer, wanted: &[&str]) -> Result<(), String> {
    let mut found = [answer.warnings.clone(), answer.infos.clone()].concat();
    for line in wanted {
        let (kind, text) = line.split_once(": ").expect("what a remark says");
        let is_it = |remark: &String| remark.contains(kind) && remark.contains(text.trim());
        let at = found.iter().position(is_it).ok_or_else(|| format!("{found:?}"))?;
        found.remove(at);
    }
    found.is_empty().then_some(()).ok_or(format!("{found:?}"))
}

/// What is wrong with an answer, if anything.
fn verdict(when: &When, answer: &Answer, body: &[&str], ordered: bool) -> Result<(), String> {
    let wanted_text = body.join("\n");
    match &answer.value {
        Value::Scalar(sample) => {
            let wanted = wanted_text.strip_prefix("= ").ok_or("a scalar")?;
            same(number(wanted), sample.value).then_some(()).ok_or(format!("{}", sample.value))
        }
        Value::String { text, .. } => {
            (wanted_text == format!("= {text:?}")).then_some(()).ok_or(format!("{text:?}"))
        }
        Value::Vector(vector) => {
            let found: Vec<Row> = vector
                .iter()
                .map(|element| (element.labels.clone(), vec![Some(element.sample.value)]))
                .collect();
            rows(&found, body, ordered)
        }
        Value::MixedVector(_) | Value::MixedMatrix(_) => Err("no native histograms".to_owned()),
        Value::Matrix(matrix) => {
            let cells = |series: &Series| match when {
                When::At(_) => series.values.iter().map(|value| Some(*value)).collect(),
                When::Range(start, end, step) => (0..=(end - start) / step)
                    .map(|at| {
                        let time = start + at * step;
                        series.samples().find(|s| s.time_ms == time).map(|s| s.value)
                    })
                    .collect(),
            };
            let found: Vec<_> = matrix.iter().map(|s| (s.labels.clone(), cells(s))).collect();
            rows(&found, body, true)
        }
    }
}

fn rows(found: &[Row], body: &[&str], ordered: bool) -> Result<(), String> {
    let mut wanted: Vec<Row> = body
        .iter()
        .map(|line| {
            let (labels, rest) = labelled(line);
            (labels, values(rest))
        })
        .collect();
    let mut found = found.to_vec();
    if !ordered {
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let equal = |(a, b): (&Row, &Row)| {
        let cells = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => same(*a, *b),
            (a, b) => a.is_none() && b.is_none(),
        };
        a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(cells)
    };
    let all = wanted.len() == found.len() && wanted.iter().zip(&found).all(equal);
    all.then_some(()).ok_or_else(|| format!("{found:?}"))
}

fn run(memory: &mut Memory, command: &Command<'_>) -> Result<(), String> {
    let (word, rest) = command.text.split_once(' ').unwrap_or((command.text, ""));
    match word {
        "load" => load(memory, ms(rest), &command.body),
        "clear" => memory.0.clear(),
        "fails" => {
            let (_, answer) = ask(memory, rest);
            let error = answer.err().ok_or("it did not fail")?.to_string();
            let wanted = command.body.join(" ");
            if wanted.is_empty() || !error.contains(&wanted) {
                return Err(error);
            }
        }
        "warns" => {
            let answer = ask(memory, rest).1.map_err(|error| error.to_string())?;
            let remarks = [answer.warnings, answer.infos].concat();
            let wanted = command.body.join(" ");
            if wanted.is_empty() || !remarks.iter().any(|remark| remark.contains(&wanted)) {
                return Err(format!("{remarks:?}"));
            }
        }
        "remarks" => {
            let answer = ask(memory, rest).1.map_err(|error| error.to_string())?;
            let remarks = [answer.warnings, answer.infos].concat();
            if remarks != command.body {
                return Err(format!("{remarks:?}"));
            }
        }
        _ => {
            let mut text = command.text;
            let (mut ordered, mut silent) = (false, false);
            while let Some((word @ ("ordered" | "silent"), rest)) = text.split_once(' ') {
                (ordered, silent) = (ordered || word == "ordered", silent || word == "silent");
                text = rest;
            }
            let is_remark =
                |line: &&str| line.starts_with("warning: ") || line.starts_with("info: ");
            let (remarks, body): (Vec<&str>, Vec<&str>) =
                command.body.iter().partition(|l| is_remark(l));
            let (when, answer) = ask(memory, text);
            let answer = answer.map_err(|error| error.to_string())?;
            if silent || !remarks.is_empty() {
                remarks_verdict(&answer, &remarks)?;
            }
            verdict(&when, &answer, &body, ordered)?;
        }
    }
    Ok(())
}

/// A script that says what is not so is one that fails.
#[test]
fn a_script_can_fail() {
    let script = r#"load 1m
  a{l="}\"", "m.n"="1"} 1 7x2 _x2 -1-1x1 1e-1x1
  {"b.c"} 0x4
range 0 to 8m step 1m: a
  a{l="}\"", "m.n"="1"} 1 7 7 7 7 7 -1 -2 0.1
silent at 1m: {"b.c"}
  {"b.c"} 0
silent at 1m: quantile(2, a)
  {} Inf
at 1m: quantile(2, a)
  {} Inf
  warning: between 0 and 1, got 2
at 1m: quantile(2, a)
  {} Inf
  info: between 0 and 1, got 2
at 1m: sum(a)
  {} 8
fails at 1m: a
  no
"#;
    let mut memory = Memory::default();
    let wrong: Vec<usize> = commands(script)
        .iter()
        .filter_map(|command| run(&mut memory, command).is_err().then_some(command.line))
        .collect();
    assert_eq!(wrong, [8, 13, 16, 18]);
}

/// Every script; all that is wrong, then fail.
#[test]
fn scripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut failures = Vec::new();
    let mut asked = 0;
    for entry in std::fs::read_dir(folder).expect("the scripts") {
        let path = entry.expect("a script").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).expect("a script is text");
        let mut memory = Memory::default();
        for command in commands(&script) {
            asked += usize::from(!matches!(command.text, "clear"));
            if let Err(found) = run(&mut memory, &command) {
                failures.push(format!("{name}:{}: {}\n    {found}", command.line, command.text));
            }
        }
    }
    assert!(asked > 100, "only {asked} commands");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
