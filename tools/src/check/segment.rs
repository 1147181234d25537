//! **Owns** the walk over one segment: batches, their order, what the indexes, producers and epochs say of them.
//! **Lives on** a checking thread.
//! **Invariants** (1) After damage the walk goes on at the next valid batch, so that what can be saved is known.
//! **Not here** the files of the folder (`partition`).

use corelog_storage::batch::{Batch, EndTransactionMarker, Header, RecordFault};
use corelog_storage::disk::Mode;
use corelog_storage::limits::INFLATED_BYTES_MAX;
use corelog_storage::producer::AbortedTransaction;
use corelog_storage::segment::name::Content;
use corelog_storage::segment::reader::{Found, Reader};
use corelog_storage::types::{Offset, ProducerId};

use super::follow::{FollowIndex, FollowTimes, Wrong};
use super::partition::{Partition, SegmentFiles};
use super::{CheckError, Severity};

/// Where a segment stands in its partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where the next segment begins.
    pub(super) next_base: Option<Offset>,
    /// No segment behind it holds anything.
    pub(super) last: bool,
    /// The broker looks at its bytes at the next start.
    pub(super) scanned: bool,
}

/// Something that is no valid batch.
#[derive(Debug)]
struct Fault {
    position: u64,
    /// The offset behind the last valid batch before it.
    end: Offset,
    what: String,
    /// Position and base offset of the next valid batch.
    next: Option<(u64, Offset)>,
}

impl Partition<'_> {
    pub(super) fn segment(
        &mut self,
        segment: &SegmentFiles,
        place: Place,
    ) -> Result<(), CheckError> {
        let log_name = self.name(segment.base, Content::Log);
        let log = self.dir.open_file(&log_name, Mode::Read)?;
        let index = self.index_file(segment, Content::Index)?;
        let times = self.index_file(segment, Content::TimeIndex)?;
        let mut index = match &index {
            Some(file) => Some(FollowIndex::new(file, segment.base)?),
            None => None,
        };
        let mut times = match &times {
            Some(file) => Some(FollowTimes::new(file, segment.base)?),
            None => None,
        };
        let mut reader = Reader::new(&log, u64::MAX)?;
        let (mut position, mut valid_end) = (0, 0);
        let mut faults = Vec::new();
        let mut aborted = Vec::new();
        self.end = self.end.max(segment.base);
        while position < reader.end() {
            let limit = place.next_base.unwrap_or(Offset(i64::MAX));
            match self.valid(&mut reader, position, limit)? {
                Ok(batch) => {
                    let header = *batch.header();
                    if let Some(index) = &mut index {
                        index.batch(position, &header)?;
                    }
                    if let Some(times) = &mut times {
                        times.batch(&header)?;
                    }
                    self.batch(segment, position, &batch, &mut aborted);
                    position += batch.size() as u64;
                    valid_end = position;
                    self.progress(batch.size() as u64);
                }
                Err(what) => {
                    let next = self.resync(&mut reader, position, limit)?;
                    faults.push(Fault {
                        position,
                        end: self.end,
                        what,
                        next,
                    });
                    match next {
                        Some((at, _)) => position = at,
                        None => break,
                    }
                }
            }
        }
        self.report.segments += 1;
        let sound = faults.is_empty();
        self.tell_faults(segment, &reader, place, &faults);
        let closed = place.next_base.is_some() || self.clean;
        if let Some(index) = index {
            let wrong = index.finish(valid_end)?;
            self.tell_index(segment, Content::Index, place, wrong, sound);
        }
        if let Some(times) = times {
            let wrong = times.finish(closed)?;
            self.tell_index(segment, Content::TimeIndex, place, wrong, sound);
        }
        if sound {
            self.txn_index(segment, place, &aborted)?;
        }
        Ok(())
    }

    /// The batch at a position, if the broker may serve it.
    fn valid(
        &self,
        reader: &mut Reader<'_>,
        position: u64,
        limit: Offset,
    ) -> Result<Result<Batch, String>, CheckError> {
        let batch = match reader.batch(position)? {
            Found::Batch(batch) => batch,
            Found::Huge(header) => {
                let size = header.size();
                return Ok(Err(format!("the CRC of a batch of {size} bytes is wrong")));
            }
            Found::CutShort { wanted, left } => {
                return Ok(Err(match wanted {
                    Some(wanted) => {
                        format!("a batch of {wanted} bytes, {left} are left in the file")
                    }
                    None => format!("{left} bytes, too few for a batch"),
                }));
            }
            Found::NoBatch { error, .. } => return Ok(Err(error.to_string())),
        };
        let batch = match batch.check() {
            Ok(batch) => batch,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let header = batch.header();
        let (first, last) = (header.base_offset, header.last_offset());
        if first < self.end {
            let end = self.end;
            return Ok(Err(format!(
                "a batch of offsets {first} to {last} behind the batches before {end}"
            )));
        }
        if last >= limit {
            return Ok(Err(format!(
                "a batch of offsets {first} to {last} in a segment that ends before {limit}"
            )));
        }
        if self.deep
            && let Err(why) = records(&batch)
        {
            return Ok(Err(why));
        }
        Ok(Ok(batch))
    }

    /// What a valid batch says.
    fn batch(
        &mut self,
        segment: &SegmentFiles,
        position: u64,
        batch: &Batch,
        aborted: &mut Vec<AbortedTransaction>,
    ) {
        let header = batch.header();
        let path = self.path(segment.base, Content::Log);
        if header.base_offset > self.end && !self.compacted {
            self.gap(header.base_offset);
        }
        self.snapshots_before(header.base_offset);
        self.epoch(&path, position, header);
        let marker = marker_of(batch);
        if let Some(marker) = marker {
            if let Some(done) = self.producers.append_marker(header, marker)
                && done.aborted
            {
                aborted.push(AbortedTransaction {
                    producer: done.producer,
                    first_offset: done.first_offset,
                    last_offset: done.last_offset,
                    last_stable_offset: self.producers.last_stable_offset_after(&done),
                });
            }
            self.producers.replicated_to(header.next_offset());
        } else {
            self.producers.append(header);
        }
        self.end = header.next_offset();
        self.report.batches += 1;
    }

    /// Epochs never fall, and the checkpoint of the partition knows them.
    fn epoch(&mut self, path: &str, position: u64, header: &Header) {
        let epoch = header.leader_epoch;
        if epoch.is_none() {
            return;
        }
        if epoch < self.last_epoch {
            let before = self.last_epoch;
            self.finding(
                Severity::Damage,
                path,
                Some(position),
                format!("leader epoch {epoch} at offset {} follows epoch {before}", header.base_offset),
                "replicas that ask where an epoch ended would be told a wrong offset and could cut sound records".into(),
                "keep a copy of the partition's folder; with another replica, move the folder away and let it be fetched \
                 anew"
                    .into(),
            );
        }
        self.last_epoch = self.last_epoch.max(epoch);
        // Batches before the first entry lie before the log's start, where epochs are forgotten.
        let known = self
            .epochs
            .as_ref()
            .and_then(|epochs| epochs.epoch_of(header.base_offset));
        let Some(known) = known.filter(|known| *known != epoch) else {
            return;
        };
        self.epochs = None;
        let file = self.epochs_path();
        self.finding(
            Severity::Damage,
            &file,
            None,
            format!(
                "it has epoch {known} for offset {}, the batch there says {epoch}",
                header.base_offset
            ),
            "replicas and consumers that ask where an epoch ended are told a wrong offset".into(),
            format!("rm '{file}': the broker rebuilds it from the batches at its next start"),
        );
    }

    /// The next valid batch behind a fault: offsets must go on, and the CRC must be right.
    fn resync(
        &self,
        reader: &mut Reader<'_>,
        fault: u64,
        limit: Offset,
    ) -> Result<Option<(u64, Offset)>, CheckError> {
        let mut position = fault + 1;
        // What the length field of the fault leads to is tried first: one bad batch among good ones is the usual case.
        if let Some(header) = reader.header(fault)? {
            let behind = fault.saturating_add(header.size() as u64);
            if behind > fault
                && behind < reader.end()
                && let Ok(batch) = self.valid(reader, behind, limit)?
            {
                return Ok(Some((behind, batch.header().base_offset)));
            }
        }
        while position < reader.end() {
            let Some(header) = reader.header(position)? else {
                return Ok(None);
            };
            let plausible = header.magic == 2
                && header.size() as u64 <= reader.end() - position
                && header.base_offset >= self.end
                && header.last_offset_delta >= 0
                && header.last_offset() < limit;
            if plausible && let Ok(batch) = self.valid(reader, position, limit)? {
                return Ok(Some((position, batch.header().base_offset)));
            }
            position += 1;
        }
        Ok(None)
    }

    fn tell_faults(
        &mut self,
        segment: &SegmentFiles,
        reader: &Reader<'_>,
        place: Place,
        faults: &[Fault],
    ) {
        let path = self.path(segment.base, Content::Log);
        for fault in faults {
            let behind = match fault.next {
                Some((at, offset)) => format!(
                    "offsets {} to {} are not readable; valid batches follow at position {at}, offset {offset}",
                    fault.end,
                    offset - 1
                ),
                None => match place.next_base {
                    Some(next) if !place.last => format!(
                        "offsets {} to {} are not readable; nothing valid follows in this file",
                        fault.end,
                        next - 1
                    ),
                    _ => format!(
                        "{} bytes are no batches, and the log ends at offset {}",
                        reader.end() - fault.position,
                        fault.end
                    ),
                },
            };
            if !place.last {
                let cure = self.set_aside(segment, fault);
                let means = format!(
                    "{behind}. It is a sealed segment: the broker does not open the partition with it, or fails readers there"
                );
                self.finding(
                    Severity::Damage,
                    &path,
                    Some(fault.position),
                    fault.what.clone(),
                    means,
                    cure,
                );
            } else if fault.next.is_none() && place.scanned && fault.end >= self.recovery_point {
                self.finding(
                    Severity::Warning,
                    &path,
                    Some(fault.position),
                    fault.what.clone(),
                    format!(
                        "{behind}: the torn end of the last segment, never acknowledged as synced"
                    ),
                    "nothing: the broker cuts the file there at its next start".into(),
                );
            } else {
                let cure = format!(
                    "cp -p '{path}' ELSEWHERE first: at its next start the broker cuts the file at position {}, and keeps \
                     what it cuts in a file beside it when valid batches are among it",
                    fault.position
                );
                self.finding(
                    Severity::Damage,
                    &path,
                    Some(fault.position),
                    fault.what.clone(),
                    behind,
                    cure,
                );
            }
        }
    }

    /// The commands that bring a partition back whose sealed segment is damaged. What is set aside goes beside the log
    /// directory: in it, a broker would take it for a partition.
    fn set_aside(&self, segment: &SegmentFiles, fault: &Fault) -> String {
        let log = self.path(segment.base, Content::Log);
        let index = self.path(segment.base, Content::Index);
        let times = self.path(segment.base, Content::TimeIndex);
        let folder = self.dir.path(&self.folder).display().to_string();
        let aside = format!("{}.aside/{}", self.dir.root().display(), self.folder);
        let lost = match fault.next {
            Some(_) => {
                "what lies behind in this segment is then in the copy only (corelog dump-log prints it)"
            }
            None => "all records before it stay",
        };
        format!(
            "with another replica: mkdir -p '{aside}' && mv '{folder}' '{aside}/' and let it be fetched anew. Without one: \
             mkdir -p '{aside}' && cp -p '{log}' '{aside}/' && truncate -s {position} '{log}' && rm -f '{index}' \
             '{times}'; {lost}",
            position = fault.position,
        )
    }

    fn tell_index(
        &mut self,
        segment: &SegmentFiles,
        content: Content,
        place: Place,
        wrong: Wrong,
        sound: bool,
    ) {
        let Some((position, what)) = wrong.told() else {
            return;
        };
        let path = self.path(segment.base, content);
        let rebuilt = place.scanned || !sound;
        let (severity, means, remedy) = if rebuilt {
            (
                Severity::Warning,
                "lookups through it would go wrong".to_owned(),
                "nothing: the broker rebuilds it at its next start".to_owned(),
            )
        } else {
            (
                Severity::Damage,
                "readers that begin at an offset or a time are sent to a wrong place; no record is lost".to_owned(),
                format!("rm '{path}': the broker rebuilds it from the log at its next start"),
            )
        };
        self.finding(severity, &path, Some(position), what, means, remedy);
    }

    /// Every abort that the log has must be in the index, and the reverse.
    fn txn_index(
        &mut self,
        segment: &SegmentFiles,
        place: Place,
        found: &[AbortedTransaction],
    ) -> Result<(), CheckError> {
        let path = self.path(segment.base, Content::TxnIndex);
        let remedy = if place.scanned {
            "nothing: the broker rebuilds it at its next start".to_owned()
        } else {
            format!(
                "truncate -s 1 '{path}': a torn one is rebuilt at the next start, a missing one is taken for empty"
            )
        };
        let severity = if place.scanned {
            Severity::Warning
        } else {
            Severity::Damage
        };
        let Some(entries) = self.aborted_entries(segment, severity, &remedy)? else {
            return Ok(());
        };
        let has = |producer: ProducerId, last: Offset| {
            move |entry: &&AbortedTransaction| {
                entry.producer == producer && entry.last_offset == last
            }
        };
        for abort in found {
            let known = entries.iter().find(has(abort.producer, abort.last_offset));
            if known.is_none_or(|known| known.first_offset > abort.first_offset) {
                self.finding(
                    severity,
                    &path,
                    None,
                    format!(
                        "the abort of producer {} at offset {}, of records from offset {} on, is not in it",
                        abort.producer, abort.last_offset, abort.first_offset
                    ),
                    "read_committed consumers would be given these aborted records".into(),
                    remedy.clone(),
                );
            }
        }
        for entry in &entries {
            if entry.first_offset > entry.last_offset || entry.last_offset >= self.end {
                self.finding(
                    severity,
                    &path,
                    None,
                    format!(
                        "an entry of producer {} from offset {} to {}, the log ends at {}",
                        entry.producer, entry.first_offset, entry.last_offset, self.end
                    ),
                    "read_committed consumers could be refused committed records".into(),
                    remedy.clone(),
                );
            }
        }
        Ok(())
    }
}

fn marker_of(batch: &Batch) -> Option<EndTransactionMarker> {
    if !batch.header().attributes.is_control() {
        return None;
    }
    let payload = batch.open(INFLATED_BYTES_MAX).ok()?;
    let record = payload.records().next()?.ok()?;
    EndTransactionMarker::decode(record.key?, record.value?)
}

/// Looks at every record: their offsets rise within the batch, and the batch knows its largest timestamp.
fn records(batch: &Batch) -> Result<(), String> {
    let header = batch.header();
    let payload = batch
        .open(INFLATED_BYTES_MAX)
        .map_err(|error| format!("the records do not decompress: {error}"))?;
    let (mut last, mut largest) = (header.base_offset - 1, None);
    for (index, record) in payload.records().enumerate() {
        let record =
            record.map_err(|fault: RecordFault| format!("record {index} is malformed: {fault}"))?;
        if record.offset <= last || record.offset > header.last_offset() {
            return Err(format!(
                "record {index} has offset {} behind offset {last}, in a batch that ends with {}",
                record.offset,
                header.last_offset()
            ));
        }
        last = record.offset;
        largest = largest.max(Some(record.timestamp));
    }
    if let Some(largest) = largest
        && largest > header.max_timestamp
    {
        return Err(format!(
            "a record has timestamp {largest}, the batch says {} is its largest",
            header.max_timestamp
        ));
    }
    Ok(())
}
