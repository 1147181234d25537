//! What the crate promises, tested from outside.

#![cfg(test)]

#[expect(clippy::disallowed_methods, reason = "tests copy and compare files")]
mod kafka_dirs;
#[expect(clippy::disallowed_methods, reason = "tests read fixtures")]
mod kafka_formats;
