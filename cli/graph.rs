//! A graph of series in the terminal: ratatui's chart, drawn into a buffer and printed once.

use std::fmt::Write;

use jiff::tz::TimeZone;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use crate::answer::{Found, Point};
use crate::human;

/// Lines of a graph, axes included: it and its legend fit an ordinary window.
const HEIGHT: u16 = 18;

/// Columns of a graph where no terminal says how wide it is.
const WIDTH_DEFAULT: u16 = 100;
/// Narrower than this there is no room beside the axis; wider ones are hard to read.
const WIDTH_MIN: u16 = 40;
/// See [`WIDTH_MIN`].
const WIDTH_MAX: u16 = 240;

/// Lines that eyes can tell apart; what is beyond them is counted below the graph.
const SERIES_MAX: usize = 12;

/// Colours that are readable on light and on dark ground, in the order they are given out.
const COLOURS: [Color; 6] =
    [Color::Green, Color::Blue, Color::Magenta, Color::Cyan, Color::Yellow, Color::Red];

/// Ranges longer than this need the day on their axis.
const DAY_SECONDS: f64 = 86_400.0;

/// What a graph shows, and how.
pub(crate) struct Graph<'a> {
    /// The series.
    pub(crate) series: &'a [Found],
    /// Both ends of the time axis, in Unix seconds.
    pub(crate) span: (f64, f64),
    /// Seconds between two points; a longer distance is a gap.
    pub(crate) step: f64,
    /// Columns of the terminal.
    pub(crate) width: Option<u16>,
    /// Whether colours may be used.
    pub(crate) colour: bool,
    /// Where times are local to.
    pub(crate) zone: &'a TimeZone,
}

impl Graph<'_> {
    /// The graph and its legend as text.
    pub(crate) fn draw(&self) -> String {
        let shown = self.series.get(..SERIES_MAX).unwrap_or(self.series);
        let lines: Vec<(usize, Vec<(f64, f64)>)> = shown
            .iter()
            .enumerate()
            .flat_map(|(at, found)| runs(&found.points, self.step).map(move |run| (at, run)))
            .collect();
        let Some((low, high)) = bounds(&lines) else {
            return "No samples in this range.\n".to_owned();
        };
        let width = self.width.unwrap_or(WIDTH_DEFAULT).clamp(WIDTH_MIN, WIDTH_MAX);
        let area = Rect::new(0, 0, width, HEIGHT);
        let mut buffer = Buffer::empty(area);
        self.chart(&lines, (low, high)).render(area, &mut buffer);
        let mut text = printed(&buffer, self.colour);
        self.legend(shown, &mut text);
        text
    }

    fn chart<'b>(
        &self,
        lines: &'b [(usize, Vec<(f64, f64)>)],
        (low, high): (f64, f64),
    ) -> Chart<'b> {
        let datasets = lines.iter().map(|(at, run)| {
            let kind = if run.len() == 1 { GraphType::Scatter } else { GraphType::Line };
            Dataset::default()
                .marker(Marker::Braille)
                .graph_type(kind)
                .style(Style::new().fg(colour(*at)))
                .data(run)
        });
        let (start, end) = self.span;
        let long = end - start > DAY_SECONDS;
        let times = [start, f64::midpoint(start, end), end];
        let times = times.map(|time| human::axis_time(time, long, self.zone));
        let values = [low, f64::midpoint(low, high), high].map(human::plain);
        Chart::new(datasets.collect())
            .x_axis(Axis::default().bounds([start, end.max(start + 1.0)]).labels(times))
            .y_axis(Axis::default().bounds([low, high]).labels(values))
            .legend_position(None)
    }

    fn legend(&self, shown: &[Found], text: &mut String) {
        for (at, found) in shown.iter().enumerate() {
            let known = || found.points.iter().filter(|point| point.value.is_finite());
            let values = || known().map(|point| point.value);
            let (Some(last), low, high) = (
                known().next_back(),
                values().fold(f64::INFINITY, f64::min),
                values().fold(f64::NEG_INFINITY, f64::max),
            ) else {
                continue;
            };
            let sign = match self.colour {
                true => format!("\u{1b}[{}m●\u{1b}[0m", ansi(colour(at))),
                false => "-".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{sign} {}  last {}{}  min {}  max {}",
                crate::query::name(found),
                human::plain(last.value),
                self.ended(last),
                human::plain(low),
                human::plain(high)
            );
        }
        let more = self.series.len().saturating_sub(shown.len());
        if more > 0 {
            let _ = writeln!(
                text,
                "{more} more series are not drawn; topk() or a narrower selector picks some"
            );
        }
    }

    /// When a series ended, if it did before the graph does: its last value is not that of now.
    fn ended(&self, last: &Point) -> String {
        let (start, end) = self.span;
        // The last point asked for may be nearly a step before the end.
        match end - last.time < self.step * 1.5 {
            true => String::new(),
            false => {
                let long = end - start > DAY_SECONDS;
                format!(" at {}", human::axis_time(last.time, long, self.zone))
            }
        }
    }
}

/// Heights of a sparkline, the lowest first.
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The course of a number in one line of `cells`: each shows the last point of its part of the
/// span, between the lowest and the highest of all. What is not known is blank, what stands still
/// is low.
pub(crate) fn sparkline(points: &[Point], (start, end): (f64, f64), cells: usize) -> String {
    let known = || points.iter().filter(|point| point.value.is_finite());
    let low = known().map(|point| point.value).fold(f64::INFINITY, f64::min);
    let high = known().map(|point| point.value).fold(f64::NEG_INFINITY, f64::max);
    let mut line = vec![' '; cells];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the line, and the height within the sparks"
    )]
    for point in known() {
        let part = ((point.time - start) / (end - start).max(1.0)).clamp(0.0, 1.0);
        let at = ((part * cells as f64) as usize).min(cells.saturating_sub(1));
        let height = if high > low { (point.value - low) / (high - low) } else { 0.0 };
        let spark = SPARKS.get((height * 7.0).round() as usize).copied();
        if let (Some(cell), Some(spark)) = (line.get_mut(at), spark) {
            *cell = spark;
        }
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

fn colour(at: usize) -> Color {
    COLOURS.get(at % COLOURS.len()).copied().unwrap_or(Color::Reset)
}

/// The points of a series as lines without gaps. What is not finite is a gap.
fn runs(points: &[Point], step: f64) -> impl Iterator<Item = Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for point in points.iter().filter(|point| point.value.is_finite()) {
        // Half a step of room, since times are written as decimals.
        match runs.last_mut() {
            Some(run) if point.time - last <= step * 1.5 => run.push((point.time, point.value)),
            _ => runs.push(vec![(point.time, point.value)]),
        }
        last = point.time;
    }
    runs.into_iter()
}

/// The lowest and highest value, a little apart even where all are the same.
fn bounds(lines: &[(usize, Vec<(f64, f64)>)]) -> Option<(f64, f64)> {
    let values = || lines.iter().flat_map(|(_, run)| run.iter().map(|(_, value)| *value));
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return None;
    }
    if high > low {
        return Some((low, high));
    }
    let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
    Some((low - room, high + room))
}

fn printed(buffer: &Buffer, colour: bool) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let mut text = String::new();
    for line in buffer.content().chunks(width) {
        let mut row = String::new();
        let mut now = Color::Reset;
        for cell in line {
            if colour && cell.fg != now {
                row.push_str(&format!("\u{1b}[{}m", ansi(cell.fg)));
                now = cell.fg;
            }
            row.push_str(Cell::symbol(cell));
        }
        if now != Color::Reset {
            row.push_str("\u{1b}[0m");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn ansi(colour: Color) -> u8 {
    match colour {
        Color::Red => 31,
        Color::Green => 32,
        Color::Yellow => 33,
        Color::Blue => 34,
        Color::Magenta => 35,
        Color::Cyan => 36,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<Found> {
        let points = values.into_iter().enumerate();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let points = points.map(|(at, value)| Point { time: at as f64 * 60.0, value }).collect();
        let labels = [("instance".to_owned(), "apex".to_owned())].into();
        vec![Found { labels, points }]
    }

    #[test]
    fn a_sparkline_shows_the_course_and_the_gaps() {
        let line = |values: &[f64]| {
            let series = series(values.iter().copied());
            sparkline(&series[0].points, (0.0, 480.0), 8)
        };
        assert_eq!(line(&[0.0, 0.0, 0.0, 7.0, 7.0, 3.0, 3.0, 3.0]), "▁▁▁██▄▄▄");
        assert_eq!(line(&[5.0, 5.0, f64::NAN, 5.0]), "▁▁ ▁");
        assert_eq!(line(&[]), "");
        assert_eq!(sparkline(&series([1.0, 2.0])[0].points, (0.0, 0.0), 0), "");
    }

    fn graph(series: &[Found], colour: bool) -> String {
        let zone = TimeZone::UTC;
        let graph =
            Graph { series, span: (0.0, 600.0), step: 60.0, width: Some(60), colour, zone: &zone };
        graph.draw()
    }

    #[test]
    fn a_line_its_axes_and_its_legend() {
        let text = graph(&series((0..=10).map(f64::from)), false);
        assert_eq!(text.lines().count(), usize::from(HEIGHT) + 1, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("00:00:00") && text.contains("00:10:00"), "{text}");
        assert!(text.lines().next().unwrap().starts_with("10"), "{text}");
        assert!(text.ends_with("- {instance=\"apex\"}  last 10  min 0  max 10\n"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(graph(&series([1.0, 2.0]), true).contains('\u{1b}'));
    }

    #[test]
    fn gaps_are_not_bridged() {
        let found = series([1.0, 2.0, f64::NAN, 4.0]);
        let lines: Vec<_> = runs(&found[0].points, 60.0).collect();
        assert_eq!(lines, [vec![(0.0, 1.0), (60.0, 2.0)], vec![(180.0, 4.0)]]);
    }

    #[test]
    fn a_series_that_ended_says_when() {
        let text = graph(&series([1.0, 2.0, f64::NAN]), false);
        assert!(text.ends_with("  last 2 at 00:01:00  min 1  max 2\n"), "{text}");
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert_eq!(graph(&[], false), "No samples in this range.\n");
        assert_eq!(graph(&series([f64::NAN]), false), "No samples in this range.\n");
    }

    #[test]
    fn a_flat_line_has_room() {
        assert_eq!(bounds(&[(0, vec![(0.0, 5.0)])]), Some((4.5, 5.5)));
        assert_eq!(bounds(&[(0, vec![(0.0, 0.0)])]), Some((-1.0, 1.0)));
    }
}
