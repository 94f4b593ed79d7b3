//! A cluster at a glance: health and its reasons, how old the readings are, monitors, recovery, flags,
//! and what may fail next.

use super::lab::{Cluster, Source};
use super::words;
use crate::answer::Found;
use crate::human::{self, Unit};
use crate::table::{Cell, Column, Table, Tone};
use crate::view;

/// Names listed before the rest becomes "and N more".
const NAMES_MAX: usize = 6;

/// One area of a cluster and how it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) area: &'static str,
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Line {
    fn new(area: &'static str, tone: Tone, text: impl Into<String>) -> Self {
        Self { area, tone, text: text.into() }
    }
}

/// The overall health in Ceph's word, if the monitors answer.
pub(super) fn health(cluster: Cluster<'_>) -> Option<(&'static str, Tone)> {
    let health = cluster.value("health", &[])?;
    Some(match health {
        health if health <= 0.0 => ("HEALTH_OK", Tone::Good),
        health if health <= 1.0 => ("HEALTH_WARN", Tone::Warn),
        _ => ("HEALTH_ERR", Tone::Bad),
    })
}

/// All areas that there is something to say about.
pub(super) fn lines(cluster: Cluster<'_>) -> Vec<Line> {
    let areas = [
        Some(health_line(cluster)),
        monitors_answer(cluster),
        manager_answers(cluster),
        monitors(cluster),
        managers(cluster),
        osds(cluster),
        files(cluster),
        data(cluster),
        recovery(cluster),
        next_failure(cluster),
        last_copies(cluster),
        flags(cluster),
    ];
    areas.into_iter().flatten().collect()
}

pub(super) fn table(cluster: Cluster<'_>) -> Table {
    let mut table = Table::new([Column::text("area", "AREA"), Column::prose("state", "STATE")], "");
    for line in lines(cluster) {
        table.push(vec![Cell::text(line.area), Cell::text(line.text).tone(line.tone)]);
    }
    table
}

/// The checks that fail, the worst first; muted ones last.
pub(super) fn checks(cluster: Cluster<'_>) -> Table {
    let columns = [
        Column::text("check", "CHECK"),
        Column::text("severity", "SEVERITY"),
        Column::new("count", "COUNT", Unit::Plain),
        Column::prose("meaning", "MEANING"),
    ];
    let mut table = Table::new(columns, "");
    let mut found: Vec<_> = cluster.all("check").collect();
    let rank = |muted: &str, severity: &str| (muted == "true", severity != "HEALTH_ERR");
    found.sort_by_key(|it| (rank(it.label("muted"), it.label("severity")), it.label("name")));
    for check in found {
        let name = check.label("name");
        let (severity, tone) = match (check.label("muted"), check.label("severity")) {
            ("true", "HEALTH_ERR") => ("error, muted", Tone::Plain),
            ("true", _) => ("warning, muted", Tone::Plain),
            (_, "HEALTH_ERR") => ("error", Tone::Bad),
            _ => ("warning", Tone::Warn),
        };
        table.push(vec![
            Cell::text(name),
            Cell::text(severity).tone(tone),
            // Ceph counts nothing for some.
            Cell::number(
                cluster.value("check_count", &[("name", name)]).filter(|count| *count > 0.0),
            ),
            Cell::text_opt(words::meaning(name)),
        ]);
    }
    table
}

fn health_line(cluster: Cluster<'_>) -> Line {
    match health(cluster) {
        Some((word, tone)) => Line::new("health", tone, word),
        None => Line::new("health", Tone::Bad, "unknown"),
    }
}

fn since(source: Source) -> String {
    source.age.map_or(String::new(), |age| format!("; last answer {} ago", human::span(age)))
}

/// Whether the monitors tell how it is, who asks them, and how long ago that was.
fn monitors_answer(cluster: Cluster<'_>) -> Option<Line> {
    let source = cluster.source("mon");
    let text = match source.is_good {
        Some(true) => {
            let mut readers: Vec<&str> =
                cluster.all("info").map(|info| info.label("reader")).collect();
            readers.sort_unstable();
            readers.dedup();
            let version = cluster.all("info").map(|info| info.label("version")).max();
            let mut text = match source.age {
                Some(age) => format!("{} ago", human::span(age.floor())),
                None => "just now".to_owned(),
            };
            if !readers.is_empty() {
                text.push_str(&format!(" by {}", readers.join(", ")));
            }
            if let Some(version) = version.filter(|version| !version.is_empty()) {
                text.push_str(&format!(", Ceph {version}"));
            }
            text
        }
        Some(false) => {
            format!("the monitors do not answer{}: health and OSDs are unknown", since(source))
        }
        None => format!(
            "nobody reads this cluster{}: no monitor leads where an agent runs",
            since(source)
        ),
    };
    let tone = if source.is_good == Some(true) { Tone::Plain } else { Tone::Bad };
    Some(Line::new("read", tone, text))
}

fn manager_answers(cluster: Cluster<'_>) -> Option<Line> {
    let source = cluster.source("mgr");
    if source.is_good != Some(false) || cluster.source("mon").is_good != Some(true) {
        return None;
    }
    let text = format!(
        "does not answer{}: usage, placement groups and recovery are unknown",
        since(source)
    );
    Some(Line::new("manager", Tone::Bad, text))
}

/// The monitors in quorum and those that are not. Where nobody reads, what each says of itself.
fn monitors(cluster: Cluster<'_>) -> Option<Line> {
    let name = |daemon: &str| daemon.strip_prefix("mon.").unwrap_or(daemon).to_owned();
    let known: Vec<&Found> = cluster.all("mon").collect();
    let all = known.len();
    if all == 0 {
        let own = cluster.answers.all("mon_own");
        let out = own.iter().filter(|found| found.value() == Some(0.0));
        let out: Vec<String> = out.map(|found| name(found.label("ceph_daemon"))).collect();
        return (!out.is_empty()).then(|| {
            let text = format!("not in quorum, by their own word: {}", listed(&out));
            Line::new("monitors", Tone::Bad, text)
        });
    }
    let (there, gone): (Vec<&Found>, Vec<&Found>) =
        known.into_iter().partition(|found| found.value().is_some_and(|value| value > 0.0));
    let leader = there.iter().map(|found| found.label("ceph_daemon")).find(|daemon| {
        cluster.answers.value("mon_leader", &[("ceph_daemon", daemon)]) == Some(1.0)
    });
    let mut text = format!("{} of {all} in quorum", there.len());
    if let Some(leader) = leader {
        text.push_str(&format!(", {} leads", name(leader)));
    }
    let gone: Vec<String> = gone
        .iter()
        .map(|found| {
            let daemon = found.label("ceph_daemon");
            let about = cluster.all("mon_info").find(|it| it.label("ceph_daemon") == daemon);
            match about.map(|about| about.label("hostname")).filter(|host| !host.is_empty()) {
                Some(host) => format!("{} on {host}", name(daemon)),
                None => name(daemon),
            }
        })
        .collect();
    if gone.is_empty() {
        return Some(Line::new("monitors", Tone::Good, text));
    }
    text.push_str(&format!("; out: {}", listed(&gone)));
    // As many as are needed: the next one that goes stops the cluster.
    let tone = if there.len() <= all / 2 + 1 { Tone::Bad } else { Tone::Warn };
    if tone == Tone::Bad {
        text.push_str("; when one more goes, the cluster stands still");
    }
    Some(Line::new("monitors", tone, text))
}

fn managers(cluster: Cluster<'_>) -> Option<Line> {
    let name = |daemon: &str| daemon.strip_prefix("mgr.").unwrap_or(daemon).to_owned();
    let known: Vec<_> = cluster.all("mgr").collect();
    let active = known.iter().find(|found| found.value().is_some_and(|value| value > 0.0));
    let standby = known.iter().filter(|found| found.value() == Some(0.0));
    let standby: Vec<String> = standby.map(|found| name(found.label("ceph_daemon"))).collect();
    let active = name(active?.label("ceph_daemon"));
    let (tone, text) = match standby.is_empty() {
        true => (Tone::Plain, format!("{active}; none stands by")),
        false => (Tone::Good, format!("{active}; {} by", stands(&standby))),
    };
    Some(Line::new("managers", tone, text))
}

fn stands(names: &[String]) -> String {
    let verb = if names.len() == 1 { "stands" } else { "stand" };
    format!("{} {verb}", listed(names))
}

fn osds(cluster: Cluster<'_>) -> Option<Line> {
    let all = cluster.all("up").count();
    if all == 0 {
        return None;
    }
    let is_set =
        |name| cluster.all(name).filter(|it| it.value().is_some_and(|it| it > 0.0)).count();
    let (up, is_in) = (is_set("up"), is_set("in"));
    let tone = match (up == all, is_in == all) {
        (true, true) => Tone::Good,
        (true, false) => Tone::Warn,
        (false, _) => Tone::Bad,
    };
    Some(Line::new("osds", tone, format!("{all}: {up} up, {is_in} in")))
}

/// Who serves the filesystems. Ceph warns of none whose only metadata server is gone without a word.
fn files(cluster: Cluster<'_>) -> Option<Line> {
    let name = |daemon: &str| daemon.strip_prefix("mds.").unwrap_or(daemon).to_owned();
    let is_laggy = |daemon: &str| cluster.value("laggy", &[("ceph_daemon", daemon)]).is_some();
    let mut servers: Vec<&Found> = cluster.all("mds").collect();
    servers.sort_by_key(|mds| mds.label("ceph_daemon"));
    let (mut parts, mut tone) = (Vec::new(), Tone::Plain);
    for ranks in cluster.all("ranks") {
        let filesystem = ranks.label("filesystem");
        let wanted = ranks.value().unwrap_or_default();
        let served = cluster.value("served", &[("filesystem", filesystem)])?;
        let its = servers.iter().filter(|mds| mds.label("filesystem") == filesystem);
        let said: Vec<String> = its
            .map(|mds| match (mds.label("ceph_daemon"), mds.label("state")) {
                (daemon, _) if is_laggy(daemon) => format!("{} does not answer", name(daemon)),
                (daemon, "up:active") => name(daemon),
                (daemon, state) => format!("{} ({state})", name(daemon)),
            })
            .collect();
        let verb = match (wanted > 0.0, served >= wanted) {
            (false, _) => "is shut down",
            (true, true) => "is served",
            (true, false) => "is not served",
        };
        tone = tone.max(if served < wanted { Tone::Bad } else { Tone::Good });
        let by = if said.is_empty() { String::new() } else { format!(": {}", listed(&said)) };
        parts.push(format!("{filesystem} {verb}{by}"));
    }
    let standby = servers.iter().filter(|mds| mds.label("state") == "up:standby");
    let standby: Vec<String> = standby
        .map(|mds| mds.label("ceph_daemon"))
        .filter(|daemon| !is_laggy(daemon))
        .map(name)
        .collect();
    if !standby.is_empty() {
        parts.push(format!("{} by", stands(&standby)));
    }
    (!parts.is_empty()).then(|| Line::new("files", tone, parts.join("; ")))
}

/// Copies that are missing or misplaced, as a share of all there should be.
fn data(cluster: Cluster<'_>) -> Option<Line> {
    let value = |name| cluster.value(name, &[]).filter(|count| *count > 0.0);
    let (degraded, misplaced) = (value("degraded"), value("misplaced"));
    let unfound = value("unfound");
    let copies = copies(cluster);
    let share = |count: f64| match copies.filter(|copies| count <= *copies) {
        Some(copies) => {
            format!(" ({})", human::number(count / copies, Unit::Ratio, &jiff::tz::TimeZone::UTC))
        }
        None => String::new(),
    };
    let mut parts = Vec::new();
    if let Some(unfound) = unfound {
        parts.push(format!("{} objects are nowhere to be found", human::plain(unfound)));
    }
    if let Some(count) = degraded {
        parts.push(format!("{} copies are missing{}", human::plain(count), share(count)));
    }
    if let Some(count) = misplaced {
        parts.push(format!("{} lie where they should not{}", human::plain(count), share(count)));
    }
    let tone = match (unfound, degraded, misplaced) {
        (Some(_), ..) => Tone::Bad,
        (None, Some(_), _) => Tone::Warn,
        _ => Tone::Plain,
    };
    (!parts.is_empty()).then(|| Line::new("data", tone, parts.join(", ")))
}

/// Copies and shards that there should be of all objects, by what each pool says of itself.
fn copies(cluster: Cluster<'_>) -> Option<f64> {
    let mut sum = 0.0;
    for pool in cluster.all("pool") {
        let objects = cluster.value("objects", &[("pool_id", pool.label("pool_id"))])?;
        sum += objects * copies_of(pool.label("description"))?;
    }
    (sum > 0.0).then_some(sum)
}

/// `replica:3` keeps three copies, `ec:2+1` three shards.
fn copies_of(description: &str) -> Option<f64> {
    let (kind, number) = description.split_once(':')?;
    match kind {
        "replica" => number.parse::<u32>().ok().map(f64::from),
        "ec" => {
            let (data, parity) = number.split_once('+')?;
            Some(f64::from(data.parse::<u16>().ok()?) + f64::from(parity.parse::<u16>().ok()?))
        }
        _ => None,
    }
}

/// How far what is wrong within the day has been put right.
pub(super) fn recovery_done(cluster: Cluster<'_>) -> Option<f64> {
    let now = cluster.value("degraded", &[])? + cluster.value("misplaced", &[])?;
    let most = cluster.value("most_wrong", &[]).filter(|most| *most > 0.0 && now > 0.0)?;
    Some((1.0 - now / most).clamp(0.0, 1.0))
}

fn recovery(cluster: Cluster<'_>) -> Option<Line> {
    let shown = |value, unit| human::number(value, unit, &jiff::tz::TimeZone::UTC);
    let is_wrong = ["degraded", "misplaced"]
        .iter()
        .any(|name| cluster.value(name, &[]).is_some_and(|count| count > 0.0));
    let speed = cluster.value("recovered", &[]).filter(|speed| *speed > 0.0);
    let bytes = cluster.value("recovered_bytes", &[]).filter(|speed| *speed > 0.0);
    if !is_wrong {
        return None;
    }
    let done = recovery_done(cluster).map(|done| format!("{} done", shown(done, Unit::Ratio)));
    let mut parts: Vec<String> = done.into_iter().collect();
    if speed.is_none() && bytes.is_none() {
        parts.push("nothing is being recovered now".to_owned());
        return Some(Line::new("recovery", Tone::Warn, parts.join(", ")));
    }
    parts.extend(speed.map(|speed| format!("{} objects/s", human::plain(speed))));
    parts.extend(bytes.map(|bytes| shown(bytes, Unit::BytesPerSecond)));
    let remaining = cluster.value("remaining", &[]);
    parts.extend(remaining.map(|left| format!("{} left at this speed", human::span(left))));
    Some(Line::new("recovery", Tone::Plain, parts.join(", ")))
}

/// How many may fail in the worst case, in a sentence.
fn next_failure(cluster: Cluster<'_>) -> Option<Line> {
    let may = |domain, until| cluster.value("tolerated", &[("domain", domain), ("until", until)]);
    let (served, kept) = (may("osd", "unavailable")?, may("osd", "loss")?);
    let is_degraded = cluster.value("degraded", &[]).is_some_and(|count| count > 0.0);
    let mut text = match (served > 0.0, kept > 0.0) {
        (_, false) => "no OSD may fail: the next one may cost data".to_owned(),
        (false, true) => format!(
            "no OSD may fail without data standing still until it is back; {} may, and none is lost",
            any(kept, "OSD")
        ),
        (true, true) if (served - kept).abs() < 0.5 => {
            format!("{} may fail with all data still served, and no more", any(served, "OSD"))
        }
        (true, true) => format!(
            "{} may fail and all data is still served, {} and none is lost",
            any(served, "OSD"),
            any(kept, "OSD")
        ),
    };
    if let (Some(served), Some(kept)) = (may("host", "unavailable"), may("host", "loss")) {
        text.push_str(&match kept > 0.0 {
            true => format!("; of whole hosts {} and {}", any_of(served), any_of(kept)),
            false => "; no whole host may fail".to_owned(),
        });
    }
    let blocking = holders(cluster, "blocking");
    if served <= 0.0 && !blocking.is_empty() && is_degraded {
        text.push_str(&format!(
            "; some of it is served only while all of these are: {}",
            listed(&blocking)
        ));
    }
    let tone = match (served > 0.0, kept > 0.0, is_degraded) {
        (_, false, true) => Tone::Bad,
        (false, true, true) => Tone::Warn,
        _ => Tone::Plain,
    };
    Some(Line::new("may fail", tone, text))
}

fn last_copies(cluster: Cluster<'_>) -> Option<Line> {
    let holders = holders(cluster, "only");
    let is_degraded = cluster.value("degraded", &[]).is_some_and(|count| count > 0.0);
    (is_degraded && !holders.is_empty()).then(|| {
        let text = format!("lie on {}: do not restart or take out", listed(&holders));
        Line::new("last copies", Tone::Bad, text)
    })
}

/// OSDs that some placement groups depend on, with how many those are.
fn holders(cluster: Cluster<'_>, name: &str) -> Vec<String> {
    let mut found: Vec<(f64, &str)> = cluster
        .all(name)
        .filter_map(|found| Some((found.value()?, found.label("ceph_daemon"))))
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    found.into_iter().map(|(count, osd)| format!("{osd} ({count} PGs)")).collect()
}

fn flags(cluster: Cluster<'_>) -> Option<Line> {
    let names = flag_names(cluster);
    (!names.is_empty()).then(|| Line::new("flags", Tone::Warn, names.join(", ")))
}

/// The flags that are set, by Ceph's names.
pub(super) fn flag_names(cluster: Cluster<'_>) -> Vec<String> {
    let names = cluster.all("flag").filter_map(|found| {
        let name = found.label("__name__").strip_prefix("ceph_osd_flag_")?;
        Some(name.replace('_', "-"))
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// `any one OSD`, `any 2 OSDs`.
fn any(number: f64, what: &str) -> String {
    match number {
        number if number < 1.0 => format!("no {what}"),
        number if number < 2.0 => format!("any one {what}"),
        number => format!("any {number} {what}s"),
    }
}

fn any_of(number: f64) -> String {
    match number {
        number if number < 1.0 => "none".to_owned(),
        number if number < 2.0 => "any one".to_owned(),
        number => format!("any {number}"),
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {}", view::count(more, "other")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_by_the_description_of_a_pool() {
        assert_eq!(copies_of("replica:3"), Some(3.0));
        assert_eq!(copies_of("ec:4+2"), Some(6.0));
        for unknown in ["", "replica:", "ec:4", "ec:+", "mirror:2", "replica:-1"] {
            assert_eq!(copies_of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn one_two_and_none() {
        assert_eq!(
            [any(0.0, "OSD"), any(1.0, "OSD"), any(2.0, "OSD")],
            ["no OSD", "any one OSD", "any 2 OSDs"]
        );
    }
}
