//! `labstat status`: the lab at a glance, and as a check for monitoring systems.

use std::collections::BTreeSet;
use std::process::ExitCode;

use labstat_disks::Verdict;

use crate::alerts::{self, Alert};
use crate::answer::Found;
use crate::ceph;
use crate::client::Client;
use crate::disks::{self, Condition};
use crate::failure::Failure;
use crate::human::{self, Unit};
use crate::net;
use crate::nodes;
use crate::output;
use crate::raid;
use crate::runtime;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, Answers, Questions, ViewArgs, at, count};

/// Shows the lab at a glance
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat status                    nodes, alerts, disks, arrays, bonds, Ceph, heat, space
  labstat status --node nas         of one node
  labstat status --check            one line, for Nagios, Icinga, cron …

Exit status of --check: 0 all is well, 1 warning, 2 critical, 3 unknown (the server cannot be
asked, or knows no node).")]
pub(crate) struct Status {
    /// Print one line and exit with 0, 1, 2 or 3, as monitoring plugins do
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    view: ViewArgs,
}

/// Names listed before the rest becomes "and N more".
const NAMES_MAX: usize = 3;

/// What a monitoring plugin says when it cannot tell.
const UNKNOWN: u8 = 3;

pub(crate) const OWN_QUESTIONS: &Questions = &[
    ("hot", "topk by (instance) (1, node_hwmon_temp_celsius or node_thermal_zone_temp)"),
    (
        "hot_disk",
        "topk by (instance) (1, smartctl_device_temperature{temperature_type=\"current\"})",
    ),
    ("collectors", "node_scrape_collector_success == 0"),
    (
        "full",
        "topk by (instance) (1, 1 - node_filesystem_avail_bytes{fstype!~\"tmpfs|ramfs\"} \
         / (node_filesystem_size_bytes > 0))",
    ),
];

/// Questions of other views whose answers make part of the glance.
const BORROWED: [(&Questions, &[&str]); 5] = [
    (nodes::QUESTIONS, &["seen", "up"]),
    (
        disks::QUESTIONS,
        &[
            "verdict", "silent", "gone", "info", "passed", "critical", "success", "mode", "raw",
            "read",
        ],
    ),
    (raid::QUESTIONS, &["state", "disks", "wanted", "array"]),
    (net::QUESTIONS, &["bond_members", "bond_active", "member"]),
    (ceph::QUESTIONS, &["health", "check", "reading", "read_at"]),
];

/// One area of the lab and how it is.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    area: &'static str,
    tone: Tone,
    text: String,
    /// The figure for a monitoring system's graphs: name, value.
    figure: Option<(&'static str, f64)>,
}

impl Status {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match runtime::block_on(glance(&self.view)) {
            Ok(lines) if self.check => check(&lines),
            Ok(lines) => {
                output::result(&table(&lines).render(self.view.format, &view::look()))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(failure) if self.check => {
                let text = failure.text().unwrap_or_default();
                let reason = text.lines().next().unwrap_or_default();
                let reason = reason.trim_start_matches("labstat: ");
                output::result(&format!("LABSTAT UNKNOWN - {reason}\n"))?;
                Ok(ExitCode::from(UNKNOWN))
            }
            Err(failure) => Err(failure),
        }
    }
}

async fn glance(args: &ViewArgs) -> Result<Vec<Line>, Failure> {
    let client = Client::new(&args.server)?;
    let questions = questions();
    let mut answers = Answers::ask(&client, &questions).await?;
    disks::ask_told(&client, &mut answers).await;
    let mut alerts = alerts::ask(&client).await?;
    let failing_rules = alerts::ask_failing_rules(&client).await?;
    let answers = match &args.node {
        Some(node) => {
            alerts.retain(|alert| alert.labels.get("instance") == Some(node));
            answers.only(node)
        }
        None => answers,
    };
    if let Some(node) = &args.node
        && nodes::names(&answers).is_empty()
    {
        view::must_be_known(&client, node).await?;
    }
    Ok(lines(&answers, &alerts, &failing_rules))
}

fn questions() -> Vec<(&'static str, &'static str)> {
    let borrowed = BORROWED
        .iter()
        .flat_map(|(all, names)| all.iter().filter(|(name, _)| names.contains(name)).copied());
    borrowed.chain(OWN_QUESTIONS.iter().copied()).collect()
}

fn lines(answers: &Answers, alerts: &[Alert], failing_rules: &[String]) -> Vec<Line> {
    let areas = [
        Some(nodes_line(answers)),
        Some(alerts_line(alerts)),
        disks_line(answers),
        arrays_line(answers),
        bonds_line(answers),
        ceph_line(answers),
        hottest_line(answers),
        hottest_disk_line(answers),
        fullest_line(answers),
        collectors_line(answers),
        rules_line(failing_rules),
    ];
    areas.into_iter().flatten().collect()
}

fn nodes_line(answers: &Answers) -> Line {
    let names = nodes::names(answers);
    let (up, down): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|node| nodes::is_up(answers, node));
    let down: Vec<String> = down
        .into_iter()
        .map(|node| match nodes::silence(answers, node) {
            Some(seconds) => format!("{node}, silent for {}", human::span(seconds)),
            None => node.to_owned(),
        })
        .collect();
    let mut text = format!("{} up", up.len());
    if !down.is_empty() {
        text.push_str(&format!(", {} down ({})", down.len(), listed(&down)));
    }
    let tone = match (names.is_empty(), down.is_empty()) {
        (true, _) => Tone::Warn,
        (false, true) => Tone::Good,
        (false, false) => Tone::Bad,
    };
    Line { area: "nodes", tone, text, figure: Some(("nodes_up", number(up.len()))) }
}

fn alerts_line(alerts: &[Alert]) -> Line {
    let firing: Vec<&Alert> = alerts.iter().filter(|alert| alert.state == "firing").collect();
    let critical = firing.iter().filter(|alert| alert.gravity() == 0).count();
    let pending = alerts.len() - firing.len();
    // The gravest names first: they are the ones that must not fall behind "and 6 more".
    let names: BTreeSet<(u8, &String)> = firing
        .iter()
        .filter_map(|alert| Some((alert.gravity(), alert.labels.get("alertname")?)))
        .collect();
    let names: Vec<String> = names.into_iter().map(|(_, name)| name.clone()).collect();
    let mut text = match firing.len() {
        0 => "none firing".to_owned(),
        firing => format!("{firing} firing ({})", listed(&names)),
    };
    let count = |is: fn(&Alert) -> bool| firing.iter().filter(|alert| is(alert)).count();
    for (number, what) in [
        (count(Alert::is_acknowledged), "acknowledged"),
        (count(Alert::is_silenced), "silenced"),
        (pending, "pending"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    let tone = match (firing.len(), critical) {
        (0, _) => Tone::Good,
        (_, 0) => Tone::Warn,
        _ => Tone::Bad,
    };
    Line { area: "alerts", tone, text, figure: Some(("alerts_firing", number(firing.len()))) }
}

fn disks_line(answers: &Answers) -> Option<Line> {
    let disks = disks::disks(answers);
    if disks.is_empty() {
        return None;
    }
    let with = |wanted: &dyn Fn(Condition) -> bool| -> Vec<String> {
        let those = disks.iter().filter(|disk| wanted(disks::condition(answers, **disk)));
        those.map(|(node, device)| format!("{node}/{device}")).collect()
    };
    let is = |verdict| move |it: Condition| it.verdict == verdict && !it.missing && !it.unjudged;
    let (dead, act) = (with(&is(Verdict::Dead)), with(&is(Verdict::Act)));
    let (missing, watch) = (with(&|it| it.missing && !it.unjudged), with(&is(Verdict::Watch)));
    let mut parts = Vec::new();
    for (names, what) in
        [(&dead, "DEAD"), (&act, "TO REPLACE"), (&missing, "missing"), (&watch, "to watch")]
    {
        if !names.is_empty() {
            parts.push(format!("{} {what} ({})", names.len(), listed(names)));
        }
    }
    for (verdict, what) in
        [(Verdict::Ok, "ok"), (Verdict::Asleep, "asleep"), (Verdict::Silent, "without SMART data")]
    {
        match with(&is(verdict)).len() {
            0 => {}
            some => parts.push(format!("{some} {what}")),
        }
    }
    match with(&|it| it.unjudged).len() {
        0 => {}
        some => parts.push(format!("{some} not judged yet")),
    }
    let worst = disks.iter().map(|disk| disks::condition(answers, *disk).tone());
    let tone = worst.max().unwrap_or_default();
    let failing = [dead, act].concat();
    let figure = Some(("disks_failing", number(failing.len())));
    Some(Line { area: "disks", tone, text: parts.join(", "), figure })
}

fn arrays_line(answers: &Answers) -> Option<Line> {
    let arrays = raid::arrays(answers);
    if arrays.is_empty() {
        return None;
    }
    let those = |sick: &dyn Fn((&str, &str)) -> bool| -> Vec<String> {
        let sick = arrays.iter().filter(|array| sick(**array));
        sick.map(|(node, device)| format!("{node}/{device}")).collect()
    };
    let degraded = those(&|array| raid::degraded(answers, array) == Some(true));
    let inactive = those(&|array| raid::inactive(answers, array));
    let mut parts = Vec::new();
    for (what, names) in [("DEGRADED", &degraded), ("INACTIVE", &inactive)] {
        if !names.is_empty() {
            parts.push(format!("{} {what} ({})", names.len(), listed(names)));
        }
    }
    let (tone, text) = match parts.is_empty() {
        true => (Tone::Good, format!("{}, none degraded", count(arrays.len(), "array"))),
        false => (Tone::Bad, parts.join(", ")),
    };
    let figure = Some(("arrays_degraded", number(degraded.len())));
    Some(Line { area: "arrays", tone, text, figure })
}

fn bonds_line(answers: &Answers) -> Option<Line> {
    let bonds = answers.all("bond_members");
    if bonds.is_empty() {
        return None;
    }
    let short: Vec<String> = bonds
        .iter()
        .filter_map(|bond| {
            let (node, name) = (at(bond), bond.label("master"));
            let here = [("instance", node), ("master", name)];
            let (active, members) = (net::links(answers, &here)?, bond.value()?);
            (active < members).then(|| format!("{node}/{name}, {active} of {members} links"))
        })
        .collect();
    let (tone, text) = match short.as_slice() {
        [] => (Tone::Good, format!("{}, none short of links", count(bonds.len(), "bond"))),
        some => (Tone::Bad, format!("{} SHORT OF LINKS ({})", some.len(), listed(some))),
    };
    Some(Line { area: "bonds", tone, text, figure: Some(("bonds_short", number(short.len()))) })
}

/// Clusters of Ceph and why they are not well.
fn ceph_line(answers: &Answers) -> Option<Line> {
    let (tone, text) = ceph::in_short(answers)?;
    Some(Line { area: "ceph", tone, text, figure: None })
}

/// What could not be read, so that an area without bad news is not taken for one that is well.
fn collectors_line(answers: &Answers) -> Option<Line> {
    let failing = answers.all("collectors").iter();
    let failing: Vec<String> =
        failing.map(|found| format!("{}/{}", at(found), found.label("collector"))).collect();
    let text = match failing.as_slice() {
        [] => return None,
        some => format!("{} failing ({})", some.len(), listed(some)),
    };
    let figure = Some(("collectors_failing", number(failing.len())));
    Some(Line { area: "collectors", tone: Tone::Warn, text, figure })
}

/// Rules that fail are alerts that will never fire.
fn rules_line(failing: &[String]) -> Option<Line> {
    let text = match failing {
        [] => return None,
        some => format!("{} cannot be evaluated ({})", some.len(), listed(some)),
    };
    let figure = Some(("rules_failing", number(failing.len())));
    Some(Line { area: "rules", tone: Tone::Warn, text, figure })
}

fn hottest_line(answers: &Answers) -> Option<Line> {
    let (found, celsius) = highest(answers, "hot")?;
    let what = ["chip", "type", "sensor"].iter().map(|name| found.label(name));
    let what: Vec<&str> = what.filter(|word| !word.is_empty()).collect();
    Some(Line {
        area: "hottest",
        tone: graded(celsius, nodes::HOT_WARN, nodes::HOT_BAD),
        text: format!("{} at {} {}", shown(celsius, Unit::Celsius), at(found), what.join(" ")),
        figure: Some(("hottest_celsius", celsius)),
    })
}

/// Disks have a line of their own: they are too hot where a processor is well.
fn hottest_disk_line(answers: &Answers) -> Option<Line> {
    let (found, celsius) = highest(answers, "hot_disk")?;
    let device = found.label("device");
    Some(Line {
        area: "hottest disk",
        tone: graded(celsius, disks::DISK_HOT_WARN, disks::DISK_HOT_BAD),
        text: format!("{} at {}/{device}", shown(celsius, Unit::Celsius), at(found)),
        figure: Some(("hottest_disk_celsius", celsius)),
    })
}

fn fullest_line(answers: &Answers) -> Option<Line> {
    let (found, used) = highest(answers, "full")?;
    Some(Line {
        area: "fullest",
        tone: graded(used, nodes::FULL_WARN, nodes::FULL_BAD),
        text: format!(
            "{} of {}:{}",
            shown(used, Unit::Ratio),
            at(found),
            found.label("mountpoint")
        ),
        figure: Some(("fullest_ratio", used)),
    })
}

/// The series with the highest value of an answer.
fn highest<'a>(answers: &'a Answers, name: &str) -> Option<(&'a Found, f64)> {
    let known = answers.all(name).iter().filter_map(|found| Some((found, found.value()?)));
    known.filter(|(_, value)| value.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1))
}

fn graded(value: f64, warn: f64, bad: f64) -> Tone {
    match value {
        _ if value >= bad => Tone::Bad,
        _ if value >= warn => Tone::Warn,
        _ => Tone::Good,
    }
}

fn shown(value: f64, unit: Unit) -> String {
    human::number(value, unit, &jiff::tz::TimeZone::UTC)
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join("; ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

fn table(lines: &[Line]) -> Table {
    let columns = [
        Column::text("area", "AREA"),
        Column::text("state", "STATE"),
        Column::prose("what", "WHAT"),
    ];
    let mut table = Table::new(columns, "");
    for line in lines {
        table.push(vec![
            Cell::text(line.area),
            Cell::text(word(line.tone)).tone(line.tone),
            Cell::text(&*line.text),
        ]);
    }
    table
}

fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "-",
        Tone::Good => "ok",
        Tone::Warn => "warning",
        Tone::Bad => "critical",
    }
}

/// The one line of a monitoring plugin: what is worst first, figures after the bar.
fn check(lines: &[Line]) -> Result<ExitCode, Failure> {
    let (text, code) = verdict(lines);
    output::result(&text)?;
    Ok(ExitCode::from(code))
}

fn verdict(lines: &[Line]) -> (String, u8) {
    let knows_nodes = lines.iter().any(|line| line.area == "nodes" && line.tone != Tone::Warn);
    let worst = lines.iter().map(|line| line.tone).max().unwrap_or_default();
    let (name, code) = match worst {
        _ if !knows_nodes => ("UNKNOWN", UNKNOWN),
        Tone::Bad => ("CRITICAL", 2),
        Tone::Warn => ("WARNING", 1),
        Tone::Good | Tone::Plain => ("OK", 0),
    };
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(|line| std::cmp::Reverse(line.tone));
    let words: Vec<String> = match knows_nodes {
        true => sorted.iter().map(|line| format!("{}: {}", line.area, line.text)).collect(),
        false => vec!["no node has been heard of".to_owned()],
    };
    let figures: Vec<String> = lines
        .iter()
        .filter_map(|line| line.figure)
        .map(|(name, value)| format!("{name}={}", human::plain(value)))
        .collect();
    // The bar starts the figures; one in a name would start them too early.
    let words = words.join("; ").replace('|', "/");
    (format!("LABSTAT {name} - {words} | {}\n", figures.join(" ")), code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{canned, plain};

    fn troubled() -> Vec<Line> {
        let answers = canned(
            r#"
            now {} 100000
            seen {instance="apex"} 99999
            seen {instance="zenith"} 89200
            up {instance="apex"} 1
            info {instance="apex",device="nvme0"} 1
            passed {instance="apex",device="nvme0"} 1
            info {instance="apex",device="sda"} 1
            passed {instance="apex",device="sda"} 0
            passed {instance="apex",device="sdb"} 1
            success {instance="apex",device="sdb"} 0
            verdict {instance="nas",device="sdz",verdict="silent"} 1
            silent {instance="nas",device="sdz"} 7200
            disks {instance="nas",device="md0",state="active"} 2
            wanted {instance="nas",device="md0"} 2
            hot {instance="apex",chip="nvme_nvme0",sensor="temp1"} 78.2
            hot {instance="nas",chip="cool",sensor="temp1"} 30
            hot_disk {instance="apex",device="sda"} 71
            raw {instance="apex",device="nvme0",attribute_id="197"} 0
            raw {instance="apex",device="sdb",attribute_id="197"} 8
            state {instance="nas",device="md1",state="inactive"} 1
            wanted {instance="nas",device="md1"} 0
            bond_members {instance="apex",master="bond0"} 2
            bond_active {instance="apex",master="bond0"} 2
            member {instance="apex",device="b",master="bond0",active="false",mii_status="up",mode="802.3ad"} 1
            collectors {instance="apex",collector="hwmon"} 0
            full {instance="nas",mountpoint="/",fstype="ext4"} 0.2
            full {instance="apex",mountpoint="/var",fstype="ext4"} 0.5
            full {instance="vps",mountpoint="/odd",fstype="ext4"} NaN
            "#,
        );
        let alert = |name: &str, severity: &str| {
            let labels = serde_json::json!({"alertname": name, "severity": severity});
            serde_json::from_value(serde_json::json!({"labels": labels, "state": "firing"}))
                .unwrap()
        };
        let alerts = [alert("Abc", "warning"), alert("Xyz", "critical"), alert("Xyz", "critical")];
        lines(&answers, &alerts, &["Mine".to_owned()])
    }

    #[test]
    fn at_a_glance() {
        assert_eq!(
            plain(&table(&troubled())),
            "\
AREA          STATE     WHAT
nodes         critical  1 up, 1 down (zenith, silent for 3h)
alerts        critical  3 firing (Xyz; Abc)
disks         critical  1 TO REPLACE (apex/sda), 1 missing (nas/sdz), 1 to watch (apex/sdb), 1 ok
arrays        critical  1 INACTIVE (nas/md1)
bonds         critical  1 SHORT OF LINKS (apex/bond0, 1 of 2 links)
hottest       warning   78.2 °C at apex nvme_nvme0 temp1
hottest disk  critical  71 °C at apex/sda
fullest       ok        50 % of apex:/var
collectors    warning   1 failing (apex/hwmon)
rules         warning   1 cannot be evaluated (Mine)
"
        );
    }

    #[test]
    fn as_a_monitoring_plugin() {
        let (text, code) = verdict(&troubled());
        assert_eq!(code, 2);
        assert!(text.starts_with("LABSTAT CRITICAL - nodes: 1 up, 1 down"), "{text}");
        assert!(text.contains(" | nodes_up=1 alerts_firing=3 disks_failing=1 "), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn well_and_unknown() {
        let well = canned("now {} 10\nseen {instance=\"a\"} 9\nup {instance=\"a\"} 1");
        assert_eq!(verdict(&lines(&well, &[], &[])).1, 0);
        let (text, code) = verdict(&lines(&canned("now {} 10"), &[], &[]));
        assert_eq!(code, UNKNOWN);
        assert!(text.starts_with("LABSTAT UNKNOWN - no node has been heard of"), "{text}");
    }

    #[test]
    fn each_area_is_well_or_says_why_not() {
        let well = canned(
            r#"
            info {instance="a",device="sda"} 1
            passed {instance="a",device="sda"} 1
            raw {instance="a",device="sda",attribute_id="198"} 0
            state {instance="a",device="md0",state="active"} 1
            disks {instance="a",device="md0",state="active"} 2
            wanted {instance="a",device="md0"} 2
            bond_members {instance="a",master="bond0"} 2
            bond_active {instance="a",master="bond0"} 2
            hot_disk {instance="a",device="sda"} 54
            "#,
        );
        let lines = lines(&well, &[], &[]);
        let sick: Vec<&Line> =
            lines.iter().filter(|line| line.tone != Tone::Good && line.area != "nodes").collect();
        assert!(sick.is_empty(), "{sick:?}");
        let areas: Vec<&str> = lines.iter().map(|line| line.area).collect();
        assert_eq!(areas, ["nodes", "alerts", "disks", "arrays", "bonds", "hottest disk"]);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (1..=5).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "1; 2; 3; and 2 more");
    }
}
