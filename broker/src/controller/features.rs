//! Changes of feature levels.
//!
//! **Owns** `UpdateFeatures` (KIP-584, KIP-778): which level may follow which.
//! **Lives on** shard 0.
//! **Invariants**: all changes of a request are made, or none; a level is supported by every
//! registered broker.
//! **Not here**: what levels mean (`metadata::features` and whoever asks for them); the control records with which the
//! quorum's own level rises (`shard::control`).

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use corelog_net::wire::records::FeatureLevelRecord;

use super::{Controller, Outcome};
use crate::metadata::MetadataRecord;
use crate::metadata::features::{
    KRAFT_VERSION_NAME, METADATA_CHANGED_IN, METADATA_VERSION_NAME, SUPPORTED,
};

/// How a level may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Upgrade,
    Safe,
    Unsafe,
}

/// What `UpdateFeatures` changes.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureChange {
    /// Records and the answer.
    pub outcome: Outcome<UpdateFeaturesResponse>,
    /// The new level of `kraft.version`, which is no metadata record: the quorum writes it itself (KIP-853).
    pub kraft_version: Option<i16>,
}

/// The change of one feature.
enum Change {
    Nothing,
    Record(Box<MetadataRecord>),
    Quorum(i16),
}

impl Controller<'_> {
    /// Decides on `UpdateFeatures`.
    #[must_use]
    pub fn update_features(&self, request: &UpdateFeaturesRequest, version: i16) -> FeatureChange {
        let mut records = Vec::new();
        let mut kraft_version = None;
        for update in &request.feature_updates {
            match self.update_feature(update, version) {
                Ok(Change::Nothing) => {}
                Ok(Change::Record(record)) => records.push(*record),
                Ok(Change::Quorum(level)) => kraft_version = Some(level),
                Err(why) => {
                    let sentence = format!(
                        "The update failed for all features since the following feature had an \
                         error: {why}"
                    );
                    let response = UpdateFeaturesResponse {
                        error_code: ErrorCode::InvalidUpdateVersion.code(),
                        error_message: Some(sentence),
                        ..UpdateFeaturesResponse::default()
                    };
                    return FeatureChange {
                        outcome: Outcome {
                            records: Vec::new(),
                            response,
                        },
                        kraft_version: None,
                    };
                }
            }
        }
        if request.validate_only {
            records.clear();
            kraft_version = None;
        }
        let done = |update: &FeatureUpdateKey| UpdatableFeatureResult {
            feature: update.feature.clone(),
            // Kafka names the code where there is nothing to say.
            error_message: Some(ErrorCode::None.to_string()),
            ..UpdatableFeatureResult::default()
        };
        // From version 2 on the answer as a whole says so.
        let told = request.feature_updates.iter().filter(|_| version < 2);
        let response = UpdateFeaturesResponse {
            error_message: None,
            results: told.map(done).collect(),
            ..UpdateFeaturesResponse::default()
        };
        FeatureChange {
            outcome: Outcome { records, response },
            kraft_version,
        }
    }

    fn update_feature(&self, update: &FeatureUpdateKey, version: i16) -> Result<Change, String> {
        let (name, wanted) = (update.feature.as_str(), update.max_version_level);
        let invalid = |why: &str| {
            Err(format!(
                "Invalid update version {wanted} for feature {name}. {why}"
            ))
        };
        let Some(way) = way(update, version) else {
            return invalid("The controller does not support the given upgrade type.");
        };
        let now = match name {
            METADATA_VERSION_NAME => self.image.metadata_version(),
            KRAFT_VERSION_NAME => self.image.quorum().kraft_version,
            _ => self.image.feature(name),
        };
        if wanted < 0 {
            return invalid("A feature version cannot be less than 0.");
        }
        if let Some(why) = self.unsupported(name, wanted) {
            return invalid(&why);
        }
        if wanted < now && way == Way::Upgrade {
            return invalid(
                "Can't downgrade the version of this feature without setting the upgrade type to \
                 either safe or unsafe downgrade.",
            );
        }
        if wanted > now && way != Way::Upgrade {
            return invalid("Can't downgrade to a newer version.");
        }
        if wanted == now {
            return Ok(Change::Nothing);
        }
        if name == KRAFT_VERSION_NAME {
            // Voters that the log names cannot be forgotten again.
            return if wanted < now {
                invalid("Can't downgrade the version of this feature.")
            } else {
                Ok(Change::Quorum(wanted))
            };
        }
        if name == METADATA_VERSION_NAME && wanted < now {
            let between = METADATA_CHANGED_IN
                .iter()
                .any(|level| (wanted + 1..=now).contains(level));
            if between {
                let why = if way == Way::Unsafe {
                    "Unsafe metadata downgrade is not supported in this version."
                } else {
                    "Refusing to perform the requested downgrade because it might delete metadata \
                     information."
                };
                return Err(format!(
                    "Unsupported metadata.version downgrade from {now} to {wanted}. {why}"
                ));
            }
        }
        let record = FeatureLevelRecord {
            name: name.to_owned(),
            feature_level: wanted,
            ..FeatureLevelRecord::default()
        };
        Ok(Change::Record(Box::new(record.into())))
    }

    /// Why this node, or another that is registered, cannot go by a level.
    fn unsupported(&self, name: &str, wanted: i16) -> Option<String> {
        let reason = |who: &str, id: i32, range: Option<(i16, i16)>| match range {
            None => Some(format!("{who} {id} does not support this feature.")),
            Some((min, max)) if (min..=max).contains(&wanted) => None,
            Some((min, max)) => Some(format!("{who} {id} only supports versions {min}-{max}")),
        };
        let own = SUPPORTED.iter().find(|feature| feature.name == name);
        if own.is_none() && wanted == 0 {
            return Some(format!("Feature {name} not found."));
        }
        let own = own.map(|feature| (feature.min, feature.max));
        let own = reason("Local controller", self.config.node_id, own);
        own.or_else(|| {
            self.image
                .brokers()
                .filter(|(id, _)| *id != self.config.node_id)
                .find_map(|(id, broker)| {
                    let features = broker.registration.features.iter();
                    let feature = features.clone().find(|feature| feature.name == name);
                    let range = feature.map(|feature| {
                        (feature.min_supported_version, feature.max_supported_version)
                    });
                    reason("Broker", id, range)
                })
        })
    }
}

/// Version 0 says only whether a downgrade is allowed, and Kafka does not look at it.
fn way(update: &FeatureUpdateKey, version: i16) -> Option<Way> {
    match (version, update.upgrade_type) {
        (..=0, _) | (_, 1) => Some(Way::Upgrade),
        (_, 2) => Some(Way::Safe),
        (_, 3) => Some(Way::Unsafe),
        _ => None,
    }
}
