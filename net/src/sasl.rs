//! SASL: how a client proves who it is.
//!
//! **Owns** one module for each mechanism.
//! **Lives on** any thread.
//! **Invariants** 1. No secret is printed: what holds one has no `Debug`, or one that hides it.
//! **Not here**: who may do what; where credentials are kept.

pub mod scram;
