//! **Owns** the two JSON files: `.kafka_cleanshutdown` and `quorum-state`.
//! **Lives on** any thread.
//! **Invariants** (1) Printed without spaces, fields in Kafka's order.
//! **Not here** what a vote means (`broker`'s controller).

use serde_json::{Map, Value, json};

use crate::types::{DirectoryId, LeaderEpoch, Offset};

/// Why a JSON file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// A field is missing or not what it should be.
    #[error("{field}: expected {expected}, found {found}")]
    Field {
        /// The field.
        field: &'static str,
        /// What should stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
}

/// The contents of `.kafka_cleanshutdown`: `{"version":0,"brokerEpoch":475}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// Epoch that the broker had; -1 when it is not known.
    pub broker_epoch: i64,
}

impl CleanShutdown {
    /// Reads a file. The file's being there is what counts: older Kafka leaves it empty, and then the epoch is -1.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { broker_epoch: -1 });
        }
        let object = Object::parse(text)?;
        object.version("version", 0)?;
        Ok(Self {
            broker_epoch: object.number("brokerEpoch")?,
        })
    }

    /// The file's contents.
    pub fn print(&self) -> String {
        json!({"version": 0, "brokerEpoch": self.broker_epoch}).to_string()
    }
}

/// The contents of `quorum-state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumState {
    /// Version 0: the voters come from the configuration.
    V0 {
        /// Written empty.
        cluster_id: String,
        /// Leader of the epoch, or -1.
        leader_id: i32,
        /// The epoch.
        leader_epoch: LeaderEpoch,
        /// Whom this node voted for in the epoch, or -1.
        voted_id: i32,
        /// Written 0.
        applied_offset: Offset,
        /// The voters' ids.
        current_voters: Vec<i32>,
    },
    /// Version 1: the voters are in the log.
    V1 {
        /// Leader of the epoch, or -1.
        leader_id: i32,
        /// The epoch.
        leader_epoch: LeaderEpoch,
        /// Whom this node voted for in the epoch, or -1.
        voted_id: i32,
        /// The directory of the one voted for, or zero.
        voted_directory_id: DirectoryId,
    },
}

impl QuorumState {
    /// Reads a file.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let object = Object::parse(text)?;
        let leader_id = object.number("leaderId")?;
        let leader_epoch = LeaderEpoch(object.number("leaderEpoch")?);
        let voted_id = object.number("votedId")?;
        match object.number("data_version")? {
            0_i16 => Ok(Self::V0 {
                cluster_id: object.text("clusterId")?.to_owned(),
                leader_id,
                leader_epoch,
                voted_id,
                applied_offset: Offset(object.number("appliedOffset")?),
                current_voters: object.voters()?,
            }),
            1 => {
                let id = object.text("votedDirectoryId")?;
                let voted_directory_id = id
                    .parse()
                    .map_err(|_| object.wrong("votedDirectoryId", "an id of 22 characters"))?;
                Ok(Self::V1 {
                    leader_id,
                    leader_epoch,
                    voted_id,
                    voted_directory_id,
                })
            }
            _ => Err(object.wrong("data_version", "0 or 1")),
        }
    }

    /// The file's contents.
    pub fn print(&self) -> String {
        match self {
            Self::V0 {
                cluster_id,
                leader_id,
                leader_epoch,
                voted_id,
                applied_offset,
                current_voters,
            } => {
                let voters: Vec<Value> = current_voters
                    .iter()
                    .map(|id| json!({"voterId": id}))
                    .collect();
                json!({
                    "clusterId": cluster_id,
                    "leaderId": leader_id,
                    "leaderEpoch": leader_epoch.0,
                    "votedId": voted_id,
                    "appliedOffset": applied_offset.0,
                    "currentVoters": voters,
                    "data_version": 0,
                })
                .to_string()
            }
            Self::V1 {
                leader_id,
                leader_epoch,
                voted_id,
                voted_directory_id,
            } => json!({
                "leaderId": leader_id,
                "leaderEpoch": leader_epoch.0,
                "votedId": voted_id,
                "votedDirectoryId": voted_directory_id.to_string(),
                "data_version": 1,
            })
            .to_string(),
        }
    }
}

struct Object(Map<String, Value>);

impl Object {
    fn parse(text: &[u8]) -> Result<Self, JsonError> {
        serde_json::from_slice(text)
            .map(Self)
            .map_err(JsonError::Syntax)
    }

    fn number<T: TryFrom<i64>>(&self, field: &'static str) -> Result<T, JsonError> {
        let number = self
            .0
            .get(field)
            .and_then(Value::as_i64)
            .and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong(field, "a number"))
    }

    fn text(&self, field: &'static str) -> Result<&str, JsonError> {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .ok_or_else(|| self.wrong(field, "a text"))
    }

    fn version(&self, field: &'static str, expected: i64) -> Result<(), JsonError> {
        if self.number::<i64>(field)? == expected {
            Ok(())
        } else {
            Err(self.wrong(field, "0"))
        }
    }

    fn voters(&self) -> Result<Vec<i32>, JsonError> {
        let wrong = || self.wrong("currentVoters", "an array of {\"voterId\":…}");
        let voters = self
            .0
            .get("currentVoters")
            .and_then(Value::as_array)
            .ok_or_else(wrong)?;
        voters
            .iter()
            .map(|voter| {
                let id = voter
                    .get("voterId")
                    .and_then(Value::as_i64)
                    .and_then(|id| i32::try_from(id).ok());
                id.ok_or_else(wrong)
            })
            .collect()
    }

    fn wrong(&self, field: &'static str, expected: &'static str) -> JsonError {
        let found = self
            .0
            .get(field)
            .map_or_else(|| "nothing".to_owned(), Value::to_string);
        JsonError::Field {
            field,
            expected,
            found,
        }
    }
}
