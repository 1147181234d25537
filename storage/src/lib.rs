#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod batch;
pub mod checkpoint;
pub mod epochs;
pub mod limits;
pub mod producer;
pub mod types;
