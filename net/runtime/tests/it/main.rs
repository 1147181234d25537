//! The promises of the runtime, kept on the driver that `CORELOG_TEST_BACKEND` names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod companion;
mod crew;
mod files;
mod idle;
mod limits;
mod mesh;
mod support;
mod sync;
mod tasks;
mod tcp;
mod timers;
mod wakes;
