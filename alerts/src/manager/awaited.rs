//! Kept alerts of rule files that could not be read at the start: whether their rules are still
//! there, nobody knows. They stay as they are, and those that fire count as firing, until the files
//! are read.
//!
//! Not here: which files those are, and the rows, which stay in the ledger meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::evaluate::generator_url;
use super::group::Running;
use super::rows::{self, Row};
use super::state::{Alert, State};
use super::{Evaluation, Manager, ManagerOptions, absence};
use crate::ledger::Entry;
use crate::notification::Notification;

/// One kept alert that waits for its file.
#[derive(Debug)]
pub(super) struct Awaited {
    /// What its row is kept as.
    key: String,
    row: Row,
    /// When a pending one was last seen to wait, where that is known.
    seen_ms: Option<i64>,
}

/// Whether a rule file is among those that could not be read, or in such a folder.
pub(super) fn is_unread(file: &str, unread: &[PathBuf]) -> bool {
    unread.iter().any(|path| Path::new(file).starts_with(path))
}

impl Awaited {
    pub(super) fn new(key: String, row: Row) -> Self {
        Self { key, row, seen_ms: None }
    }

    pub(super) fn alert(&self) -> &Alert {
        &self.row.alert
    }

    /// What is told of it, while it fires.
    pub(super) fn firing(&self, options: &ManagerOptions) -> Notification {
        self.row.alert.clone().firing(generator_url(options, &self.row.expr))
    }

    pub(super) fn set_seen(&mut self, seen_ms: Option<i64>) {
        self.seen_ms = seen_ms;
    }

    /// Gives the alert to its rule, now that the file was read; ends it when there is none.
    pub(super) fn place(
        self,
        manager: &Manager,
        groups: &[Arc<Running>],
        now_ms: i64,
        out: &mut Evaluation,
    ) {
        let Self { key, mut row, seen_ms } = self;
        if row.alert.state == State::Pending {
            let for_ms = rows::home(groups, &row).map_or(0, |(running, at)| running.for_ms(at));
            if !absence::discount_one(&mut row.alert, seen_ms, for_ms, now_ms) {
                out.entries.push(Entry::delete(key));
                return;
            }
            row.is_changed = true;
        }
        rows::place(manager, groups, &key, row, now_ms, out);
    }
}
