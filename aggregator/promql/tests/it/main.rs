//! The engine on series in memory: what queries mean, what they may cost, what is refused.

/// Marked as tests so that the lints for tests hold in the helpers too.
#[cfg(test)]
mod tests {
    mod bounds;
    mod folds;
    mod laws;
    #[path = "../../made/mod.rs"]
    mod made;
    mod memory;
    mod properties;
    mod queries;
    mod rollups;
    mod scripts;
    mod streams;
    mod syntax;
}
