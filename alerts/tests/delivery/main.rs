//! The way of a message: receivers against real and failing servers, and the whole loop across a
//! restart.

#[cfg(test)]
mod alertmanager;
#[cfg(test)]
mod exim;
#[cfg(test)]
mod receivers;
#[cfg(test)]
mod service;
#[cfg(test)]
mod support;
