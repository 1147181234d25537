//! Frames that Kafka's broker and its clients exchanged, with Kafka's own reading of them.
#![expect(clippy::disallowed_methods, reason = "a test reads its fixtures")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corelog_net::wire::header::{RequestHeader, ResponseHeader};
use corelog_net::wire::messages::{
    CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse,
};
use corelog_net::wire::visit::{self, Visitor};
use corelog_net::wire::{ApiKey, Budget, DecodeError, Decoder, Encoder, ErrorCode, Message};
use serde_json::Value;

use crate::schema::{Schema, root};

/// One captured exchange.
pub(crate) struct Exchange {
    pub(crate) path: PathBuf,
    pub(crate) json: Value,
    /// Without the length prefix.
    pub(crate) request: Bytes,
    pub(crate) response: Option<Bytes>,
}

pub(crate) fn exchanges() -> Vec<Exchange> {
    let mut all = Vec::new();
    for folder in fs::read_dir(root().join("tests/golden")).expect("the golden frames") {
        for file in fs::read_dir(folder.expect("an entry").path()).expect("a folder") {
            let path = file.expect("an entry").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let text = fs::read_to_string(&path).expect("readable");
                all.push(Exchange {
                    json: serde_json::from_str(&text).expect("JSON"),
                    request: frame(&path.with_extension("req")).expect("a request"),
                    response: frame(&path.with_extension("resp")),
                    path,
                });
            }
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn frame(path: &Path) -> Option<Bytes> {
    let bytes = Bytes::from(fs::read(path).ok()?);
    let size = u32::from_be_bytes(*bytes.first_chunk().expect("a length prefix"));
    assert_eq!(size as usize, bytes.len() - 4, "{}", path.display());
    Some(bytes.slice(4..))
}

/// Decodes, encodes again, and returns what was encoded and how many bytes were left.
struct Again<'a, 'b>(&'a mut Decoder<'b>, i16);

impl Visitor for Again<'_, '_> {
    type Output = Result<(Vec<u8>, usize), DecodeError>;

    fn visit<M: Message>(self) -> Self::Output {
        let message = M::decode(self.0, self.1)?;
        let bytes = message
            .to_vec(self.1)
            .expect("what was decoded can be encoded");
        let size = message
            .encoded_size(self.1)
            .expect("what was decoded can be encoded");
        assert_eq!(bytes.len(), size);
        Ok((bytes, self.0.remaining()))
    }
}

#[test]
fn requests_read_as_kafka_reads_them_and_encode_to_the_same_bytes() {
    let mut checked = 0;
    for Exchange {
        path,
        json,
        request,
        ..
    } in exchanges()
    {
        let json = &json["request"];
        let mut budget = Budget::for_frame(request.len());
        let mut d = Decoder::new(&request, &mut budget);
        let header = RequestHeader::decode(&mut d).expect("a header");
        if !json["err"].is_null() {
            // A client from the future: Kafka answers it by the header alone, and so can we.
            assert!(
                !header
                    .api_key
                    .valid_versions()
                    .contains(&header.api_version),
                "{path:?}"
            );
            continue;
        }
        assert_eq!(json["apiKey"], header.api_key.key(), "{path:?}");
        assert_eq!(json["apiVersion"], header.api_version, "{path:?}");
        assert_eq!(json["correlationId"], header.correlation_id, "{path:?}");
        assert_eq!(
            json["clientId"].as_str(),
            header.client_id.as_deref(),
            "{path:?}"
        );
        let mut out = Vec::new();
        header
            .encode(&mut Encoder::new(&mut out))
            .expect("a header");
        let body = d.rest();
        assert_eq!(out, request[..request.len() - body.len()], "{path:?}");

        let (api, version) = (header.api_key, header.api_version);
        let outcome = visit::request(api, Again(&mut d, version)).expect("a living API");
        if !api.valid_versions().contains(&version) {
            assert!(
                matches!(outcome, Err(DecodeError::UnsupportedVersion { .. })),
                "{path:?}"
            );
            continue;
        }
        if json["body"].is_null() {
            outcome.expect_err("Kafka could not read it either");
            continue;
        }
        let (again, left) = outcome.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(json["trailingBytes"], left, "{path:?}");
        if json["reencodesIdentically"] == true {
            assert_eq!(again, body[..body.len() - left], "{path:?}");
        }
        let (value, left_too) = Schema::load(&format!("{api}Request")).read(version, &body);
        assert_eq!((left_too, &value), (left, &json["body"]), "{path:?}");
        checked += 1;
    }
    assert!(checked > 300, "only {checked} requests");
}

#[test]
fn responses_read_as_kafka_reads_them_and_encode_to_the_same_bytes() {
    let mut checked = 0;
    for Exchange {
        path,
        json,
        request,
        response,
    } in exchanges()
    {
        let Some(response) = response else { continue };
        let mut budget = Budget::for_frame(request.len());
        let header = RequestHeader::decode(&mut Decoder::new(&request, &mut budget));
        let RequestHeader {
            api_key: api,
            api_version: mut version,
            ..
        } = header.expect("a header");
        let json = &json["response"];
        if !api.valid_versions().contains(&version) {
            version = 0;
        }
        let mut budget = Budget::for_frame(response.len());
        let mut d = Decoder::new(&response, &mut budget);
        let header = ResponseHeader::decode(&mut d, api, version).expect("a header");
        assert_eq!(json["correlationId"], header.correlation_id, "{path:?}");
        let mut out = Vec::new();
        header
            .encode(&mut Encoder::new(&mut out), api, version)
            .expect("a header");
        let body = d.rest();
        assert_eq!(out, response[..response.len() - body.len()], "{path:?}");

        let outcome = visit::response(api, Again(&mut d, version)).expect("a living API");
        let (again, left) = outcome.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(json["trailingBytes"], left, "{path:?}");
        if json["reencodesIdentically"] == true {
            assert_eq!(again, body[..body.len() - left], "{path:?}");
        }
        let (value, left_too) = Schema::load(&format!("{api}Response")).read(version, &body);
        assert_eq!((left_too, &value), (left, &json["body"]), "{path:?}");
        checked += 1;
    }
    assert!(checked > 300, "only {checked} responses");
}

#[test]
fn every_living_api_and_version_has_a_golden_frame() {
    let mut seen = BTreeSet::new();
    for Exchange { request, .. } in exchanges() {
        let mut budget = Budget::for_frame(request.len());
        let header = RequestHeader::decode(&mut Decoder::new(&request, &mut budget));
        let header = header.expect("a header");
        seen.insert((header.api_key, header.api_version));
    }
    let mut missing = Vec::new();
    for &api in ApiKey::ALL {
        for version in api.valid_versions() {
            if !seen.contains(&(api, version)) {
                missing.push(format!("{api} v{version}"));
            }
        }
    }
    assert_eq!(missing, NOT_CAPTURED);
}

/// What no client and no broker was seen to send; covered by `random` only.
const NOT_CAPTURED: &[&str] = &[
    "SaslHandshake v0",
    "InitProducerId v6",
    "SaslAuthenticate v1",
    "Vote v0",
    "Vote v1",
    "BeginQuorumEpoch v0",
    "EndQuorumEpoch v0",
    "AlterPartition v2",
    "FetchSnapshot v0",
    "BrokerRegistration v0",
    "BrokerRegistration v1",
    "BrokerRegistration v2",
    "BrokerRegistration v3",
    "BrokerHeartbeat v0",
    "BrokerHeartbeat v1",
];

#[test]
fn the_error_code_table_is_kafkas() {
    let table = fs::read_to_string(root().join("schemas/error_codes.tsv")).expect("the table");
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let code = ErrorCode::from_code(columns[1].parse().expect("a code")).expect("known");
        assert_eq!(code.name(), columns[0]);
        assert_eq!(code.code().to_string(), columns[1]);
        assert_eq!(code.is_retriable(), columns[2] == "True");
        assert_eq!(code.message(), columns[3]);
    }
    assert_eq!(ErrorCode::ALL.len(), table.lines().count() - 1);
    assert_eq!(ErrorCode::from_code(-2), None);
    assert_eq!(ErrorCode::from_code(i16::MAX), None);
    assert_eq!(ErrorCode::default(), ErrorCode::None);
}

/// The exchange of this name, decoded.
fn named<Q: Message, A: Message>(name: &str, version: i16) -> (Q, A, Value) {
    let all = exchanges();
    let found = all
        .into_iter()
        .find(|exchange| exchange.path.ends_with(name));
    let Exchange {
        json,
        request,
        response,
        ..
    } = found.expect("the exchange is there");
    let response = response.expect("a response");
    let mut budget = Budget::for_frame(request.len());
    let mut d = Decoder::new(&request, &mut budget);
    let header = RequestHeader::decode(&mut d).expect("a header");
    assert_eq!(header.api_version, version);
    let question = Q::decode(&mut d, version).expect("a request");
    let mut budget = Budget::for_frame(response.len());
    let mut d = Decoder::new(&response, &mut budget);
    ResponseHeader::decode(&mut d, header.api_key, version).expect("a header");
    (
        question,
        A::decode(&mut d, version).expect("a response"),
        json,
    )
}

#[test]
fn fields_have_the_values_that_kafka_names() {
    let (request, response, json) =
        named::<MetadataRequest, MetadataResponse>("metadata/v13-librdkafka-4.json", 13);
    assert_eq!(request.topics, None);
    let body = &json["response"]["body"];
    assert_eq!(body["clusterId"].as_str(), response.cluster_id.as_deref());
    assert_eq!(body["controllerId"], response.controller_id);
    assert_eq!(body["brokers"][0]["host"], response.brokers[0].host);
    assert_eq!(body["brokers"][0]["port"], response.brokers[0].port);
    for (index, topic) in response.topics.iter().enumerate() {
        let body = &body["topics"][index];
        assert_eq!(body["name"].as_str(), topic.name.as_deref());
        assert_eq!(body["topicId"], topic.topic_id.to_string());
        assert_eq!(body["isInternal"], topic.is_internal);
        assert_eq!(
            body["topicAuthorizedOperations"],
            topic.topic_authorized_operations
        );
        let partitions = body["partitions"].as_array().expect("partitions");
        assert_eq!(partitions.len(), topic.partitions.len());
        for (body, partition) in partitions.iter().zip(&topic.partitions) {
            assert_eq!(body["partitionIndex"], partition.partition_index);
            assert_eq!(body["leaderId"], partition.leader_id);
            assert_eq!(body["leaderEpoch"], partition.leader_epoch);
            assert_eq!(
                body["replicaNodes"],
                serde_json::json!(partition.replica_nodes)
            );
            assert_eq!(body["isrNodes"], serde_json::json!(partition.isr_nodes));
        }
    }

    let (request, response, json) =
        named::<CreateTopicsRequest, CreateTopicsResponse>("create_topics/v07-franz-go-2.json", 7);
    let body = &json["request"]["body"];
    assert_eq!(body["timeoutMs"], request.timeout_ms);
    assert_eq!(body["validateOnly"], request.validate_only);
    for (index, topic) in request.topics.iter().enumerate() {
        let body = &body["topics"][index];
        assert_eq!(body["name"], topic.name);
        assert_eq!(body["numPartitions"], topic.num_partitions);
        assert_eq!(body["replicationFactor"], topic.replication_factor);
    }
    let body = &json["response"]["body"]["topics"];
    for (index, topic) in response.topics.iter().enumerate() {
        assert_eq!(body[index]["name"], topic.name);
        assert_eq!(body[index]["topicId"], topic.topic_id.to_string());
        assert_eq!(body[index]["errorCode"], topic.error_code);
        assert_eq!(
            body[index]["errorMessage"].as_str(),
            topic.error_message.as_deref()
        );
        let configs = topic.configs.as_deref().unwrap_or_default();
        for (place, config) in configs.iter().enumerate() {
            let body = &body[index]["configs"][place];
            assert_eq!(body["name"], config.name);
            assert_eq!(body["value"].as_str(), config.value.as_deref());
            assert_eq!(body["readOnly"], config.read_only);
            assert_eq!(body["configSource"], config.config_source);
            assert_eq!(body["isSensitive"], config.is_sensitive);
        }
    }
    assert!(!request.topics.is_empty() && !response.topics.is_empty());
}
