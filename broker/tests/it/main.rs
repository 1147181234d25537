//! Promises of the broker, kept over the wire: each test starts a broker and talks to it.
//!
//! **Owns** one module per API or theme, named after it; `harness`, `client`, `records`, `topics`,
//! `exposition` and `table` are what they share. `../crash` and `../hostile` are part of this binary.
//! **Lives on** threads of the test runner: a test is an outsider and uses the system as one does.
//! **Invariants** 1. A test has topics and groups of its own names, so that all can run against one
//! server (`CORELOG_TEST_SERVER`).
//! **Not here**: real clients beside librdkafka (`../clients`).
#![expect(
    clippy::disallowed_methods,
    reason = "tests drive the broker from outside, where there is no runtime and no simulated disk"
)]

mod adoption;
mod alter_user_scram_credentials;
mod catch_up;
mod cli;
mod client;
mod compaction;
mod compression;
mod configs;
mod consumer_client;
mod consumer_groups;
mod delete_records;
mod deploy;
mod disk_full;
mod doctor;
mod dynamic_configs;
mod end_txn;
mod exposition;
mod fetch;
mod fetch_sessions;
mod flush;
mod framing;
mod groups;
mod harness;
mod idempotence;
mod json_output;
mod librdkafka;
mod limits;
mod list_offsets;
mod list_transactions;
mod log_dirs;
mod metadata;
mod metadata_snapshots;
mod metrics;
mod moves;
mod offsets;
mod perf;
mod produce;
mod producer_client;
mod random;
mod records;
mod restart;
mod small_disk;
mod storage_format;
mod supervision;
mod table;
mod telemetry;
mod topic_changes;
mod topics;
mod transactions;
mod txn_offset_commit;

#[path = "../crash/crash.rs"]
mod crash;
#[path = "../hostile/hostile.rs"]
mod hostile;
#[path = "../../../tools/tests/transcripts/reading.rs"]
mod transcripts;
