//! `labstat disks`: every disk, what to think of it, and what it says about itself.
//!
//! The aggregator's own list of disks has the reasons with their numbers. Of a server without one,
//! such as a Prometheus that scrapes an aggregator, the series say the same in fewer words.

use std::collections::BTreeSet;
use std::process::ExitCode;

use labstat_disks::Verdict;

use crate::answer::{Answer, Found};
use crate::client::Client;
use crate::failure::Failure;
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at};

/// Shows every disk: verdict, age, wear, temperature, and why it is judged so
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat disks                     all disks of all nodes, the worst first
  labstat disks --node vertex
  labstat disks --format json       every column, numbers in base units
  labstat disk vertex/sda           all about one of them

VERDICT: dead (does not answer), act (replace it now), watch (attention), ok; silent (missing, or
nothing can be known of it), asleep (left alone); - (not judged yet). Of a server that does not
judge disks, such as a Prometheus, it is only what the disk says of itself. READ AGO is shown once a
reading is older than ten minutes: a sleeping disk is not woken up to be read.")]
pub(crate) struct Disks {
    #[command(flatten)]
    view: ViewArgs,
}

/// Readings are taken every five minutes; one that is older than two of them is worth saying.
const READING_OLD_SECONDS: f64 = 600.0;

/// Wear at which to plan a replacement, and to do it.
const WEAR_WARN: f64 = 0.8;
const WEAR_BAD: f64 = 1.0;

/// Temperatures at which disks age fast, and leave their specification.
pub(crate) const DISK_HOT_WARN: f64 = 55.0;
/// See [`DISK_HOT_WARN`].
pub(crate) const DISK_HOT_BAD: f64 = 70.0;

pub(crate) const QUESTIONS: &Questions = &[
    ("verdict", "labstat_disk_verdict"),
    ("reason", "labstat_disk_reason"),
    ("silent", "labstat_disk_silent_seconds"),
    ("info", "smartctl_device"),
    ("passed", "smartctl_device_smart_status"),
    ("critical", "smartctl_device_critical_warning"),
    ("temperature", "smartctl_device_temperature{temperature_type=\"current\"}"),
    ("wear", "labstat_smart_wear_ratio"),
    ("used", "smartctl_device_percentage_used"),
    ("media", "smartctl_device_media_errors"),
    ("hours", "smartctl_device_power_on_seconds"),
    ("capacity", "smartctl_device_capacity_bytes"),
    // By number where all vendors agree, by name where only the name tells what is counted.
    ("raw", "smartctl_device_attribute{attribute_id=~\"5|197|198\", attribute_value_type=\"raw\"}"),
    (
        "life",
        "smartctl_device_attribute{attribute_name=~\"Wear_Leveling_Count|Media_Wearout_Indicator|\
         SSD_Life_Left|Percent_Lifetime_Remain|Percent_Lifetime_Used|Remaining_Lifetime_Perc\", \
         attribute_value_type=\"value\"}",
    ),
    ("success", "labstat_smart_read_success"),
    ("gone", "labstat_smart_state{state=\"gone\"} == 1"),
    ("age", "time() - labstat_smart_last_success_timestamp_seconds"),
    ("mode", "labstat_smart_power_mode == 1"),
    ("known", "node_disk_info"),
    (
        "read",
        "rate(node_disk_read_bytes_total{device!~\"(dm-|md|rbd|loop|zram|sr|zd|drbd).*\"}[5m])",
    ),
    (
        "written",
        "rate(node_disk_written_bytes_total{device!~\"(dm-|md|rbd|loop|zram|sr|zd|drbd).*\"}[5m])",
    ),
];

impl Disks {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let view = &self.view;
        let table = runtime::block_on(async {
            let client = Client::new(&view.server)?;
            let mut answers = Answers::ask(&client, QUESTIONS).await?;
            ask_told(&client, &mut answers).await;
            view::narrowed(&client, view, answers, table).await
        })?;
        output::result(&table.render(view.format, &view::look()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks an aggregator for its own list of disks, as the answer `told`. Other servers have none.
pub(crate) async fn ask_told(client: &Client, answers: &mut Answers) {
    if let Ok(reply) = client.get("/api/labstat/v1/disks").await {
        answers.add("told", told(&reply.data));
    }
}

/// A row for each disk of the list, with the words of its first reason.
fn told(list: &serde_json::Value) -> Answer {
    let disks = list.as_array().into_iter().flatten();
    let rows = disks.map(|disk| {
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let labels = [
            ("instance", word(&disk["instance"])),
            ("device", word(&disk["device"])),
            ("serial_number", word(&disk["serialNumber"])),
            ("reason", word(&disk["reasons"][0]["text"])),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
        Found { labels, points: Vec::new() }
    });
    Answer::Vector(rows.collect())
}

/// How a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What to think of it.
    pub(crate) verdict: Verdict,
    /// It should answer and does not.
    pub(crate) missing: bool,
    /// The server, which judges disks, has not come to it yet.
    pub(crate) unjudged: bool,
}

impl Condition {
    /// One that is there.
    pub(crate) const fn of(verdict: Verdict) -> Self {
        Self { verdict, missing: false, unjudged: false }
    }

    /// The same, or one that should answer and does not.
    pub(crate) const fn or_missing(self, missing: bool) -> Self {
        Self { missing, ..self }
    }

    /// The worst first.
    fn rank(self) -> u8 {
        match (self.verdict, self.missing) {
            (Verdict::Dead, _) => 0,
            (Verdict::Act, _) => 1,
            (_, true) => 2,
            (Verdict::Watch, _) => 3,
            _ => 4,
        }
    }

    /// How urgent that is.
    pub(crate) fn tone(self) -> Tone {
        match (self.verdict, self.missing) {
            (Verdict::Dead | Verdict::Act, _) => Tone::Bad,
            (Verdict::Watch, _) | (_, true) => Tone::Warn,
            _ if self.unjudged => Tone::Plain,
            (Verdict::Ok, _) => Tone::Good,
            (Verdict::Asleep | Verdict::Silent, _) => Tone::Plain,
        }
    }
}

/// The disk a block device belongs to, as smartctl names it: `nvme0n1` is on `nvme0`.
fn disk_of(device: &str) -> &str {
    let Some(number) = device.strip_prefix("nvme") else { return device };
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    match number.get(digits..) {
        Some(rest) if rest.starts_with('n') => device.get(..4 + digits).unwrap_or(device),
        _ => device,
    }
}

/// Every disk that smartctl or the kernel knows, as `(node, device)`.
pub(crate) fn disks(answers: &Answers) -> BTreeSet<(&str, &str)> {
    let named =
        ["verdict", "info", "success", "read"].into_iter().flat_map(|name| answers.all(name));
    let named = named.map(|found| (at(found), disk_of(found.label("device"))));
    // What is gone and was never judged by one who judges all disks is nobody's loss; what does not
    // answer and is not on the aggregator's own list was forgotten, or never said anything.
    let judges = judges_all(answers) || !answers.all("verdict").is_empty();
    let is_lost = |(node, device): &(&str, &str)| {
        let here = [("instance", *node), ("device", *device)];
        let has = |name| answers.with(name, &here).next().is_some();
        let is_mute = answers.value("success", &here) == Some(0.0) && !is_asleep(answers, &here);
        !has("verdict") && (judges && has("gone") || judges_all(answers) && is_mute)
    };
    named.filter(|disk| !is_lost(disk)).collect()
}

/// Whether the server is an aggregator, which judges all disks that it hears of.
fn judges_all(answers: &Answers) -> bool {
    answers.has("told")
}

fn is_asleep(answers: &Answers, here: &[(&str, &str)]) -> bool {
    let mode = answers.with("mode", here).next().map(|found| found.label("mode"));
    mode.is_some_and(|mode| mode.starts_with("standby") || mode == "sleep")
}

/// How a disk is: by the aggregator's verdict, or by its own words where nobody judges it.
pub(crate) fn condition(answers: &Answers, (node, device): (&str, &str)) -> Condition {
    let here = [("instance", node), ("device", device)];
    let words = answers.with("verdict", &here).map(|found| found.label("verdict"));
    let known = words.filter_map(|word| Verdict::ALL.into_iter().find(|it| it.as_str() == word));
    // Two disks of one name are one that was replaced by another just now.
    match known.reduce(Verdict::worse) {
        Some(verdict) => {
            Condition::of(verdict).or_missing(answers.with("silent", &here).next().is_some())
        }
        None => {
            let own = own_words(answers, &here);
            // Bad news need no judge, good ones do.
            let is_good = matches!(own.verdict, Verdict::Ok | Verdict::Silent);
            let is_read = answers.with("info", &here).next().is_some();
            Condition { unjudged: judges_all(answers) && is_read && is_good, ..own }
        }
    }
}

/// What a disk says of its own health.
fn own_words(answers: &Answers, here: &[(&str, &str); 2]) -> Condition {
    let asleep = is_asleep(answers, here);
    let unread = answers.value("success", here) == Some(0.0) && !asleep;
    let lost = ["197", "198"].into_iter().any(|id| {
        let raw = [here[0], here[1], ("attribute_id", id)];
        answers.value("raw", &raw).is_some_and(|sectors| sectors > 0.0)
    });
    match (answers.value("passed", here), answers.value("critical", here)) {
        (Some(0.0), _) => Condition::of(Verdict::Act),
        (_, Some(flags)) if flags > 0.0 => Condition::of(Verdict::Watch),
        _ if lost => Condition::of(Verdict::Watch),
        // What it said before it could no longer be read does not count.
        _ if unread => Condition::of(Verdict::Silent).or_missing(true),
        _ if asleep => Condition::of(Verdict::Asleep),
        (Some(_), _) => Condition::of(Verdict::Ok),
        (None, _) => Condition::of(Verdict::Silent),
    }
}

fn table(answers: &Answers) -> Table {
    let mut table = Table::new(
        [
            Column::text("verdict", "VERDICT"),
            Column::text("node", "NODE"),
            Column::text("device", "DISK"),
            Column::text("model", "MODEL").minor(1),
            Column::text("serial", "SERIAL").minor(3),
            Column::new("capacity_bytes", "SIZE", Unit::Bytes).minor(4),
            Column::new("power_on_seconds", "AGE", Unit::Seconds),
            Column::new("wear_ratio", "WEAR", Unit::Ratio),
            Column::new("temperature_celsius", "TEMP", Unit::Celsius),
            Column::new("reallocated_sectors", "REALLOC", Unit::Plain).minor(5),
            Column::new("pending_sectors", "PENDING", Unit::Plain).minor(5),
            Column::new("uncorrectable_errors", "UNCORR", Unit::Plain).minor(5),
            Column::new("read_bytes_per_second", "READ", Unit::BytesPerSecond).minor(6),
            Column::new("written_bytes_per_second", "WRITE", Unit::BytesPerSecond).minor(6),
            Column::new("reading_age_seconds", "READ AGO", Unit::Seconds).minor(2),
            Column::prose("reason", "WHY"),
        ],
        "No disks are known yet. `labstat doctor` says what is missing on a machine.",
    );
    let mut rows: Vec<(u8, Tone, Vec<Cell>)> = disks(answers)
        .into_iter()
        .map(|disk| {
            let condition = condition(answers, disk);
            let row = row(answers, disk, condition);
            let tone = row.iter().map(|cell| cell.tone).max().unwrap_or_default();
            (condition.rank(), tone.max(Tone::Good), row)
        })
        .collect();
    rows.sort_by_key(|(rank, tone, _)| (*rank, std::cmp::Reverse(*tone)));
    for (_, _, row) in rows {
        table.push(row);
    }
    table
}

fn row(answers: &Answers, disk: (&str, &str), condition: Condition) -> Vec<Cell> {
    let (node, device) = disk;
    let here = [("instance", node), ("device", device)];
    let number = |name| answers.value(name, &here);
    let raw = |id| answers.value("raw", &[here[0], here[1], ("attribute_id", id)]);
    let serial = word(answers, disk, condition, "serial_number", "serial");
    let reason = reason(answers, &here, serial).filter(|_| condition.verdict != Verdict::Ok);
    let verdict = match condition.unjudged {
        true => Cell::absent(),
        false => Cell::text(condition.verdict.as_str()).tone(condition.tone()),
    };
    vec![
        verdict,
        Cell::text(node),
        Cell::text(device),
        Cell::text_opt(word(answers, disk, condition, "model_name", "model")),
        Cell::text_opt(serial),
        Cell::number(number("capacity")),
        Cell::number(number("hours")),
        Cell::number(wear(answers, &here)).limits(WEAR_WARN, WEAR_BAD),
        Cell::number(number("temperature")).limits(DISK_HOT_WARN, DISK_HOT_BAD),
        Cell::number(raw("5")),
        Cell::number(raw("197")),
        Cell::number(raw("198").or_else(|| number("media"))),
        Cell::number(traffic(answers, "read", disk)),
        Cell::number(traffic(answers, "written", disk)),
        Cell::number(number("age").filter(|age| *age > READING_OLD_SECONDS))
            .limits(READING_OLD_SECONDS, f64::INFINITY),
        // That all is well needs no words.
        Cell::text_opt(if condition.unjudged { Some("not judged yet") } else { reason }),
    ]
}

/// Why the disk is judged so: with its numbers where the server has them.
fn reason<'a>(
    answers: &'a Answers,
    here: &'a [(&'a str, &'a str)],
    serial: Option<&str>,
) -> Option<&'a str> {
    let of_it = |found: &&Found| Some(found.label("serial_number")) == serial;
    ["told", "reason"].into_iter().find_map(|name| {
        let reasons = || answers.with(name, here);
        let found = reasons().find(of_it).or_else(|| reasons().next())?;
        Some(found.label("reason")).filter(|reason| !reason.is_empty())
    })
}

/// A fact that the verdict and smartctl know under one name and the kernel under another. The
/// verdict is of the disk that is there now; a name's older series can be of the disk before it.
fn word<'a>(
    answers: &'a Answers,
    (node, device): (&str, &str),
    condition: Condition,
    smartctl: &str,
    kernel: &str,
) -> Option<&'a str> {
    let here = |name: &str, label: &str, verdict: Option<Verdict>| -> Option<&'a str> {
        let mut found = answers.all(name).iter().filter(|found| {
            at(found) == node
                && disk_of(found.label("device")) == device
                && verdict.is_none_or(|verdict| found.label("verdict") == verdict.as_str())
        });
        found.next()?.labels.get(label).map(String::as_str).filter(|text| !text.is_empty())
    };
    // Of two disks of one name, the row is about the worse one.
    here("verdict", smartctl, Some(condition.verdict))
        .or_else(|| here("info", smartctl, None))
        .or_else(|| here("known", kernel, None))
}

/// Used life from 0 to 1 and beyond: NVMe says it, SATA disks say what is left.
fn wear(answers: &Answers, here: &[(&str, &str)]) -> Option<f64> {
    let used = answers.value("wear", here);
    let used = used.or_else(|| answers.value("used", here).map(|percent| percent / 100.0));
    used.or_else(|| {
        let left = answers.value("life", here).filter(|left| (0.0..=100.0).contains(left))?;
        Some((100.0 - left) / 100.0)
    })
}

/// Traffic of all block devices on a disk.
fn traffic(answers: &Answers, name: &str, (node, device): (&str, &str)) -> Option<f64> {
    let on_it = answers
        .all(name)
        .iter()
        .filter(|found| at(found) == node && disk_of(found.label("device")) == device);
    let rates: Vec<f64> = on_it.filter_map(Found::value).collect();
    (!rates.is_empty()).then(|| rates.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    #[test]
    fn namespaces_belong_to_their_controller() {
        for (device, disk) in [
            ("nvme0n1", "nvme0"),
            ("nvme10n2", "nvme10"),
            ("nvme0", "nvme0"),
            ("sda", "sda"),
            ("vda", "vda"),
            ("nvme", "nvme"),
        ] {
            assert_eq!(disk_of(device), disk);
        }
    }

    #[test]
    fn the_worst_stand_first_and_say_why() {
        let answers = canned(
            r#"
            verdict {instance="vertex",device="sda",model_name="WDC WD10EZEX",serial_number="WD-1",verdict="act"} 1
            reason {instance="vertex",device="sda",reason="24 sectors cannot be read; replace it."} 1
            verdict {instance="nas",device="sdb",verdict="watch"} 1
            reason {instance="nas",device="sdb",reason="16 sectors were replaced."} 1
            verdict {instance="nas",device="sda",verdict="ok"} 1
            reason {instance="nas",device="sda",reason="Nothing speaks against it."} 1
            verdict {instance="apex",device="sda",model_name="Samsung",serial_number="S6",verdict="silent"} 1
            reason {instance="apex",device="sda",reason="Serial S6 on apex last answered."} 1
            silent {instance="apex",device="sda"} 93600
            verdict {instance="vps",device="vda",verdict="silent"} 1
            verdict {instance="nas",device="sdc",verdict="asleep"} 1
            info {instance="vertex",device="nvme0",model_name="CT1000P3PSSD8",serial_number="2311E6"} 1
            verdict {instance="vertex",device="nvme0",verdict="ok"} 1
            temperature {instance="vertex",device="nvme0"} 61
            used {instance="vertex",device="nvme0"} 13
            hours {instance="vertex",device="sda"} 158400000
            age {instance="vertex",device="sda"} 7260
            raw {instance="vertex",device="sda",attribute_id="197"} 24
            read {instance="vertex",device="nvme0n1"} 1048576
            "#,
        );
        let look = plain(&table(&answers));
        let rows: Vec<Vec<&str>> = look.lines().map(|l| l.split("  ").collect()).collect();
        let order: Vec<String> = rows
            .iter()
            .skip(1)
            .map(|row| {
                let words: Vec<&str> = row.iter().copied().filter(|w| !w.is_empty()).collect();
                words.iter().take(3).map(|word| word.trim()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(
            order,
            [
                "act vertex sda",
                "silent apex sda",
                "watch nas sdb",
                "ok vertex nvme0",
                "ok nas sda",
                "asleep nas sdc",
                "silent vps vda",
            ],
            "{look}"
        );
        assert!(look.contains("24 sectors cannot be read; replace it."), "{look}");
        assert!(look.contains("S6"), "what is missing is still named: {look}");
        assert!(!look.contains("Nothing speaks against it."), "{look}");
    }

    #[test]
    fn the_serial_is_that_of_the_disk_to_replace() {
        let answers = canned(
            r#"
            info {instance="nas",device="sda",model_name="Old",serial_number="S-GOOD"} 1
            info {instance="nas",device="sda",model_name="New",serial_number="S-BAD"} 1
            verdict {instance="nas",device="sda",model_name="Old",serial_number="S-GONE",verdict="ok"} 1
            reason {instance="nas",device="sda",serial_number="S-GONE",reason="All is well."} 1
            verdict {instance="nas",device="sda",model_name="New",serial_number="S-BAD",verdict="act"} 1
            reason {instance="nas",device="sda",serial_number="S-BAD",reason="Replace it."} 1
            "#,
        );
        let look = plain(&table(&answers));
        assert!(look.contains("New") && look.contains("S-BAD"), "{look}");
        assert!(look.contains("Replace it."), "{look}");
        assert!(!look.contains("S-GO") && !look.contains("Old"), "{look}");
    }

    #[test]
    fn where_nobody_judges_a_disk_speaks_for_itself() {
        let answers = canned(
            r#"
            passed {instance="nas",device="sda"} 1
            success {instance="nas",device="sda"} 0
            passed {instance="nas",device="sdb"} 0
            success {instance="nas",device="sdb"} 0
            passed {instance="nas",device="sdc"} 1
            success {instance="nas",device="sdc"} 0
            mode {instance="nas",device="sdc",mode="standby"} 1
            success {instance="nas",device="nvme1"} 0
            critical {instance="nas",device="nvme2"} 4
            passed {instance="nas",device="sdd"} 1
            raw {instance="nas",device="sdd",attribute_id="198"} 3
            passed {instance="nas",device="sde"} 1
            "#,
        );
        let of = |device| {
            let Condition { verdict, missing, .. } = condition(&answers, ("nas", device));
            (verdict, missing)
        };
        assert_eq!(of("sda"), (Verdict::Silent, true), "it passed before that");
        assert_eq!(of("sdb"), (Verdict::Act, false), "its last word was bad enough");
        assert_eq!(of("sdc"), (Verdict::Asleep, false));
        assert_eq!(of("nvme1"), (Verdict::Silent, true));
        assert_eq!(of("nvme2"), (Verdict::Watch, false));
        assert_eq!(of("sdd"), (Verdict::Watch, false), "sectors that it cannot read");
        assert_eq!(of("sde"), (Verdict::Ok, false));
        assert_eq!(of("sdz"), (Verdict::Silent, false));
        assert!(disks(&answers).contains(&("nas", "nvme1")), "gone, and still shown");
        let judged = canned(
            r#"
            success {instance="nas",device="sdx"} 0
            gone {instance="nas",device="sdx"} 1
            success {instance="nas",device="sdy"} 0
            gone {instance="nas",device="sdy"} 1
            verdict {instance="nas",device="sdy",verdict="ok"} 1
            "#,
        );
        assert_eq!(disks(&judged).into_iter().collect::<Vec<_>>(), [("nas", "sdy")]);
    }

    #[test]
    fn the_aggregators_own_words_have_the_numbers() {
        let mut answers = canned(
            r#"
            verdict {instance="nas",device="sda",serial_number="S1",verdict="watch"} 1
            reason {instance="nas",device="sda",serial_number="S1",reason="Sectors were replaced."} 1
            "#,
        );
        assert!(plain(&table(&answers)).contains("Sectors were replaced."));
        let list = serde_json::json!([
            { "instance": "nas", "device": "sda", "serialNumber": "S1", "verdict": "watch",
              "reasons": [{ "code": "reallocated_sectors", "text": "16 sectors were replaced." }] },
        ]);
        answers.add("told", told(&list));
        assert!(plain(&table(&answers)).contains("16 sectors were replaced."));
    }

    #[test]
    fn what_was_not_judged_yet_is_neither_well_nor_ill() {
        let mut answers = canned(
            r#"
            info {instance="nas",device="sda",serial_number="S1"} 1
            passed {instance="nas",device="sda"} 1
            info {instance="nas",device="sdb",serial_number="S2"} 1
            passed {instance="nas",device="sdb"} 0
            known {instance="nas",device="vda"} 1
            read {instance="nas",device="vda"} 1
            success {instance="nas",device="sdf"} 0
            "#,
        );
        let rows = |answers: &Answers| plain(&table(answers));
        assert!(rows(&answers).contains("ok       nas   sda"), "{}", rows(&answers));
        assert!(rows(&answers).contains("sdf"), "nobody has forgotten it: {}", rows(&answers));
        // An aggregator that knows no disk yet.
        answers.add("told", told(&serde_json::json!([])));
        let text = rows(&answers);
        let row = |device: &str| text.lines().find(|line| line.contains(device)).map(str::to_owned);
        let sda = row("sda").unwrap();
        assert!(sda.starts_with("-  ") && sda.ends_with("not judged yet"), "{text}");
        assert!(row("sdb").unwrap().starts_with("act "), "bad news need no judge: {text}");
        assert!(row("vda").unwrap().starts_with("silent "), "nobody will judge it: {text}");
        assert_eq!(row("sdf"), None, "it was forgotten, and still fails: {text}");
    }

    #[test]
    fn sata_wear_is_what_is_no_longer_left() {
        let answers = canned(r#"life {instance="nas",device="sda"} 97"#);
        assert_eq!(wear(&answers, &[("device", "sda")]), Some(0.03));
        let answers = canned(r#"life {instance="nas",device="sda"} 200"#);
        assert_eq!(wear(&answers, &[("device", "sda")]), None, "not a percentage");
    }
}
