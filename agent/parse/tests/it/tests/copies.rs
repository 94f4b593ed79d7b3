//! What copies do to a report: each mutilation of every report at hand must say what the report
//! said.

use std::fs;
use std::path::{Path, PathBuf};

use labstat_parse::smartctl;
use serde_json::Value;

/// All texts, of our own captures and of other projects'.
fn texts() -> Vec<(PathBuf, String)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let others = manifest.join("../../../shared/fixtures/smartctl/text");
    if !others.is_dir() {
        println!("SKIPPED: {} is not there", others.display());
    }
    let own = ["reports", "emulated"].map(|it| manifest.join("fixtures/smartctl").join(it));
    let (mut texts, mut folders) = (Vec::new(), Vec::from(own));
    folders.push(others);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "txt") {
                let bytes = fs::read(&path).unwrap();
                let text = String::from_utf8(bytes).unwrap_or_else(|error| {
                    error.as_bytes().iter().map(|&byte| char::from(byte)).collect()
                });
                // A list of devices has no line by which a margin is known.
                if !text.contains("SECTION ===") {
                    continue;
                }
                // Lines that end at all, and as Unix ends them.
                let text = text.lines().map(|line| format!("{line}\n")).collect();
                texts.push((path, text));
            }
        }
    }
    assert!(texts.len() >= 10);
    texts.sort();
    texts
}

/// What is read, without what is said of the reading.
fn facts(text: &str) -> Value {
    let mut report = smartctl::parse(text.as_bytes());
    if let Some(program) = &mut report.smartctl {
        program.messages = program.messages.take().map(|mut messages| {
            messages.retain(|it| !it.string.as_deref().unwrap().starts_with("labstat:"));
            for message in &mut messages {
                let words = message.string.as_deref().unwrap().split_whitespace();
                message.string = Some(words.collect::<Vec<_>>().join(" "));
            }
            messages
        });
    }
    serde_json::to_value(report).unwrap()
}

fn lines(text: &str, change: impl Fn(usize, &str) -> String) -> String {
    text.lines().enumerate().map(|(n, line)| change(n, line) + "\n").collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn quoted_printable(text: &str) -> String {
    let line = |line: &str| {
        let bytes = line.bytes().map(|byte| match byte {
            b'=' | 0x80.. => format!("={byte:02X}"),
            _ => char::from(byte).to_string(),
        });
        let mut out = String::new();
        for (at, byte) in bytes.enumerate() {
            out.push_str(if at > 0 && at % 70 == 0 { "=\n" } else { "" });
            out.push_str(&byte);
        }
        out
    };
    lines(text, |_, it| line(it))
}

fn red(line: &str) -> String {
    let mut line = line.to_owned();
    for word in ["PASSED", "FAILED!", " OK", "SECTION"] {
        line = line.replace(word, &format!("\u{1b}[1;31m{word}\u{1b}[0m"));
    }
    line + "\u{1b}[K"
}

type Change = fn(&str) -> String;

/// What is done to copies. Whatever is printed stays, so that every fact must.
const CHANGES: &[(&str, Change)] = &[
    ("quoted", |text| lines(text, |_, it| format!("> {it}"))),
    ("quoted twice", |text| lines(text, |_, it| format!(">> {it}"))),
    ("quoted in code", |text| lines(text, |_, it| format!("    > {it}"))),
    ("tags of a forum", |text| format!("My disk:\n[CODE]{text}[/CODE]\nthanks\n")),
    ("tags of a ticket", |text| format!("{{noformat}}\n{text}{{noformat}}\n")),
    ("tags of a ticket, with a name", |text| format!("{{code:title=x}}\n{text}{{code}}\n")),
    ("a fence", |text| format!("```\n{text}```\n")),
    ("accents", |text| lines(text, |_, it| format!("`{it}`"))),
    ("no-break spaces", |text| text.replace(' ', "\u{a0}")),
    ("every second space", |text| text.replace("  ", " \u{a0}")),
    ("narrow spaces", |text| text.replace("  ", "\u{202f}\u{202f}")),
    ("entities", escaped),
    ("entities and spaces", |text| escaped(text).replace("  ", "&nbsp; ")),
    ("breaks", |text| text.replace('\n', "<br>\n")),
    ("breaks with a slash", |text| text.replace('\n', "<br />\n")),
    ("breaks in place of lines", |text| escaped(text).replace('\n', "<br>")),
    ("a block of HTML", |text| format!("<pre><code>{text}</code></pre>\n")),
    ("a line of HTML", |text| lines(text, |_, it| format!("<p><span class=\"x\">{it}</span></p>"))),
    ("line ends of Windows", |text| text.replace('\n', "\r\n")),
    ("line ends of Windows twice", |text| text.replace('\n', "\r\r\n")),
    ("line ends of old Macs", |text| text.replace('\n', "\r")),
    ("a string of a program", |text| text.replace('\t', "\\t").replace('\n', "\\n")),
    ("double lines", |text| text.replace('\n', "\n\n")),
    ("a prompt", |text| format!("root@host:~# smartctl -a /dev/sda\n{text}root@host:~# \n")),
    ("indented", |text| lines(text, |_, it| format!("    {it}"))),
    ("indented by a tab", |text| lines(text, |_, it| format!("\t{it}"))),
    ("indented but for the first line", |text| {
        lines(text, |n, it| if n == 0 { it.to_owned() } else { format!("    {it}") })
    }),
    ("colours", |text| lines(text, |_, it| red(it))),
    ("colours without escapes", |text| lines(text, |_, it| red(it).replace('\u{1b}', ""))),
    ("bold", |text| text.replace("PASSED", "**PASSED**").replace("FAILED!", "**FAILED!**")),
    ("bold of a forum", |text| {
        text.replace("PASSED", "[B]PASSED[/B]").replace("FAILED!", "[COLOR=red]FAILED![/COLOR]")
    }),
    ("line numbers", |text| lines(text, |n, it| format!("{}: {it}", n + 1))),
    ("aligned line numbers", |text| lines(text, |n, it| format!("{:>6}\t{it}", n + 1))),
    ("a system log", |text| {
        lines(text, |n, it| format!("Jan {:>2} 10:00:00 nas smart[123]: {it}", n % 30 + 1))
    }),
    ("times", |text| lines(text, |n, it| format!("[2024-01-01 10:{:02}:00] {it}", n % 60))),
    ("a host's name", |text| lines(text, |_, it| format!("nas1 | {it}"))),
    ("a comment", |text| lines(text, |_, it| format!("# {it}"))),
    ("a comment without space", |text| lines(text, |_, it| format!("#{it}"))),
    ("a patch", |text| lines(text, |_, it| format!("+{it}"))),
    ("a table of one column", |text| lines(text, |_, it| format!("| {it} |"))),
    ("a list of strings", |text| lines(text, |_, it| format!("    '{it}',"))),
    ("a block of YAML", |text| format!("stdout: |\n{}", lines(text, |_, it| format!("  {it}")))),
    ("spaces at the ends", |text| lines(text, |_, it| format!("{it:<120}"))),
    ("a character without width", |text| format!("\u{200b}{text}")),
    ("nothing at the end", |text| format!("{text}\0\0\0")),
    ("a mail", quoted_printable),
    ("spaces for tabs", |text| text.replace('\t', "        ")),
    ("escaped for Markdown", |text| text.replace('_', "\\_")),
];

/// Each change is tried on every so manieth text.
const EVERY: usize = 4;

#[test]
fn copies_say_what_the_report_said() {
    let texts = texts();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (n, (path, text)) in texts.iter().enumerate() {
        let expected = facts(text);
        let changes = CHANGES.iter().enumerate();
        for (_, (name, change)) in changes.filter(|(m, _)| (n + m) % EVERY == 0) {
            tried += 1;
            let found = facts(&change(text));
            if found != expected {
                wrong.push(format!("{name}: {}: {}", path.display(), first(&expected, &found)));
            }
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tried, wrong.join("\n"));
}

/// The first difference of two values.
fn first(expected: &Value, found: &Value) -> String {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys());
            let of = |map: &serde_json::Map<_, _>, key: &String| {
                map.get(key).cloned().unwrap_or_default()
            };
            let mut different = keys.filter(|key| of(one, key) != of(other, key));
            different.next().map_or_else(String::new, |key| {
                format!(".{key}{}", first(&of(one, key), &of(other, key)))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let at = (0..one.len()).find(|&at| one[at] != other[at]).unwrap();
            format!("[{at}]{}", first(&one[at], &other[at]))
        }
        _ => {
            let short = |it: &Value| it.to_string().chars().take(150).collect::<String>();
            format!(": expected {}, found {}", short(expected), short(found))
        }
    }
}
