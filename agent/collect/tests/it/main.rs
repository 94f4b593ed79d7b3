//! The collectors on captured machines: what each says, and what it leaves unsaid.

/// Marked as tests so that the lints for tests hold in the helpers too.
#[cfg(test)]
mod tests {
    mod dashboard;
    mod disks;
    mod golden;
    mod guests;
    mod machines;
    mod mdadm;
    mod nut;
    mod quirks;
    mod storage;
    mod thermals;
    mod topology;
    mod verdicts;
}
