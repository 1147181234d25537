//! Integration tests of the net crate: one binary, a module per topic.

mod allocations;
mod connection;
mod golden;
mod hostile;
mod random;
mod schema;
mod views;
