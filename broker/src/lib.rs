#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod admin;
pub mod boot;
pub mod check;
pub mod config;
pub mod controller;
mod gate;
pub mod group;
mod handlers;
pub mod loggers;
mod mesh;
pub mod metadata;
mod metrics;
mod partition;
mod shard;
mod supervision;
mod telemetry;
pub mod txn;
