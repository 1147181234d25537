#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod consumer;
pub mod groups;
pub mod producer;
pub mod report;
