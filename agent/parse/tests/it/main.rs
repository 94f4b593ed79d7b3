//! The parsers on captures of real machines.

/// Marked as tests so that the lints for tests hold in the helpers too.
#[cfg(test)]
mod tests {
    mod ceph;
    mod copies;
    mod guests_and_pools;
    mod mdstat;
    mod network;
    mod reviewed;
    mod rtnetlink;
    mod smartctl;
}
