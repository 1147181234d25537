#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod client;
pub mod connection;
pub mod frame;
pub mod limits;
pub mod sasl;
pub mod server;
mod transport;
pub mod wire;
