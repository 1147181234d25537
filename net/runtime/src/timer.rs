//! Owns: the timers of a shard: an indexed binary heap.
//! Lives on: its shard.
//! Invariants: 1. A dropped timer leaves the heap at once, in O(log n). 2. Equal deadlines fire in the
//! order they were set. 3. Nothing is woken while the heap is borrowed.
//! Not here: the clock (`clock`).

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::{Instant, now};
use crate::core::{Core, current};

/// Waits for a duration from now.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Waits until a point of the clock.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        set: None,
    }
}

/// Runs `future` until `deadline`; `None` when the deadline came first (the future is dropped).
/// A future that is ready at its first poll sets no timer.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = sleep_until(deadline);
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut timer).poll(cx).map(|()| None)
    })
    .await
}

/// A wait for a point of the clock.
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    set: Option<(Rc<Core>, TimerKey)>,
}

impl Sleep {
    /// Moves the deadline. A timer that is already set is moved in place.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some((core, key)) = &self.set
            && !core.timers.borrow_mut().reset(*key, deadline)
        {
            self.set = None;
        }
    }

    /// When it is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((core, key)) = &self.set {
            if core.timers.borrow_mut().refresh(*key, cx.waker()) {
                return Poll::Pending;
            }
            self.set = None;
            if self.deadline <= now() {
                return Poll::Ready(());
            }
        } else if self.deadline <= now() {
            return Poll::Ready(());
        }
        let core = current();
        let key = core
            .timers
            .borrow_mut()
            .set(self.deadline, cx.waker().clone());
        self.set = Some((core, key));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((core, key)) = self.set.take() {
            let waker = core.timers.borrow_mut().remove(key);
            drop(waker);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    deadline: Instant,
    order: u64,
    entry: u32,
}

struct Entry {
    generation: u32,
    /// Place in the heap; meaningless when `waker` is `None`.
    place: u32,
    waker: Option<Waker>,
}

/// The heap and the entries it names.
pub(crate) struct Timers {
    heap: Vec<Due>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    order: u64,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            heap: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            order: 0,
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|due| due.deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn set(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                place: 0,
                waker: None,
            });
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 timers")
        });
        let entry = &mut self.entries[index as usize];
        entry.waker = Some(waker);
        let key = TimerKey {
            index,
            generation: entry.generation,
        };
        self.order += 1;
        self.heap.push(Due {
            deadline,
            order: self.order,
            entry: index,
        });
        self.sift_up(self.heap.len() - 1);
        key
    }

    /// Replaces the waker of a timer that has not fired; `false` when it has.
    fn refresh(&mut self, key: TimerKey, waker: &Waker) -> bool {
        match self.live(key) {
            Some(entry) => {
                if let Some(old) = &mut entry.waker {
                    old.clone_from(waker);
                }
                true
            }
            None => false,
        }
    }

    fn reset(&mut self, key: TimerKey, deadline: Instant) -> bool {
        let Some(entry) = self.live(key) else {
            return false;
        };
        let place = entry.place as usize;
        self.order += 1;
        self.heap[place].deadline = deadline;
        self.heap[place].order = self.order;
        let place = self.sift_up(place);
        self.sift_down(place);
        true
    }

    fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        let entry = self.live(key)?;
        let place = entry.place as usize;
        self.take(place)
    }

    /// Takes one timer that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Waker> {
        if self.heap.first()?.deadline > now {
            return None;
        }
        self.take(0)
    }

    fn live(&mut self, key: TimerKey) -> Option<&mut Entry> {
        self.entries
            .get_mut(key.index as usize)
            .filter(|entry| entry.generation == key.generation && entry.waker.is_some())
    }

    fn take(&mut self, place: usize) -> Option<Waker> {
        let due = self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.sift_up(place);
            self.sift_down(place);
        }
        let entry = &mut self.entries[due.entry as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(due.entry);
        entry.waker.take()
    }

    fn note(&mut self, place: usize) {
        let entry = self.heap[place].entry as usize;
        self.entries[entry].place = u32::try_from(place).expect("fewer than 2^32 timers");
    }

    fn sift_up(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent] <= self.heap[place] {
                break;
            }
            self.heap.swap(parent, place);
            self.note(place);
            place = parent;
        }
        self.note(place);
        place
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let child = if right < self.heap.len() && self.heap[right] < self.heap[left] {
                right
            } else {
                left
            };
            if self.heap[place] <= self.heap[child] {
                break;
            }
            self.heap.swap(place, child);
            self.note(place);
            place = child;
        }
        self.note(place);
    }
}
