//! The history: samples go in and are on disk before the call returns; they come out by matchers
//! and a time range.

mod error;
mod options;
mod report;
mod store;

pub use error::{AppendError, MaintainError, OpenError, ReadError};
pub use options::Options;
pub use report::{Appended, Maintained, Notice, Refusal, Refused, Stats};
pub use store::Store;
