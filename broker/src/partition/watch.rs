//! What a fetch has of one shard: its partitions, and which of them are worth a look.
//!
//! Owns: [`Watch`]: the parts of one fetch, or of a fetch session from one fetch to the next; the wait for data.
//! Lives on: the shard that owns the partitions.
//! Invariants:
//! 1. A part that is not ready has nothing for its reader: it is at the end of what the reader may see, and all there is
//!    to say of it was said. So a fetch costs in proportion to what changed, however many partitions its session has.
//! 2. Whatever changes that (data, the partition's end, a new log start) makes the part ready. A partition
//!    is watched before it is read, or looked at once more when it is: nothing gets between.
//! 3. A place that goes to another partition never hears of the one before: what watches carries the part's stamp.
//! 4. A partition that is gone is let go at once: no session keeps its files open.
//!
//! Not here: reading (`read.rs`), which session asks for what (`handlers/fetch/session.rs`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::{Rc, Weak};

use corelog_runtime::Notify;

use crate::partition::read::{FetchCall, FetchPart, Fetched, Isolation};
use crate::partition::{Partition, State};

/// What of a session's parts on this shard is to be changed, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// This is wanted at the place now.
    Set(u32, FetchPart),
    /// Nothing is.
    Drop(u32),
}

/// See the module.
pub(crate) struct Watch {
    /// It is a session's.
    lasting: bool,
    inner: RefCell<Inner>,
    /// Bytes still missing before the reader is served; 0 when it does not wait.
    missing: Cell<u64>,
    /// Fetches begun, each numbered by it; those up to `cancelled` answer with what is there.
    begun: Cell<u64>,
    cancelled: Cell<u64>,
    pub(crate) woken: Notify,
}

struct Inner {
    parts: Vec<Part>,
    /// Places that are looked at whatever is known of them.
    scan: Range<usize>,
    /// Places to look at, in the order in which they are served.
    ready: VecDeque<u32>,
    /// Places that stay ready for the next fetch: with nothing for this one, and with data, which come last then, so that a
    /// busy partition cannot starve others under the limit of an answer.
    kept: Vec<u32>,
    served: Vec<u32>,
    isolation: Isolation,
    stamps: u32,
}

/// A partition that is wanted, or a vacant place.
struct Part {
    asked: FetchPart,
    partition: Option<Rc<Partition>>,
    /// 0: the place is vacant.
    stamp: u32,
    /// It is in `ready`.
    queued: bool,
    /// The partition tells this watch of changes.
    watched: bool,
    /// What was said of it last: high watermark and log start offset.
    told: (i64, i64),
    /// The fetch that looked at it last, and where in the answers that is.
    answered: (u64, usize),
}

/// A part to look at.
pub(crate) struct Look {
    pub(crate) place: u32,
    stamp: u32,
    pub(crate) part: FetchPart,
    pub(crate) partition: Option<Rc<Partition>>,
    /// Where the same fetch has an answer of it already.
    pub(crate) before: Option<usize>,
}

/// A fetch of a watch.
#[derive(Clone)]
pub(crate) struct Fetching {
    pub(crate) watch: Rc<Watch>,
    pub(crate) number: u64,
}

impl Fetching {
    /// Ends the wait of this fetch: it answers with what is there.
    pub(crate) fn cancel(&self) {
        self.watch.cancel(self.number);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.number <= self.watch.cancelled.get()
    }
}

impl Watch {
    /// Of a session, or of one fetch.
    pub(crate) fn new(lasting: bool) -> Rc<Self> {
        Rc::new(Self {
            lasting,
            inner: RefCell::new(Inner {
                parts: Vec::new(),
                scan: 0..0,
                ready: VecDeque::new(),
                kept: Vec::new(),
                served: Vec::new(),
                isolation: Isolation::ReadUncommitted,
                stamps: 0,
            }),
            missing: Cell::new(0),
            begun: Cell::new(0),
            cancelled: Cell::new(0),
            woken: Notify::new(),
        })
    }

    /// Begins a fetch: takes its changes in. Of two at once, which no client makes, the older ends.
    pub(crate) fn begin(self: &Rc<Self>, call: &mut FetchCall) -> Fetching {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        self.cancel(number - 1);
        let mut inner = self.inner.borrow_mut();
        inner.requeue();
        let is_other = std::mem::replace(&mut inner.isolation, call.isolation) != call.isolation;
        let is_whole = call.all || is_other;
        inner
            .parts
            .reserve(if self.lasting { 0 } else { call.changes.len() });
        for change in std::mem::take(&mut call.changes) {
            match change {
                Change::Set(place, part) => inner.set(place, part, !is_whole),
                Change::Drop(place) => inner.vacate(place),
            }
        }
        if is_whole {
            inner.scan = 0..inner.parts.len();
        }
        drop(inner);
        Fetching {
            watch: Rc::clone(self),
            number,
        }
    }

    /// The next part to look at.
    pub(crate) fn next(&self, number: u64) -> Option<Look> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            let place = if let Some(place) = inner.scan.next() {
                place
            } else {
                let place = index(inner.ready.pop_front()?);
                if !inner.parts[place].queued {
                    continue;
                }
                place
            };
            let part = &mut inner.parts[place];
            part.queued = false;
            if part.stamp == 0 {
                continue;
            }
            let (fetch, answer) = part.answered;
            return Some(Look {
                place: u32::try_from(place).expect("places are counted in 32 bits"),
                stamp: part.stamp,
                part: part.asked,
                partition: part.partition.clone(),
                before: (fetch == number).then_some(answer),
            });
        }
    }

    /// The partition of a part was looked up: it is kept, and of a session watched, before it is read.
    pub(crate) fn resolved(self: &Rc<Self>, look: &Look, partition: &Rc<Partition>) {
        let watches = {
            let mut inner = self.inner.borrow_mut();
            let Some(part) = inner.part(look.place, look.stamp) else {
                return;
            };
            part.partition = Some(Rc::clone(partition));
            self.lasting && !std::mem::replace(&mut part.watched, true)
        };
        if watches {
            partition.watch(self.watcher(look.place, look.stamp));
        }
    }

    /// Takes in what was found; says whether it is news to the reader. `answer`: where it is told, if it is.
    pub(crate) fn settle(&self, number: u64, look: &Look, found: &Fetched, answer: usize) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let Some(part) = inner.parts.get_mut(index(look.place)) else {
            return true;
        };
        if part.stamp != look.stamp {
            return true;
        }
        let told = (found.high_watermark, found.log_start_offset);
        let has_data = found.records.size() > 0;
        let is_told = look.before.is_some()
            || has_data
            || found.is_urgent()
            || std::mem::replace(&mut part.told, told) != told;
        part.told = told;
        if is_told {
            part.answered = (number, answer);
        }
        if !self.lasting || (found.at_end && !has_data && !found.is_urgent()) {
            return is_told;
        }
        if number < self.begun.get() {
            // A younger fetch has gone over what was kept.
            inner.queue(index(look.place));
        } else if has_data {
            inner.served.push(look.place);
        } else {
            inner.kept.push(look.place);
        }
        is_told
    }

    /// The answers hold every part, whether it was news or not: where this one's is.
    pub(crate) fn answered(&self, number: u64, look: &Look, answer: usize) {
        if let Some(part) = self.inner.borrow_mut().part(look.place, look.stamp) {
            part.answered = (number, answer);
        }
    }

    /// Begins a wait for `missing` bytes. Is there something to look at first?
    pub(crate) fn waits(self: &Rc<Self>, missing: usize) -> bool {
        self.missing.set((missing as u64).max(1));
        if !self.lasting {
            self.watch_all();
        }
        let inner = self.inner.borrow();
        let waits = inner.ready.is_empty();
        if !waits {
            self.missing.set(0);
        }
        waits
    }

    /// Ends the wait without waking anyone.
    pub(crate) fn rests(&self) {
        self.missing.set(0);
    }

    /// The partition at a place, while it is there.
    pub(crate) fn partition(&self, place: u32) -> Option<Rc<Partition>> {
        self.inner
            .borrow()
            .parts
            .get(index(place))?
            .partition
            .clone()
    }

    /// Parts that a fetch would look at now, about.
    pub(crate) fn expected(&self) -> usize {
        let inner = self.inner.borrow();
        inner.scan.len() + inner.ready.len()
    }

    /// Is its memory worth keeping?
    pub(crate) fn is_small(&self) -> bool {
        self.inner.borrow().parts.capacity() <= SMALL
    }

    /// The session is over: partitions are let go.
    pub(crate) fn end(&self) {
        self.cancel(u64::MAX);
        self.clear();
    }

    /// Lets go of everything: what watched for it is told so. Another fetch may begin with it.
    pub(crate) fn clear(&self) {
        self.missing.set(0);
        let mut inner = self.inner.borrow_mut();
        inner.scan = 0..0;
        inner.ready.clear();
        inner.parts.clear();
    }

    /// New bytes came to a part. Is it still watched?
    pub(crate) fn fed(&self, place: u32, stamp: u32, bytes: u64) -> bool {
        if !self.mark(place, stamp) {
            return false;
        }
        let missing = self.missing.get();
        if missing > bytes {
            self.missing.set(missing - bytes);
        } else if missing > 0 {
            self.wake();
        }
        true
    }

    /// A part is worth a look; nobody is woken for it. Is it still watched?
    pub(crate) fn mark(&self, place: u32, stamp: u32) -> bool {
        let mut inner = self.inner.borrow_mut();
        let is_there = inner.part(place, stamp).is_some();
        if is_there {
            inner.queue(index(place));
        }
        is_there
    }

    /// The partition of a part has ended here; it is looked for anew.
    pub(crate) fn lost(&self, place: u32, stamp: u32) {
        let mut inner = self.inner.borrow_mut();
        let Some(part) = inner.part(place, stamp) else {
            return;
        };
        part.partition = None;
        part.watched = false;
        inner.queue(index(place));
        drop(inner);
        if self.missing.get() > 0 {
            self.wake();
        }
    }

    /// Is the part that began to watch still there?
    pub(crate) fn is_current(&self, place: u32, stamp: u32) -> bool {
        self.inner.borrow_mut().part(place, stamp).is_some()
    }

    fn cancel(&self, number: u64) {
        if self.cancelled.get() < number {
            self.cancelled.set(number);
            self.wake();
        }
    }

    fn wake(&self) {
        self.missing.set(0);
        self.woken.notify_all();
    }

    fn watcher(self: &Rc<Self>, place: u32, stamp: u32) -> Watcher {
        Watcher {
            watch: Rc::downgrade(self),
            place,
            stamp,
        }
    }

    /// Has the partitions tell of changes from now on, and marks those that changed since they were read.
    fn watch_all(self: &Rc<Self>) {
        let count = self.inner.borrow().parts.len();
        for place in 0..count {
            let (partition, stamp, (high_watermark, _)) = {
                let part = &mut self.inner.borrow_mut().parts[place];
                let Some(partition) = part.partition.clone().filter(|_| !part.watched) else {
                    continue;
                };
                part.watched = true;
                (partition, part.stamp, part.told)
            };
            let number = u32::try_from(place).expect("places are counted in 32 bits");
            partition.watch(self.watcher(number, stamp));
            if partition.state.get() != State::Online
                || partition.high_watermark().0 != high_watermark
            {
                self.mark(number, stamp);
            }
        }
    }
}

impl Inner {
    fn part(&mut self, place: u32, stamp: u32) -> Option<&mut Part> {
        let part = self.parts.get_mut(index(place))?;
        (part.stamp == stamp).then_some(part)
    }

    fn queue(&mut self, place: usize) {
        let part = &mut self.parts[place];
        if !std::mem::replace(&mut part.queued, true) {
            self.ready
                .push_back(u32::try_from(place).expect("places are counted in 32 bits"));
        }
    }

    /// What the last fetch left for this one.
    fn requeue(&mut self) {
        let (mut kept, mut served) = (
            std::mem::take(&mut self.kept),
            std::mem::take(&mut self.served),
        );
        for place in kept.drain(..).chain(served.drain(..)) {
            if index(place) < self.parts.len() {
                self.queue(index(place));
            }
        }
        (self.kept, self.served) = (kept, served);
    }

    fn set(&mut self, place: u32, asked: FetchPart, queues: bool) {
        let at = index(place);
        if at >= self.parts.len() {
            self.parts.resize_with(at + 1, Part::vacant);
        }
        let part = &mut self.parts[at];
        let is_same = part.stamp != 0
            && part.asked.topic_id == asked.topic_id
            && part.asked.partition == asked.partition;
        if !is_same {
            self.stamps = self.stamps.wrapping_add(1).max(1);
            let queued = part.queued;
            *part = Part {
                stamp: self.stamps,
                queued,
                ..Part::vacant()
            };
        }
        part.asked = asked;
        if queues {
            self.queue(at);
        }
    }

    fn vacate(&mut self, place: u32) {
        if let Some(part) = self.parts.get_mut(index(place)) {
            let queued = part.queued;
            *part = Part {
                queued,
                ..Part::vacant()
            };
        }
    }
}

impl Part {
    fn vacant() -> Self {
        Self {
            asked: FetchPart::NONE,
            partition: None,
            stamp: 0,
            queued: false,
            watched: false,
            told: (-1, -1),
            answered: (0, 0),
        }
    }
}

/// What a partition tells of changes.
pub(crate) struct Watcher {
    /// Not kept for it.
    watch: Weak<Watch>,
    place: u32,
    stamp: u32,
}

impl Watcher {
    /// See [`Watch::fed`].
    pub(crate) fn fed(&self, bytes: u64) -> bool {
        let watch = self.watch.upgrade();
        watch.is_some_and(|watch| watch.fed(self.place, self.stamp, bytes))
    }

    /// See [`Watch::mark`].
    pub(crate) fn mark(&self) -> bool {
        let watch = self.watch.upgrade();
        watch.is_some_and(|watch| watch.mark(self.place, self.stamp))
    }

    /// See [`Watch::lost`].
    pub(crate) fn lost(&self) {
        if let Some(watch) = self.watch.upgrade() {
            watch.lost(self.place, self.stamp);
        }
    }

    /// See [`Watch::is_current`].
    pub(crate) fn is_current(&self) -> bool {
        let watch = self.watch.upgrade();
        watch.is_some_and(|watch| watch.is_current(self.place, self.stamp))
    }
}

fn index(place: u32) -> usize {
    place as usize
}

/// Parts that a watch may have had to be kept for another fetch; 150 kB.
const SMALL: usize = 1024;

#[cfg(test)]
mod tests;
