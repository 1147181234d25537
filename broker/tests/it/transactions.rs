//! Transactional producers of the tests, over plain sockets.
//!
//! **Owns** short forms of the transaction APIs, and what a `read_committed` reader sees.
//! **Lives on** the test's thread.
//! **Not here**: what these APIs promise (the tests named after them).

use std::collections::BTreeSet;

use corelog_net::wire::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use corelog_net::wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use corelog_net::wire::messages::describe_transactions::DescribeTransactionsRequest;
use corelog_net::wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use corelog_net::wire::messages::fetch::FetchRequest;
use corelog_net::wire::messages::find_coordinator::FindCoordinatorRequest;
use corelog_net::wire::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use corelog_net::wire::messages::produce::ProduceRequest;
use corelog_storage::batch::BatchOptions;
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence};

use crate::client::Client;
use crate::harness::eventually;
use crate::records::{batch, now_ms, read_transactional};
use crate::table::error;
use crate::topics::{fetching, listing, producing};

/// The producer of a transactional id, as it knows itself.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    pub(crate) transactional_id: String,
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// Waits until there is a coordinator for the id.
pub(crate) fn await_coordinator(client: &mut Client, transactional_id: &str) {
    let request = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec![transactional_id.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    eventually("the transaction coordinator is found", || {
        client.call(6, &request).coordinators[0].error_code == 0
    });
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![transactional_id.to_owned()],
        ..DescribeTransactionsRequest::default()
    };
    eventually("the coordinator serves", || {
        let code = client.call(0, &request).transaction_states[0].error_code;
        ["NONE", "TRANSACTIONAL_ID_NOT_FOUND"].contains(&error(code))
    });
}

/// `InitProducerId` without a past.
pub(crate) fn initializing(transactional_id: &str, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(transactional_id.to_owned()),
        transaction_timeout_ms: timeout_ms,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    }
}

/// `CODE id,epoch`.
pub(crate) fn initialized(response: &InitProducerIdResponse) -> String {
    let (id, epoch) = (response.producer_id, response.producer_epoch);
    format!("{} {id},{epoch}", error(response.error_code))
}

impl Producer {
    /// A producer that begins; it comes again while its predecessor's transaction is aborted.
    pub(crate) fn begin(client: &mut Client, transactional_id: &str, timeout_ms: i32) -> Self {
        await_coordinator(client, transactional_id);
        let mut response = InitProducerIdResponse::default();
        eventually("the producer has an id", || {
            response = client.call(5, &initializing(transactional_id, timeout_ms));
            error(response.error_code) != "CONCURRENT_TRANSACTIONS"
        });
        assert_eq!(error(response.error_code), "NONE", "{transactional_id}");
        Self {
            transactional_id: transactional_id.to_owned(),
            id: response.producer_id,
            epoch: response.producer_epoch,
            sequence: 0,
        }
    }

    /// A batch of its transaction; the sequence is not counted on.
    pub(crate) fn batch(&self, values: &[&str]) -> Vec<u8> {
        let options = BatchOptions {
            producer_id: ProducerId(self.id),
            producer_epoch: ProducerEpoch(self.epoch),
            base_sequence: Sequence(self.sequence),
            transactional: true,
            ..BatchOptions::default()
        };
        let now = now_ms();
        let records: Vec<_> = values.iter().map(|&value| (now, None, value)).collect();
        batch(options, &records)
    }

    /// Produce of a batch of its transaction.
    pub(crate) fn producing(&self, topic: &str, partition: i32, values: &[&str]) -> ProduceRequest {
        ProduceRequest {
            transactional_id: Some(self.transactional_id.clone()),
            ..producing(topic, partition, self.batch(values))
        }
    }

    /// Produces in the transaction (v12 adds the partition); `CODE base`.
    pub(crate) fn send(
        &self,
        client: &mut Client,
        version: i16,
        (topic, partition): (&str, i32),
        values: &[&str],
    ) -> String {
        let response = client.call(version, &self.producing(topic, partition, values));
        let one = &response.responses[0].partition_responses[0];
        format!(
            "{} base={} start={}",
            error(one.error_code),
            one.base_offset,
            one.log_start_offset
        )
    }

    /// As [`Producer::send`] at version 12, again while the transaction before is ended or the coordinator loads, as
    /// clients do it; it must succeed.
    #[track_caller]
    pub(crate) fn write(
        &self,
        client: &mut Client,
        (topic, partition): (&str, i32),
        values: &[&str],
    ) {
        let mut sent = String::new();
        eventually("the coordinator lets the batch in", || {
            sent = self.send(client, 12, (topic, partition), values);
            let code = sent.split(' ').next().unwrap_or_default();
            !["CONCURRENT_TRANSACTIONS", "NOT_ENOUGH_REPLICAS"].contains(&code)
        });
        assert!(sent.starts_with("NONE "), "{topic}-{partition}: {sent}");
    }

    /// `EndTxn`.
    pub(crate) fn ending(&self, commit: bool) -> EndTxnRequest {
        EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed: commit,
            ..EndTxnRequest::default()
        }
    }

    /// Ends the transaction by version 5 and goes on with what it is told.
    #[track_caller]
    pub(crate) fn end(&mut self, client: &mut Client, commit: bool) {
        let mut response = EndTxnResponse::default();
        eventually("the transaction ends", || {
            response = client.call(5, &self.ending(commit));
            error(response.error_code) != "CONCURRENT_TRANSACTIONS"
        });
        assert_eq!(error(response.error_code), "NONE", "{self:?}");
        self.id = response.producer_id;
        self.epoch = response.producer_epoch;
        self.sequence = 0;
    }

    /// `AddPartitionsToTxn` of the versions that clients use.
    pub(crate) fn adding(&self, partitions: &[(&str, i32)]) -> AddPartitionsToTxnRequest {
        let topics = partitions
            .iter()
            .map(|&(name, partition)| AddPartitionsToTxnTopic {
                name: name.to_owned(),
                partitions: vec![partition],
                ..AddPartitionsToTxnTopic::default()
            });
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.clone(),
            v3_and_below_producer_id: self.id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: topics.collect(),
            ..AddPartitionsToTxnRequest::default()
        }
    }

    /// Adds partitions by version 3; `topic-partition=CODE …`.
    pub(crate) fn add(&self, client: &mut Client, partitions: &[(&str, i32)]) -> String {
        let response = client.call(3, &self.adding(partitions));
        let mut shown = Vec::new();
        for topic in &response.results_by_topic_v3_and_below {
            for one in &topic.results_by_partition {
                let code = error(one.partition_error_code);
                shown.push(format!("{}-{}={code}", topic.name, one.partition_index));
            }
        }
        shown.join(" ")
    }

    /// `AddOffsetsToTxn`.
    pub(crate) fn adding_offsets(&self, group: &str) -> AddOffsetsToTxnRequest {
        AddOffsetsToTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            group_id: group.to_owned(),
            ..AddOffsetsToTxnRequest::default()
        }
    }
}

/// What a `read_committed` consumer is given of a partition, and does with it: values of aborted transactions are
/// left out by the list in the answer.
#[track_caller]
pub(crate) fn committed_values(client: &mut Client, topic: &str, partition: i32) -> Vec<String> {
    let end = stable_offset(client, topic, partition);
    let (mut values, mut next) = (Vec::new(), 0);
    while next < end {
        let request = FetchRequest {
            isolation_level: 1,
            ..fetching(topic, partition, next)
        };
        let response = client.call(12, &request);
        let answer = &response.responses[0].partitions[0];
        assert_eq!(error(answer.error_code), "NONE", "{topic}-{partition}");
        let mut aborted: Vec<_> = answer.aborted_transactions.clone().unwrap_or_default();
        aborted.sort_by_key(|one| std::cmp::Reverse(one.first_offset));
        let mut in_abort: BTreeSet<i64> = BTreeSet::new();
        let batches = read_transactional(answer.records.as_ref().expect("records"));
        assert!(
            !batches.is_empty(),
            "{topic}-{partition}: nothing at {next}"
        );
        for one in batches {
            while aborted
                .last()
                .is_some_and(|abort| abort.first_offset <= one.last_offset)
            {
                in_abort.insert(aborted.pop().expect("looked at").producer_id);
            }
            if one.is_control {
                in_abort.remove(&one.producer_id);
            } else if !(one.is_transactional && in_abort.contains(&one.producer_id)) {
                values.extend(one.values);
            }
            next = one.last_offset + 1;
        }
    }
    values
}

/// The last stable offset.
pub(crate) fn stable_offset(client: &mut Client, topic: &str, partition: i32) -> i64 {
    let request = corelog_net::wire::messages::list_offsets::ListOffsetsRequest {
        isolation_level: 1,
        ..listing(topic, partition, -1)
    };
    let response = client.call(7, &request);
    response.topics[0].partitions[0].offset
}
