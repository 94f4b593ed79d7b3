//! The rules we ship.

#[cfg(test)]
mod shipped;
