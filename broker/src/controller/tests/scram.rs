//! SCRAM credentials, answered as Kafka 4.3.1 answered them.

use bytes::Bytes;
use corelog_net::sasl::scram::{Keys, Mechanism};
use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use corelog_net::wire::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};
use corelog_net::wire::records::FeatureLevelRecord;

use super::Node;
use crate::metadata::{Image, MetadataRecord};

/// A user, the number of a mechanism.
type Deletion<'a> = (&'a str, i8);
/// The same with iterations.
type Upsertion<'a> = (&'a str, i8, i32);

const SALTED: &[u8] = &[b'p'; 32];

fn request(
    deletions: &[Deletion<'_>],
    upsertions: &[Upsertion<'_>],
) -> AlterUserScramCredentialsRequest {
    let deletion = |&(name, mechanism): &Deletion<'_>| ScramCredentialDeletion {
        name: name.to_owned(),
        mechanism,
        ..ScramCredentialDeletion::default()
    };
    let upsertion = |&(name, mechanism, iterations): &Upsertion<'_>| ScramCredentialUpsertion {
        name: name.to_owned(),
        mechanism,
        iterations,
        salt: Bytes::from_static(b"salt"),
        salted_password: Bytes::from_static(SALTED),
        ..ScramCredentialUpsertion::default()
    };
    AlterUserScramCredentialsRequest {
        deletions: deletions.iter().map(deletion).collect(),
        upsertions: upsertions.iter().map(upsertion).collect(),
        ..AlterUserScramCredentialsRequest::default()
    }
}

fn shown(code: i16, message: Option<&str>) -> String {
    let name = ErrorCode::from_code(code).map_or("?", ErrorCode::name);
    match message {
        None | Some("") => name.to_owned(),
        Some(message) => format!("{name} {message}"),
    }
}

/// `user: CODE message` of each user, in the order of names.
fn alter(node: &mut Node, deletions: &[Deletion<'_>], upsertions: &[Upsertion<'_>]) -> Vec<String> {
    let outcome = node
        .controller()
        .alter_scram_credentials(&request(deletions, upsertions));
    node.store(&outcome.records);
    let results = &outcome.response.results;
    let good = results.iter().filter(|one| one.error_code == 0).count();
    assert_eq!(good, outcome.records.len(), "a refusal changes nothing");
    results
        .iter()
        .map(|one| {
            let said = shown(one.error_code, one.error_message.as_deref());
            format!("{}: {said}", one.user)
        })
        .collect()
}

/// `user: CODE message mechanism=iterations…` of each user.
fn describe(image: &Image, users: Option<&[&str]>) -> Vec<String> {
    let user = |name: &&str| UserName {
        name: (*name).to_owned(),
        ..UserName::default()
    };
    let request = DescribeUserScramCredentialsRequest {
        users: users.map(|users| users.iter().map(user).collect()),
        ..DescribeUserScramCredentialsRequest::default()
    };
    let response = image.describe_scram_credentials(&request);
    assert_eq!(
        (response.error_code, response.error_message.as_deref()),
        (0, Some(""))
    );
    response
        .results
        .iter()
        .map(|one| {
            let mut text = format!(
                "{}: {}",
                one.user,
                shown(one.error_code, one.error_message.as_deref())
            );
            for info in &one.credential_infos {
                use std::fmt::Write as _;
                let _ = write!(text, " {}={}", info.mechanism, info.iterations);
            }
            text
        })
        .collect()
}

const ABSENT: &str = "RESOURCE_NOT_FOUND Attempt to delete a user credential that does not exist";
const TWICE: &str =
    "DUPLICATE_RESOURCE A user credential cannot be altered twice in the same request";

#[test]
fn credentials_are_set_described_and_deleted() {
    let mut node = Node::new("");
    assert_eq!(describe(&node.image, None), [""; 0]);
    assert_eq!(
        alter(
            &mut node,
            &[],
            &[("alice", 1, 4096), ("bob", 2, 4096), ("carol", 1, 16384)]
        ),
        ["alice: NONE", "bob: NONE", "carol: NONE"]
    );
    assert_eq!(
        alter(&mut node, &[], &[("alice", 2, 8192)]),
        ["alice: NONE"]
    );
    let all = [
        "alice: NONE 1=4096 2=8192",
        "bob: NONE 2=4096",
        "carol: NONE 1=16384",
    ];
    assert_eq!(describe(&node.image, None), all);
    assert_eq!(describe(&node.image, Some(&[])), all, "nobody named is all");
    assert_eq!(
        describe(&node.image, Some(&["zzz", "bob", "", "alice", "bob"])),
        [
            ": RESOURCE_NOT_FOUND Attempt to describe a user credential that does not exist: ",
            "alice: NONE 1=4096 2=8192",
            "bob: DUPLICATE_RESOURCE Cannot describe SCRAM credentials for the same user twice in a single request: bob",
            "zzz: RESOURCE_NOT_FOUND Attempt to describe a user credential that does not exist: zzz",
        ]
    );
    // A snapshot keeps them.
    let mut again = Image::default();
    for record in node.image.to_records() {
        again.apply(&record).expect("a snapshot's records fit");
    }
    assert_eq!(describe(&again, None), all);
    assert_eq!(
        alter(
            &mut node,
            &[("alice", 1), ("carol", 1)],
            &[("bob", 1, 5000)]
        ),
        ["alice: NONE", "bob: NONE", "carol: NONE"]
    );
    assert_eq!(
        describe(&node.image, None),
        ["alice: NONE 2=8192", "bob: NONE 1=5000 2=4096"]
    );
}

#[test]
fn what_is_wrong_is_refused_for_its_user_alone() {
    let mut node = Node::new("");
    alter(&mut node, &[], &[("alice", 1, 4096), ("bob", 2, 4096)]);
    let empty = ": UNACCEPTABLE_CREDENTIAL Username must not be empty";
    let few = "e: UNACCEPTABLE_CREDENTIAL Too few iterations";
    let many = "e: UNACCEPTABLE_CREDENTIAL Too many iterations";
    let mut said = |deletions: &[Deletion<'_>], upsertions: &[Upsertion<'_>]| {
        alter(&mut node, deletions, upsertions)
    };
    assert_eq!(
        said(&[], &[("alice", 1, 4096), ("alice", 2, 4096)]),
        [format!("alice: {TWICE}")]
    );
    assert_eq!(
        said(&[("alice", 1), ("alice", 2)], &[]),
        [format!("alice: {TWICE}")]
    );
    assert_eq!(
        said(&[("alice", 1)], &[("alice", 1, 4096)]),
        [format!("alice: {TWICE}")]
    );
    // The first refusal is the answer.
    assert_eq!(
        said(&[("t", 1), ("t", 1)], &[("t", 1, 4096)]),
        [format!("t: {ABSENT}")]
    );
    for (iterations, expected) in [
        (-1, few),
        (0, few),
        (4095, few),
        (16385, many),
        (i32::MAX, many),
    ] {
        assert_eq!(
            said(&[], &[("e", 1, iterations), ("ok", 1, 4096)]),
            [expected, "ok: NONE"]
        );
    }
    for mechanism in [-1, 0, 3, 99] {
        let unknown = "UNSUPPORTED_SASL_MECHANISM Unknown SCRAM mechanism";
        assert_eq!(
            said(&[("d", mechanism)], &[("e", mechanism, 1)]),
            [format!("d: {unknown}"), format!("e: {unknown}")]
        );
    }
    assert_eq!(said(&[("", 9)], &[]), [empty]);
    assert_eq!(said(&[], &[("", 9, 1)]), [empty]);
    assert_eq!(
        said(&[("nobody", 1), ("alice", 2), ("bob", 1)], &[]),
        [
            format!("alice: {ABSENT}"),
            format!("bob: {ABSENT}"),
            format!("nobody: {ABSENT}")
        ]
    );
    assert_eq!(said(&[], &[]), [""; 0]);
}

#[test]
fn a_request_changes_ten_thousand_users_at_most() {
    let names: Vec<String> = (0..10_001).map(|number| format!("u{number:05}")).collect();
    let upsertions: Vec<Upsertion<'_>> = names.iter().map(|name| (&name[..], 1, 4096)).collect();
    let mut node = Node::new("");
    let said = alter(&mut node, &[], &upsertions);
    assert_eq!(said.len(), 10_001);
    assert!(
        said.iter()
            .all(|one| one.contains(": UNKNOWN_SERVER_ERROR ")),
        "{}",
        said[0]
    );
    let said = alter(&mut node, &[], &upsertions[..10_000]);
    assert!(
        said.iter().all(|one| one.ends_with(": NONE")),
        "{}",
        said[0]
    );
}

#[test]
fn a_cluster_of_an_old_version_has_no_credentials() {
    let mut node = Node::new("");
    let old = FeatureLevelRecord {
        name: "metadata.version".to_owned(),
        feature_level: 10,
        ..FeatureLevelRecord::default()
    };
    node.store(&[old.into()]);
    let refusal = "UNSUPPORTED_VERSION The current metadata.version does not support SCRAM";
    assert_eq!(
        alter(&mut node, &[("a", 1)], &[("b", 1, 4096)]),
        [format!("a: {refusal}"), format!("b: {refusal}")]
    );
}

#[test]
fn what_is_kept_is_made_of_the_password_and_not_shown() {
    let node = Node::new("");
    for (mechanism, code) in [(Mechanism::Sha256, 1), (Mechanism::Sha512, 2)] {
        let request = request(&[], &[("alice", code, 4096)]);
        let outcome = node.controller().alter_scram_credentials(&request);
        let [MetadataRecord::UserScramCredential(record)] = &outcome.records[..] else {
            panic!("{outcome:?}");
        };
        let keys = Keys::of(mechanism, SALTED);
        assert_eq!(record.stored_key, keys.stored);
        assert_eq!(record.server_key, keys.server);
        assert_eq!(record.salt, &b"salt"[..]);
        for text in [format!("{request:?}"), format!("{outcome:?}")] {
            assert!(text.contains("alice") && text.contains("hidden"), "{text}");
            // What a derived `Debug` would print of them.
            for secret in [SALTED, b"salt", &keys.stored, &keys.server] {
                let secret = format!("{:?}", Bytes::copy_from_slice(secret));
                assert!(!text.contains(&secret), "{text}");
            }
        }
    }
    let request = AlterUserScramCredentialsRequest {
        upsertions: vec![ScramCredentialUpsertion {
            name: "alice".to_owned(),
            mechanism: 1,
            iterations: 4096,
            ..ScramCredentialUpsertion::default()
        }],
        ..AlterUserScramCredentialsRequest::default()
    };
    let outcome = node.controller().alter_scram_credentials(&request);
    assert_eq!(outcome.records, []);
    let message = outcome.response.results[0].error_message.as_deref();
    assert_eq!(message, Some("The salted password must not be empty"));
}
