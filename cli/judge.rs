//! `labstat judge`: the verdict on saved reports of smartctl, as the lab would give it.
//!
//! The way of a report is that of the agent and the aggregator: samples, a reading of them, the
//! rules. Nothing is judged here.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use labstat_agent::collect::collectors::smartctl as collector;
use labstat_agent::collect::parse::smartctl;
use labstat_disks::{Before, Judgement, Reading, Verdict, judge};
use serde_json::{Map, Value, json};

use crate::failure::{FAILED, Failure};
use crate::output;
use crate::parse;
use crate::table::printable;

/// Says what to think of disks by saved reports of smartctl: ok, watch, act, dead, asleep, silent
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  smartctl -x /dev/sda | labstat judge
  labstat judge reports/*.txt
  labstat judge today.txt --since last-month.txt
  labstat judge --format json report.json | jq .verdict

  ok      nothing that a careful administrator would mind
  watch   attention; no replacement on this evidence alone
  act     replace or evacuate it now
  dead    it does not answer, or gives no SMART data though it must
  asleep  it slept, and was left alone
  silent  it says nothing of its health, and that is no fault

Reports may be text of any version of smartctl, best of -x, or its JSON. Of several disks in one
file the first is judged. docs/disks.md says how a verdict comes about.

Exit status: 0 when every file was judged, whatever the verdict; 1 when one could not be read, is
no report, is of another disk than the one of --since, or of an earlier time; 2 wrong usage.")]
pub(crate) struct Judge {
    /// Files to read; - or none is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// An earlier report of the same disk: what has grown since counts more than what has not
    #[arg(long, value_name = "EARLIER")]
    since: Option<PathBuf>,

    /// How to print: for people, or one JSON object a line
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Paragraphs for people
    Table,
    /// One JSON object a line
    Json,
}

/// A report that was read.
struct Read {
    reading: Reading,
    /// Why it is none, if it is none, or what of it was not understood.
    problem: Option<String>,
    /// Why it was not compared with the earlier report.
    note: Option<String>,
}

impl Judge {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let standard_input = [PathBuf::from("-")];
        let files: &[PathBuf] = if self.files.is_empty() { &standard_input } else { &self.files };
        let earlier = self.since.as_deref().map(|file| earlier(file, files)).transpose()?;
        let colour = output::result_colour();
        let mut code = ExitCode::SUCCESS;
        for (at, file) in files.iter().enumerate() {
            let (read, judged) = judged(file, earlier.as_ref());
            let text = match self.format {
                Format::Json => format!("{}\n", object(file, &read, &judged)),
                Format::Table if at > 0 => format!("\n{}", paragraph(file, &read, &judged, colour)),
                Format::Table => paragraph(file, &read, &judged, colour),
            };
            output::result(&text)?;
            let (messages, failed) = said(read, judged.err());
            for message in messages {
                let message = format!("{}: {message}", file.display());
                output::message(&format!("labstat: {}\n", printable(&message)));
            }
            if failed {
                code = ExitCode::from(FAILED);
            }
        }
        Ok(code)
    }
}

/// What to say beside the verdict on one file, and whether it is a failure.
fn said(read: Option<Read>, error: Option<String>) -> (Vec<String>, bool) {
    let mut failed = error.is_some();
    let mut messages: Vec<String> = error.into_iter().collect();
    if let Some(read) = read {
        // One of which some lines were not understood is judged all the same.
        let is_none = read.problem.is_some() && !read.reading.has_health();
        failed |= is_none || read.note.is_some();
        messages.extend([read.problem, read.note].into_iter().flatten());
    }
    (messages, failed)
}

/// The report to compare with.
fn earlier(file: &Path, files: &[PathBuf]) -> Result<Reading, Failure> {
    let what = || format!("failed to read the earlier report {}", file.display());
    let is_input = |file: &Path| file == Path::new("-");
    if is_input(file) && files.iter().any(|file| is_input(file)) {
        return Err(Failure::new("standard input is one report, not two")
            .cure("save one of them to a file"));
    }
    let bytes = parse::read(file).map_err(|error| Failure::new(what()).because(&error))?;
    let read = understood(&bytes);
    match read.problem {
        Some(problem) if !read.reading.has_health() => {
            Err(Failure::new(format!("{}: {problem}", what())))
        }
        _ => Ok(read.reading),
    }
}

fn understood(bytes: &[u8]) -> Read {
    let report = smartctl::parse(bytes);
    let problem = parse::not_understood(&report);
    Read { reading: collector::reading(&report), problem, note: None }
}

/// What was read of `file`, if anything was, and the verdict or why there is none.
fn judged(file: &Path, earlier: Option<&Reading>) -> (Option<Read>, Result<Judgement, String>) {
    let mut read = match parse::read(file) {
        Ok(bytes) => understood(&bytes),
        Err(error) => return (None, Err(format!("failed to read: {error}"))),
    };
    let judgement = compared(&mut read, earlier);
    (Some(read), judgement)
}

/// The verdict. Two reports in the wrong order would make of new errors none: then the report
/// counts by itself.
fn compared(read: &mut Read, earlier: Option<&Reading>) -> Result<Judgement, String> {
    let earlier_hours = earlier.and_then(|earlier| earlier.power_on_hours);
    let judged = judge(&read.reading, earlier.map(Before::Earlier));
    if let (Some(now), Some(before)) = (read.reading.power_on_hours, earlier_hours)
        && now < before
        && judged.is_ok()
    {
        read.note = Some(format!(
            "judged by itself: the disk had been on for {before} h in the earlier report and for \
             {now} h in this one; if they are the wrong way round, swap them"
        ));
        return judge(&read.reading, None).map_err(|error| error.to_string());
    }
    judged.map_err(|error| format!("not comparable with the earlier report: {error}"))
}

/// The object of one file: what it is of, the verdict and its reasons, or the error.
fn object(file: &Path, read: &Option<Read>, judged: &Result<Judgement, String>) -> Value {
    let mut object = Map::new();
    object.insert("file".to_owned(), json!(file.display().to_string()));
    match judged {
        Ok(judgement) => {
            object.insert("verdict".to_owned(), json!(judgement.verdict));
            object.insert("reasons".to_owned(), json!(judgement.reasons));
        }
        Err(error) => {
            object.insert("error".to_owned(), json!(error));
        }
    }
    if let Some(read) = read {
        let reading = &read.reading;
        let facts = [
            ("model", json!(reading.identity.model)),
            ("serial", json!(reading.identity.serial)),
            ("firmware", json!(reading.identity.firmware)),
            ("kind", json!(reading.kind)),
            ("capacity_bytes", json!(reading.capacity_bytes)),
            ("power_on_hours", json!(reading.power_on_hours)),
            ("temperature_celsius", json!(reading.temperature.current)),
            ("wear_ratio", json!(reading.wear_ratio)),
        ];
        let notes = [("problem", json!(read.problem)), ("note", json!(read.note))];
        let known = facts.into_iter().chain(notes).filter(|(_, fact)| !fact.is_null());
        object.extend(known.map(|(name, fact)| (name.to_owned(), fact)));
    }
    Value::Object(object)
}

/// Escape sequences of a verdict's colour, and the one that ends it.
fn colours(verdict: Verdict, colour: bool) -> (&'static str, &'static str) {
    let begin = match verdict {
        _ if !colour => return ("", ""),
        Verdict::Ok => "\x1b[32m",
        Verdict::Watch => "\x1b[33m",
        Verdict::Act | Verdict::Dead => "\x1b[1;31m",
        Verdict::Asleep | Verdict::Silent => "\x1b[2m",
    };
    (begin, "\x1b[0m")
}

/// Columns of the verdicts before the reasons.
const INDENT: usize = 8;

/// One file for people: a line with the verdict and the disk, and a line for each reason.
fn paragraph(
    file: &Path,
    read: &Option<Read>,
    judged: &Result<Judgement, String>,
    colour: bool,
) -> String {
    let mut text = String::new();
    let name = if file == Path::new("-") {
        "standard input".into()
    } else {
        printable(&file.display().to_string())
    };
    // Why stands on standard error.
    let Ok(judgement) = judged else { return format!("{name}: no verdict\n") };
    let (begin, end) = colours(judgement.verdict, colour);
    let word = judgement.verdict.as_str().to_uppercase();
    let _ = write!(text, "{name}: {begin}{word}{end}");
    if let Some(disk) = read.as_ref().map(|read| disk(&read.reading)).filter(|it| !it.is_empty()) {
        let _ = write!(text, "  {disk}");
    }
    text.push('\n');
    for reason in &judgement.reasons {
        let (begin, end) = colours(reason.verdict, colour);
        let pad = INDENT.saturating_sub(reason.verdict.as_str().len());
        let _ = writeln!(
            text,
            "  {begin}{}{end}{:pad$}{}",
            reason.verdict.as_str(),
            "",
            printable(&reason.text),
        );
    }
    text
}

/// Which disk, for people.
fn disk(reading: &Reading) -> String {
    let identity = &reading.identity;
    let words = [
        identity.model.clone(),
        // One that was blanked says nothing.
        identity.serial().map(|serial| format!("serial {serial}")),
        reading.power_on_hours.map(|hours| format!("on for {hours} h")),
    ];
    printable(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
smartctl 7.2 2020-12-30 r5155 [x86_64-linux-5.10.0] (local build)
=== START OF INFORMATION SECTION ===
Device Model:     ST1000DM003-1CH162
Serial Number:    Z1D00000
User Capacity:    1,000,204,886,016 bytes [1.00 TB]
Rotation Rate:    7200 rpm

=== START OF READ SMART DATA SECTION ===
SMART overall-health self-assessment test result: PASSED
SMART Attributes Data Structure revision number: 10
ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE      UPDATED  WHEN_FAILED RAW_VALUE
  5 Reallocated_Sector_Ct   0x0033   100   100   036    Pre-fail  Always       -       0
  9 Power_On_Hours          0x0032   086   086   000    Old_age   Always       -       12931
197 Current_Pending_Sector  0x0012   100   100   000    Old_age   Always       -       2
";

    fn read(report: &str) -> Read {
        understood(report.as_bytes())
    }

    #[test]
    fn an_object_says_which_disk_and_why() {
        let read = read(REPORT);
        let judgement = judge(&read.reading, None).map_err(|error| error.to_string());
        let object = object(Path::new("a.txt"), &Some(read), &judgement);
        assert_eq!(object["file"], "a.txt");
        assert_eq!(object["verdict"], "watch");
        assert_eq!(object["model"], "ST1000DM003-1CH162");
        assert_eq!(object["serial"], "Z1D00000");
        assert_eq!(object["reasons"][0]["code"], "pending_sectors");
        assert_eq!(object["reasons"][0]["evidence"][0]["value"], 2);
        assert_eq!(object["power_on_hours"], 12931);
    }

    #[test]
    fn a_paragraph_begins_with_the_verdict_and_the_disk() {
        let read = read(REPORT);
        let judgement = judge(&read.reading, None).map_err(|error| error.to_string());
        let text = paragraph(Path::new("a.txt"), &Some(read), &judgement, false);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("a.txt: WATCH  ST1000DM003-1CH162, serial Z1D00000, on for 12931 h")
        );
        assert!(lines.next().is_some_and(|line| line.starts_with("  watch   2 sectors")), "{text}");
    }

    #[test]
    fn another_disk_is_not_compared() {
        let now = read(REPORT).reading;
        let other = read(&REPORT.replace("Z1D00000", "Z1D99999")).reading;
        assert!(judge(&now, Some(Before::Earlier(&other))).is_err());
    }

    #[test]
    fn reports_in_the_wrong_order_are_not_compared() {
        let at = |hours: &str| read(&REPORT.replace("12931", hours));
        let (early, late) = (at("12000").reading, at("12931").reading);
        let mut right = at("12931");
        assert!(compared(&mut right, Some(&early)).is_ok());
        assert_eq!(right.note, None);
        let mut wrong = at("12000");
        let judgement = compared(&mut wrong, Some(&late)).unwrap();
        assert_eq!(judgement, judge(&wrong.reading, None).unwrap());
        assert!(wrong.note.as_deref().is_some_and(|note| note.contains("12931 h")));
        assert!(said(Some(wrong), None).1, "they were not compared, as was asked");
    }

    #[test]
    fn a_report_with_a_line_that_nobody_understands_is_judged() {
        let of = |report: &str| {
            let mut read = read(report);
            read.problem = Some("not understood: the line".to_owned());
            said(Some(read), None)
        };
        let (messages, failed) = of(REPORT);
        assert_eq!((messages.len(), failed), (1, false));
        assert!(of("nothing").1);
    }

    #[test]
    fn names_can_neither_steer_a_terminal_nor_turn_a_line() {
        let report = r#"{"smartctl":{},"device":{"protocol":"ATA"},"smart_status":{"passed":true},
            "model_name":"ST\u202e1\u001b[2J"}"#;
        let read = read(report);
        let judgement = judge(&read.reading, None).map_err(|error| error.to_string());
        let text = paragraph(Path::new("a\u{1b}[2J.txt"), &Some(read), &judgement, false);
        let first = text.lines().next();
        assert!(
            first.is_some_and(|it| it.starts_with(r"a\u{1b}[2J.txt: OK  ST\u{202e}1\u{1b}[2J")),
            "{text}"
        );
    }
}
