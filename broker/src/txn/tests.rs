//! Scenarios one can read (`testdata/*.txt`), Kafka's own log, and a random model.

mod kafka_log;
mod model;
mod script;
