//! Quotas, features and registrations, answered as Kafka 4.3.1 answered them.

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_client_quotas::{
    AlterClientQuotasRequest, OpData, RequestEntityData, RequestEntryData,
};
use corelog_net::wire::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest,
};
use corelog_net::wire::messages::unregister_broker::UnregisterBrokerRequest;
use corelog_net::wire::messages::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use corelog_net::wire::records::{FeatureLevelRecord, RegisterBrokerRecord};

use super::Node;

type Entity<'a> = &'a [(&'a str, Option<&'a str>)];

/// What one entity is answered; no value removes the quota.
fn alter(node: &mut Node, entity: Entity<'_>, ops: &[(&str, Option<f64>)]) -> String {
    let request = AlterClientQuotasRequest {
        entries: vec![RequestEntryData {
            entity: entity
                .iter()
                .map(|(kind, name)| RequestEntityData {
                    entity_type: (*kind).to_owned(),
                    entity_name: name.map(str::to_owned),
                    ..RequestEntityData::default()
                })
                .collect(),
            ops: ops
                .iter()
                .map(|(key, value)| OpData {
                    key: (*key).to_owned(),
                    value: value.unwrap_or_default(),
                    remove: value.is_none(),
                    ..OpData::default()
                })
                .collect(),
            ..RequestEntryData::default()
        }],
        ..AlterClientQuotasRequest::default()
    };
    let outcome = node.controller().alter_client_quotas(&request);
    node.store(&outcome.records);
    let one = &outcome.response.entries[0];
    match &one.error_message {
        None => format!("{} records", outcome.records.len()),
        Some(message) => {
            assert_eq!(one.error_code, ErrorCode::InvalidRequest.code());
            assert_eq!(outcome.records, [], "a refusal changes nothing");
            message.clone()
        }
    }
}

#[test]
fn quotas_are_checked_in_kafkas_words_and_kept() {
    let mut node = Node::new("");
    let mut said = |entity: Entity<'_>, ops: &[(&str, Option<f64>)]| alter(&mut node, entity, ops);
    let alice: Entity<'_> = &[("user", Some("alice"))];
    let ip: Entity<'_> = &[("ip", Some("127.0.0.9"))];
    let bytes = |value| [("producer_byte_rate", Some(value))];
    assert_eq!(said(alice, &bytes(1024.0)), "1 records");
    assert_eq!(said(alice, &bytes(1024.0)), "0 records", "as it was");
    assert_eq!(
        said(&[("user", None), ("client-id", None)], &bytes(7.0)),
        "1 records"
    );
    assert_eq!(
        said(ip, &[("connection_creation_rate", Some(10.0))]),
        "1 records"
    );
    for (entity, ops, expected) in [
        (&[][..], bytes(1.0), "Invalid empty client quota entity"),
        (
            &[("colour", None)],
            bytes(1.0),
            "Unhandled client quota entity type: colour",
        ),
        (
            &[("user", Some(""))],
            bytes(1.0),
            "Empty user not supported",
        ),
        (
            &[("ip", Some("1.2.3.4")), ("user", Some("x"))],
            bytes(1.0),
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
        ),
        (
            &[("ip", Some("not an ip"))],
            bytes(1.0),
            "not an ip is not a valid IP or resolvable host.",
        ),
        (
            ip,
            bytes(1.0),
            "Invalid configuration key producer_byte_rate",
        ),
        (
            alice,
            bytes(0.0),
            "Quota producer_byte_rate must be greater than 0",
        ),
        (
            alice,
            bytes(1.5),
            "producer_byte_rate cannot be a fractional value.",
        ),
        (
            alice,
            bytes(1e30),
            "Proposed value for producer_byte_rate is too large for a LONG.",
        ),
        (
            ip,
            [("connection_creation_rate", Some(1e10))],
            "Proposed value for connection_creation_rate is too large for an INT.",
        ),
    ] {
        assert_eq!(said(entity, &ops), expected);
    }
    assert_eq!(
        said(
            alice,
            &[
                ("request_percentage", Some(1.5)),
                ("request_percentage", None)
            ]
        ),
        "Ignoring duplicate entity ClientQuotaEntity(entries={user=alice})"
    );
    assert_eq!(said(alice, &[("consumer_byte_rate", None)]), "0 records");
    let describe = |node: &Node, strict, kind: i8, name: Option<&str>| {
        let request = DescribeClientQuotasRequest {
            components: vec![ComponentData {
                entity_type: "user".to_owned(),
                match_type: kind,
                r#match: name.map(str::to_owned),
                ..ComponentData::default()
            }],
            strict,
            ..DescribeClientQuotasRequest::default()
        };
        let response = node.image.describe_quotas(&request);
        response
            .entries
            .map(|entries| entries.len())
            .ok_or(response.error_message)
    };
    assert_eq!(describe(&node, false, 2, None), Ok(2));
    assert_eq!(describe(&node, true, 2, None), Ok(1));
    assert_eq!(describe(&node, false, 1, None), Ok(1));
    assert_eq!(describe(&node, false, 0, Some("alice")), Ok(1));
    assert_eq!(describe(&node, false, 0, Some("bob")), Ok(0));
    assert_eq!(
        describe(&node, false, 1, Some("x")),
        Err(Some(
            "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.".to_owned()
        ))
    );
    assert_eq!(
        alter(&mut node, alice, &[("producer_byte_rate", None)]),
        "1 records"
    );
    assert_eq!(describe(&node, false, 0, Some("alice")), Ok(0));
}

fn update(node: &mut Node, feature: &str, level: i16, upgrade_type: i8) -> String {
    let request = UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level: level,
            upgrade_type,
            ..FeatureUpdateKey::default()
        }],
        ..UpdateFeaturesRequest::default()
    };
    let outcome = node.controller().update_features(&request, 2).outcome;
    node.store(&outcome.records);
    let said = outcome.response.error_message.unwrap_or_default();
    let prefix = "The update failed for all features since the following feature had an error: ";
    said.strip_prefix(prefix).unwrap_or(&said).to_owned()
}

#[test]
fn levels_of_features_change_as_kafka_lets_them() {
    let mut node = Node::new("");
    let (upgrade, safe, wild) = (1, 2, 3);
    assert_eq!(update(&mut node, "transaction.version", 1, safe), "");
    assert_eq!(node.image.feature("transaction.version"), 1);
    assert_eq!(
        update(&mut node, "transaction.version", 2, safe),
        "Invalid update version 2 for feature transaction.version. Can't downgrade to a newer version."
    );
    assert_eq!(update(&mut node, "transaction.version", 2, upgrade), "");
    assert_eq!(
        update(&mut node, "transaction.version", 1, upgrade),
        "Invalid update version 1 for feature transaction.version. Can't downgrade the version of \
         this feature without setting the upgrade type to either safe or unsafe downgrade."
    );
    assert_eq!(
        update(&mut node, "metadata.version", 99, upgrade),
        "Invalid update version 99 for feature metadata.version. Local controller 1 only supports \
         versions 7-30"
    );
    assert_eq!(
        update(&mut node, "nope", 1, upgrade),
        "Invalid update version 1 for feature nope. Local controller 1 does not support this feature."
    );
    assert_eq!(
        update(&mut node, "metadata.version", 29, safe),
        "Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the requested \
         downgrade because it might delete metadata information."
    );
    assert_eq!(
        update(&mut node, "metadata.version", 29, wild),
        "Unsupported metadata.version downgrade from 30 to 29. Unsafe metadata downgrade is not \
         supported in this version."
    );
    let older = FeatureLevelRecord {
        name: "metadata.version".to_owned(),
        feature_level: 29,
        ..FeatureLevelRecord::default()
    };
    node.store(&[older.into()]);
    assert_eq!(
        update(&mut node, "metadata.version", 25, safe),
        "",
        "nothing is lost"
    );
    assert_eq!(node.image.metadata_version(), 25);
    assert_eq!(update(&mut node, "metadata.version", 30, upgrade), "");
    assert_eq!(
        update(&mut node, "group.version", 0, 9),
        "Invalid update version 0 for feature group.version. The controller does not support the \
         given upgrade type."
    );
}

#[test]
fn who_does_not_run_can_be_unregistered() {
    let mut node = Node::new("");
    let gone = RegisterBrokerRecord {
        broker_id: 7,
        broker_epoch: 3,
        fenced: true,
        ..RegisterBrokerRecord::default()
    };
    node.store(&[gone.into()]);
    let mut unregister = |broker_id| {
        let request = UnregisterBrokerRequest {
            broker_id,
            ..UnregisterBrokerRequest::default()
        };
        let outcome = node.controller().unregister_broker(&request);
        node.store(&outcome.records);
        outcome.response.error_code
    };
    assert_eq!(unregister(1), ErrorCode::InvalidRequest.code(), "it runs");
    assert_eq!(unregister(7), 0);
    assert_eq!(unregister(7), ErrorCode::BrokerIdNotRegistered.code());
}

/// As Kafka 4.3.1 answered the same.
#[test]
fn older_versions_are_told_of_each_feature() {
    let node = Node::new("");
    let update = |level, allow_downgrade, version| {
        let request = UpdateFeaturesRequest {
            feature_updates: vec![FeatureUpdateKey {
                feature: "share.version".to_owned(),
                max_version_level: level,
                allow_downgrade,
                ..FeatureUpdateKey::default()
            }],
            ..UpdateFeaturesRequest::default()
        };
        node.controller()
            .update_features(&request, version)
            .outcome
            .response
    };
    for (version, expected) in [(0, 1), (1, 1), (2, 0)] {
        let response = update(1, false, version);
        assert_eq!((response.error_code, response.error_message), (0, None));
        assert_eq!(response.results.len(), expected, "version {version}");
        let told = response
            .results
            .iter()
            .map(|one| one.error_message.as_deref());
        assert!(told.eq([Some("NONE")].into_iter().take(expected)));
    }
    let refused = update(0, true, 0);
    assert_eq!(refused.error_code, ErrorCode::InvalidUpdateVersion.code());
    assert!(refused.results.is_empty());
}
