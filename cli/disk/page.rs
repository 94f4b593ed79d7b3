//! The page of one disk: as people read it, and as one object for machines.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::picture::{NUMBERS, Picture};
use super::told::{Projection, Time, named};
use crate::answer::Found;
use crate::disks::Condition;
use crate::human::{self, Unit};
use crate::table::{Cell, Column, Format, Look, Table, Tone, printable};
use crate::view::look;

/// Cells of a name in the list of facts.
const NAME_CELLS: usize = 14;

impl Picture {
    /// All numbers that the disk counts: in base units for machines, as people read them in a table.
    pub(super) fn numbers(&self, format: Format) -> Table {
        let for_people = format == Format::Table;
        let mut columns = vec![
            Column::new("id", "ID", Unit::Plain),
            Column::text("name", "NAME"),
            Column::new("value", "VALUE", Unit::Plain),
            Column::new("worst", "WORST", Unit::Plain),
            Column::new("threshold", "THRESH", Unit::Plain),
            Column::text("raw", "RAW"),
            Column::new("change", "CHANGE", Unit::Plain).minor(1),
        ];
        // A cell of a CSV has no room for a course.
        let drawn = format != Format::Csv;
        columns.extend(drawn.then(|| Column::text("history", "HISTORY").minor(2)));
        let mut table = Table::new(columns, "It counts nothing that is known.");
        for (id, name) in self.attributes() {
            let kind = |kind| {
                let labels = [("attribute_id", &*id), ("attribute_value_type", kind)];
                self.answers.value("attribute", &labels)
            };
            let (change, course) = self.course(&id);
            let fails = matches!((kind("value"), kind("thresh")), (Some(value), Some(thresh))
                if thresh > 0.0 && value <= thresh);
            let mut row = vec![
                Cell::number(id.parse().ok()),
                Cell::text(name).tone(if fails { Tone::Bad } else { Tone::Plain }),
                Cell::number(kind("value")),
                Cell::number(kind("worst")),
                Cell::number(kind("thresh")),
                if for_people { self.raw(&id, kind("raw")) } else { Cell::number(kind("raw")) },
                Cell::number(change),
            ];
            row.extend(drawn.then(|| Cell::text(course)));
            table.push(row);
        }
        for (family, name, unit) in NUMBERS {
            let mut found = self.answers.all("number").iter();
            let found = found.find(|found| found.label("__name__") == family);
            let Some(value) = found.and_then(Found::value) else { continue };
            let (change, course) = self.course(family);
            let mut row = vec![
                Cell::absent(),
                Cell::text(name),
                Cell::absent(),
                Cell::absent(),
                Cell::absent(),
                match unit {
                    Unit::Plain => Cell::number(Some(value)),
                    _ if !for_people => Cell::number(Some(value)),
                    unit => Cell::text(human::number(value, unit, &look().zone)),
                },
                Cell::number(change.filter(|_| !for_people || unit == Unit::Plain)),
            ];
            row.extend(drawn.then(|| Cell::text(course)));
            table.push(row);
        }
        table
    }

    /// The raw value of an attribute: the numbers that are packed into it, where they are known.
    fn raw(&self, id: &str, raw: Option<f64>) -> Cell {
        let parts = self.parts(id);
        match parts.iter().next() {
            None => Cell::number(raw),
            Some((_, number)) if parts.len() == 1 => Cell::number(Some(*number)),
            Some(_) => {
                let words = parts.iter().map(|(part, it)| format!("{part} {}", human::plain(*it)));
                Cell::text(words.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The numbers that are packed into the raw value of an attribute, by name.
    fn parts<'a>(&'a self, id: &str) -> BTreeMap<&'a str, f64> {
        let all = self.answers.all("decoded").iter();
        let of_it = all.filter(|found| found.label("attribute_id") == id);
        of_it.filter_map(|found| Some((found.label("part"), found.value()?))).collect()
    }

    /// The attributes by id, each once.
    fn attributes(&self) -> Vec<(String, String)> {
        let all = self.answers.all("attribute").iter();
        let named = all.filter_map(|found| {
            let id = found.label("attribute_id");
            Some((id.parse::<u16>().ok()?, (id, found.label("attribute_name"))))
        });
        let by_id: BTreeMap<u16, (&str, &str)> = named.collect();
        by_id.into_values().map(|(id, name)| (id.to_owned(), name.to_owned())).collect()
    }

    fn uses(&self) -> Table {
        let mut table = Table::new(
            [
                Column::text("kind", "WHAT"),
                Column::text("name", "NAME"),
                Column::text("role", "ROLE"),
                Column::text("part", "ON"),
                Column::new("redundancy", "MAY LOSE", Unit::Plain),
                Column::text("then", "WHEN IT DIES"),
            ],
            "Nothing is known to stand on it.",
        );
        for found in self.answers.all("use") {
            let (kind, name) = (found.label("kind"), found.label("name"));
            let left = self.answers.value("redundancy", &[("kind", kind), ("name", name)]);
            let then = match left {
                Some(left) if left >= 1.0 => Cell::text("goes on").tone(Tone::Good),
                Some(_) => Cell::text("is lost").tone(Tone::Bad),
                None => Cell::absent(),
            };
            table.push(vec![
                Cell::text(kind),
                Cell::text(name),
                Cell::text(found.label("role")),
                Cell::text(found.label("part")),
                Cell::number(left),
                then,
            ]);
        }
        table.worst_first()
    }

    fn self_tests(&self) -> Table {
        let mut table = Table::new(
            [
                Column::text("type", "SELF-TEST"),
                Column::text("result", "RESULT"),
                Column::new("power_on_hours", "AT HOUR", Unit::Plain),
                Column::new("hours_ago", "HOURS AGO", Unit::Plain),
            ],
            "No self-test has come to an end.",
        );
        for found in self.answers.all("test_passed") {
            let kind = [("type", found.label("type"))];
            let hours = self.answers.value("test_hours", &kind);
            let status = self.answers.with("test_status", &kind).next();
            let passed = found.value() == Some(1.0);
            let word = status
                .map_or(if passed { "passed" } else { "failed" }, |found| found.label("status"));
            let ago = self.told.power_on_hours.zip(hours).map(|(now, then)| now - then);
            table.push(vec![
                Cell::text(found.label("type")),
                Cell::text(word).tone(if passed { Tone::Good } else { Tone::Bad }),
                Cell::number(hours),
                // ATA disks count these hours in 16 bits.
                Cell::number(ago.map(|ago| ago.rem_euclid(65_536.0)).filter(|_| hours.is_some())),
            ]);
        }
        for found in self.answers.all("test_progress") {
            let done = found.value().unwrap_or_default() * 100.0;
            let word = format!("running, {done:.0} % done");
            let cells = [Cell::text(found.label("type")), Cell::text(word)];
            table.push([&cells[..], &[Cell::absent(), Cell::absent()]].concat());
        }
        table
    }

    pub(super) fn for_people(&self, look: &Look) -> String {
        let mut text = String::new();
        self.write_verdict(&mut text, look);
        self.write_facts(&mut text, look);
        let section = |text: &mut String, title: &str, table: &Table| {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{}\n{}", title, table.render(Format::Table, look));
        };
        let uses = self.uses();
        if !uses.is_empty() {
            section(&mut text, "What stands on it", &uses);
        }
        section(&mut text, "What it counts", &self.numbers(Format::Table));
        let tests = self.self_tests();
        if !tests.is_empty() {
            section(&mut text, "What it found in itself", &tests);
        }
        text
    }

    fn write_verdict(&self, text: &mut String, look: &Look) {
        let told = &self.told;
        let missing = told.silent_since.is_some() && !told.node_down;
        let tone = Condition::of(told.verdict).or_missing(missing).tone();
        let since = told.verdict_since.0;
        let _ = writeln!(
            text,
            "{}: {} since {}",
            named(told),
            painted(told.verdict.as_str(), tone, look),
            human::time(since, &look.zone)
        );
        for reason in &told.reasons {
            let tone = Condition::of(reason.verdict).tone();
            let word = painted(&format!("{:<7}", reason.verdict.as_str()), tone, look);
            let _ = writeln!(text, "  {word} {}", wrapped(&printable(&reason.text), 10, look));
            for evidence in &reason.evidence {
                let _ = writeln!(text, "          {}", wrapped(&evidence.text(), 12, look));
            }
        }
        text.push('\n');
    }

    fn write_facts(&self, text: &mut String, look: &Look) {
        let told = &self.told;
        let mut fact = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let value = wrapped(&printable(&value), NAME_CELLS + 1, look);
                let _ = writeln!(text, "{name:<NAME_CELLS$} {value}");
            }
        };
        let number = |value: Option<f64>, unit| value.map(|it| human::number(it, unit, &look.zone));
        fact("family", Some(told.model_family.clone()));
        fact("firmware", Some(told.firmware_version.clone()));
        fact("size", number(told.capacity_bytes, Unit::Bytes));
        fact("age", number(told.power_on_hours.map(|hours| hours * 3600.0), Unit::Seconds));
        fact("wear", number(told.wear_ratio, Unit::Ratio));
        fact("spare", number(told.available_spare_percent.map(|it| it / 100.0), Unit::Ratio));
        fact("worn out", self.wear_out().as_ref().map(Projection::text));
        fact("spare used up", told.spare_out.as_ref().map(Projection::text));
        let ago = |time: Time| format!("{} ago", human::span((self.now - time.0).max(0.0).round()));
        let every = told.interval_seconds.map_or_else(String::new, |interval| {
            format!(", usually every {}", human::span(interval))
        });
        fact("read", told.last_read.map(|time| format!("{}{every}", ago(time))));
        fact("answered", Some(ago(told.last_answered)));
        let first = told.first_seen.0;
        fact("first seen", Some(human::time(first, &look.zone)));
        fact(
            "acknowledged",
            told.acknowledged.as_ref().map(|seen| {
                let at = human::time(seen.at.0, &look.zone);
                if seen.note.is_empty() { at } else { format!("{at}: {}", seen.note) }
            }),
        );
        if !told.also.is_empty() {
            fact("also called", Some(told.also.join(", ")));
        }
        if let Some(place) = self.answers.all("where").first() {
            for (label, name) in [
                ("transport", "attached by"),
                ("path", "port"),
                ("enclosure", "enclosure"),
                ("slot", "slot"),
                ("by_id", "by id"),
                ("wwn", "wwn"),
            ] {
                fact(name, Some(place.label(label).to_owned()));
            }
        }
    }

    /// The rows of [`Self::numbers`] with what a line of blocks cannot say to a machine: the course as
    /// pairs of Unix seconds and value, and the numbers that are packed into a raw value by name.
    fn numbers_with_history(&self, mut rows: Value) -> Value {
        let attributes = self.attributes().into_iter().map(|(id, _)| id);
        let others = NUMBERS.iter().map(|(family, ..)| *family).filter(|family| {
            self.answers.all("number").iter().any(|found| found.label("__name__") == *family)
        });
        let keys: Vec<String> = attributes.chain(others.map(str::to_owned)).collect();
        for (row, key) in rows.as_array_mut().into_iter().flatten().zip(keys) {
            let Some(row) = row.as_object_mut() else { continue };
            let course = self.courses.get(&key).into_iter().flatten();
            let course: Vec<_> = course.map(|point| json!([point.time, point.value])).collect();
            row.insert("history".to_owned(), json!(course));
            let parts = self.parts(&key);
            if !parts.is_empty() {
                row.insert("parts".to_owned(), json!(parts));
            }
        }
        rows
    }

    /// The disk as the aggregator tells of it, with what its series say.
    pub(super) fn json(&self, whole: Value) -> String {
        let rows = |table: &Table| -> Value {
            serde_json::from_str(&table.render(Format::Json, &look())).unwrap_or_default()
        };
        let place = self.answers.all("where").first().map(|found| json!(found.labels));
        let parts = [
            ("time", json!(self.now)),
            ("place", place.unwrap_or_default()),
            ("uses", rows(&self.uses())),
            ("numbers", self.numbers_with_history(rows(&self.numbers(Format::Json)))),
            ("selfTests", rows(&self.self_tests())),
        ];
        let mut whole = whole;
        if let Some(fields) = whole.as_object_mut() {
            fields.extend(parts.map(|(key, value)| (key.to_owned(), value)));
        }
        format!("{whole:#}\n")
    }
}

fn painted(word: &str, tone: Tone, look: &Look) -> String {
    let colour = match tone {
        Tone::Good => 32,
        Tone::Warn => 33,
        Tone::Bad => 31,
        Tone::Plain => return word.to_owned(),
    };
    if look.colour { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
}

/// `text` in lines that fit the terminal, all but the first `indent` blanks in.
fn wrapped(text: &str, indent: usize, look: &Look) -> String {
    let Some(width) = look.width.map(usize::from) else { return text.to_owned() };
    let room = width.saturating_sub(indent).max(20);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join(&format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::answer::Point;
    use crate::view::tests::canned;

    fn picture() -> Picture {
        let told = json!({
            "serialNumber": "WD-1",
            "modelName": "WDC WD40EFRX",
            "modelFamily": "Western Digital Red",
            "firmwareVersion": "82.00A82",
            "instance": "nas",
            "device": "sda",
            "verdict": "watch",
            "verdictSince": "2026-11-20T05:43:00Z",
            "reasons": [
                { "code": "reallocated_sectors", "verdict": "watch",
                  "text": "8 more sectors were replaced by spare ones.",
                  "evidence": [{ "name": "Reallocated_Sector_Ct", "value": 16, "before": 8,
                                 "limit": 10, "source": "Backblaze" }] },
                { "code": "temperature", "verdict": "ok", "text": "It is cool." },
            ],
            "firstSeen": "2026-01-01T00:00:00Z",
            "lastAnswered": "2026-11-21T09:09:50Z",
            "lastRead": "2026-11-21T09:08:57Z",
            "intervalSeconds": 300.0,
            "capacityBytes": 4_000_787_030_016_u64,
            "powerOnHours": 43_777,
            "wearRatio": 0.02,
            "acknowledged": { "at": "2026-06-01T00:00:00Z", "note": "replaced the cable" },
            "wearOut": { "at": "2031-01-01T00:00:00Z", "earliest": "2030-01-01T00:00:00Z",
                         "latest": null, "confidence": "fair" },
        });
        let answers = canned(
            r#"
            where {transport="sata",path="pci-0000:00:17.0-ata-1",by_id="ata-WDC_WD40EFRX_WD-1"} 1
            use {kind="mount",name="/srv",role="ext4",part="sda2"} 1
            use {kind="md",name="md0",role="in-use",part="sda1"} 1
            use {kind="ceph_osd",name="osd.1",role="block",part="sda3"} 1
            redundancy {kind="mount",name="/srv"} 0
            redundancy {kind="md",name="md0"} 1
            attribute {attribute_id="5",attribute_name="Reallocated_Sector_Ct",attribute_value_type="raw"} 16
            attribute {attribute_id="5",attribute_name="Reallocated_Sector_Ct",attribute_value_type="value"} 200
            attribute {attribute_id="5",attribute_name="Reallocated_Sector_Ct",attribute_value_type="worst"} 200
            attribute {attribute_id="5",attribute_name="Reallocated_Sector_Ct",attribute_value_type="thresh"} 140
            attribute {attribute_id="199",attribute_name="UDMA_CRC_Error_Count",attribute_value_type="raw"} 0
            attribute {attribute_id="7",attribute_name="Seek_Error_Rate",attribute_value_type="raw"} 4294967396
            decoded {attribute_id="7",part="errors"} 1
            decoded {attribute_id="7",part="operations"} 100
            decoded {attribute_id="5",part="count"} 16
            number {__name__="smartctl_device_temperature",temperature_type="current"} 34
            test_passed {type="short"} 1
            test_hours {type="short"} 43000
            test_status {type="short",status="completed"} 1
            "#,
        );
        let point = |time: f64, value: f64| Point { time, value };
        let courses = [("5", vec![point(0.0, 8.0), point(50.0, 8.0), point(99.0, 16.0)])];
        let courses = courses.map(|(key, points)| (key.to_owned(), points)).into();
        let told = serde_json::from_value(told).unwrap();
        Picture { told, answers, courses, span: (0.0, 100.0), now: 1_795_252_200.0 }
    }

    fn plain() -> Look {
        Look { colour: false, width: None, zone: TimeZone::UTC }
    }

    #[test]
    fn all_about_one_disk() {
        let text = picture().for_people(&plain());
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines.join("\n"),
            "\
WDC WD40EFRX WD-1 (nas/sda): watch since 2026-11-20 05:43:00
  watch   8 more sectors were replaced by spare ones.
          Reallocated_Sector_Ct 16, before 8, counts from 10 (Backblaze)
  ok      It is cool.

family         Western Digital Red
firmware       82.00A82
size           3.6 TiB
age            1824d1h
wear           2 %
worn out       about 2031-01-01 (2030-01-01 to never; confidence fair)
read           1m3s ago, usually every 5m
answered       10s ago
first seen     2026-01-01 00:00:00
acknowledged   2026-06-01 00:00:00: replaced the cable
attached by    sata
port           pci-0000:00:17.0-ata-1
by id          ata-WDC_WD40EFRX_WD-1

What stands on it
WHAT      NAME   ROLE    ON    MAY LOSE  WHEN IT DIES
mount     /srv   ext4    sda2         0  is lost
md        md0    in-use  sda1         1  goes on
ceph_osd  osd.1  block   sda3         -  -

What it counts
 ID  NAME                   VALUE  WORST  THRESH                       RAW  CHANGE  HISTORY
  5  Reallocated_Sector_Ct    200    200     140                        16       8  ▁                   ▁                  █
  7  Seek_Error_Rate            -      -       -  errors 1, operations 100       -  -
199  UDMA_CRC_Error_Count       -      -       -                         0       -  -
  -  Temperature                -      -       -                     34 °C       -  -

What it found in itself
SELF-TEST  RESULT     AT HOUR  HOURS AGO
short      completed    43000        777"
        );
    }

    #[test]
    fn what_the_history_knows_from_before_tells_of_the_wear() {
        let mut picture = picture();
        picture.told.wear_out = None;
        assert!(!picture.for_people(&plain()).contains("worn out"));
        let day = 86_400.0;
        let percent = |day: f64| (day / 10.0).floor();
        let days = (0..40).map(|at| f64::from(at) * 10.0);
        let points = days.map(|at| Point { time: at * day, value: percent(at) }).collect();
        picture.courses.insert("smartctl_device_percentage_used".to_owned(), points);
        let out = picture.wear_out().unwrap();
        assert!((990.0..1_010.0).contains(&(out.at.0 / day)), "{out:?}");
        assert!(picture.for_people(&plain()).contains("worn out       about 1972-"));
    }

    #[test]
    fn for_machines_it_is_one_object() {
        let json: Value =
            serde_json::from_str(&picture().json(json!({ "verdict": "watch" }))).unwrap();
        assert_eq!(json["verdict"], "watch");
        assert_eq!(json["numbers"][0]["raw"], 16);
        assert_eq!(json["numbers"][0]["history"][2], json!([99.0, 16.0]));
        assert_eq!(json["numbers"][1]["parts"], json!({ "errors": 1.0, "operations": 100.0 }));
        assert_eq!(json["numbers"][1]["raw"], 4_294_967_396_u64);
        let temperature = &json["numbers"][3];
        assert_eq!(
            (&temperature["name"], &temperature["raw"]),
            (&json!("Temperature"), &json!(34))
        );
        let csv = picture().numbers(Format::Csv).render(Format::Csv, &plain());
        assert!(
            csv.lines().any(|line| line.contains("Temperature") && line.contains(",34")),
            "{csv}"
        );
        assert_eq!(json["uses"][0]["then"], "is lost");
        assert_eq!(json["selfTests"][0]["hours_ago"], 777);
        assert_eq!(json["place"]["transport"], "sata");
    }

    #[test]
    fn sentences_fit_the_terminal() {
        let look = Look { width: Some(40), ..plain() };
        let text = wrapped("a disk that says a great deal in one sentence", 10, &look);
        assert_eq!(text, "a disk that says a great deal\n          in one sentence");
    }

    #[test]
    fn names_of_firmware_cannot_steer_the_terminal() {
        let mut picture = picture();
        picture.told.model_name = "evil\u{1b}[2J".to_owned();
        picture.told.reasons[0].text = "bad\u{1b}[2J".to_owned();
        assert!(!picture.for_people(&plain()).contains('\u{1b}'));
    }
}
