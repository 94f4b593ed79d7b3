//! `labstat query`: PromQL from the shell, as a table, a graph, JSON or CSV.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use labstat_model::{BUCKET_WIDTHS_MS, Clock, SystemClock, duration};

use crate::answer::{Answer, Found};
use crate::client::{Client, Reply, ServerArgs};
use crate::failure::Failure;
use crate::graph::Graph;
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::settings;
use crate::table::{Cell, Column, Format, Table, printable};
use crate::view::look;

/// Asks a PromQL query
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat query up
  labstat query 'rate(node_network_receive_bytes_total{device=\"eno1\"}[5m])'
  labstat query 'node_hwmon_temp_celsius' --at '2026-07-14 15:00'
  labstat query 'node_load1' --range 6h --step 1m          a graph, on a terminal
  labstat query 'node_load1' --range 6h --format csv > load.csv")]
pub(crate) struct Query {
    /// The query
    #[arg(value_name = "PROMQL", allow_hyphen_values = true)]
    promql: String,

    /// When: RFC 3339, local time, Unix seconds, or how long ago (2h); for a range, its end
    #[arg(long, value_name = "TIME", value_parser = parse_when, allow_hyphen_values = true)]
    at: Option<When>,

    /// Over this long a time, up to now or --at
    #[arg(long, value_name = "DURATION", value_parser = settings::duration_ms)]
    range: Option<i64>,

    /// Time between two points of a range [default: a 240th of the range]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration_ms, requires = "range")]
    step: Option<i64>,

    /// How to print [default: a graph for a range on a terminal, else a table]
    #[arg(long, value_enum)]
    format: Option<Shape>,

    #[command(flatten)]
    server: ServerArgs,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// One line for each series, or for each point of a range.
    Table,
    /// A graph drawn in the terminal; needs --range.
    Graph,
    /// The server's answer as it is.
    Json,
    /// Comma-separated values, times in Unix seconds.
    Csv,
}

/// A moment as people give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Milliseconds since the Unix epoch.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

/// Points of a range when no step is given: about as many as a terminal has columns for.
const POINTS_DEFAULT: i64 = 240;

/// The finest step taken by itself, in milliseconds: agents do not sample faster.
const STEP_MIN_MS: i64 = 1_000;

impl Query {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let now_ms = SystemClock.now_ms();
        let end_ms = self.at.map(|when| when.unix_ms(now_ms));
        let shape = self.shape()?;
        let span = self.range.map(|range_ms| {
            let step_ms = self.step.unwrap_or_else(|| default_step(range_ms));
            let ends = match end_ms {
                Some(end_ms) => (end_ms.saturating_sub(range_ms), end_ms),
                None => rounded((now_ms.saturating_sub(range_ms), now_ms), step_ms),
            };
            (ends, step_ms)
        });
        let (reply, base) = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            let reply = match span {
                Some((ends, step_ms)) => client.range(&self.promql, ends, step_ms).await?,
                None => client.instant(&self.promql, end_ms).await?,
            };
            Ok((reply, client.base().to_owned()))
        })?;
        for remark in &reply.remarks {
            output::message(&format!("labstat: {}\n", printable(remark)));
        }
        output::result(&printed(&reply, &base, shape, span)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn shape(&self) -> Result<Shape, Failure> {
        match (self.format, self.range) {
            (Some(Shape::Graph), None) => {
                Err(Failure::new("a graph needs a range").cure("add for example --range 6h"))
            }
            (Some(shape), _) => Ok(shape),
            (None, Some(_)) if output::result_width().is_some() => Ok(Shape::Graph),
            (None, _) => Ok(Shape::Table),
        }
    }
}

impl When {
    fn unix_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

fn default_step(range_ms: i64) -> i64 {
    let step_ms = (range_ms / POINTS_DEFAULT).max(STEP_MIN_MS);
    // Whole seconds, or as wide as roll-ups: a step that fits a clock is easier to read.
    let fits = |width_ms: &&i64| step_ms > **width_ms;
    let unit_ms = BUCKET_WIDTHS_MS.iter().rev().find(fits).copied().unwrap_or(STEP_MIN_MS);
    let units = step_ms.saturating_add(unit_ms - 1) / unit_ms;
    units.saturating_mul(unit_ms)
}

/// A range up to now whose points lie on multiples of a long step, as roll-ups do: these then
/// answer it as samples would. Short steps go up to this very moment.
fn rounded((start_ms, end_ms): (i64, i64), step_ms: i64) -> (i64, i64) {
    if BUCKET_WIDTHS_MS.first().is_none_or(|width_ms| step_ms < *width_ms) {
        return (start_ms, end_ms);
    }
    let down = |ms: i64| ms.div_euclid(step_ms) * step_ms;
    (down(start_ms), down(end_ms))
}

fn parse_when(text: &str) -> Result<When, String> {
    parse_when_in(text, &TimeZone::system())
}

fn parse_when_in(text: &str, zone: &TimeZone) -> Result<When, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.abs() < 1e12
    {
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        return Ok(When::At((seconds * 1000.0).round() as i64));
    }
    if let Ok(ago_ms) = duration::parse_ms(text.trim_start_matches('-')) {
        return Ok(When::Ago(ago_ms));
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(When::At(moment.as_millisecond()));
    }
    let local = text.parse::<DateTime>().ok().and_then(|time| time.to_zoned(zone.clone()).ok());
    local.map(|time| When::At(time.timestamp().as_millisecond())).ok_or_else(|| {
        "write 2026-11-21T05:43:56Z, '2026-11-21 05:43' (local), Unix seconds, or 2h (ago)".into()
    })
}

/// The ends of a range and its step, in milliseconds.
type Span = ((i64, i64), i64);

fn printed(reply: &Reply, base: &str, shape: Shape, span: Option<Span>) -> Result<String, Failure> {
    if shape == Shape::Json {
        return Ok(format!("{}\n", reply.data));
    }
    let answer = reply.answer(base)?;
    let look = look();
    if let (Shape::Graph, Answer::Matrix(series), Some(((start_ms, end_ms), step_ms))) =
        (shape, &answer, span)
    {
        let graph = Graph {
            series,
            span: (seconds(start_ms), seconds(end_ms)),
            step: seconds(step_ms),
            width: look.width,
            colour: look.colour,
            zone: &look.zone,
        };
        return Ok(graph.draw());
    }
    let format = if shape == Shape::Csv { Format::Csv } else { Format::Table };
    Ok(table(&answer, span.is_some()).render(format, &look))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 53 bits")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// One row for each point, one column for each label that any series has.
fn table(answer: &Answer, timed: bool) -> Table {
    let found = match answer {
        Answer::Vector(found) | Answer::Matrix(found) => found.clone(),
        Answer::Scalar(point) => {
            vec![Found { labels: Default::default(), points: vec![*point] }]
        }
        Answer::Text(text) => {
            let mut table = Table::new([Column::text("text", "TEXT")], "");
            table.push(vec![Cell::text(&**text)]);
            return table;
        }
    };
    let timed = timed || found.iter().any(|found| found.points.len() > 1);
    let names: BTreeSet<&str> =
        found.iter().flat_map(|found| found.labels.keys().map(String::as_str)).collect();
    let mut columns: Vec<Column> = Vec::new();
    if timed {
        columns.push(Column::new("time_unix_seconds", "TIME", Unit::Time));
    }
    columns.extend(names.iter().map(|name| match *name {
        "__name__" => Column::text("__name__", "METRIC"),
        name => Column::label(name),
    }));
    columns.push(Column::new("value", "VALUE", Unit::Plain));
    let mut table = Table::new(columns, "The answer is empty: no series matches.");
    for found in &found {
        let labels: Vec<Cell> =
            names.iter().map(|name| Cell::text_opt(found.labels.get(*name).cloned())).collect();
        for point in &found.points {
            let mut row = Vec::new();
            if timed {
                row.push(Cell::number(Some(point.time)));
            }
            row.extend(labels.iter().cloned());
            row.push(Cell::number(Some(point.value)));
            table.push(row);
        }
    }
    table
}

/// A series as PromQL writes it.
pub(crate) fn name(found: &Found) -> String {
    let pairs = found.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    printable(&labstat_model::Labels::new(pairs).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Point;
    use crate::view::tests::plain;

    #[test]
    fn moments_as_people_write_them() {
        let read = |text| parse_when_in(text, &TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(read("1763703836.5"), Ok(When::At(1_763_703_836_500)));
        assert_eq!(read("2025-11-21T05:43:56Z"), Ok(When::At(1_763_703_836_000)));
        assert_eq!(read("2025-11-21 06:43:56"), Ok(When::At(1_763_703_836_000)));
        assert_eq!(read("2025-11-21 06:43"), Ok(When::At(1_763_703_780_000)));
        assert_eq!(read("2h"), Ok(When::Ago(7_200_000)));
        assert_eq!(read("-2h"), Ok(When::Ago(7_200_000)));
        for text in ["", "yesterday", "2025-13-01", "nan", "1e300"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_step_fits_the_range() {
        assert_eq!(default_step(6 * 3_600_000), 90_000);
        assert_eq!(default_step(60_000), 1_000);
        assert_eq!(default_step(7 * 86_400_000), 45 * 60_000);
        assert_eq!(default_step(365 * 86_400_000), 37 * 3_600_000);
    }

    #[test]
    fn the_points_of_long_ranges_lie_on_the_clock() {
        assert_eq!(rounded((1_234_567, 2_345_678), 60_000), (1_234_567, 2_345_678));
        assert_eq!(rounded((1_234_567, 2_345_678), 300_000), (1_200_000, 2_100_000));
        assert_eq!(rounded((-1, 1), 3_600_000), (-3_600_000, 0));
    }

    #[test]
    fn rows_for_series_and_for_points() {
        let found = |labels: &[(&str, &str)], values: &[f64]| Found {
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            points: values.iter().map(|value| Point { time: 60.0, value: *value }).collect(),
        };
        let vector = Answer::Vector(vec![
            found(&[("__name__", "up"), ("job", "node")], &[1.0]),
            found(&[("job", "ceph"), ("x", "y")], &[0.25]),
        ]);
        assert_eq!(
            plain(&table(&vector, false)),
            "METRIC  JOB   X  VALUE\nup      node  -      1\n-       ceph  y   0.25\n"
        );
        let matrix = Answer::Matrix(vec![found(&[], &[f64::NAN])]);
        assert_eq!(
            plain(&table(&matrix, true)),
            "               TIME  VALUE\n1970-01-01 00:01:00    NaN\n"
        );
        assert_eq!(
            plain(&table(&Answer::Vector(Vec::new()), false)),
            "The answer is empty: no series matches.\n"
        );
    }
}
