//! `/api/v1/write`: remote write, the one way in.

use labstat_model::limits::{WRITE_BODY_LEN_MAX, WRITE_DECODED_LEN_MAX};

/// The memory that the largest request may take, compressed and decoded, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = WRITE_BODY_LEN_MAX + WRITE_DECODED_LEN_MAX;
