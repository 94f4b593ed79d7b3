//! The way of a message: receivers against real and failing servers, and the whole loop across a
//! restart.

mod receivers;
mod service;
mod support;
