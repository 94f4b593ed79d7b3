//! Open files of the machine.
//!
//! - Reads: `/proc/sys/fs/file-nr`. Absent when that file is missing.
//! - Emits: `node_filefd_allocated`, `node_filefd_maximum`.
//! - Not here: which processes hold them.

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status};
use crate::host::Host;
use crate::shared::{NumberFile, push_numbers};

static FD_ALLOCATED: Family =
    Family::gauge("node_filefd_allocated", "File descriptor statistics: allocated.");
static FD_MAXIMUM: Family =
    Family::gauge("node_filefd_maximum", "File descriptor statistics: maximum.");

static FILES: [NumberFile; 1] =
    [("/proc/sys/fs/file-nr", &[Some(&FD_ALLOCATED), None, Some(&FD_MAXIMUM)])];

/// Open files of the machine.
#[derive(Debug, Default)]
pub struct Filefd(Vec<u8>);

impl Collector for Filefd {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        push_numbers(host, &FILES, &mut self.0, out)
    }
}
