//! `labstat disk`: all about one disk, and what people do about it: acknowledge, forget. Self-tests
//! are in [`crate::selftest`].
//!
//! Here are the commands. [`told`] is what the aggregator thinks of a disk, [`picture`] asks for the
//! series of it, [`page`] shows both.

mod page;
mod picture;
mod told;

use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;

use crate::client::{Client, ServerArgs};
use crate::failure::Failure;
use crate::output;
use crate::runtime;
use crate::selftest::Selftest;
use crate::table::Format;
use crate::view::look;
use picture::Picture;
use told::{named, path, read};

/// Shows all about one disk: verdict, reasons, where it is, what breaks, and what it counts
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  labstat disk nas/sda              the disk that node nas calls sda
  labstat disk sda                  the same, where no other node has an sda
  labstat disk WD-WCC4N1234567      by its serial number, wherever it is
  labstat disk nas/sda --format json
  labstat disk ack nas/sda --note \"scrubbed, no error\"
  labstat disk forget WD-WCC4N1234567
  sudo labstat disk selftest sda    on the machine that has it

HISTORY is the course of a number as far back as there is one, CHANGE what it has grown by.
What to think of a disk only an aggregator knows, no other server with the Prometheus API."
)]
pub(crate) struct Disk {
    #[command(subcommand)]
    command: Option<DiskCommand>,

    /// A serial number, NODE/DEVICE, or a DEVICE that only one node has
    #[arg(value_name = "DISK", required = true, value_parser = NonEmptyStringValueParser::new())]
    disk: Option<String>,

    /// How to print; json is one object, csv has the numbers only
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum DiskCommand {
    Ack(Ack),
    Forget(Forget),
    Selftest(Selftest),
}

/// Accepts what a disk says now, so that only what goes beyond it counts from here on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat disk ack nas/sda
  labstat disk ack WD-WCC4N1234567 --note \"replaced the cable\"

What a disk says of itself (that it fails, a failed self-test) stays a reason to watch it.")]
struct Ack {
    /// A serial number, NODE/DEVICE, or a DEVICE that only one node has
    #[arg(value_name = "DISK", value_parser = NonEmptyStringValueParser::new())]
    disk: String,

    /// Why that is all right, for whoever asks later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Expects a disk no more that was taken out or is dead; its history stays
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat disk forget WD-WCC4N1234567
  labstat disk forget nas/sda

It is expected again, with what was acknowledged, when it is read again or seen asleep. One that is
still plugged in and does not answer stays forgotten; one that answers is not forgotten.")]
struct Forget {
    /// A serial number, NODE/DEVICE, or a DEVICE that only one node has
    #[arg(value_name = "DISK", value_parser = NonEmptyStringValueParser::new())]
    disk: String,

    #[command(flatten)]
    server: ServerArgs,
}

impl Disk {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match (self.command, self.disk) {
            (Some(DiskCommand::Ack(ack)), _) => ack.run(),
            (Some(DiskCommand::Forget(forget)), _) => forget.run(),
            (Some(DiskCommand::Selftest(selftest)), _) => selftest.run(),
            // clap asks for one of them.
            (None, disk) => show(&self.server, &disk.unwrap_or_default(), self.format),
        }
    }
}

impl Ack {
    fn run(self) -> Result<ExitCode, Failure> {
        let told = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            let path = format!("{}/ack", path(&self.disk));
            read(&client, client.post_form(&path, &[("note", self.note)]).await)
        })?;
        let text = format!("Acknowledged {}: it is {} now.\n", named(&told), told.verdict);
        output::result(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Forget {
    fn run(self) -> Result<ExitCode, Failure> {
        let told = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            read(&client, client.delete(&path(&self.disk)).await)
        })?;
        output::result(&format!("Forgot {}. Its history stays.\n", named(&told)))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show(server: &ServerArgs, disk: &str, format: Format) -> Result<ExitCode, Failure> {
    let text = runtime::block_on(async {
        let client = Client::new(server)?;
        let reply = client.get(&path(disk)).await;
        let whole = reply.as_ref().map(|reply| reply.data.clone()).unwrap_or_default();
        let picture = Picture::ask(&client, read(&client, reply)?).await?;
        Ok::<String, Failure>(match format {
            Format::Table => picture.for_people(&look()),
            Format::Json => picture.json(whole),
            Format::Csv => picture.numbers(Format::Csv).render(Format::Csv, &look()),
        })
    })?;
    output::result(&text)?;
    Ok(ExitCode::SUCCESS)
}
