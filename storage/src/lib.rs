#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

#[macro_use]
mod mark;

pub mod batch;
pub mod checkpoint;
pub mod compaction;
pub mod disk;
pub mod disks;
pub mod epochs;
pub mod index;
pub mod limits;
pub mod log;
pub mod producer;
pub mod recovery;
pub mod retention;
pub mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod types;
