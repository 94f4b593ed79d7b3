//! The aggregator as its clients see it: started in this process on a free port, asked over HTTP.

/// Marked as tests so that the lints for tests hold in the helpers too.
#[cfg(test)]
mod tests {
    mod api;
    mod disks;
    mod exposition;
    mod grafana;
    mod lifecycle;
    mod nodes;
    mod notify;
    mod peers;
    mod rules;
    mod security;
    mod support;
    mod targets;
    mod writes;
}
