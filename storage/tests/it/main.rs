//! What the crate promises, tested from outside.

#![cfg(test)]

#[expect(clippy::disallowed_methods, reason = "tests read fixtures")]
#[expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy sees helpers as no tests"
)]
mod kafka_formats;
