//! Connections over real loopback sockets, on the driver that the environment chooses.

mod client;
mod faults;
mod harness;
mod limits;
mod order;
mod shutdown;
mod spread;
