#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod batch;
pub mod limits;
pub mod types;
