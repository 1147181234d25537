//! **Owns** what is printed of `.log` and `.checkpoint` files: batches, records, control records.
//! **Lives on** the command's thread.
//! **Invariants** (1) Every batch that Kafka's tool prints is printed, with the CRC judged, not obeyed. (2) After damage
//! the dump goes on at the next batch that the length fields lead to.
//! **Not here** keys and values (`decoder`).

use std::fmt::Write;

use bytes::Bytes;
use corelog_net::wire::Cursor;
use corelog_net::wire::layout::Layout;
use corelog_storage::batch::{
    BatchError, ControlKey, ControlKind, EndTransactionMarker, Header, Payload, Record,
    TimestampType, UncheckedBatch,
};
use corelog_storage::checkpoint::name;
use corelog_storage::disk::{LogDir, Mode};
use corelog_storage::limits::INFLATED_BYTES_MAX;
use corelog_storage::segment::name::{Content, content_of};
use corelog_storage::segment::reader::{Found, Reader};

use serde_json::{Map, Value, json};

use super::{Depth, Dump, Failure, Place, note, put_optional, put_text};

impl Dump<'_> {
    pub(super) fn log(&mut self, place: &Place) -> Result<(), Failure> {
        if content_of(&place.name) == Some(Content::Log) {
            let base = place.base_offset()?;
            self.title(
                &format!("Log starting offset: {base}"),
                &json!({ "startingOffset": base }),
            );
        } else if place.name == name::BOOTSTRAP {
            self.title("KRaft bootstrap snapshot", &json!({ "bootstrap": true }));
        } else {
            let (offset, epoch) = snapshot_id(place)?;
            self.title(
                &format!("Snapshot end offset: {offset}, epoch: {epoch}"),
                &json!({ "endOffset": offset, "epoch": epoch }),
            );
        }
        let file = place.dir()?.open_file(&place.name, Mode::Read)?;
        let mut reader = Reader::new(&file, self.options.max_bytes)?;
        let (mut position, mut last_offset) = (0, -1);
        let mut told = 0;
        while position < reader.end() && !self.out.is_broken() {
            self.progress.advance(position - told);
            told = position;
            match reader.batch(position)? {
                Found::Batch(batch) => {
                    let valid = batch.crc_matches();
                    self.batch_line(batch.header(), position, valid);
                    if self.options.depth != Depth::Batches
                        && let Err(why) = self.records(&batch, place, &mut last_offset)
                    {
                        self.damage(&format!("{}: position {position}: {why}", place.path));
                    }
                    position += batch.size() as u64;
                }
                Found::Huge(header) => {
                    self.batch_line(&header, position, false);
                    self.damage(&format!(
                        "{}: position {position}: the CRC of a batch of {} bytes is wrong, its records are not read",
                        place.path,
                        header.size()
                    ));
                    position += header.size() as u64;
                }
                Found::NoBatch { error, behind } => {
                    self.damage(&format!("{}: position {position}: {error}", place.path));
                    match behind {
                        Some(behind) => position = behind,
                        None => break,
                    }
                }
                Found::CutShort { .. } => break,
            }
        }
        self.progress.advance(reader.end().max(told) - told);
        let trailing = reader.end().saturating_sub(position);
        if trailing > 0 && self.options.max_bytes == u64::from(i32::MAX.unsigned_abs()) {
            let text = format!(
                "Found {trailing} invalid bytes at the end of {}",
                place.name
            );
            self.title(&text, &json!({ "invalidBytes": trailing }));
        }
        Ok(())
    }

    /// What is said of the file as a whole.
    fn title(&mut self, text: &str, fields: &Value) {
        if self.out.is_json() {
            self.item("file", fields.as_object().cloned().unwrap_or_default());
        } else {
            self.out.line(text);
        }
    }

    fn batch_line(&mut self, header: &Header, position: u64, valid: bool) {
        let attributes = header.attributes;
        let line = &mut self.line;
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} \
             producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: ",
            header.base_offset,
            header.last_offset(),
            header.record_count,
            header.base_sequence,
            header.last_sequence(),
            header.producer_id,
            header.producer_epoch,
            header.leader_epoch,
            attributes.is_transactional(),
            attributes.is_control(),
        );
        let horizon = attributes.has_delete_horizon();
        put_optional(line, horizon.then_some(header.base_timestamp.0));
        let _ = write!(
            line,
            " position: {position} {}: {} size: {} magic: {} compresscodec: ",
            timestamp_type(header),
            header.max_timestamp,
            header.size(),
            header.magic,
        );
        let _ = match attributes.codec() {
            Some(codec) => write!(line, "{codec}"),
            None => write!(line, "unknown({})", attributes.codec_id()),
        };
        let _ = write!(line, " crc: {} isvalid: {valid}", header.crc);
        self.print_fields("batch");
    }

    fn records(
        &mut self,
        batch: &UncheckedBatch,
        place: &Place,
        last_offset: &mut i64,
    ) -> Result<(), String> {
        let payload = batch
            .open(INFLATED_BYTES_MAX)
            .map_err(|error| BatchError::Inflate(error).to_string())?;
        let control = batch.header().attributes.is_control();
        for (index, record) in payload.records().enumerate() {
            let record = record.map_err(|fault| format!("record {index}: {fault}"))?;
            let offset = record.offset.0;
            if offset != last_offset.wrapping_add(1) {
                note(&mut self.gaps, &place.absolute, *last_offset, offset);
            }
            *last_offset = offset;
            if self.out.is_json() {
                self.record_item(&payload, &record, control)?;
                continue;
            }
            if !self.options.skip_record_metadata {
                self.record_line(&payload, &record, control);
            }
            let mut printed = Ok(());
            if self.options.depth == Depth::Contents && !control {
                let decoder = self.options.decoder;
                printed = decoder.print(&payload, &record, &mut self.line);
            }
            if self.options.skip_record_metadata && !self.line.is_empty() {
                self.line.insert(0, '|');
            }
            self.print_line();
            printed?;
        }
        Ok(())
    }

    fn record_item(
        &mut self,
        payload: &Payload,
        record: &Record<'_>,
        control: bool,
    ) -> Result<(), String> {
        let header_keys: Vec<String> = record
            .headers
            .clone()
            .map(|header| {
                let mut key = String::new();
                put_text(&mut key, header.key);
                key
            })
            .collect();
        let mut fields = Map::new();
        fields.insert("offset".to_owned(), record.offset.0.into());
        fields.insert(
            timestamp_type(payload.header()).to_owned(),
            record.timestamp.0.into(),
        );
        fields.insert("keySize".to_owned(), size(record.key).into());
        fields.insert("valueSize".to_owned(), size(record.value).into());
        fields.insert("sequence".to_owned(), record.sequence.0.into());
        fields.insert("headerKeys".to_owned(), header_keys.into());
        let mut outcome = Ok(());
        if control {
            let mut text = String::new();
            control_record(&mut text, record);
            fields.insert("control".to_owned(), text.trim().into());
        } else if self.options.depth == Depth::Contents {
            match self.options.decoder.json(payload, record) {
                Ok(contents) => fields.extend(contents),
                Err(why) => outcome = Err(why),
            }
        }
        self.item("record", fields);
        outcome
    }

    fn record_line(&mut self, payload: &Payload, record: &Record<'_>, control: bool) {
        let line = &mut self.line;
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [",
            record.offset,
            timestamp_type(payload.header()),
            record.timestamp,
            size(record.key),
            size(record.value),
            record.sequence,
        );
        for (index, header) in record.headers.clone().enumerate() {
            if index > 0 {
                line.push(',');
            }
            put_text(line, header.key);
        }
        line.push(']');
        if control {
            control_record(line, record);
        }
    }
}

fn size(part: Option<&[u8]>) -> i64 {
    part.map_or(-1, |part| i64::try_from(part.len()).unwrap_or(i64::MAX))
}

fn timestamp_type(header: &Header) -> &'static str {
    match header.attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn control_record(line: &mut String, record: &Record<'_>) {
    let key = record.key.unwrap_or_default();
    let value = record.value.unwrap_or_default();
    let Some(control) = ControlKey::decode(key) else {
        line.push_str(" controlType: UNKNOWN(no type in the key)");
        return;
    };
    let (title, schema) = match control.kind {
        ControlKind::Commit | ControlKind::Abort => {
            if let Some(marker) = EndTransactionMarker::decode(key, value) {
                let name = if marker.commit { "COMMIT" } else { "ABORT" };
                let epoch = marker.coordinator_epoch;
                // Writing to a String cannot fail.
                let _ = write!(line, " endTxnMarker: {name} coordinatorEpoch: {epoch}");
            } else {
                line.push_str(" endTxnMarker: UNKNOWN (the value is cut short)");
            }
            return;
        }
        ControlKind::LeaderChange => (" LeaderChange: ", "LeaderChangeMessage"),
        ControlKind::SnapshotHeader => (" SnapshotHeader ", "SnapshotHeaderRecord"),
        ControlKind::SnapshotFooter => (" SnapshotFooter ", "SnapshotFooterRecord"),
        ControlKind::KraftVersion => (" KRaftVersion ", "KRaftVersionRecord"),
        ControlKind::KraftVoters => (" KRaftVoters ", "VotersRecord"),
        ControlKind::Unknown(id) => {
            // Writing to a String cannot fail.
            let _ = write!(line, " controlType: UNKNOWN({id})");
            return;
        }
    };
    line.push_str(title);
    // Every one of these records begins with its own version.
    let version = value
        .first_chunk()
        .map_or(0, |bytes| i16::from_be_bytes(*bytes));
    let printed = Layout::named(schema)
        .map(|layout| layout.print_json(&mut Cursor::new(value), version, line));
    if let Some(Err(error)) = printed {
        // Writing to a String cannot fail.
        let _ = write!(line, " (not readable: {error})");
    }
}

/// Offset and epoch in the name of a metadata snapshot: `00000000000000000218-0000000001.checkpoint`.
fn snapshot_id(place: &Place) -> Result<(i64, i32), Failure> {
    let parsed = place
        .stem()
        .split_once('-')
        .and_then(|(offset, epoch)| Some((offset.parse().ok()?, epoch.parse().ok()?)));
    parsed.ok_or_else(|| {
        Failure(format!(
            "{}: the name of a snapshot is its end offset and epoch, as 00000000000000000218-0000000001.checkpoint",
            place.path
        ))
    })
}

/// The timestamps of a batch's records, for the check of a time index; `None` when they cannot be read.
pub(super) fn max_timestamp(batch: &UncheckedBatch) -> Option<i64> {
    let payload = batch.open(INFLATED_BYTES_MAX).ok()?;
    payload
        .records()
        .map(|record| record.ok().map(|record| record.timestamp.0))
        .try_fold(-1, |max, timestamp| Some(timestamp?.max(max)))
}

/// The bytes of a small file, at most `bytes_max` of them.
pub(super) fn small_file(dir: &LogDir, name: &str, bytes_max: u64) -> Result<Bytes, Failure> {
    let size = dir.open_file(name, Mode::Read)?.size()?;
    if size > bytes_max {
        let path = dir.path(name);
        return Err(Failure(format!(
            "{}: {size} bytes are more than such a file can have ({bytes_max})",
            path.display()
        )));
    }
    Ok(dir.read_file(name)?.into())
}
