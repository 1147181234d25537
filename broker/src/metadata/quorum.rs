//! What the metadata log says of its own quorum (KIP-853).
//!
//! **Owns** the control records `KRaftVersion` and `KRaftVoters`, as last written.
//! **Lives on** the image.
//! **Invariants**: a snapshot holds them again, or Kafka would find no voters in it.
//! **Not here**: elections; the static voters of a quorum of version 0, which only settings name.

use bytes::Bytes;
use corelog_net::wire::messages::kraft_version_record::KRaftVersionRecord;
use corelog_net::wire::messages::voters_record::{Voter, VotersRecord};
use corelog_net::wire::{Budget, Decoder, EncodeError, Message};
use corelog_storage::batch::ControlKind;

use super::record::RecordError;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quorum {
    /// 0: static voters; 1: the voters stand in the log.
    pub kraft_version: i16,
    /// The voters, once the log names them.
    pub voters: Option<VotersRecord>,
}

impl Quorum {
    /// A quorum of one, as `format --standalone` begins it.
    #[must_use]
    pub fn standalone(voter: Voter) -> Self {
        Self {
            kraft_version: 1,
            voters: Some(VotersRecord {
                voters: vec![voter],
                ..VotersRecord::default()
            }),
        }
    }

    /// The voters that the log names; none in a static quorum.
    pub fn voters(&self) -> &[Voter] {
        self.voters
            .as_ref()
            .map_or(&[], |record| record.voters.as_slice())
    }

    /// Takes the next control record; those of other kinds change nothing.
    pub fn apply(&mut self, kind: ControlKind, value: &Bytes) -> Result<(), RecordError> {
        let mut budget = Budget::for_frame(value.len());
        let mut d = Decoder::new(value, &mut budget);
        match kind {
            ControlKind::KraftVersion => {
                self.kraft_version = KRaftVersionRecord::decode(&mut d, 0)?.kraft_version;
            }
            ControlKind::KraftVoters => {
                self.voters = Some(VotersRecord::decode(&mut d, 0)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The control records that stand for it; none for a static quorum.
    pub fn to_records(&self) -> Result<Vec<(ControlKind, Vec<u8>)>, EncodeError> {
        let mut out = Vec::new();
        if self.kraft_version == 0 {
            return Ok(out);
        }
        let version = KRaftVersionRecord {
            kraft_version: self.kraft_version,
            ..KRaftVersionRecord::default()
        };
        out.push((ControlKind::KraftVersion, version.to_vec(0)?));
        if let Some(voters) = &self.voters {
            out.push((ControlKind::KraftVoters, voters.to_vec(0)?));
        }
        Ok(out)
    }
}
