//! `labstat silence`: alerts that are known and shall not be told for a while.
//!
//! It speaks the Alertmanager API, so a real Alertmanager will do as the server too.

use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;
use jiff::Timestamp;
use labstat_alerts::manners::matchers::Matchers;
use labstat_model::{Clock, MatchOp, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::LabelMap;
use crate::client::{Client, ServerArgs, path_part};
use crate::failure::Failure;
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::settings;
use crate::table::{Cell, Column, Format, Table, Tone, printable};
use crate::view::{count, look};

/// How long a silence lasts when nothing is said; `amtool` has the same.
const FOR: &str = "1h";

/// Characters of an identifier that people are shown: a few thousand silences still differ in them.
const ID_SHOWN: usize = 8;

/// Characters that name a silence at the least.
const ID_LEN_MIN: usize = 4;

/// Alerts that are listed when a silence is made.
const LISTED_MAX: usize = 5;

/// Keeps alerts from being told for a while
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat silence add instance=nas --for 2h --comment \"new disk\"
  labstat silence list
  labstat silence expire 3f2a81c0")]
pub(crate) struct Silence {
    #[command(subcommand)]
    command: SilenceCommand,
}

#[derive(Debug, Subcommand)]
enum SilenceCommand {
    Add(Add),
    List(List),
    Expire(Expire),
}

/// Makes a silence: alerts that all matchers fit are not told until it is over
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat silence add instance=nas --for 2h --comment \"new disk\"
  labstat silence add --node nas --for 30m       alerts whose instance is nas
  labstat silence add DiskAct 'disk=~\"S1.*\"'     one alert of some disks
  labstat silence add severity!=critical --start 2026-12-24T18:00 --for 3d

--node is instance=NAME. Alerts that name a node otherwise (of a disk, from elsewhere) want
matchers of their own; all that hangs on a node is kept quiet by [[maintenance]] in aggregator.toml.

A matcher is NAME=VALUE, NAME!=VALUE, NAME=~PATTERN or NAME!~PATTERN, the value in quotes or not; a
word alone is the name of an alert. Prints the silence's id, and on standard error what it silences
right now.")]
struct Add {
    /// Which alerts
    #[arg(value_name = "MATCHER", required_unless_present = "node")]
    matchers: Vec<String>,

    /// Alerts whose instance is this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// How long, such as 30m, 2h or 3d
    #[arg(long = "for", value_name = "DURATION", default_value = FOR, value_parser = settings::duration_ms)]
    for_ms: i64,

    /// When it begins, in local time or with an offset [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    start: Option<i64>,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,

    /// Who makes it [default: you on this machine]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Lists silences that are in force or about to be
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat silence list
  labstat silence list --expired    those that are over too
  labstat silence list --format json")]
struct List {
    /// Those that are over too
    #[arg(long)]
    expired: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

/// Ends silences now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat silence expire 3f2a81c0
  labstat silence expire --all

The first characters of an id are enough where no other silence has them.")]
struct Expire {
    /// Which, by id
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    /// All that are in force or about to be
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// A silence, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    pub(crate) id: String,
    status: State,
    matchers: Vec<Matcher>,
    starts_at: String,
    pub(crate) ends_at: String,
    #[serde(default)]
    pub(crate) created_by: String,
    #[serde(default)]
    pub(crate) comment: String,
}

#[derive(Debug, Clone, Deserialize)]
struct State {
    /// `active`, `pending` or `expired`.
    state: String,
}

/// One condition on a label, as the API has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Matcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

/// An alert, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Silenced {
    labels: LabelMap,
    status: Standing,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    #[serde(default)]
    silenced_by: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Silence {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            SilenceCommand::Add(add) => add.run(),
            SilenceCommand::List(list) => list.run(),
            SilenceCommand::Expire(expire) => expire.run(),
        }
    }
}

impl Add {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut matchers = Vec::new();
        for text in &self.matchers {
            matchers.extend(Matcher::read(text)?);
        }
        matchers.extend(self.node.as_deref().map(|node| Matcher::equal("instance", node)));
        let start_ms = self.start.unwrap_or_else(|| SystemClock.now_ms());
        let body = json!({
            "matchers": matchers,
            "startsAt": rfc3339(start_ms),
            "endsAt": rfc3339(start_ms.saturating_add(self.for_ms)),
            "createdBy": self.author.unwrap_or_else(author),
            "comment": self.comment,
        });
        let (id, silenced) = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            let id = add(&client, &body).await?;
            let alerts = client.v2::<Vec<Silenced>>(Method::GET, "/api/v2/alerts", None).await?;
            let mut alerts = alerts.unwrap_or_default();
            alerts.retain(|alert| alert.status.silenced_by.contains(&id));
            Ok((id, alerts))
        })?;
        output::result(&format!("{id}\n"))?;
        output::message(&told(&silenced, self.start.is_some()));
        Ok(ExitCode::SUCCESS)
    }
}

async fn add(client: &Client, body: &serde_json::Value) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Made {
        #[serde(rename = "silenceID")]
        id: String,
    }
    let made: Option<Made> = client.v2(Method::POST, "/api/v2/silences", Some(body)).await?;
    let missing = || Failure::new(format!("{} has no silences", client.base()));
    made.map(|made| made.id).ok_or_else(|| missing().cure("is that the address of an aggregator?"))
}

/// What a new silence silences right now.
fn told(silenced: &[Silenced], later: bool) -> String {
    let names: Vec<String> = silenced
        .iter()
        .map(|alert| {
            let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
            let text = format!("{} {}", label("alertname"), label("instance"));
            printable(text.trim())
        })
        .collect();
    match (names.len(), later) {
        (0, true) => String::new(),
        (0, false) => {
            "labstat: warning: no alert fits it now; one that comes will be silenced\n".to_owned()
        }
        (number, _) => {
            let more = match number.saturating_sub(LISTED_MAX) {
                0 => String::new(),
                more => format!(", {more} more"),
            };
            let names = names.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
            format!("silences {} now: {names}{more}\n", count(number, "alert"))
        }
    }
}

impl List {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut silences = runtime::block_on(async { ask(&Client::new(&self.server)?).await })?;
        silences.retain(|silence| self.expired || silence.status.state != "expired");
        let table = table(&silences, self.format == Format::Table);
        output::result(&table.render(self.format, &look()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All silences of a server, those in force first.
pub(crate) async fn ask(client: &Client) -> Result<Vec<Kept>, Failure> {
    Ok(client.v2(Method::GET, "/api/v2/silences", None).await?.unwrap_or_default())
}

impl Expire {
    fn run(self) -> Result<ExitCode, Failure> {
        let ended = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            let mut silences = ask(&client).await?;
            silences.retain(|silence| silence.status.state != "expired");
            let ids = match self.all {
                true => silences.iter().map(|silence| silence.id.clone()).collect(),
                false => {
                    let find = |id: &String| found(&silences, id);
                    self.ids.iter().map(find).collect::<Result<Vec<_>, _>>()?
                }
            };
            for id in &ids {
                let path = format!("/api/v2/silence/{}", path_part(id));
                client.v2::<()>(Method::DELETE, &path, None).await?;
            }
            Ok(ids)
        })?;
        output::result(&format!("{} ended\n", count(ended.len(), "silence")))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The id of the only silence whose id begins so.
fn found(silences: &[Kept], start: &str) -> Result<String, Failure> {
    if start.len() < ID_LEN_MIN {
        return Err(Failure::new(format!("{start:?} is too short for the id of a silence"))
            .cure(format!("give its first {ID_LEN_MIN} characters at the least")));
    }
    let mut fit = silences.iter().filter(|silence| silence.id.starts_with(start));
    match (fit.next(), fit.next()) {
        (Some(silence), None) => Ok(silence.id.clone()),
        (Some(_), Some(_)) => Err(Failure::new(format!("several silences begin with {start:?}"))
            .cure("give more of the id")),
        (None, _) => Err(Failure::new(format!("no silence in force begins with {start:?}"))
            .cure("`labstat silence list` lists them")),
    }
}

fn table(silences: &[Kept], for_people: bool) -> Table {
    let mut table = Table::new(
        [
            Column::text("id", "ID"),
            Column::text("state", "STATE"),
            Column::text("matchers", "MATCHERS"),
            Column::new("starts_unix_seconds", "FROM", Unit::Time).minor(2),
            Column::new("ends_unix_seconds", "UNTIL", Unit::Time),
            Column::text("author", "BY").minor(1),
            Column::prose("comment", "COMMENT"),
        ],
        "No silences: every alert is told.",
    );
    for silence in silences {
        let id: String = match for_people {
            true => silence.id.chars().take(ID_SHOWN).collect(),
            false => silence.id.clone(),
        };
        let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
        let tone = if silence.status.state == "active" { Tone::Warn } else { Tone::Plain };
        let time = |text: &str| Cell::number(crate::alerts::unix_seconds(text));
        table.push(vec![
            Cell::text(id),
            Cell::text(&*silence.status.state).tone(tone),
            Cell::text(matchers.join(" ")),
            time(&silence.starts_at),
            time(&silence.ends_at),
            Cell::text(&*silence.created_by),
            Cell::text(&*silence.comment),
        ]);
    }
    table
}

impl Matcher {
    fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), is_regex: false, is_equal: true }
    }

    /// Reads what `amtool` takes too: `name=value` and the like, several in braces, or a word alone,
    /// which is the name of an alert.
    fn read(text: &str) -> Result<Vec<Self>, Failure> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if !text.is_empty() && text.chars().all(is_word) {
            return Ok(vec![Self::equal("alertname", text)]);
        }
        let read = Matchers::parse(text).map_err(|error| {
            Failure::new(format!("not a matcher: {text:?}"))
                .because(&error)
                .cure("write it as instance=nas, severity!=info or 'device=~\"sd[ab]\"'")
        })?;
        Ok(read.iter().map(Self::of).collect())
    }

    fn of(matcher: &labstat_model::Matcher) -> Self {
        let op = matcher.op();
        Self {
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
            is_regex: matches!(op, MatchOp::Regex | MatchOp::NotRegex),
            is_equal: matches!(op, MatchOp::Equal | MatchOp::Regex),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operator = match (self.is_equal, self.is_regex) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        write!(f, "{}{operator}{:?}", self.name, self.value)
    }
}

/// Who runs this, and where: `anna@nas`.
pub(crate) fn author() -> String {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.map_or("somebody".to_owned(), |user| user.to_string_lossy().into_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    }
}

/// Milliseconds as RFC 3339, for machines.
pub(crate) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

/// A time as people write it, for clap: RFC 3339, or local without an offset.
fn time_ms(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let civil: Result<jiff::civil::DateTime, _> = text.parse();
    let zoned = civil.and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::system()));
    zoned
        .map(|zoned| zoned.timestamp().as_millisecond())
        .map_err(|_| "expected a time such as 2026-12-24T18:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::plain;

    fn matcher(name: &str, value: &str, is_regex: bool, is_equal: bool) -> Matcher {
        Matcher { name: name.to_owned(), value: value.to_owned(), is_regex, is_equal }
    }

    #[test]
    fn matchers_are_read_as_amtool_reads_them() {
        for (text, expected) in [
            ("instance=nas", matcher("instance", "nas", false, true)),
            ("DiskAct", matcher("alertname", "DiskAct", false, true)),
            ("severity!=info", matcher("severity", "info", false, false)),
            ("disk=~\"S1.*\"", matcher("disk", "S1.*", true, true)),
            ("disk!~ S1|S2", matcher("disk", "S1|S2", true, false)),
            ("a=\"b\\\"c\"", matcher("a", "b\"c", false, true)),
            ("a=b=c", matcher("a", "b=c", false, true)),
            ("a=", matcher("a", "", false, true)),
        ] {
            assert_eq!(Matcher::read(text).unwrap(), [expected], "{text}");
        }
        assert_eq!(Matcher::read("{a=b, c=d}").unwrap().len(), 2);
        for wrong in ["=x", "a\"b", "a!b", "a=\"b", "two words"] {
            assert!(Matcher::read(wrong).is_err(), "{wrong}");
        }
    }

    fn silences() -> Vec<Kept> {
        serde_json::from_str(
            r#"[{"id":"db069801-3c9f-494b-b43f-5300990ad28c","status":{"state":"active"},
                 "updatedAt":"2025-11-21T05:00:00.000Z","comment":"new disk","createdBy":"anna@nas",
                 "endsAt":"2025-11-21T07:00:00.000Z","startsAt":"2025-11-21T05:00:00.000Z",
                 "matchers":[{"isEqual":true,"isRegex":false,"name":"instance","value":"nas"},
                             {"isRegex":true,"name":"disk","value":"S1.*"}]},
                {"id":"db0699","status":{"state":"pending"},"comment":"","createdBy":"",
                 "endsAt":"x","startsAt":"2025-11-21T05:00:00.000Z","matchers":[]}]"#,
        )
        .unwrap()
    }

    #[test]
    fn people_see_short_ids_and_machines_whole_ones() {
        assert_eq!(
            plain(&table(&silences(), true)),
            "\
ID        STATE    MATCHERS                                    FROM                UNTIL  BY        COMMENT
db069801  active   instance=\"nas\" disk=~\"S1.*\"  2025-11-21 05:00:00  2025-11-21 07:00:00  anna@nas  new disk
db0699    pending  -                            2025-11-21 05:00:00                    -  -         -
"
        );
        let csv = table(&silences(), false).render(Format::Csv, &look());
        assert!(csv.contains("db069801-3c9f-494b-b43f-5300990ad28c,active"), "{csv}");
    }

    #[test]
    fn a_silence_is_found_by_the_start_of_its_id() {
        let silences = silences();
        assert_eq!(found(&silences, "db06980").unwrap(), silences[0].id);
        for wrong in ["db069", "db0", "ffff"] {
            assert!(found(&silences, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_is_told_what_is_silenced() {
        let alert = |name: &str| Silenced {
            labels: [("alertname".to_owned(), name.to_owned())].into(),
            status: Standing { silenced_by: Vec::new() },
        };
        assert!(told(&[], false).starts_with("labstat: warning: no alert"));
        assert_eq!(told(&[], true), "");
        assert_eq!(told(&[alert("A")], false), "silences 1 alert now: A\n");
        let many: Vec<Silenced> = ["A", "B", "C", "D", "E", "F", "G"].map(alert).into();
        assert_eq!(told(&many, false), "silences 7 alerts now: A, B, C, D, E, 2 more\n");
    }

    #[test]
    fn times_are_read_with_and_without_an_offset() {
        assert_eq!(time_ms("2025-11-21T05:43:56Z"), Ok(1_763_703_836_000));
        assert!(time_ms("2025-11-21T05:43").is_ok() && time_ms("2025-11-21").is_ok());
        assert!(time_ms("tomorrow").is_err());
    }
}
