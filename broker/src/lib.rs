#![doc = include_str!("../README.md")]

pub mod config;
pub mod controller;
pub mod group;
pub mod metadata;
