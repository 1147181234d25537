//! The promises of the runtime, kept on the driver that `CORELOG_TEST_BACKEND` names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
mod tcp;
