//! The pools of a cluster: how full, what limits them, and what is done with them.

use super::lab::Cluster;
use crate::human::Unit;
use crate::table::{Cell, Column, Table};

pub(super) fn table(cluster: Cluster<'_>) -> Table {
    let columns = [
        Column::text("pool", "POOL"),
        Column::text("redundancy", "KEPT AS").minor(2),
        Column::new("stored_bytes", "STORED", Unit::Bytes),
        Column::new("objects", "OBJECTS", Unit::Plain).minor(3),
        Column::new("used_ratio", "USED", Unit::Ratio),
        Column::new("available_bytes", "AVAILABLE", Unit::Bytes),
        Column::new("quota_bytes", "QUOTA", Unit::Bytes).sparse(),
        Column::new("quota_objects", "QUOTA OBJECTS", Unit::Plain).sparse(),
        Column::new("reads_per_second", "READS/S", Unit::Plain),
        Column::new("writes_per_second", "WRITES/S", Unit::Plain),
        Column::new("read_bytes_per_second", "READ", Unit::BytesPerSecond).minor(1),
        Column::new("written_bytes_per_second", "WRITTEN", Unit::BytesPerSecond).minor(1),
    ];
    let mut table = Table::new(columns, "");
    let mut pools: Vec<_> = cluster.all("pool").collect();
    pools.sort_by_key(|pool| pool.label("name"));
    for pool in pools {
        let here = [("pool_id", pool.label("pool_id"))];
        let number = |name| cluster.value(name, &here);
        let stored = number("stored");
        // A rate of five minutes outlives what it was of, as when the manager has gone.
        let rate = |name| number(name).filter(|_| stored.is_some());
        // To a tenth: the rate of what is counted every half a minute is no finer.
        let operations = |name| Cell::number(rate(name).map(|it| (it * 10.0).round() / 10.0));
        let of = |quota: Option<f64>, what: Option<f64>| {
            let share = quota.zip(what).map_or(0.0, |(quota, what)| what / quota);
            let warn = if share >= 0.9 { 0.0 } else { f64::INFINITY };
            Cell::number(quota).limits(warn, if share >= 1.0 { 0.0 } else { f64::INFINITY })
        };
        table.push(vec![
            Cell::text(pool.label("name")),
            Cell::text(kept_as(pool.label("description"))),
            Cell::number(stored),
            Cell::number(number("objects")),
            Cell::number(number("percent")).limits(0.85, 0.95),
            Cell::number(number("avail")),
            of(number("quota"), stored),
            of(number("quota_objects"), number("objects")),
            operations("reads"),
            operations("writes"),
            Cell::number(rate("read_bytes").map(f64::round)),
            Cell::number(rate("write_bytes").map(f64::round)),
        ]);
    }
    table
}

/// `replica:3` as people say it.
fn kept_as(description: &str) -> String {
    match description.split_once(':') {
        Some(("replica", "1")) => "1 copy".to_owned(),
        Some(("replica", number)) => format!("{number} copies"),
        Some(("ec", parts)) => format!("erasure {parts}"),
        _ => description.to_owned(),
    }
}
