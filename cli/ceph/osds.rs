//! The OSDs of a cluster: state, disk and what is thought of it, latency, usage.

use super::lab::{Cluster, gravity};
use crate::human::Unit;
use crate::table::{Cell, Column, Table, Tone};

/// Milliseconds of a second: Ceph tells latencies in them.
const MS: f64 = 1000.0;

/// Writes that take longer than this on average are slow on any disk, and those than this very slow.
const SLOW_SECONDS: (f64, f64) = (0.1, 0.5);

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::text("osd", "OSD"),
        Column::text("host", "HOST"),
        Column::text("state", "STATE"),
        Column::text("device", "DISK"),
        Column::text("serial", "SERIAL").minor(3),
        Column::text("device_class", "CLASS").minor(6).sparse(),
        Column::text("verdict", "VERDICT"),
        Column::new("moved_ratio", "MOVED", Unit::Ratio).sparse(),
        Column::new("size_bytes", "SIZE", Unit::Bytes).minor(4),
        Column::new("used_ratio", "USED", Unit::Ratio),
        Column::new("placement_groups", "PGS", Unit::Plain),
        Column::new("only_copies", "LAST COPIES", Unit::Plain).sparse(),
        Column::new("read_seconds", "READ", Unit::Seconds).minor(1),
        Column::new("write_seconds", "WRITE", Unit::Seconds).minor(1),
        Column::new("commit_seconds", "COMMIT", Unit::Seconds).minor(2),
        Column::new("apply_seconds", "APPLY", Unit::Seconds).minor(5),
        Column::new("slow_operations", "SLOW OPS", Unit::Plain).sparse(),
    ]
}

pub(super) fn rows(cluster: Cluster<'_>) -> Vec<Vec<Cell>> {
    cluster.osds().into_iter().map(|osd| row(cluster, osd)).collect()
}

pub(super) fn table(cluster: Cluster<'_>) -> Table {
    let mut table = Table::new(columns(), "");
    for row in rows(cluster) {
        table.push(row);
    }
    table.worst_first()
}

fn row(cluster: Cluster<'_>, osd: &str) -> Vec<Cell> {
    let here = [("ceph_daemon", osd)];
    let about = cluster.about(osd);
    let label = |name| about.map(|found| found.label(name)).filter(|text| !text.is_empty());
    let number = |name| cluster.value(name, &here);
    let verdict = cluster.verdict(osd);
    let disk = |name| verdict.map(|found| found.label(name)).filter(|text| !text.is_empty());
    let size = number("size").filter(|size| *size > 0.0);
    let used = used_ratio(cluster, osd);
    let limit = |name, usual| cluster.value(name, &[]).unwrap_or(usual);
    let latency =
        |seconds: Option<f64>| Cell::number(seconds).limits(SLOW_SECONDS.0, SLOW_SECONDS.1);
    // What ran until a minute ago still has a rate, and Ceph remembers the last latency.
    let runs = number("up") != Some(0.0) && cluster.own_value("answers", osd) != Some(0.0);
    let is_degraded = cluster.value("degraded", &[]).is_some_and(|count| count > 0.0);
    vec![
        Cell::text(osd),
        Cell::text_opt(cluster.host(osd)),
        state(cluster, osd),
        // Its node's name for the disk: Ceph's is of the time when the OSD was started.
        Cell::text_opt(disk("device").or_else(|| label("device"))),
        Cell::text_opt(disk("serial_number").or_else(|| label("serial"))),
        Cell::text_opt(label("device_class")),
        Cell::text_opt(disk("verdict")).tone(match disk("verdict") {
            Some(verdict) if gravity(verdict) > 1 => Tone::Bad,
            Some("watch") => Tone::Warn,
            Some("ok") => Tone::Good,
            _ => Tone::Plain,
        }),
        Cell::number(moved(cluster, osd)),
        Cell::number(size),
        Cell::number(used).limits(limit("nearfull", 0.85), limit("backfillfull", 0.9)),
        Cell::number(number("pgs")),
        Cell::number(number("only").filter(|_| is_degraded)).limits(1.0, 1.0),
        latency(cluster.own_value("read", osd).filter(|_| runs)),
        latency(cluster.own_value("write", osd).filter(|_| runs)),
        latency(number("commit_ms").filter(|_| runs).map(|ms| ms / MS)),
        Cell::number(number("apply_ms").filter(|_| runs).map(|ms| ms / MS)),
        Cell::number(cluster.own_value("slow", osd).filter(|slow| *slow > 0.0)).limits(1.0, 1.0),
    ]
}

/// How much of an OSD is taken.
fn used_ratio(cluster: Cluster<'_>, osd: &str) -> Option<f64> {
    let here = [("ceph_daemon", osd)];
    let size = cluster.value("size", &here).filter(|size| *size > 0.0)?;
    Some(cluster.value("used", &here)? / size)
}

/// The highest limit that an OSD is above, by Ceph's word: each costs more than the one below it.
fn fullness(cluster: Cluster<'_>, osd: &str) -> Option<(&'static str, Tone)> {
    let used = used_ratio(cluster, osd)?;
    let limits = [("full", Tone::Bad), ("backfillfull", Tone::Bad), ("nearfull", Tone::Warn)];
    limits.into_iter().find(|(name, _)| {
        cluster.value(name, &[]).is_some_and(|limit| limit > 0.0 && used >= limit)
    })
}

/// Up, in, full, and what it says of itself where that is not all.
fn state(cluster: Cluster<'_>, osd: &str) -> Cell {
    let here = [("ceph_daemon", osd)];
    let is = |name| cluster.value(name, &here).map(|value| value > 0.0);
    let answers = cluster.own_value("answers", osd).map(|value| value > 0.0);
    let own = cluster.own("own_state", osd).map(|found| found.label("state"));
    let own =
        own.filter(|state| !matches!(*state, "" | "active")).filter(|_| answers == Some(true));
    let (word, tone) = match (is("up"), is("in"), is("destroyed")) {
        (_, _, Some(true)) => ("destroyed", Tone::Warn),
        (Some(true), Some(false), _) => ("up, out", Tone::Warn),
        (Some(true), ..) => ("up", Tone::Good),
        (Some(false), Some(false), _) => ("down, out", Tone::Bad),
        (Some(false), ..) => ("down", Tone::Bad),
        // Nobody tells of the cluster; the OSD itself may.
        (None, ..) => match answers {
            Some(true) => ("runs", Tone::Plain),
            Some(false) => return Cell::text("does not answer").tone(Tone::Bad),
            None => return Cell::text("unknown").tone(Tone::Warn),
        },
    };
    // What is down has the fill of another time, and worse things to tell.
    let is_well = is("up") == Some(true) && own.is_none() && answers != Some(false);
    if let Some((limit, worse)) = fullness(cluster, osd).filter(|_| is_well) {
        return Cell::text(format!("{word}, {limit}")).tone(tone.max(worse));
    }
    match (own, answers, is("up")) {
        (_, Some(false), Some(true)) => {
            Cell::text(format!("{word}, does not answer")).tone(Tone::Bad)
        }
        (Some(own), ..) => Cell::text(format!("{word} ({own})")).tone(tone.max(Tone::Warn)),
        _ => Cell::text(word).tone(tone),
    }
}

/// How much of what lay there within a week lies elsewhere, for an OSD that is being emptied or should be.
fn moved(cluster: Cluster<'_>, osd: &str) -> Option<f64> {
    let here = [("ceph_daemon", osd)];
    let verdict = cluster.verdict(osd).map(|found| found.label("verdict"));
    let is_out = cluster.value("in", &here) == Some(0.0);
    if !is_out && verdict.is_none_or(|verdict| gravity(verdict) < 2) {
        return None;
    }
    let most = cluster.value("pgs_most", &here).filter(|most| *most > 0.0)?;
    Some(((most - cluster.value("pgs", &here)?) / most).max(0.0))
}
