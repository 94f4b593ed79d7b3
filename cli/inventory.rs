//! `labstat inventory`: what the lab is made of, what of it is missing, and what is gone for good.

use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;

use crate::client::{Client, ServerArgs, path_part};
use crate::failure::Failure;
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{ViewArgs, look};

/// Shows what is expected beside disks: arrays, pools, interfaces, OSDs, UPSes; and forgets what is gone
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat inventory                         all that was ever seen, what is missing first
  labstat inventory --node nas
  labstat inventory forget array nas/md0    it is gone for good

What was there for an hour is expected from then on, and an alert tells when it is missing while its
node is up. `labstat disks` and `labstat nodes` show disks and nodes.")]
pub(crate) struct Inventory {
    #[command(subcommand)]
    command: Option<InventoryCommand>,

    #[command(flatten)]
    view: ViewArgs,
}

#[derive(Debug, Subcommand)]
enum InventoryCommand {
    Forget(Forget),
}

/// Expects something no more that is gone for good; its history stays
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat inventory forget array nas/md0
  labstat inventory forget interface vertex/enp3s0
  labstat inventory forget osd ceph-1f2e3d4c/osd.2
  labstat inventory forget ups nas/myups@127.0.0.1:3493
  labstat inventory forget zpool nas/tank
  labstat inventory forget node vertex      with all that it told of

It is expected again when it is seen again for an hour. For disks: labstat disk forget.")]
struct Forget {
    /// node, array, interface, osd, ups, zpool, btrfs or thin_pool
    #[arg(value_name = "KIND")]
    kind: String,

    /// NODE/NAME as `labstat inventory` shows it; of a node its name
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// One thing, as the API tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thing {
    kind: String,
    instance: String,
    name: String,
    state: String,
    last_seen: String,
    missing_since: Option<String>,
}

impl Inventory {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Some(InventoryCommand::Forget(forget)) => forget.run(),
            None => show(&self.view),
        }
    }
}

impl Forget {
    fn run(self) -> Result<ExitCode, Failure> {
        let path = path_of(&self.kind, &self.name)?;
        runtime::block_on(async {
            let client = Client::new(&self.server)?;
            client.delete(&path).await
        })?;
        output::result(&format!("Forgot {} {}. Its history stays.\n", self.kind, self.name))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where something is forgotten.
fn path_of(kind: &str, name: &str) -> Result<String, Failure> {
    if kind == "node" {
        return Ok(format!("/api/labstat/v1/nodes/{}", path_part(name)));
    }
    let (instance, name) = name.split_once('/').ok_or_else(|| {
        Failure::new(format!("{name:?} is not NODE/NAME"))
            .cure("`labstat inventory` shows the names")
    })?;
    let parts = [kind, instance, name].map(path_part);
    Ok(format!("/api/labstat/v1/inventory/{}", parts.join("/")))
}

fn show(view: &ViewArgs) -> Result<ExitCode, Failure> {
    let things = runtime::block_on(async {
        let client = Client::new(&view.server)?;
        let reply = client.get("/api/labstat/v1/inventory").await?;
        let things: Result<Vec<Thing>, _> = serde_json::from_value(reply.data);
        things.map_err(|error| {
            Failure::new(format!("{} gave an answer we cannot read", client.base())).because(&error)
        })
    })?;
    let is_wanted = |thing: &Thing| view.node.as_ref().is_none_or(|node| *node == thing.instance);
    let things: Vec<Thing> = things.into_iter().filter(is_wanted).collect();
    output::result(&table(things).render(view.format, &look()))?;
    Ok(ExitCode::SUCCESS)
}

fn table(mut things: Vec<Thing>) -> Table {
    let mut table = Table::new(
        [
            Column::text("state", "STATE"),
            Column::text("kind", "KIND"),
            Column::text("name", "NAME"),
            Column::new("missing_since_unix_seconds", "MISSING SINCE", Unit::Time),
            Column::new("seen_unix_seconds", "SEEN", Unit::Time).minor(1),
        ],
        "Nothing is known yet: no agent has told of an array, a pool, an interface, an OSD or a UPS.",
    );
    things.sort_by_key(|thing| (thing.missing_since.is_none(), thing.instance.clone()));
    for thing in things {
        let tone = if thing.missing_since.is_some() { Tone::Bad } else { Tone::Plain };
        table.push(vec![
            Cell::text(thing.state).tone(tone),
            Cell::text(thing.kind),
            Cell::text(format!("{}/{}", thing.instance, thing.name)),
            Cell::number(thing.missing_since.as_deref().and_then(unix_seconds)),
            Cell::number(unix_seconds(&thing.last_seen)),
        ]);
    }
    table
}

fn unix_seconds(rfc3339: &str) -> Option<f64> {
    let moment: Timestamp = rfc3339.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 53 bits")]
    Some(moment.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::plain;

    #[test]
    fn what_is_missing_stands_first() {
        let things = serde_json::from_str(
            r#"[{"kind":"interface","instance":"apex","name":"eno1","state":"expected",
                 "firstSeen":"2025-11-20T05:00:00Z","lastSeen":"2025-11-21T05:00:00Z","missingSince":null},
                {"kind":"array","instance":"nas","name":"md0","state":"missing",
                 "firstSeen":"2025-11-20T05:00:00Z","lastSeen":"2025-11-21T04:00:00Z",
                 "missingSince":"2025-11-21T04:00:05Z"}]"#,
        );
        assert_eq!(
            plain(&table(things.unwrap())),
            "\
STATE     KIND       NAME             MISSING SINCE                 SEEN
missing   array      nas/md0    2025-11-21 04:00:05  2025-11-21 04:00:00
expected  interface  apex/eno1                    -  2025-11-21 05:00:00
"
        );
    }

    #[test]
    fn names_become_paths() {
        let path = path_of;
        let ups = path("ups", "nas/my ups@127.0.0.1:3493").unwrap();
        assert_eq!(ups, "/api/labstat/v1/inventory/ups/nas/my%20ups%40127.0.0.1%3A3493");
        let pool = path("thin_pool", "nas/pve/data").unwrap();
        assert_eq!(pool, "/api/labstat/v1/inventory/thin_pool/nas/pve%2Fdata");
        assert_eq!(path("node", "vertex").unwrap(), "/api/labstat/v1/nodes/vertex");
        assert!(path("array", "md0").is_err());
    }
}
