//! The history: samples go in and are on disk before the call returns; they come out by matchers
//! and a time range.
//!
//! ```text
//!  append ─► write: check, join a group ─► db: log row, one fsync ─► state: head, index
//!                                                                        │ seal (2 h)
//!  select ◄─ scan: head + blobs that overlap ◄─ db: blobs, parts ◄───────┘ merge (1 day), retire
//! ```
//!
//! - `write`: requests are checked in turn and committed in groups; `log` is what a commit writes.
//! - `state`: what readers see; `index` (labels to series) on `symbols` (names and values) and
//!   `slots` (by id), `head` (newest samples), the blobs.
//! - `scan`: reads of ranges and of newest samples, `lookup`: of what is stored at given times;
//!   `read`: what they share; `cache`: what they unpacked lately, `tail` among it; `patience`:
//!   whether anybody still waits for them.
//! - `maintain`: head into blobs, small blobs into large ones, old blobs away; `rewrite` is how.
//!   `rollup` makes buckets of days, `retire` drops what is past its time (`policy` says when);
//!   `rolled` reads buckets. `days` is how time is cut.
//! - `catalog`: the series of a shelf on disk; pure.
//! - `blob`, `column`, `varint`: the compressed form; pure.
//! - `queue`: writes on their way to another engine, in a database of its own.
//! - `db`: the only place that knows SQL, but for the queue's own `queue::db`. `salvage`, `pages`, `wal`, `mend`: what to do with damaged files.
//! - `scrub`: rotten bits are found before they are needed.
//! - `snapshot`: the store from outside, to copy it (`Draft`), `check` it or describe it (`inspect`).
//!
//! Invariants. What `append` acknowledged is on disk. A sample is in exactly one of head and
//! blobs, and moves in one transaction. No two samples of a series have the same time. Readers see
//! whole groups. Ids of series and blobs are never given twice. Nothing here knows a runtime, a
//! network or a query language.
//!
//! The byte layouts and the tables are in `docs/formats/store.md`.

mod blob;
mod cache;
mod catalog;
mod check;
mod column;
mod days;
mod db;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod head;
mod histogram;
mod index;
mod inspect;
mod log;
mod lookup;
mod maintain;
mod mend;
mod options;
mod pages;
mod patience;
mod policy;
mod queue;
mod read;
mod report;
mod retire;
mod rewrite;
mod rolled;
mod rollup;
mod salvage;
mod scan;
mod scrub;
mod slots;
mod snapshot;
mod state;
mod store;
mod symbols;
mod tail;
mod varint;
mod wal;
mod write;

pub use check::{Checked, Cost, Damage};
pub use error::{AppendError, MaintainError, OpenError, ReadError};
pub use inspect::{DaySize, Inspection, MetricSize, TableSize, TierSize};
pub use options::Options;
pub use patience::{NEVER, Stop};
pub use policy::Keep;
pub use queue::{PeekError, PushError, Queue, QueueStats, Queued};
pub use report::{Appended, BadLabels, Documents, Maintained, Notice, Refusal, Refused, Stats};
pub use rolled::{BucketScan, EachRolled};
pub use scan::{Each, Scan};
pub use snapshot::{CopyError, Draft, Progress, Snapshot, SnapshotError, Watch};
pub use store::Store;
