//! The collectors in a network namespace of our own, on what this machine's kernel can make.

/// Marked as tests so that the lints for tests hold in the helpers too.
#[cfg(test)]
mod tests {
    mod namespace;
    mod network;
    mod tcp;
}
