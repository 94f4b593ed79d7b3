//! The store as its callers see it, on a real disk: kept, folded, damaged, killed, full.

/// Marked as tests so that the lints for tests hold in the helpers too.
#[cfg(test)]
mod tests {
    mod backup;
    mod behaviour;
    mod catalog;
    mod common;
    mod concurrency;
    mod crash;
    mod damage;
    mod faults;
    mod formats;
    mod full_disk;
    mod histograms;
    mod model;
    mod reads;
    mod rollups;
    mod rot;
    mod size;
    mod slices;
    mod views;
}
