//! Where the history is: the engines behind [`Storage`](crate::storage::Storage).
//!
//! - `local`: the store in the data folder, which is the usual one.

mod local;
