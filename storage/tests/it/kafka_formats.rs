//! Files that Apache Kafka 4.3.1 wrote, against what its own dump tool says of them, and printed again byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corelog_storage::batch::{
    Batch, BatchBuilder, BatchOptions, BatchRules, Codec, Compression, EndTransactionMarker,
    Header, Record, RecordHeader, TimestampType, Transcoder, UncheckedBatch, transcodes,
};
use corelog_storage::checkpoint::{
    CleanShutdown, MetaProperties, OffsetCheckpoint, PartitionMetadata, QuorumState, name,
};
use corelog_storage::epochs::LeaderEpochs;
use corelog_storage::limits::INFLATED_BYTES_MAX;
use corelog_storage::producer::{AbortedTransaction, Producers, Snapshot};
use corelog_storage::types::{Offset, ProducerId, Timestamp};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3.1")
}

/// All files below the fixtures whose name ends so, as (partition, path), sorted. Never none.
fn files(suffix: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for partition in fs::read_dir(fixtures().join("data")).unwrap() {
        let partition = partition.unwrap();
        if !partition.file_type().unwrap().is_dir() {
            continue;
        }
        for file in fs::read_dir(partition.path()).unwrap() {
            let path = file.unwrap().path();
            if path.to_str().unwrap().ends_with(suffix) {
                found.push((partition.file_name().into_string().unwrap(), path));
            }
        }
    }
    assert!(!found.is_empty(), "no fixture ends with {suffix}");
    found.sort();
    found
}

fn batches(path: &Path) -> Vec<(usize, Batch)> {
    let mut rest = Bytes::from(fs::read(path).unwrap());
    let whole = rest.len();
    let mut batches = Vec::new();
    loop {
        let position = whole - rest.len();
        let Some(batch) = UncheckedBatch::take(&mut rest).unwrap() else {
            assert!(
                rest.is_empty(),
                "{} bytes left in {}",
                rest.len(),
                path.display()
            );
            return batches;
        };
        batches.push((position, batch.check().unwrap()));
    }
}

fn batch_line(position: usize, batch: &Batch) -> String {
    let header = batch.header();
    let horizon = if header.attributes.has_delete_horizon() {
        format!("[{}]", header.base_timestamp)
    } else {
        ".empty".to_owned()
    };
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: OptionalLong{horizon} \
         position: {position} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: true",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        header.attributes.is_transactional(),
        header.attributes.is_control(),
        time_name(batch),
        header.max_timestamp,
        batch.size(),
        header.magic,
        header.attributes.codec().unwrap(),
        header.crc,
    )
}

fn time_name(batch: &Batch) -> &'static str {
    match batch.header().attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn size(part: Option<&[u8]>) -> i64 {
    part.map_or(-1, |part| i64::try_from(part.len()).unwrap())
}

fn record_line(batch: &Batch, record: &Record<'_>) -> String {
    let keys: Vec<_> = record
        .headers
        .clone()
        .map(|header| String::from_utf8_lossy(header.key))
        .collect();
    format!(
        "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
        record.offset,
        time_name(batch),
        record.timestamp,
        size(record.key),
        size(record.value),
        record.sequence,
        keys.join(","),
    )
}

fn contents(batch: &Batch, record: &Record<'_>) -> String {
    if batch.header().attributes.is_control() {
        let marker =
            EndTransactionMarker::decode(record.key.unwrap(), record.value.unwrap()).unwrap();
        let kind = if marker.commit { "COMMIT" } else { "ABORT" };
        return format!(
            " endTxnMarker: {kind} coordinatorEpoch: {}",
            marker.coordinator_epoch
        );
    }
    let part = |name, part: Option<&[u8]>| {
        part.map_or_else(String::new, |part| {
            format!(" {name}: {}", String::from_utf8_lossy(part))
        })
    };
    part("key", record.key) + &part("payload", record.value)
}

/// The lines that the dump has about the batches and records of one `.log` file.
fn dumped(partition: &str, path: &Path) -> Vec<String> {
    let dump =
        fs::read_to_string(fixtures().join("dump").join(format!("{partition}.txt"))).unwrap();
    let title = format!(
        "Dumping {partition}/{}",
        path.file_name().unwrap().to_str().unwrap()
    );
    dump.lines()
        .skip_while(|line| *line != title)
        .skip(1)
        .take_while(|line| !line.starts_with("Dumping ") && !line.starts_with("# stderr"))
        .filter(|line| line.starts_with("| offset") || line.starts_with("baseOffset"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_log_reads_as_kafkas_dump_says() {
    let mut compared = 0;
    for (partition, path) in files(".log") {
        if partition == "segments-0" {
            continue; // Its dump is not kept: 5 kB of random bytes a record.
        }
        let mut expected = dumped(&partition, &path).into_iter();
        // The dumps of internal topics show decoded records behind what is compared here.
        let whole = !partition.starts_with("__");
        for (position, batch) in batches(&path) {
            assert_eq!(
                batch_line(position, &batch),
                expected.next().unwrap(),
                "{}",
                path.display()
            );
            let payload = batch.open(INFLATED_BYTES_MAX).unwrap();
            for record in payload.records() {
                let record = record.unwrap();
                let line = expected.next().unwrap();
                let head = record_line(&batch, &record);
                if whole {
                    assert_eq!(
                        head + &contents(&batch, &record),
                        line,
                        "{}",
                        path.display()
                    );
                } else {
                    assert!(line.starts_with(&head), "{head}\n{line}");
                }
                compared += 1;
            }
        }
        assert_eq!(expected.next(), None, "{}", path.display());
    }
    assert!(compared > 1000, "{compared} records");
}

#[test]
fn metadata_logs_and_snapshots_are_batches() {
    let mut paths = vec![
        fixtures().join("data").join(name::BOOTSTRAP),
        fixtures().join("cluster3/00000000000000000257.log"),
        fixtures().join("cluster3/00000000000000000528-0000000003.checkpoint"),
    ];
    paths.extend(files(".checkpoint").into_iter().map(|(_, path)| path));
    paths.extend(
        files(".log")
            .into_iter()
            .filter(|(name, _)| name == "segments-0")
            .map(|(_, path)| path),
    );
    for path in paths {
        let mut records = 0;
        for (_, batch) in batches(&path) {
            records += batch
                .open(INFLATED_BYTES_MAX)
                .unwrap()
                .records()
                .map(Result::unwrap)
                .count();
        }
        assert!(records > 1, "{}", path.display());
    }
}

/// The same records through our builder give Kafka's bytes, where no codec is in between.
#[test]
fn the_builder_writes_kafkas_bytes() {
    let mut compared = 0;
    for (_, path) in files(".log") {
        for (_, batch) in batches(&path) {
            let header = batch.header();
            let attributes = header.attributes;
            let codec = attributes.codec().unwrap();
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset: header.base_offset,
                leader_epoch: header.leader_epoch,
                compression: Compression { codec, level: None },
                timestamp_type: attributes.timestamp_type(),
                producer_id: header.producer_id,
                producer_epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
                transactional: attributes.is_transactional(),
                control: attributes.is_control(),
                delete_horizon: attributes
                    .has_delete_horizon()
                    .then_some(header.base_timestamp),
            });
            let payload = batch.open(INFLATED_BYTES_MAX).unwrap();
            let records: Vec<_> = payload.records().map(Result::unwrap).collect();
            for record in &records {
                let delta = i32::try_from(record.offset.since(header.base_offset)).unwrap();
                let headers: Vec<RecordHeader<'_>> = record.headers.clone().collect();
                builder
                    .append_at(delta, record.timestamp, record.key, record.value, &headers)
                    .unwrap();
            }
            builder.stand_for(header.last_offset_delta, header.max_timestamp);
            let built = builder.finish().unwrap();
            if attributes.timestamp_type() == TimestampType::LogAppendTime {
                continue; // The producer's own timestamps are gone for the reader, though still in the bytes.
            }
            if codec.id() == 0 {
                assert_eq!(
                    built.to_bytes(),
                    batch.to_bytes(),
                    "{} at {}",
                    path.display(),
                    header.base_offset
                );
                compared += 1;
            } else {
                let again = built.open(INFLATED_BYTES_MAX).unwrap();
                assert!(
                    again.records().map(Result::unwrap).eq(records),
                    "{}",
                    path.display()
                );
            }
        }
    }
    assert!(compared > 300, "{compared} batches");
}

/// What Kafka's broker compressed for its topic, taken apart and compressed here: everything but the bytes of the codec.
#[test]
fn batches_are_brought_into_a_topics_codec_as_kafka_does() {
    let rules = BatchRules::default();
    let mut seen = 0;
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let path = fixtures().join(format!(
            "data/topiccodec-{}-0/00000000000000000000.log",
            codec.name()
        ));
        for (_, mut kafkas) in batches(&path) {
            let (place, epoch) = (kafkas.header().base_offset, kafkas.header().leader_epoch);
            assert_eq!(kafkas.header().attributes.codec(), Some(codec));
            kafkas.place(Offset(0), epoch);
            let now = kafkas.header().max_timestamp;
            let mut transcoder = Transcoder::new();
            let plain = transcoder
                .validate(kafkas.to_bytes(), &rules, Codec::None.into(), now)
                .unwrap();
            assert!(transcodes(&plain.to_bytes(), codec));
            let mut ours = transcoder
                .validate(plain.to_bytes(), &rules, codec.into(), now)
                .unwrap();
            ours.place(place, epoch);
            kafkas.place(place, epoch);
            let same = |header: &Header| Header {
                length: 0,
                crc: 0,
                ..*header
            };
            assert_eq!(same(ours.header()), same(kafkas.header()));
            assert_eq!(
                ours.open(INFLATED_BYTES_MAX).unwrap().data(),
                kafkas.open(INFLATED_BYTES_MAX).unwrap().data()
            );
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} batches");
}

#[test]
fn snapshots_are_written_again_as_they_were() {
    for (_, path) in files(".snapshot") {
        let bytes = fs::read(&path).unwrap();
        let snapshot = Snapshot::decode(&bytes).unwrap();
        assert_eq!(snapshot.encode(), bytes, "{}", path.display());
        // Through the state and back nothing is lost; ours are ordered by producer.
        let restored = Producers::restore(&snapshot, Offset(0), i64::MAX, Timestamp(0)).snapshot();
        let mut sorted = snapshot;
        sorted.entries.sort_by_key(|entry| entry.producer);
        assert_eq!(restored, sorted, "{}", path.display());
    }
}

/// What the log says of its producers, taken batch by batch, is what Kafka kept in the snapshot behind it.
#[test]
fn producer_state_rebuilt_from_the_log_is_kafkas_snapshot() {
    for partition in ["idemp-0", "txn-0", "open-txn-0", "headers-0", "deleted-0"] {
        let mut producers = Producers::new(i64::MAX);
        let mut aborted = Vec::new();
        for (_, path) in files(".log")
            .into_iter()
            .filter(|(name, _)| name == partition)
        {
            for (_, batch) in batches(&path) {
                let header = batch.header();
                if !header.attributes.is_control() {
                    producers.append(header);
                    continue;
                }
                let payload = batch.open(INFLATED_BYTES_MAX).unwrap();
                let record = payload.records().next().unwrap().unwrap();
                let marker =
                    EndTransactionMarker::decode(record.key.unwrap(), record.value.unwrap())
                        .unwrap();
                let Some(completed) = producers.append_marker(header, marker) else {
                    continue;
                };
                if completed.aborted {
                    aborted.extend_from_slice(
                        &AbortedTransaction {
                            producer: completed.producer,
                            first_offset: completed.first_offset,
                            last_offset: completed.last_offset,
                            last_stable_offset: producers.last_stable_offset_after(&completed),
                        }
                        .encode(),
                    );
                }
            }
        }
        let (_, last) = files(".snapshot")
            .into_iter()
            .rfind(|(name, _)| name == partition)
            .unwrap();
        assert_eq!(
            producers.snapshot().encode(),
            fs::read(&last).unwrap(),
            "{partition}"
        );
        if partition == "txn-0" {
            let (_, index) = files(".txnindex")
                .into_iter()
                .rfind(|(name, _)| name == partition)
                .unwrap();
            assert_eq!(aborted, fs::read(index).unwrap());
            assert_eq!(
                producers.state(ProducerId(2)).unwrap().coordinator_epoch(),
                0
            );
        }
    }
}

#[test]
fn text_files_are_printed_again_as_they_were() {
    let read = |name: &str| fs::read_to_string(fixtures().join("data").join(name)).unwrap();
    for file in [
        name::RECOVERY_POINTS,
        name::HIGH_WATERMARKS,
        name::LOG_STARTS,
        name::CLEANED,
    ] {
        let text = read(file);
        assert_eq!(
            OffsetCheckpoint::parse(text.as_bytes()).unwrap().print(),
            text,
            "{file}"
        );
    }
    let text = read(name::META_PROPERTIES);
    let meta = MetaProperties::parse(text.as_bytes()).unwrap();
    assert_eq!(
        (meta.node_id, meta.cluster_id.as_str()),
        (1, "Y29yZWxvZy1sb2dzLTAwMQ")
    );
    assert_eq!(meta.print(), text);
    let text = read(name::CLEAN_SHUTDOWN);
    assert_eq!(CleanShutdown::parse(text.as_bytes()).unwrap().print(), text);
    for path in [
        "data/__cluster_metadata-0/quorum-state",
        "cluster3/quorum-state",
    ] {
        let text = fs::read_to_string(fixtures().join(path)).unwrap();
        assert_eq!(QuorumState::parse(text.as_bytes()).unwrap().print(), text);
    }
    for (_, path) in files(name::PARTITION_METADATA) {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            PartitionMetadata::parse(text.as_bytes()).unwrap().print(),
            text
        );
    }
    for (_, path) in files(name::LEADER_EPOCHS) {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(LeaderEpochs::parse(text.as_bytes()).unwrap().print(), text);
    }
}
