//! **Owns** one consuming client of a workload.
//! **Lives on** a thread's runtime, a task each; clients of one group share a thread, and what was seen of the records.
//! **Invariants** (1) A client that reads from the end knows its positions before the first record is due. (2) It reads until
//! it has all that was acknowledged, or the patience for that is over.
//! **Not here** fetching (`corelog_tools::client::consumer`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use corelog_runtime::{Instant, now, random};
use corelog_tools::client::Client;
use corelog_tools::client::consumer::{Chunk, Consumer, GroupConfig, Start};
use corelog_tools::load::verify::{Checker, read};

use super::sender::due_of;
use super::thread::{Acked, Stage, Thread};
use crate::workload::Consumers;

/// What readers of the same records know of them together.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By topic.
    pub(super) checkers: BTreeMap<Rc<str>, Checker>,
    /// Whether records may come again (a group's, after a rebalance).
    pub(super) shares: bool,
}

/// A client that is connected and knows where to begin.
pub(super) struct Reader {
    kind: Rc<Consumers>,
    consumer: Consumer,
    seen: Rc<RefCell<Seen>>,
    /// Where it goes on after a reconnect.
    next: BTreeMap<(Rc<str>, i32), i64>,
}

impl Reader {
    /// Connects.
    pub(super) async fn connect(
        thread: &Thread,
        kind: Rc<Consumers>,
        seen: Rc<RefCell<Seen>>,
    ) -> Result<Self, String> {
        let next = BTreeMap::new();
        let consumer = open(thread, &kind, &next).await?;
        Ok(Self {
            kind,
            consumer,
            seen,
            next,
        })
    }

    /// Whether it knows where to begin; members of a group may have nothing.
    pub(super) fn is_positioned(&self) -> bool {
        self.consumer.is_positioned()
    }

    /// How many partitions it has.
    pub(super) fn partitions(&self) -> usize {
        self.consumer.assignment().len()
    }

    /// Reads until the load has ended and all of it was seen.
    pub(super) async fn read(mut self, thread: Rc<Thread>) -> Result<(), String> {
        let mut fetches = self.consumer.fetches().0;
        let mut leave = self.next_churn();
        let mut give_up = None;
        loop {
            let chunk = self
                .consumer
                .next_within(LOOK)
                .await
                .map_err(|error| error.to_string())?;
            let so_far = self.consumer.fetches().0;
            thread.meter.borrow_mut().consumed.requests += so_far - fetches;
            fetches = so_far;
            if let Some(chunk) = chunk {
                self.take(&thread, &chunk)?;
                give_up = None;
            }
            match thread.stage() {
                Stage::Prepare | Stage::Run | Stage::Flush => {}
                Stage::Drain => {
                    let deadline = *give_up.get_or_insert_with(|| now() + PATIENCE);
                    let is_done = thread.workload.verify
                        && thread.acked().is_some_and(|acked| {
                            is_complete(&self.seen.borrow(), acked, &self.kind)
                        });
                    if is_done || !thread.workload.verify || now() >= deadline {
                        break;
                    }
                }
            }
            if leave.is_some_and(|leave| leave <= now()) && thread.stage() == Stage::Run {
                self = self.reconnect(&thread).await?;
                fetches = 0;
                leave = self.next_churn();
            }
        }
        self.consumer.close().await.map_err(|error| error.text())
    }

    fn next_churn(&self) -> Option<Instant> {
        let churn = self.kind.churn?;
        let percent = u32::try_from(random() % 100).unwrap_or(0);
        Some(now() + churn / 2 + churn * percent / 100)
    }

    async fn reconnect(self, thread: &Thread) -> Result<Self, String> {
        self.consumer.close().await.map_err(|error| error.text())?;
        let consumer = open(thread, &self.kind, &self.next).await?;
        Ok(Self { consumer, ..self })
    }

    fn take(&mut self, thread: &Thread, chunk: &Chunk) -> Result<(), String> {
        let at = now();
        let mut meter = thread.meter.borrow_mut();
        let side = &mut meter.consumed;
        if thread.is_stamped(&chunk.topic) {
            let mut seen = self.seen.borrow_mut();
            let shares = seen.shares;
            if !seen.checkers.contains_key(&chunk.topic) {
                seen.checkers
                    .insert(Rc::clone(&chunk.topic), Checker::default());
            }
            let mut checker = thread
                .workload
                .verify
                .then(|| seen.checkers.get_mut(&chunk.topic))
                .flatten();
            let _ = chunk
                .each(|record| {
                    side.records += 1;
                    let value = record.value.unwrap_or_default();
                    side.bytes += value.len() as u64;
                    // Records of an earlier run have no place in this one.
                    if read(value).is_some_and(|(run, _)| thread.is_ours(run)) {
                        if let Some(due) = due_of(value) {
                            side.latencies.add(at - due);
                        }
                        if let Some(checker) = &mut checker {
                            checker.see(chunk.partition, Some(value));
                        }
                    }
                    ControlFlow::Continue(())
                })
                .map_err(|error| error.to_string())?;
            debug_assert!(!shares || self.kind.group.is_some());
        } else {
            side.records += chunk.count().map_err(|error| error.to_string())?;
            side.bytes += chunk.size() as u64;
        }
        drop(meter);
        self.consumer.consumed(chunk, chunk.next_offset());
        if self.kind.churn.is_some() {
            self.next.insert(
                (Rc::clone(&chunk.topic), chunk.partition),
                chunk.next_offset(),
            );
        }
        Ok(())
    }
}

/// Whether everything acknowledged in a reader's topics was seen.
pub(super) fn is_complete(seen: &Seen, acked: &Acked, kind: &Consumers) -> bool {
    missing(seen, acked, kind) == 0
}

/// How many of the acknowledged records at the ends of partitions were not seen.
pub(super) fn missing(seen: &Seen, acked: &Acked, kind: &Consumers) -> u64 {
    let ends: BTreeMap<&str, BTreeMap<(i32, u64), u64>> = seen
        .checkers
        .iter()
        .map(|(topic, checker)| (&**topic, checker.ends()))
        .collect();
    acked
        .iter()
        .filter(|((topic, _, _), _)| kind.topics.contains(topic))
        .map(|((topic, partition, run), end)| {
            let until = ends
                .get(topic.as_str())
                .and_then(|ends| ends.get(&(*partition, *run)))
                .copied()
                .unwrap_or(0);
            end.saturating_sub(until)
        })
        .sum()
}

async fn open(
    thread: &Thread,
    kind: &Consumers,
    next: &BTreeMap<(Rc<str>, i32), i64>,
) -> Result<Consumer, String> {
    let client = Client::connect(thread.workload.client.clone())
        .await
        .map_err(|error| error.to_string())?;
    let consumer = Consumer::new(&client, kind.consumer.clone());
    if let Some(group) = &kind.group {
        consumer.subscribe(GroupConfig::new(group.clone(), kind.topics.clone()));
        return Ok(consumer);
    }
    let begin = kind.consumer.reset.start();
    let mut all = Vec::new();
    for topic in &kind.topics {
        let count = client.topic(topic).await.map_err(|error| error.text())?;
        for partition in 0..count {
            let start = next
                .iter()
                .find(|((name, number), _)| **name == **topic && *number == partition)
                .map_or(begin, |(_, offset)| Start::Offset(*offset));
            all.push((topic.clone(), partition, start));
        }
    }
    consumer.assign(&all);
    Ok(consumer)
}

/// How long to wait for a chunk before the stage is looked at again.
const LOOK: Duration = Duration::from_millis(100);
/// How long nothing may come, at the end, before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);
