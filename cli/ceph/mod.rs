//! `labstat ceph`: clusters of Ceph, what is wrong with them, what they stand on, and what may fail next.
//!
//! [`lab`] asks, and tells what belongs to which cluster; [`glance`], [`osds`] and [`pools`] are the parts of
//! the picture; [`words`] says what Ceph's checks mean.

mod glance;
mod lab;
mod osds;
mod pools;
mod words;

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::{Client, ServerArgs};
use crate::failure::Failure;
use crate::output;
use crate::runtime;
use crate::table::{Cell, Column, Format, Look, Table, Tone};
use crate::view::{Answers, look};
use lab::Cluster;
pub(crate) use lab::QUESTIONS;

/// Shows Ceph clusters: health and why, OSDs and the disks under them, pools, recovery, what may fail next
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat ceph                      all clusters, each with its OSDs and pools
  labstat ceph --format json        one object a cluster, in base units
  labstat ceph --format csv         the OSDs, for a spreadsheet

READ and WRITE are what clients have waited for on average in five minutes, by the OSDs' own word;
COMMIT and APPLY are Ceph's figures. MOVED is how much of an OSD's data lies elsewhere by now, where
it is out or its disk is to be replaced. What nobody can say at the moment is not shown.")]
pub(crate) struct Ceph {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

/// What is said where there is nothing to say.
const NONE: &str = "No node has a daemon of Ceph, and nobody reads a cluster.\n";

impl Ceph {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let answers = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            Answers::ask(&client, QUESTIONS).await
        })?;
        output::result(&text(&answers, self.format, &look()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(answers: &Answers, format: Format, look: &Look) -> String {
    let clusters = lab::clusters(answers);
    match format {
        Format::Table if clusters.is_empty() => NONE.to_owned(),
        Format::Table => {
            let blocks = clusters.iter().map(|cluster| block(*cluster, look));
            blocks.collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let all: Vec<Value> = clusters.iter().map(|cluster| object(*cluster, look)).collect();
            format!("{:#}\n", Value::Array(all))
        }
        Format::Csv => csv(&clusters, look),
    }
}

/// All of a cluster for people: tables below each other, without those that have no rows.
fn block(cluster: Cluster<'_>, look: &Look) -> String {
    let title = match cluster.name {
        "" => "Ceph (its cluster is not read)".to_owned(),
        name => crate::table::printable(name),
    };
    let tables = [
        glance::table(cluster),
        glance::checks(cluster),
        osds::table(cluster),
        pools::table(cluster),
    ];
    let tables = tables.iter().filter(|table| !table.is_empty());
    let tables: Vec<String> = tables.map(|table| table.render(Format::Table, look)).collect();
    format!("{title}\n\n{}", tables.join("\n"))
}

fn object(cluster: Cluster<'_>, look: &Look) -> Value {
    let rows = |table: Table| -> Value {
        serde_json::from_str(&table.render(Format::Json, look)).unwrap_or_default()
    };
    let source = |name| {
        let source = cluster.source(name);
        json!({"success": source.is_good, "age_seconds": source.age})
    };
    let number = |name| cluster.value(name, &[]);
    let may = |domain, until| cluster.value("tolerated", &[("domain", domain), ("until", until)]);
    let tolerated =
        |domain| json!({"unavailable": may(domain, "unavailable"), "loss": may(domain, "loss")});
    let info = |label| {
        let said = cluster.all("info").map(|found| found.label(label)).max();
        said.filter(|text| !text.is_empty())
    };
    json!({
        "cluster": cluster.name,
        "fsid": info("fsid"),
        "version": info("version"),
        "reader": info("reader"),
        "health": glance::health(cluster).map(|(word, _)| word),
        "readings": {"mon": source("mon"), "mgr": source("mgr")},
        "glance": rows(glance::table(cluster)),
        "checks": rows(glance::checks(cluster)),
        "flags": glance::flag_names(cluster),
        "objects_degraded": number("degraded"),
        "objects_misplaced": number("misplaced"),
        "objects_unfound": number("unfound"),
        "recovery": {
            "done_ratio": glance::recovery_done(cluster),
            "objects_per_second": number("recovered"),
            "bytes_per_second": number("recovered_bytes"),
            "remaining_seconds": number("remaining"),
        },
        "failures_tolerated": {"osd": tolerated("osd"), "host": tolerated("host")},
        "osds": rows(osds::table(cluster)),
        "pools": rows(pools::table(cluster)),
    })
}

/// The OSDs of all clusters in one table.
fn csv(clusters: &[Cluster<'_>], look: &Look) -> String {
    let columns = [Column::text("cluster", "CLUSTER")].into_iter().chain(osds::columns());
    let mut table = Table::new(columns.collect::<Vec<_>>(), "");
    for cluster in clusters {
        for mut row in osds::rows(*cluster) {
            row.insert(0, Cell::text(cluster.name));
            table.push(row);
        }
    }
    table.render(Format::Csv, look)
}

/// All clusters in a few words and how urgent they are, for the glance at the lab.
pub(crate) fn in_short(answers: &Answers) -> Option<(Tone, String)> {
    let clusters = lab::clusters(answers);
    let said = clusters.iter().filter(|cluster| !cluster.name.is_empty()).map(|cluster| {
        let (word, tone) = match (cluster.source("mon").is_good, glance::health(*cluster)) {
            (Some(true), Some(health)) => health,
            (Some(_), _) => ("does not answer", Tone::Bad),
            (None, _) => ("is not read", Tone::Bad),
        };
        let checks = cluster.all("check").filter(|check| check.label("muted") != "true");
        let mut checks: Vec<&str> = checks.map(|check| check.label("name")).collect();
        checks.sort_unstable();
        let why =
            if checks.is_empty() { String::new() } else { format!(" ({})", checks.join(", ")) };
        (tone, format!("{} {word}{why}", cluster.name))
    });
    let said: Vec<(Tone, String)> = said.collect();
    let tone = said.iter().map(|(tone, _)| *tone).max()?;
    Some((tone, said.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests;
