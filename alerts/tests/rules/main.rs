//! The rules we ship.

#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod week;
