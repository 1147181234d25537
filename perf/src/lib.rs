#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod consumer;
pub mod end_to_end;
pub mod groups;
pub mod meter;
pub mod mixed;
pub mod producer;
pub mod raw;
pub mod report;
pub mod result;
pub mod schedule;
pub mod workload;
