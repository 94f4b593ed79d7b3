//! `labstat backup`: the history as one file, while the aggregator runs or not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use labstat_aggregator::{Checked, CopyError, Draft, Snapshot};
use labstat_model::{Clock as _, SystemClock};

use crate::data::{self, DataArgs};
use crate::failure::{FAILED, Failure};
use crate::human::{self, Unit};
use crate::output;
use crate::progress::Line;
use crate::view::{self, count};

/// Saves the history as one file, while the aggregator runs or not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat backup /backup/labstat.db
  labstat backup --force --data /var/lib/labstat-aggregator /backup/labstat.db

All that was acknowledged before the start is in it: samples, alerts, expected nodes. Writers do
not wait. FILE appears when it is complete and on the disk. To restore, stop the aggregator, put
the file as labstat.db into an otherwise empty data folder, give it to the user that runs
labstat, and start again. The exit status is 1 when there is no backup, or a damaged one.")]
pub(crate) struct Backup {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Overwrite FILE, once the new backup is complete
    #[arg(long)]
    force: bool,

    /// Do not read the backup again to see whether it is whole
    #[arg(long)]
    no_check: bool,

    #[command(flatten)]
    data: DataArgs,
}

impl Backup {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        self.may_write()?;
        let snapshot = self.data.snapshot()?;
        self.must_be_apart(snapshot.path())?;
        let size = snapshot.size_bytes().map_err(|error| data::failure(snapshot.path(), &error))?;
        self.must_fit(size)?;
        let history = snapshot.path().to_owned();
        let copied = snapshot.copy_to(&self.file, &mut progress());
        // Nobody waits for the write-ahead log to shrink any longer than it takes to copy.
        drop(snapshot);
        let draft = copied.map_err(|error| self.failed(&error))?;
        let checked = if self.no_check { None } else { self.check(&draft)? };
        draft.finish().map_err(|error| self.failed(&error))?;
        if checked.as_ref().is_none_or(|checked| checked.damaged == 0) {
            note(&history);
        }
        self.tell(size, checked.as_ref())
    }

    fn may_write(&self) -> Result<(), Failure> {
        let file = self.file.display();
        if self.file.is_dir() {
            return Err(Failure::new(format!("{file} is a folder"))
                .cure("name a file in it, such as labstat.db"));
        }
        let Ok(found) = self.file.metadata() else { return Ok(()) };
        if !found.is_file() {
            return Err(Failure::new(format!("{file} is not an ordinary file"))
                .cure("a backup is made beside it and then takes its place: name a file"));
        }
        if !self.force {
            return Err(Failure::new(format!("{file} exists")).cure("--force overwrites it"));
        }
        Ok(())
    }

    /// Keeps a slip of the keyboard from putting a backup in the place of the history itself, or
    /// of one of the files that belong to it.
    fn must_be_apart(&self, history: &Path) -> Result<(), Failure> {
        let folder = self.folder().canonicalize();
        let of_history = history.parent().and_then(|dir| dir.canonicalize().ok());
        if folder.ok().is_none_or(|folder| of_history != Some(folder)) {
            return Ok(());
        }
        Err(Failure::new(format!("{} is in the folder of the history itself", self.file.display()))
            .cure("name a file in another folder, better still on another disk"))
    }

    /// Where the file is to be.
    fn folder(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Tells of a full disk before anything is written to it. An older backup stays until the new
    /// one is complete, so that its room does not count.
    fn must_fit(&self, size: u64) -> Result<(), Failure> {
        let parent = self.folder();
        // What is wrong with the folder is told when the file is made.
        let Ok(disk) = rustix::fs::statvfs(parent) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= size {
            return Ok(());
        }
        let (size, free) = (bytes(size), bytes(free));
        Err(Failure::new(format!("no space left in {}", parent.display()))
            .cure(format!("the backup takes {size} and {free} are free")))
    }

    /// What a check of the copy came to; none for a format that only a server reads.
    fn check(&self, draft: &Draft) -> Result<Option<Checked>, Failure> {
        let copy =
            Snapshot::of_file(draft.path()).map_err(|error| data::failure(draft.path(), &error))?;
        if copy.must_be_current().is_err() {
            return Ok(None);
        }
        let checked = copy.check(&mut progress());
        checked.map(Some).map_err(|error| data::failure(draft.path(), &error))
    }

    fn tell(&self, size: u64, checked: Option<&Checked>) -> Result<ExitCode, Failure> {
        let what = format!("{}: {}", self.file.display(), bytes(size));
        let Some(checked) = checked else {
            if !self.no_check {
                output::message("labstat: a history of another version is copied, not checked\n");
            }
            output::result(&format!("{what}, not checked\n"))?;
            return Ok(ExitCode::SUCCESS);
        };
        let samples = checked.samples + checked.log_samples;
        if let Some(engine) = self.data.config()?.engine.url {
            output::message(&format!("labstat: not in it: the samples, which {engine} has\n"));
        }
        output::result(&format!("{what}, {} series, {samples} samples\n", checked.series))?;
        if checked.damaged == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let damages = count(checked.damaged, "damage");
        output::message(&format!(
            "labstat: the history has {damages}, and so has its backup\n  \
             `labstat store check` names them; keep older backups\n"
        ));
        Ok(ExitCode::from(FAILED))
    }

    fn failed(&self, error: &CopyError) -> Failure {
        let failure = Failure::new("the history was not saved").because(error);
        match error {
            CopyError::Write { .. } => failure.cure(format!(
                "{} must be in a folder that this user may write to",
                self.file.display()
            )),
            _ => failure,
        }
    }
}

/// Leaves word in the history's folder, so that its aggregator alarms when the next one does not come.
fn note(history: &Path) {
    let Some(dir) = history.parent() else { return };
    if let Err(error) = labstat_aggregator::offline::note_backup(dir, SystemClock.now_ms()) {
        let dir = dir.display();
        output::message(&format!("labstat: no word of this backup was left in {dir}: {error}\n"));
    }
}

fn progress() -> impl FnMut(labstat_aggregator::Progress) {
    let mut line = Line::new();
    move |now| line.show(now)
}

fn bytes(size: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "sizes are for people here")]
    human::number(size as f64, Unit::Bytes, &view::look().zone)
}
