#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod block;
mod clock;
mod companion;
mod config;
mod core;
mod crew;
mod driver;
mod file;
pub mod limits;
mod map;
mod mesh;
mod op;
mod probe;
mod readiness;
mod residency;
mod ring;
mod runtime;
mod shared_waker;
mod signals;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod slot;
mod socket;
mod source;
mod supervisor;
mod sync;
mod task;
mod tcp;
mod timer;
mod waker;

pub use block::{BLOCK_MAX_POOLED, BLOCK_MIN, Block, block, give_back_unused};
pub use clock::{Instant, now, wall_clock};
pub use companion::{blocking, blocking_brief};
pub use config::{Backend, BackendChoice, Config, StartError};
pub use core::{in_runtime, random, shard};
pub use crew::blocking_all;
pub use file::{Access, DIRECT_ALIGNMENT, File, Temperature};
pub use map::{Map, Seeded, Set, entropy, seed_maps};
pub use mesh::{Port, mesh};
pub use probe::{WriteCost, probe_direct, probe_writes};
pub use runtime::{Runtime, Stats, stats};
pub use signals::{Signal, Signals};
pub use supervisor::Supervisor;
pub use sync::{
    Closed, Notified, Notify, Permit, Queue, Receiver, Semaphore, Sender, oneshot, queue,
};
pub use task::{Panicked, Task, spawn, yield_now};
pub use tcp::{ListenOptions, Listener, Tcp};
pub use timer::{Sleep, sleep, sleep_until, timeout_at};

/// The result of an operation beside the buffer it was given: buffers go in owned and come back.
pub type Io<T, B> = (std::io::Result<T>, B);
