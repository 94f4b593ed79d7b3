//! `labstat store check|stats|compact`: the history's files on this machine.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use labstat_aggregator::{
    Checked, Compacted, Damage, Inspection, Snapshot, SnapshotError, offline,
};
use labstat_model::SystemClock;

use crate::client::{Client, ServerArgs};
use crate::data::{self, DataArgs};
use crate::failure::{FAILED, Failure};
use crate::human::{self, Unit};
use crate::output;
use crate::progress::Line;
use crate::runtime;
use crate::table::{Cell, Column, Format, Table, Tone};
use crate::view::{count, look};

/// Exit status of a check that could not be made.
const UNKNOWN: u8 = 2;

/// Compacting years of samples on a small machine takes minutes.
const COMPACT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Metrics, labels and days that are listed when nothing is said.
const TOP: usize = 10;

/// Looks after the history's files on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat store check               is everything in it whole
  labstat store stats               what its bytes are spent on
  labstat store compact             compress all that is pending")]
pub(crate) struct Store {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Check(Check),
    Stats(Stats),
    Compact(Compact),
}

/// Looks through the whole history for damage, while the aggregator runs or not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat store check
  labstat store check --data /var/lib/labstat-aggregator --format json

Reads every sample; nothing is changed. The exit status is 0 when all is whole, 1 when there is
damage, and 2 when it could not be checked.")]
struct Check {
    /// How the damages are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    data: DataArgs,
}

/// Says what the history's bytes are spent on, while the aggregator runs or not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat store stats
  labstat store stats --by metric --top 30
  labstat store stats --by day --format csv

COUNT is of blobs for tiers, of series for metrics and in total, of values for labels, of rows
for tables. Days are UTC.")]
struct Stats {
    /// Only one section [default: all]
    #[arg(long, value_enum)]
    by: Option<Section>,

    /// Metrics, labels and days to list
    #[arg(long, value_name = "N", default_value_t = TOP)]
    top: usize,

    /// How they are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    data: DataArgs,
}

/// Compresses all that is pending: by the running aggregator, or itself when none runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat store compact
  labstat store compact --server http://nas:5227 --token-file /etc/labstat/token

An aggregator does so by itself within hours or days; this is for before a backup or a look at
sizes. A running one drops what is past its retention as well; without one nothing is dropped.")]
struct Compact {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// What bytes are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The whole
    Total,
    /// What the samples are: as sealed, merged, rolled up
    Tier,
    /// Table of the database
    Table,
    /// Metric name, most bytes first
    Metric,
    /// Label name, most values first
    Label,
    /// Day, the newest first
    Day,
}

impl Store {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            StoreCommand::Check(check) => Ok(check.run().unwrap_or_else(|failure| {
                failure.report();
                ExitCode::from(UNKNOWN)
            })),
            StoreCommand::Stats(stats) => stats.run(),
            StoreCommand::Compact(compact) => compact.run(),
        }
    }
}

impl Check {
    fn run(&self) -> Result<ExitCode, Failure> {
        let snapshot = self.data.snapshot()?;
        let mut line = Line::new();
        let checked = snapshot.check(&mut |now| line.show(now));
        drop(line);
        let checked = checked.map_err(|error| data::failure(snapshot.path(), &error))?;
        if self.format != Format::Table || checked.damaged > 0 {
            output::result(&damages(&checked.damages).render(self.format, &look()))?;
        }
        if self.format == Format::Table {
            let file = snapshot.path().display();
            output::result(&format!("{file}: {}\n", summary(&checked)))?;
        }
        Ok(if checked.damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}

fn summary(checked: &Checked) -> String {
    let Checked { series, samples, log_samples, blobs, samples_lost, .. } = checked;
    let whole = samples + log_samples;
    let read = format!("{series} series, {whole} samples in {} and the log", count(*blobs, "blob"));
    match checked.damaged {
        0 => format!("whole: {read}"),
        damaged => {
            let lost =
                if *samples_lost > 0 { format!(", {samples_lost} samples") } else { String::new() };
            format!("{}{lost} lost; {read} are whole", count(damaged, "damage"))
        }
    }
}

fn damages(damages: &[Damage]) -> Table {
    let columns = [
        Column::text("what", "WHAT"),
        Column::prose("cause", "CAUSE"),
        Column::new("first_seconds", "FROM", Unit::Time),
        Column::new("last_seconds", "TO", Unit::Time),
        Column::new("samples", "SAMPLES", Unit::Plain),
        Column::new("series", "SERIES", Unit::Plain).minor(1),
        Column::prose("metrics", "METRICS").minor(2),
    ];
    let mut table = Table::new(columns, "No damage.");
    for damage in damages {
        let cost = damage.cost.as_ref();
        table.push(vec![
            Cell::text(&damage.what).tone(Tone::Bad),
            Cell::text(&damage.cause),
            Cell::number(cost.map(|cost| seconds(cost.first_ms))),
            Cell::number(cost.map(|cost| seconds(cost.last_ms))),
            Cell::number(cost.map(|cost| number(cost.samples))),
            Cell::number(cost.map(|cost| number(cost.series as u64))),
            Cell::text_opt(cost.map(|cost| cost.metrics.join(" "))),
        ]);
    }
    table
}

impl Stats {
    fn run(&self) -> Result<ExitCode, Failure> {
        let snapshot = self.data.snapshot()?;
        let mut line = Line::new();
        let found = snapshot.inspect(&mut |now| line.show(now));
        drop(line);
        let found = found.map_err(|error| data::failure(snapshot.path(), &error))?;
        output::result(&self.table(&found).render(self.format, &look()))?;
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, found: &Inspection) -> Table {
        let columns = [
            Column::text("section", "SECTION"),
            Column::text("name", "NAME"),
            Column::new("size_bytes", "SIZE", Unit::Bytes),
            Column::new("count", "COUNT", Unit::Plain),
            Column::new("samples", "SAMPLES", Unit::Plain),
            Column::new("bytes_per_sample", "B/SAMPLE", Unit::Plain).minor(1),
            Column::new("oldest_seconds", "OLDEST", Unit::Time).minor(2),
            Column::new("newest_seconds", "NEWEST", Unit::Time).minor(2),
        ];
        let mut table = Table::new(columns, "There is nothing yet.");
        for row in rows(found, self.top) {
            if self.by.is_none_or(|by| by == row.section) {
                table.push(row.cells());
            }
        }
        table
    }
}

/// One line of the statistics.
struct Row {
    section: Section,
    name: String,
    bytes: Option<f64>,
    count: Option<u64>,
    samples: Option<u64>,
    span_ms: (Option<i64>, Option<i64>),
}

impl Row {
    fn new(section: Section, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { section, name, bytes: None, count: None, samples: None, span_ms: (None, None) }
    }

    fn bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(number(bytes)), ..self }
    }

    fn count(self, count: usize) -> Self {
        Self { count: Some(count as u64), ..self }
    }

    fn samples(self, samples: u64) -> Self {
        Self { samples: Some(samples), ..self }
    }

    fn span(self, first_ms: Option<i64>, last_ms: Option<i64>) -> Self {
        Self { span_ms: (first_ms, last_ms), ..self }
    }

    fn cells(self) -> Vec<Cell> {
        let section = self.section.to_possible_value();
        let samples = self.samples.map(number);
        let each = self.bytes.zip(samples).filter(|(_, samples)| *samples > 0.0);
        vec![
            Cell::text_opt(section.map(|section| section.get_name().to_owned())),
            Cell::text(self.name),
            Cell::number(self.bytes),
            Cell::number(self.count.map(number)),
            Cell::number(samples),
            Cell::number(each.map(|(bytes, samples)| bytes / samples)),
            Cell::number(self.span_ms.0.map(seconds)),
            Cell::number(self.span_ms.1.map(seconds)),
        ]
    }
}

fn rows(found: &Inspection, top: usize) -> Vec<Row> {
    let mut rows = vec![
        Row::new(Section::Total, "file")
            .bytes(found.file_bytes)
            .count(found.series)
            .samples(found.samples())
            .span(found.oldest_ms, found.newest_ms),
        Row::new(Section::Total, "free pages").bytes(found.free_bytes),
        Row { bytes: found.growth_bytes_per_day, ..Row::new(Section::Total, "growth a day") },
    ];
    rows.extend(found.tiers.iter().map(|tier| {
        Row::new(Section::Tier, &tier.name)
            .bytes(tier.bytes)
            .count(tier.blobs)
            .samples(tier.samples)
            .span(Some(tier.first_ms), Some(tier.last_ms))
    }));
    rows.push(Row::new(Section::Tier, "log").bytes(found.log_bytes).samples(found.log_samples));
    rows.extend(found.tables.iter().map(|table| {
        let row = Row::new(Section::Table, &table.name).bytes(table.bytes);
        Row { count: Some(table.rows), ..row }
    }));
    rows.extend(found.metrics.iter().take(top).map(|metric| {
        Row::new(Section::Metric, &metric.name).bytes(metric.bytes).count(metric.series)
    }));
    rows.extend(
        found
            .labels
            .iter()
            .take(top)
            .map(|(name, values)| Row::new(Section::Label, name).count(*values)),
    );
    rows.extend(found.days.iter().take(top).map(|day| {
        let date = human::day(seconds(day.start_ms));
        Row::new(Section::Day, date).bytes(day.bytes).samples(day.samples)
    }));
    rows
}

impl Compact {
    fn run(&self) -> Result<ExitCode, Failure> {
        let config = self.data.config()?;
        let dir = config.data_dir.clone();
        // A folder that was mistyped must not get a fresh history.
        if let Err(error @ SnapshotError::Missing { .. }) = Snapshot::of_dir(&dir) {
            return Err(data::failure(&dir, &error));
        }
        match offline::compact(&config, Arc::new(SystemClock)) {
            Ok((notices, done)) => {
                for notice in notices {
                    output::message(&format!("labstat: {notice}\n"));
                }
                tell(&done)
            }
            Err(error) if error.is_in_use() => runtime::block_on(self.ask(&dir)),
            Err(error) => Err(Failure::new("the history was not compacted").because(&error)),
        }
    }

    /// Lets the aggregator do it that has the folder.
    async fn ask(&self, dir: &std::path::Path) -> Result<ExitCode, Failure> {
        let client = Client::new(&self.server)?;
        let flags = client.get("/api/v1/status/flags").await;
        let in_use = || format!("{} is in use by another process", dir.display());
        let flags = flags.map_err(|failure| failure.within(in_use()))?.data;
        let theirs = flags.get("storage.tsdb.path").and_then(serde_json::Value::as_str);
        let theirs = theirs.unwrap_or_default();
        if std::fs::canonicalize(theirs).ok() != std::fs::canonicalize(dir).ok() {
            let base = client.base();
            return Err(Failure::new(format!(
                "{} is in use, and not by the aggregator at {base}, whose folder is {theirs:?}",
                dir.display()
            ))
            .cure("--server names the one that has it"));
        }
        let done = client.post("/api/labstat/v1/compact", COMPACT_TIMEOUT).await?.data;
        let done = serde_json::from_value(done).map_err(|error| {
            Failure::new(format!("{} gave an answer we cannot read", client.base())).because(&error)
        })?;
        tell(&done)
    }
}

fn tell(done: &Compacted) -> Result<ExitCode, Failure> {
    let Compacted { sealed_samples, merged_blobs, dropped_blobs, .. } = done;
    output::result(&format!(
        "compressed {}, merged {}, dropped {}\n",
        count(*sealed_samples, "sample"),
        count(*merged_blobs, "blob"),
        count(*dropped_blobs, "blob")
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years around 1970")]
fn seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}
