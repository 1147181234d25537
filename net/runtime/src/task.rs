//! Owns: tasks: spawning, cancelling, their results, their panics.
//! Lives on: its shard.
//! Invariants: 1. A task's future is dropped exactly once: when done, when cancelled, or at shutdown, and
//! never while anything of the runtime is borrowed. 2. A panic is caught around polling and around
//! dropping; it is logged, becomes `Panicked`, and the other tasks go on.
//! Not here: the ready queue (`core`).
#![expect(
    unsafe_code,
    reason = "one pin projection, to keep a spawned future in one allocation"
)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::core::{Core, current};
use crate::slot::{Slot, TASKS_MAX};
use crate::waker::TaskId;

/// A task panicked (or was cancelled under its waiter by the end of the runtime).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task «{name}» panicked: {message}")]
pub struct Panicked {
    /// The name given to `spawn`.
    pub name: &'static str,
    /// The panic's message, when it was text.
    pub message: String,
}

/// Starts a task on this shard. It is polled for the first time in a later turn.
///
/// # Panics
/// Outside of a runtime, and with 1,048,576 tasks alive.
pub fn spawn<T: 'static>(name: &'static str, f: impl Future<Output = T> + 'static) -> Task<T> {
    let core = current();
    let join = Rc::new(Join {
        name,
        result: RefCell::new(None),
        waiter: RefCell::new(None),
    });
    let future = Box::pin(Spawned {
        future: Some(f),
        join: join.clone(),
    });
    if core.closing.get() {
        drop_quietly(future);
        return Task {
            core,
            id: None,
            join,
            detached: Cell::new(false),
        };
    }
    let id = core.tasks.borrow_mut().insert(future);
    core.make_ready(id);
    Task {
        core,
        id: Some(id),
        join,
        detached: Cell::new(false),
    }
}

/// Gives the other ready tasks a turn.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A running task. Dropping it cancels the task: its future is dropped at once. Awaiting it gives its result.
#[must_use = "dropping a task cancels it; detach it to let it run on"]
pub struct Task<T> {
    core: Rc<Core>,
    id: Option<TaskId>,
    join: Rc<Join<T>>,
    detached: Cell<bool>,
}

impl<T: 'static> Task<T> {
    /// Lets it run on, until the end of the runtime.
    pub fn detach(self) {
        self.detached.set(true);
    }

    /// Cancels it. `Some` when it was done already. Its future is dropped before this returns; buffers it lent
    /// to the kernel are kept by the runtime until the kernel is done.
    #[expect(
        clippy::unused_async,
        reason = "the contract leaves room for cancelling that waits"
    )]
    pub async fn cancel(self) -> Option<T> {
        self.stop();
        self.take_result().and_then(Result::ok)
    }

    /// Whether it is done or has panicked.
    pub fn is_done(&self) -> bool {
        self.join.result.borrow().is_some()
    }

    pub(crate) fn take_result(&self) -> Option<Result<T, Panicked>> {
        self.join.result.borrow_mut().take()
    }
}

impl<T> Task<T> {
    fn stop(&self) {
        if self.detached.get() {
            return;
        }
        let Some(id) = self.id else { return };
        let future = self.core.tasks.borrow_mut().cancel(id);
        if let Some(future) = future {
            drop_quietly(future);
        }
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, Panicked>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.take_result() {
            return Poll::Ready(result);
        }
        self.join.waiter.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Join<T> {
    name: &'static str,
    result: RefCell<Option<Result<T, Panicked>>>,
    waiter: RefCell<Option<Waker>>,
}

impl<T> Join<T> {
    fn finish(&self, result: Result<T, Panicked>) {
        self.result.replace(Some(result));
        let waiter = self.waiter.take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

struct Spawned<F, T> {
    future: Option<F>,
    join: Rc<Join<T>>,
}

impl<F: Future<Output = T>, T> Future for Spawned<F, T> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let join = self.join.clone();
        // SAFETY: `future` is structurally pinned: it is never moved out, `Spawned` has no Drop that could,
        // and is Unpin only when `F` is.
        let mut slot = unsafe {
            self.as_mut()
                .map_unchecked_mut(|spawned| &mut spawned.future)
        };
        let polled = catch_unwind(AssertUnwindSafe(|| match slot.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => unreachable!("a finished task is not polled"),
        }));
        let mut result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panicked(join.name, &*panic)),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| slot.set(None))) {
            result = Err(panicked(join.name, &*panic));
        }
        join.finish(result);
        Poll::Ready(())
    }
}

fn panicked(name: &'static str, panic: &(dyn Any + Send)) -> Panicked {
    let message = message(panic);
    tracing::error!(task = name, message, "a task panicked; the others go on");
    Panicked { name, message }
}

/// The text of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "(not a text)".to_owned())
}

/// Drops a future of a user, whose drop may panic.
pub(crate) fn drop_quietly(future: Erased) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        tracing::error!(
            message = message(&*panic),
            "dropping a cancelled task panicked"
        );
    }
}

pub(crate) type Erased = Pin<Box<dyn Future<Output = ()>>>;

enum State {
    Free {
        next: Option<u32>,
    },
    Waiting(Erased),
    /// Its future is being polled; `cancelled`: drop it afterwards.
    Running {
        cancelled: bool,
    },
}

struct Entry {
    generation: u32,
    queued: bool,
    state: State,
}

/// The tasks of a shard.
pub(crate) struct Tasks {
    slot: &'static Slot,
    entries: Vec<Entry>,
    free: Option<u32>,
    alive: usize,
    first_generation: u32,
}

impl Tasks {
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
    pub(crate) fn new(slot: &'static Slot) -> Self {
        let start = slot.generation.fetch_add(0x1_0000, Ordering::Relaxed) as u32;
        Self {
            slot,
            entries: Vec::new(),
            free: None,
            alive: 0,
            first_generation: start.max(1),
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    fn insert(&mut self, future: Erased) -> TaskId {
        self.alive += 1;
        let index = if let Some(index) = self.free {
            let entry = &mut self.entries[index as usize];
            let State::Free { next } = entry.state else {
                unreachable!("a free entry is free")
            };
            self.free = next;
            entry.state = State::Waiting(future);
            index
        } else {
            assert!(
                self.entries.len() < TASKS_MAX,
                "a runtime holds at most {TASKS_MAX} tasks"
            );
            let generation = self.first_generation;
            self.entries.push(Entry {
                generation,
                queued: false,
                state: State::Waiting(future),
            });
            u32::try_from(self.entries.len() - 1).expect("20 bits")
        };
        TaskId::new(
            self.slot.index,
            self.entries[index as usize].generation,
            index,
        )
    }

    fn live(&mut self, task: TaskId) -> Option<&mut Entry> {
        self.entries.get_mut(task.index() as usize).filter(|entry| {
            entry.generation == task.generation() && !matches!(entry.state, State::Free { .. })
        })
    }

    /// `true`: the caller must put it into the ready queue.
    pub(crate) fn mark_queued(&mut self, task: TaskId) -> bool {
        self.live(task)
            .is_some_and(|entry| !std::mem::replace(&mut entry.queued, true))
    }

    /// As `mark_queued`, for a wake from another thread, which names the index only.
    pub(crate) fn queue_index(&mut self, index: u32) -> Option<TaskId> {
        let entry = self.entries.get(index as usize)?;
        let task = TaskId::new(self.slot.index, entry.generation, index);
        self.mark_queued(task).then_some(task)
    }

    /// Takes the future out to be polled.
    pub(crate) fn begin(&mut self, task: TaskId) -> Option<Erased> {
        let entry = self.live(task)?;
        entry.queued = false;
        match std::mem::replace(&mut entry.state, State::Running { cancelled: false }) {
            State::Waiting(future) => Some(future),
            other => {
                entry.state = other;
                None
            }
        }
    }

    /// Puts it back, or gives it to the caller to drop.
    pub(crate) fn end(&mut self, task: TaskId, future: Erased, done: bool) -> Option<Erased> {
        let entry = &mut self.entries[task.index() as usize];
        let cancelled = matches!(entry.state, State::Running { cancelled: true });
        if done || cancelled {
            self.release(task.index());
            return Some(future);
        }
        entry.state = State::Waiting(future);
        None
    }

    fn cancel(&mut self, task: TaskId) -> Option<Erased> {
        let entry = self.live(task)?;
        if let State::Running { cancelled } = &mut entry.state {
            *cancelled = true;
            return None;
        }
        self.release(task.index())
    }

    /// Takes out every task that is not running: for the end.
    pub(crate) fn take_all(&mut self) -> Vec<Erased> {
        if self.alive == 0 {
            return Vec::new();
        }
        let count = u32::try_from(self.entries.len()).expect("20 bits");
        (0..count)
            .filter_map(|index| self.release_waiting(index))
            .collect()
    }

    fn release_waiting(&mut self, index: u32) -> Option<Erased> {
        matches!(self.entries[index as usize].state, State::Waiting(_))
            .then(|| self.release(index))?
    }

    fn release(&mut self, index: u32) -> Option<Erased> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1).max(1);
        entry.queued = false;
        let state = std::mem::replace(&mut entry.state, State::Free { next: self.free });
        self.free = Some(index);
        self.alive -= 1;
        if let State::Waiting(future) = state {
            Some(future)
        } else {
            None
        }
    }
}
