//! `labstat routes`: who hears of what, and by which way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use labstat_alerts::manners::{Explanation, RouteView, TakenRoute};
use labstat_model::{Clock, SystemClock};
use serde::Deserialize;
use serde_json::json;

use crate::client::{Client, ServerArgs};
use crate::failure::Failure;
use crate::notify::audience;
use crate::output;
use crate::runtime;
use crate::table::{Cell, Column, Format, Table, Tone};
use crate::view::look;

/// Shows the tree of routes: which alerts go to which receiver
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  labstat routes                                     the tree, as `amtool config routes` draws it
  labstat routes --config aggregator.toml            of a file, without a server
  labstat routes test alertname=DiskDead severity=critical"
)]
pub(crate) struct Routes {
    #[command(subcommand)]
    command: Option<RoutesCommand>,

    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Subcommand)]
enum RoutesCommand {
    Test(Test),
}

/// Shows who would hear of an alert with these labels, by which way, and what keeps it quiet now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat routes test alertname=DiskDead severity=critical
  labstat routes test instance=nas severity=warning --config aggregator.toml
  labstat routes test severity=critical --format json

Nothing is sent. A server knows silences, the alerts that fire and what hangs on what; with --config
only routes, mute times and maintenance of a node itself are looked at.")]
struct Test {
    /// The alert's labels, as NAME=VALUE
    #[arg(value_name = "LABEL", required = true, value_parser = label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    ask: Ask,
}

/// Whom to ask, and how to print it.
#[derive(Debug, clap::Args)]
struct Ask {
    /// The aggregator's configuration, in place of a server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

/// What a server says of its routes.
#[derive(Debug, Deserialize)]
struct Listing {
    tree: Vec<RouteView>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE, such as severity=critical")?;
    if name.is_empty() {
        return Err("the name of a label is missing before =".to_owned());
    }
    Ok((name.to_owned(), value.trim_matches('"').to_owned()))
}

impl Routes {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if let Some(RoutesCommand::Test(test)) = self.command {
            return test.run();
        }
        let routes = match &self.ask.config {
            Some(file) => audience(file)?.1.manners.routes(),
            None => asked::<Listing>(&self.ask.server, "")?.tree,
        };
        let text = match self.ask.format {
            Format::Table => drawn(&routes),
            Format::Json => format!("{}\n", json!(routes)),
            format => listed(&routes).render(format, &look()),
        };
        output::result(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Test {
    fn run(self) -> Result<ExitCode, Failure> {
        let told = match &self.ask.config {
            Some(file) => {
                let labels: BTreeMap<String, String> = self.labels.into_iter().collect();
                audience(file)?.1.manners.explain(&labels, SystemClock.now_ms())
            }
            None => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.extend_pairs(&self.labels);
                asked::<Explanation>(&self.ask.server, &query.finish())?
            }
        };
        let text = match self.ask.format {
            Format::Json => format!("{}\n", json!(told)),
            format => taken(&told.routes).render(format, &look()),
        };
        output::result(&text)?;
        if self.ask.format == Format::Table {
            output::result(&quiet(&told))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn asked<T: serde::de::DeserializeOwned>(server: &ServerArgs, query: &str) -> Result<T, Failure> {
    runtime::block_on(async {
        let client = Client::new(server)?;
        let reply = client.get(&format!("/api/labstat/v1/routes?{query}")).await?;
        serde_json::from_value(reply.data).map_err(|error| {
            Failure::new(format!("{} gave an answer we cannot read", client.base())).because(&error)
        })
    })
}

/// The name of a route in the tree.
fn slug(route: &RouteView) -> String {
    let matchers = if route.matchers == "{}" { "default-route" } else { &route.matchers };
    let proceed = if route.proceed { "  continue: true" } else { "" };
    format!("{matchers}{proceed}  receiver: {}", route.receiver.as_deref().unwrap_or("(nobody)"))
}

/// The tree as `amtool config routes` draws it.
fn drawn(routes: &[RouteView]) -> String {
    let mut text = String::from("Routing tree:\n.\n");
    // Whether more follows at each depth above.
    let mut open: Vec<bool> = Vec::new();
    for (at, route) in routes.iter().enumerate() {
        let after = routes.get(at + 1..).unwrap_or_default();
        let next = after.iter().find(|other| other.depth <= route.depth);
        let is_last = next.is_none_or(|other| other.depth < route.depth);
        open.truncate(route.depth);
        for more in &open {
            text.push_str(if *more { "│   " } else { "    " });
        }
        text.push_str(if is_last { "└── " } else { "├── " });
        text.push_str(&slug(route));
        text.push('\n');
        open.push(!is_last);
    }
    text
}

fn columns() -> [Column; 5] {
    [
        Column::text("receiver", "RECEIVER"),
        Column::prose("route", "ROUTE"),
        Column::text("group_by", "GROUPED BY"),
        Column::text("group_wait", "WAITS").minor(1),
        Column::text("repeat_interval", "REPEATS").minor(2),
    ]
}

fn cells(route: &RouteView, way: String) -> Vec<Cell> {
    let group_by = match route.group_by.as_slice() {
        [] => "one group".to_owned(),
        names => names.join(", "),
    };
    vec![
        Cell::text_opt(route.receiver.clone()),
        Cell::text(way),
        Cell::text(group_by),
        Cell::text(&*route.group_wait),
        Cell::text(&*route.repeat_interval),
    ]
}

fn listed(routes: &[RouteView]) -> Table {
    let mut table = Table::new(columns(), "There are no routes.");
    routes.iter().for_each(|route| table.push(cells(route, route.matchers.clone())));
    table
}

/// The routes that an alert takes, a line each.
fn taken(routes: &[TakenRoute]) -> Table {
    let more = [
        Column::text("escalation", "THEN").sparse().minor(3),
        Column::text("muted_by", "MUTED BY").sparse(),
    ];
    let mut table =
        Table::new(columns().into_iter().chain(more).collect::<Vec<_>>(), "No route takes it.");
    for taken in routes {
        let below: Vec<&str> = taken.path.iter().skip(1).map(String::as_str).collect();
        let way = if below.is_empty() { "default".to_owned() } else { below.join(" / ") };
        let then = taken.route.escalation.as_ref();
        let then = then.map(|then| format!("{} after {}", then.receiver, then.after));
        let mut row = cells(&taken.route, way);
        row.push(Cell::text_opt(then));
        let muted_by = (!taken.muted_by.is_empty()).then(|| taken.muted_by.join(", "));
        row.push(Cell::text_opt(muted_by).tone(Tone::Warn));
        table.push(row);
    }
    table
}

/// What keeps such an alert quiet now, a line each.
fn quiet(told: &Explanation) -> String {
    let mut lines = Vec::new();
    lines.extend(told.silenced_by.iter().map(|id| format!("silenced by {id}")));
    lines.extend(told.inhibited_by.iter().map(|alert| format!("kept quiet by the alert {alert}")));
    lines.extend(told.maintenance.as_ref().map(|why| match why.as_str() {
        "" => "its node is in maintenance".to_owned(),
        why => format!("its node is in maintenance: {why}"),
    }));
    if lines.is_empty() && told.is_suppressed() {
        lines.push("all of its routes are muted".to_owned());
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("Now it would not be told: {}.\n", lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::plain;

    fn route(depth: usize, matchers: &str, receiver: &str, proceed: bool) -> RouteView {
        serde_json::from_value(json!({
            "depth": depth, "matchers": matchers, "continue": proceed, "groupBy": ["cluster"],
            "receiver": (!receiver.is_empty()).then_some(receiver),
            "groupWait": "30s", "groupInterval": "5m", "repeatInterval": "4h",
        }))
        .unwrap()
    }

    #[test]
    fn the_tree_is_drawn_as_amtool_draws_it() {
        let routes = [
            route(0, "{}", "", false),
            route(1, "{severity=\"critical\"}", "phone", true),
            route(2, "{team=\"db\"}", "dba", false),
            route(2, "{team=\"web\"}", "web", false),
            route(1, "{a=\"b\"}", "chat", false),
            route(2, "{c=\"d\"}", "chat", false),
        ];
        assert_eq!(
            drawn(&routes),
            "\
Routing tree:
.
└── default-route  receiver: (nobody)
    ├── {severity=\"critical\"}  continue: true  receiver: phone
    │   ├── {team=\"db\"}  receiver: dba
    │   └── {team=\"web\"}  receiver: web
    └── {a=\"b\"}  receiver: chat
        └── {c=\"d\"}  receiver: chat
"
        );
    }

    #[test]
    fn an_alert_s_way_is_told_and_what_keeps_it_quiet() {
        let told = Explanation {
            receivers: vec!["phone".to_owned()],
            routes: vec![TakenRoute {
                route: route(1, "{severity=\"critical\"}", "phone", false),
                path: vec!["{}".to_owned(), "{severity=\"critical\"}".to_owned()],
                group_labels: BTreeMap::new(),
                muted_by: vec!["night".to_owned()],
            }],
            ..Explanation::default()
        };
        let text = plain(&taken(&told.routes));
        assert!(text.contains("phone") && text.contains("{severity=\"critical\"}"), "{text}");
        assert!(text.contains("cluster") && text.contains("night"), "{text}");
        assert_eq!(quiet(&told), "Now it would not be told: all of its routes are muted.\n");
        let told = Explanation { maintenance: Some("disk".to_owned()), ..Explanation::default() };
        assert!(quiet(&told).contains("in maintenance: disk"));
        assert_eq!(quiet(&Explanation::default()), "");
    }

    #[test]
    fn labels_are_read_as_for_amtool() {
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(label("a=\"b c\"").unwrap().1, "b c");
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
