//! `labstat notify status`: what receivers are owed, and why they do not have it.

use std::process::ExitCode;

use serde::Deserialize;

use crate::alerts::unix_seconds;
use crate::client::{Client, ServerArgs};
use crate::failure::{FAILED, Failure};
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::table::{Cell, Column, Format, Table, Tone};
use crate::view::look;

/// Shows what each receiver is owed, when it last took a message, and what went wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat notify status
  labstat notify status --check         exit status 1 while a receiver takes nothing
  labstat notify status --format json   for scripts

LAST SUCCESS and LAST ERROR are since the aggregator's start; the error goes with the next success.
PROBABLY counts messages that went out ten times and were never answered; they are not sent again.
HELD is since when the receiver's rate holds messages back, which become one.")]
pub(super) struct Status {
    /// Exit with 1 when a receiver takes nothing
    #[arg(long)]
    check: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

/// One receiver, as the API tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Receiver {
    name: String,
    kind: Option<String>,
    configured: bool,
    owed: u64,
    oldest: Option<String>,
    delivered: u64,
    presumed: u64,
    last_success: Option<String>,
    last_error: Option<String>,
    failing_since: Option<String>,
    next_try: Option<String>,
    rate_held_since: Option<String>,
}

impl Status {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let receivers: Vec<Receiver> = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            let reply = client.get("/api/labstat/v1/receivers").await?;
            serde_json::from_value(reply.data).map_err(|error| {
                Failure::new(format!("{} gave an answer we cannot read", client.base()))
                    .because(&error)
            })
        })?;
        output::result(&table(&receivers).render(self.format, &look()))?;
        let fails = receivers.iter().any(Receiver::fails);
        Ok(if self.check && fails { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
    }
}

impl Receiver {
    /// Whether it takes nothing: every attempt fails, or nobody is there any more for what it is owed.
    fn fails(&self) -> bool {
        self.failing_since.is_some() || (self.owed > 0 && !self.configured)
    }

    fn state(&self) -> (&'static str, Tone) {
        match self {
            Self { configured: false, .. } => ("not configured", Tone::Warn),
            Self { failing_since: Some(_), .. } => ("failing", Tone::Bad),
            Self { rate_held_since: Some(_), .. } => ("held", Tone::Warn),
            Self { last_success: Some(_), .. } => ("good", Tone::Good),
            _ => ("not tried", Tone::Plain),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "messages are fewer than 2^53")]
fn table(receivers: &[Receiver]) -> Table {
    let mut table = Table::new(
        [
            Column::text("receiver", "RECEIVER"),
            Column::text("kind", "KIND").minor(3),
            Column::text("state", "STATE"),
            Column::new("owed", "OWED", Unit::Plain),
            Column::new("oldest_unix_seconds", "OLDEST", Unit::Time).sparse().minor(2),
            Column::new("delivered", "DELIVERED", Unit::Plain).minor(4),
            Column::new("presumed", "PROBABLY", Unit::Plain).sparse().minor(4),
            Column::new("last_success_unix_seconds", "LAST SUCCESS", Unit::Time),
            Column::new("failing_since_unix_seconds", "FAILING SINCE", Unit::Time)
                .sparse()
                .minor(1),
            Column::new("next_try_unix_seconds", "NEXT TRY", Unit::Time).sparse(),
            Column::new("rate_held_since_unix_seconds", "HELD", Unit::Time).sparse(),
            Column::prose("last_error", "LAST ERROR").sparse(),
        ],
        "No receivers: nobody is told of alerts.",
    );
    for receiver in receivers {
        let (state, tone) = receiver.state();
        let time = |at: &Option<String>| Cell::number(at.as_deref().and_then(unix_seconds));
        table.push(vec![
            Cell::text(&*receiver.name),
            Cell::text_opt(receiver.kind.clone()),
            Cell::text(state).tone(tone),
            Cell::number(Some(receiver.owed as f64)),
            time(&receiver.oldest),
            Cell::number(Some(receiver.delivered as f64)),
            Cell::number((receiver.presumed > 0).then_some(receiver.presumed as f64)),
            time(&receiver.last_success),
            time(&receiver.failing_since),
            time(&receiver.next_try),
            time(&receiver.rate_held_since),
            Cell::text_opt(receiver.last_error.clone()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::plain;

    #[test]
    fn receivers_say_what_they_are_owed_and_why() {
        let receivers: Vec<Receiver> = serde_json::from_str(
            r#"[
                {"name":"phone","kind":"ntfy","configured":true,"owed":0,"delivered":7,"lastSuccess":"2025-11-21T05:00:00Z"},
                {"name":"chat","kind":"webhook","configured":true,"owed":2,"delivered":0,"presumed":3,"oldest":"2025-11-21T05:00:00Z",
                 "failingSince":"2025-11-21T05:00:01Z","nextTry":"2025-11-21T05:10:00Z","lastError":"chat answered 503"},
                {"name":"gone","configured":false,"owed":1,"delivered":0,"oldest":"2025-11-21T05:00:00Z"},
                {"name":"new","kind":"email","configured":true,"owed":0,"delivered":0}]"#,
        )
        .unwrap();
        let text = plain(&table(&receivers));
        let row =
            |at: usize| text.lines().nth(at).unwrap_or("").split_whitespace().collect::<Vec<_>>();
        assert_eq!(row(1)[..4], ["phone", "ntfy", "good", "0"]);
        assert_eq!(row(2)[..4], ["chat", "webhook", "failing", "2"]);
        assert_eq!(row(2)[6..8], ["0", "3"], "{text}");
        assert!(text.contains("05:10:00") && text.contains("chat answered 503"), "{text}");
        assert_eq!(row(3)[..4], ["gone", "-", "not", "configured"]);
        assert_eq!(row(4)[..4], ["new", "email", "not", "tried"]);
        assert_eq!(
            receivers.iter().map(Receiver::fails).collect::<Vec<_>>(),
            [false, true, true, false]
        );
    }
}
