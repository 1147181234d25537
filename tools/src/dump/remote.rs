//! **Owns** how records of `__remote_log_metadata` are printed: as their Java classes print themselves.
//! **Lives on** any thread.
//! **Invariants** (1) What cannot be decoded is a sentence.
//! **Not here** tiered storage itself: there is none; the topic may come from a Kafka that has it.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use corelog_net::wire::records::{
    RemoteLogSegmentMetadataRecord, RemoteLogSegmentMetadataSnapshotRecord,
    RemoteLogSegmentMetadataUpdateRecord, RemotePartitionDeleteMetadataRecord,
};
use corelog_net::wire::{Message, Uuid};
use corelog_storage::batch::Payload;

use super::decoder::Framed;

/// Appends the record.
pub(super) fn record(
    payload: &Payload,
    value: Option<&[u8]>,
    line: &mut String,
) -> Result<(), String> {
    let framed = Framed::read(value)?;
    let bytes: Bytes = payload.data().slice_ref(framed.rest);
    let version = framed.version;
    match framed.record_type {
        0 => segment(&read(&bytes, version)?, line),
        1 => update(&read(&bytes, version)?, line),
        2 => partition_delete(&read(&bytes, version)?, line),
        3 => snapshot(&read(&bytes, version)?, line),
        other => return Err(format!("ApiKey: {other} does not have schema.")),
    }
    Ok(())
}

fn read<M: Message>(bytes: &Bytes, version: i16) -> Result<M, String> {
    M::from_bytes(bytes, version).map_err(|error| error.to_string())
}

fn segment(record: &RemoteLogSegmentMetadataRecord, line: &mut String) {
    let id = &record.remote_log_segment_id;
    let place = &id.topic_id_partition;
    let segment = segment_id((place.id, &place.name, place.partition), id.id);
    let epochs = record
        .segment_leader_epochs
        .iter()
        .map(|entry| (entry.leader_epoch, entry.offset));
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "RemoteLogSegmentMetadata{{remoteLogSegmentId={segment}, startOffset={}, endOffset={}, brokerId={}, \
         maxTimestampMs={}, eventTimestampMs={}, segmentLeaderEpochs={}, segmentSizeInBytes={}, customMetadata={}, \
         state={}, txnIdxEmpty={}}}",
        record.start_offset,
        record.end_offset,
        record.broker_id,
        record.max_timestamp_ms,
        record.event_timestamp_ms,
        map(epochs),
        record.segment_size_in_bytes,
        custom(record.custom_metadata.as_ref()),
        segment_state(record.remote_log_segment_state),
        record.txn_index_empty,
    );
}

fn update(record: &RemoteLogSegmentMetadataUpdateRecord, line: &mut String) {
    let id = &record.remote_log_segment_id;
    let place = &id.topic_id_partition;
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "RemoteLogSegmentMetadataUpdate{{remoteLogSegmentId={}, customMetadata={}, state={}, eventTimestampMs={}, \
         brokerId={}}}",
        segment_id((place.id, &place.name, place.partition), id.id),
        custom(record.custom_metadata.as_ref()),
        segment_state(record.remote_log_segment_state),
        record.event_timestamp_ms,
        record.broker_id,
    );
}

fn partition_delete(record: &RemotePartitionDeleteMetadataRecord, line: &mut String) {
    let place = &record.topic_id_partition;
    let state = match record.remote_partition_delete_state {
        0 => "DELETE_PARTITION_MARKED",
        1 => "DELETE_PARTITION_STARTED",
        2 => "DELETE_PARTITION_FINISHED",
        _ => "null",
    };
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "RemotePartitionDeleteMetadata{{topicPartition={}, state={state}, eventTimestampMs={}, brokerId={}}}",
        topic_id_partition(place.id, &place.name, place.partition),
        record.event_timestamp_ms,
        record.broker_id,
    );
}

fn snapshot(record: &RemoteLogSegmentMetadataSnapshotRecord, line: &mut String) {
    let epochs = record
        .segment_leader_epochs
        .iter()
        .map(|entry| (entry.leader_epoch, entry.offset));
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "RemoteLogSegmentMetadataSnapshot{{segmentId={}, startOffset={}, endOffset={}, maxTimestampMs={}, \
         segmentLeaderEpochs={}, segmentSizeInBytes={}, customMetadata={}, state={}, txnIdxEmpty={}}}",
        record.segment_id,
        record.start_offset,
        record.end_offset,
        record.max_timestamp_ms,
        map(epochs),
        record.segment_size_in_bytes,
        custom(record.custom_metadata.as_ref()),
        segment_state(record.remote_log_segment_state),
        record.txn_index_empty,
    );
}

fn segment_id((topic_id, topic, partition): (Uuid, &str, i32), id: Uuid) -> String {
    let place = topic_id_partition(topic_id, topic, partition);
    format!("RemoteLogSegmentId{{topicIdPartition={place}, id={id}}}")
}

fn topic_id_partition(topic_id: Uuid, topic: &str, partition: i32) -> String {
    format!("{topic_id}:{topic}-{partition}")
}

/// A sorted map as Java prints one.
fn map(entries: impl Iterator<Item = (i32, i64)>) -> String {
    let sorted: BTreeMap<i32, i64> = entries.collect();
    let told: Vec<String> = sorted
        .iter()
        .map(|(epoch, offset)| format!("{epoch}={offset}"))
        .collect();
    format!("{{{}}}", told.join(", "))
}

fn custom(metadata: Option<&Bytes>) -> String {
    match metadata {
        Some(bytes) => format!("Optional[CustomMetadata{{{} bytes}}]", bytes.len()),
        None => "Optional.empty".to_owned(),
    }
}

fn segment_state(state: i8) -> &'static str {
    match state {
        0 => "COPY_SEGMENT_STARTED",
        1 => "COPY_SEGMENT_FINISHED",
        2 => "DELETE_SEGMENT_STARTED",
        3 => "DELETE_SEGMENT_FINISHED",
        _ => "null",
    }
}
