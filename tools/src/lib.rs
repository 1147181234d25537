#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod check;
pub mod cli;
pub mod client;
pub mod doctor;
pub mod dump;
pub mod load;
