//! A table of typed cells, and its three forms: for people, as JSON and as CSV.
//!
//! One table serves all: people get units, colours and `-` where nothing is known; machines get
//! the column's key, bare numbers in base units, and `null` or an empty field.

use std::borrow::Cow;

use clap::ValueEnum;
use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table as Grid,
};
use jiff::tz::TimeZone;

use crate::human::{self, Unit};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// JSON, numbers in base units.
    Json,
    /// Comma-separated values with a header line, numbers in base units.
    Csv,
}

/// Blanks between two columns.
const GAP: usize = 2;

/// Sentences in fewer columns than this are harder to read than a table with a column less.
const PROSE_WIDTH_MIN: usize = 30;

/// A column: its key for machines, its title for people, and what its numbers count.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    key: Cow<'static, str>,
    title: Cow<'static, str>,
    unit: Unit,
    /// How soon it gives way in a narrow terminal, the highest first; 0 stays.
    minor: u8,
    /// Whether it is of words, and so stands on the left even when no cell says anything.
    words: bool,
    /// Whether its words are sentences, which are broken into lines before names are.
    prose: bool,
    /// Whether people are spared it when no cell says anything.
    sparse: bool,
}

/// What a cell says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Not known: never 0, never empty text.
    Absent,
    /// A word.
    Text(String),
    /// A number in the unit of its column.
    Number(f64),
}

/// How urgent a cell is; shown as colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Look at it soon.
    Warn,
    /// Look at it now.
    Bad,
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    /// What it says.
    pub(crate) value: Value,
    /// How urgent it is.
    pub(crate) tone: Tone,
    /// What people read before it: the branch of a tree.
    pub(crate) branch: String,
}

/// Rows of cells under columns.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// What people read in place of a table without rows.
    empty: String,
}

/// How a table for people is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Whether colours may be used.
    pub(crate) colour: bool,
    /// The terminal's columns; none lets the table be as wide as it is.
    pub(crate) width: Option<u16>,
    /// Where times are local to.
    pub(crate) zone: TimeZone,
}

impl Column {
    /// A column; `key` is part of what scripts rely on, and ends in its unit.
    pub(crate) const fn new(key: &'static str, title: &'static str, unit: Unit) -> Self {
        let (key, title) = (Cow::Borrowed(key), Cow::Borrowed(title));
        Self { key, title, unit, minor: 0, words: false, prose: false, sparse: false }
    }

    /// A column of words.
    pub(crate) const fn text(key: &'static str, title: &'static str) -> Self {
        let mut column = Self::new(key, title, Unit::Plain);
        column.words = true;
        column
    }

    /// A column of sentences.
    pub(crate) const fn prose(key: &'static str, title: &'static str) -> Self {
        let mut column = Self::text(key, title);
        column.prose = true;
        column
    }

    /// The same, giving way in a narrow terminal: the highest rank first.
    pub(crate) const fn minor(mut self, rank: u8) -> Self {
        self.minor = rank;
        self
    }

    /// The same, of what only some have: people do not see it where nobody has.
    pub(crate) const fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// A column named after a label.
    pub(crate) fn label(name: &str) -> Self {
        let mut column = Self::text("", "");
        column.title = Cow::Owned(name.to_uppercase());
        column.key = Cow::Owned(name.to_owned());
        column
    }
}

impl Cell {
    /// A word; an empty one is absent.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        let value = if text.is_empty() { Value::Absent } else { Value::Text(text) };
        Self { value, tone: Tone::Plain, branch: String::new() }
    }

    /// A word, when there is one.
    pub(crate) fn text_opt(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::absent(), Self::text)
    }

    /// A number, when it is known.
    pub(crate) fn number(number: Option<f64>) -> Self {
        let value = number.map_or(Value::Absent, Value::Number);
        Self { value, tone: Tone::Plain, branch: String::new() }
    }

    /// Not known.
    pub(crate) const fn absent() -> Self {
        Self { value: Value::Absent, tone: Tone::Plain, branch: String::new() }
    }

    /// The same, as urgent as `tone`.
    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// The same, on a branch of a tree.
    pub(crate) fn branch(mut self, branch: impl Into<String>) -> Self {
        self.branch = branch.into();
        self
    }

    /// The same, as urgent as its number is high; unknown numbers stay plain.
    pub(crate) fn limits(self, warn: f64, bad: f64) -> Self {
        let tone = match self.value {
            Value::Number(number) if number >= bad => Tone::Bad,
            Value::Number(number) if number >= warn => Tone::Warn,
            _ => Tone::Plain,
        };
        self.tone(tone)
    }
}

impl Table {
    /// A table without rows; `empty` is the sentence people read when none are added.
    pub(crate) fn new(columns: impl Into<Vec<Column>>, empty: impl Into<String>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), empty: empty.into() }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "BUG: one cell for each column");
        self.rows.push(row);
    }

    /// Rows so far.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The same, with the rows that want looking at first: the eye should not have to search for
    /// the one red line among a hundred. Rows that are alike keep their order.
    pub(crate) fn worst_first(mut self) -> Self {
        let tone = |row: &Vec<Cell>| {
            let said = row.iter().filter(|cell| cell.value != Value::Absent);
            said.map(|cell| cell.tone).max().unwrap_or_default()
        };
        self.rows.sort_by_key(|row| std::cmp::Reverse(tone(row).max(Tone::Good)));
        self
    }

    /// The whole table in one of its forms.
    pub(crate) fn render(&self, format: Format, look: &Look) -> String {
        match format {
            Format::Table => self.for_people(look),
            Format::Json => self.json(),
            Format::Csv => self.csv(),
        }
    }

    fn for_people(&self, look: &Look) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let hidden = self.hidden(look);
        let mut shown = self.spoken();
        shown.retain(|column| !hidden.contains(column));
        let mut text = String::new();
        for line in self.grid(&shown, look).lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let titles = hidden.iter().filter_map(|at| self.columns.get(*at));
        let titles: Vec<&str> = titles.map(|column| &*column.title).collect();
        if !titles.is_empty() {
            let left_out = format!("Not shown for want of room: {}.", titles.join(", "));
            let remedy = "--format csv has all.";
            let length = left_out.chars().count() + 1 + remedy.len();
            let fits = look.width.is_none_or(|width| length <= usize::from(width));
            let gap = if fits { ' ' } else { '\n' };
            text.push_str(&format!("\n{left_out}{gap}{remedy}\n"));
        }
        text
    }

    /// The columns that say something, or would be missed.
    fn spoken(&self) -> Vec<usize> {
        let says = |at: &usize| {
            let said = |row: &Vec<Cell>| row.get(*at).is_some_and(|c| c.value != Value::Absent);
            self.columns.get(*at).is_some_and(|column| !column.sparse) || self.rows.iter().any(said)
        };
        (0..self.columns.len()).filter(says).collect()
    }

    /// The minor columns that must give way for the rest to fit the terminal.
    fn hidden(&self, look: &Look) -> Vec<usize> {
        let mut hidden = Vec::new();
        let Some(width) = look.width.map(usize::from) else { return hidden };
        let widths = self.widths_min(look);
        let mut minor = self.spoken();
        let gaps = GAP * minor.len().saturating_sub(1);
        let mut needed = minor.iter().filter_map(|at| widths.get(*at)).sum::<usize>() + gaps;
        minor.retain(|at| self.columns.get(*at).is_some_and(|column| column.minor > 0));
        // Of columns of one rank, the rightmost goes first.
        minor.sort_by_key(|at| (self.columns.get(*at).map_or(0, |column| column.minor), *at));
        while needed > width {
            let Some(at) = minor.pop() else { break };
            needed -= widths.get(at).copied().unwrap_or(0) + GAP;
            hidden.push(at);
        }
        hidden.sort_unstable();
        hidden
    }

    /// What each column needs for its words to stay whole; sentences may be broken.
    fn widths_min(&self, look: &Look) -> Vec<usize> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let unbounded = Look { width: None, ..look.clone() };
        let widths = self.grid(&all, &unbounded).column_max_content_widths();
        let widths = widths.into_iter().map(usize::from).zip(&self.columns);
        widths
            .map(|(width, column)| if column.prose { width.min(PROSE_WIDTH_MIN) } else { width })
            .collect()
    }

    /// Whether the columns `shown` have room for their words to stay whole.
    fn words_fit(&self, shown: &[usize], look: &Look) -> bool {
        let Some(width) = look.width.map(usize::from) else { return true };
        let widths = self.widths_min(look);
        let needed: usize = shown.iter().filter_map(|at| widths.get(*at)).sum();
        needed + GAP * shown.len().saturating_sub(1) <= width
    }

    /// The columns `shown`, laid out.
    fn grid(&self, shown: &[usize], look: &Look) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(comfy_table::presets::NOTHING);
        match look.width {
            Some(width) => {
                grid.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
            None => {
                grid.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        if look.colour {
            grid.enforce_styling();
        } else {
            grid.force_no_tty();
        }
        let sides = self.sides();
        let picked =
            || shown.iter().filter_map(|at| Some((self.columns.get(*at)?, *sides.get(*at)?, *at)));
        grid.set_header(picked().map(|(column, side, _)| {
            let title = comfy_table::Cell::new(&column.title).add_attribute(Attribute::Bold);
            title.set_alignment(side)
        }));
        for row in &self.rows {
            grid.add_row(picked().filter_map(|(column, side, at)| {
                Some(drawn(column, row.get(at)?, look).set_alignment(side))
            }));
        }
        let last = shown.len().saturating_sub(1);
        let whole = self.words_fit(shown, look);
        for (at, (column, (of, side, _))) in grid.column_iter_mut().zip(picked()).enumerate() {
            // Two blanks between columns, none at the edges.
            column.set_padding((0, if at == last { 0 } else { 2 }));
            // Sentences may be broken into lines, names only in need; a broken number cannot be read.
            if side == CellAlignment::Right || (whole && !of.prose) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        grid
    }

    /// Numbers stand under each other by their last digit, and absent ones with them.
    fn sides(&self) -> Vec<CellAlignment> {
        let number = |at: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.any(|cell| matches!(cell.value, Value::Number(_)))
        };
        let side = |(at, column): (usize, &Column)| match column.words && !number(at) {
            true => CellAlignment::Left,
            false => CellAlignment::Right,
        };
        self.columns.iter().enumerate().map(side).collect()
    }

    fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let pairs = self.columns.iter().zip(row);
            let object: serde_json::Map<_, _> = pairs
                .map(|(column, cell)| (column.key.clone().into_owned(), json_value(&cell.value)))
                .collect();
            serde_json::Value::Object(object).to_string()
        });
        let rows: Vec<String> = rows.collect();
        if rows.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", rows.join(",\n")) }
    }

    fn csv(&self) -> String {
        let mut text = csv_line(self.columns.iter().map(|column| column.key.clone()));
        for row in &self.rows {
            text.push_str(&csv_line(row.iter().map(|cell| match &cell.value {
                Value::Absent => Cow::Borrowed(""),
                Value::Text(text) => Cow::Borrowed(text.as_str()),
                Value::Number(number) => Cow::Owned(labstat_model::number::format_api(*number)),
            })));
        }
        text
    }
}

fn drawn(column: &Column, cell: &Cell, look: &Look) -> comfy_table::Cell {
    let said = match &cell.value {
        Value::Absent => "-".to_owned(),
        // A name from a disk or a label must not be able to steer the terminal.
        Value::Text(text) => printable(text),
        Value::Number(number) => human::number(*number, column.unit, &look.zone),
    };
    let drawn = comfy_table::Cell::new(format!("{}{said}", cell.branch));
    match cell.tone {
        Tone::Plain => drawn,
        Tone::Good => drawn.fg(Color::Green),
        Tone::Warn => drawn.fg(Color::Yellow),
        Tone::Bad => drawn.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

/// `text` with characters written out that show nothing themselves: what a disk's firmware or a
/// label says must not steer the terminal, nor turn what stands beside it.
pub(crate) fn printable(text: &str) -> String {
    labstat_disks::printable(text).into_owned()
}

/// Numbers that JSON has no word for (NaN, the infinities) are strings, as in Prometheus' API.
fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Absent => serde_json::Value::Null,
        Value::Text(text) => text.as_str().into(),
        Value::Number(number) => match serde_json::Number::from_f64(*number) {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
            Some(_) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
            Some(number) => serde_json::Value::Number(number),
            None => labstat_model::number::format_api(*number).into(),
        },
    }
}

/// One record as RFC 4180 has it, but for the plain line end.
fn csv_line<'a>(fields: impl Iterator<Item = Cow<'a, str>>) -> String {
    let fields: Vec<String> = fields
        .map(|field| match field.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field.into_owned(),
        })
        .collect();
    format!("{}\n", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(
            [
                Column::text("node", "NODE"),
                Column::new("temperature_celsius", "TEMP", Unit::Celsius),
                Column::text("note", "NOTE"),
            ],
            "Nothing.",
        );
        let hot = Cell::number(Some(71.0)).limits(60.0, 70.0);
        table.push(vec![Cell::text("apex"), hot, Cell::text("a, \"b\"")]);
        table.push(vec![Cell::text("zenith"), Cell::number(None), Cell::text("")]);
        table
    }

    fn look(colour: bool) -> Look {
        Look { colour, width: None, zone: TimeZone::UTC }
    }

    #[test]
    fn three_forms() {
        let table = sample();
        assert_eq!(
            table.render(Format::Table, &look(false)),
            "NODE     TEMP  NOTE\napex    71 °C  a, \"b\"\nzenith      -  -\n"
        );
        assert_eq!(
            table.render(Format::Csv, &look(false)),
            "node,temperature_celsius,note\napex,71,\"a, \"\"b\"\"\"\nzenith,,\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&table.render(Format::Json, &look(false))).unwrap();
        assert_eq!(json[0]["temperature_celsius"], 71);
        assert_eq!(json[1]["temperature_celsius"], serde_json::Value::Null);
        assert_eq!(json[1]["note"], serde_json::Value::Null);
    }

    #[test]
    fn colour_only_when_asked_for() {
        assert!(sample().render(Format::Table, &look(true)).contains("\u{1b}["));
        assert!(!sample().render(Format::Table, &look(false)).contains('\u{1b}'));
        assert!(!sample().render(Format::Csv, &look(true)).contains('\u{1b}'));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut table = Table::new([Column::text("node", "NODE")], "");
        table.push(vec![Cell::text("a\u{1b}[2Jb")]);
        assert_eq!(table.render(Format::Table, &look(false)), "NODE\na\\u{1b}[2Jb\n");
        assert_eq!(printable("WDC\u{202e}DER ±°"), "WDC\\u{202e}DER ±°");
    }

    #[test]
    fn no_rows_is_a_sentence_or_an_empty_list() {
        let table = Table::new([Column::text("node", "NODE")], "No nodes yet.");
        assert_eq!(table.render(Format::Table, &look(false)), "No nodes yet.\n");
        assert_eq!(table.render(Format::Json, &look(false)), "[]\n");
        assert_eq!(table.render(Format::Csv, &look(false)), "node\n");
    }

    #[test]
    fn what_is_minor_gives_way_to_a_narrow_terminal() {
        let mut table = Table::new(
            [
                Column::text("node", "NODE"),
                Column::new("size_bytes", "SIZE", Unit::Bytes).minor(1),
                Column::text("kernel", "KERNEL").minor(2),
                Column::text("state", "STATE"),
            ],
            "",
        );
        let row = ["apex", "", "6.8.12-4-pve", "up"].map(Cell::text);
        table.push(row.to_vec());
        let drawn =
            |width| table.render(Format::Table, &Look { width: Some(width), ..look(false) });
        assert_eq!(drawn(40), "NODE  SIZE  KERNEL        STATE\napex     -  6.8.12-4-pve  up\n");
        assert_eq!(
            drawn(20),
            "NODE  SIZE  STATE\napex     -  up\n\n\
             Not shown for want of room: KERNEL.\n--format csv has all.\n"
        );
        assert!(drawn(12).contains("SIZE, KERNEL"));
    }

    #[test]
    fn sentences_break_before_names_do() {
        let mut table =
            Table::new([Column::text("alert", "ALERT"), Column::prose("summary", "SUMMARY")], "");
        let summary = "1 of the 3 disks of md1 on nas has failed";
        table.push(vec![Cell::text("RaidMemberFailed"), Cell::text(summary)]);
        assert_eq!(
            table.render(Format::Table, &Look { width: Some(50), ..look(false) }),
            "\
ALERT             SUMMARY
RaidMemberFailed  1 of the 3 disks of md1 on nas
                  has failed
"
        );
    }

    #[test]
    fn what_wants_looking_at_stands_first() {
        let mut table = Table::new([Column::text("disk", "DISK")], "");
        for (name, tone) in [
            ("plain", Tone::Plain),
            ("good", Tone::Good),
            ("warns", Tone::Warn),
            ("fails", Tone::Bad),
            ("warns too", Tone::Warn),
        ] {
            table.push(vec![Cell::text(name).tone(tone)]);
        }
        table.push(vec![Cell::absent().tone(Tone::Bad)]);
        assert_eq!(
            table.worst_first().render(Format::Csv, &look(false)),
            "disk\nfails\nwarns\nwarns too\nplain\ngood\n\n"
        );
    }

    #[test]
    fn words_break_and_numbers_do_not() {
        let narrow = Look { width: Some(18), ..look(false) };
        let text = sample().render(Format::Table, &narrow);
        assert!(text.lines().all(|line| line.chars().count() <= 18), "{text}");
        assert!(text.contains("71 °C"), "{text}");
    }
}
