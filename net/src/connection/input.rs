//! Bytes from the socket, cut into frames.
//!
//! **Owns** the receive buffers of a connection and how their sizes are chosen.
//! **Lives on** its connection's task.
//! **Invariants**
//! 1. A frame is one slice of one block, whatever pieces it arrived in.
//! 2. Between frames no block is held: an idle connection costs no buffer.
//! 3. A claimed size is believed only up to [`TRUST_MIN`], or [`TRUST_FACTOR`] times what has come.
//!
//! **Not here**: judging frames (`reader`), the layout (`frame`).
//!
//! Small frames are received into whatever the runtime has at hand and cut as slices. A frame of
//! [`OWN_BLOCK_MIN`] or more gets a block of its exact size: what has come of it is copied there
//! once, the rest is received in place.

use std::io;

use bytes::Bytes;
use corelog_runtime::{Block, block};
use smallvec::SmallVec;

use super::CloseReason;
use super::budget::Charge;
use super::state::{Progress, Shared};
use crate::frame::HEAD;
use crate::limits::{OWN_BLOCK_MIN, SHARED_BLOCK, TRUST_FACTOR, TRUST_MIN};
use crate::transport::Transport;

pub(super) struct Input {
    /// Received and not yet taken.
    ready: Bytes,
    /// Up to this size a claim is believed at once.
    trust: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self {
            ready: Bytes::new(),
            trust: TRUST_MIN,
        }
    }

    /// What has been received and not been taken.
    #[inline]
    pub(super) fn ready(&self) -> &[u8] {
        &self.ready
    }

    /// Takes a frame that is wholly there.
    #[inline]
    pub(super) fn take(&mut self, frame_size: usize) -> Bytes {
        let frame = self.ready.split_to(frame_size);
        if self.ready.is_empty() {
            self.ready = Bytes::new();
        }
        frame
    }

    /// Receives more of a frame whose head is not complete.
    pub(super) async fn receive_head(
        &mut self,
        transport: &Transport,
        shared: &Shared,
    ) -> Result<(), CloseReason> {
        // The few bytes are copied out, so that waiting for more holds no block.
        let begun: SmallVec<[u8; HEAD]> = SmallVec::from_slice(&self.ready);
        self.ready = Bytes::new();
        let received = transport.recv_some().await.map_err(receive_failed)?;
        shared.moved();
        shared.counters.receives.add(1);
        if received.is_empty() {
            return Err(match begun.len() {
                0 => CloseReason::Peer,
                received => CloseReason::Truncated {
                    received,
                    expected: HEAD,
                },
            });
        }
        self.ready = if begun.is_empty() {
            received.freeze()
        } else {
            let mut joined = block(begun.len() + received.len());
            joined.extend_from_slice(&begun);
            joined.extend_from_slice(&received);
            joined.freeze()
        };
        Ok(())
    }

    /// Receives the rest of a frame. The charge that comes back is that of the frame.
    pub(super) async fn receive_rest(
        &mut self,
        transport: &Transport,
        shared: &Shared,
        frame_size: usize,
    ) -> Result<Charge, CloseReason> {
        let mut capacity = frame_size.min(self.trust.max(TRUST_FACTOR * self.ready.len()));
        shared.progress.set(Progress::HeldBack);
        let mut charge = shared.account.charge(capacity).await;
        shared.progress.set(Progress::WithinFrame);
        let small = frame_size < OWN_BLOCK_MIN;
        let mut into = block(if small {
            capacity.max(SHARED_BLOCK)
        } else {
            capacity
        });
        into.extend_from_slice(&self.ready);
        self.ready = Bytes::new();
        while into.len() < frame_size {
            if into.len() >= capacity {
                capacity = frame_size.min(TRUST_FACTOR * into.len());
                charge
                    .grow_to(capacity)
                    .map_err(|_| CloseReason::Overdrawn)?;
                into = moved_to_larger(&into, capacity);
            }
            let (result, back) = transport.recv(into).await;
            into = back;
            shared.moved();
            shared.counters.receives.add(1);
            if result.map_err(receive_failed)? == 0 {
                let received = into.len();
                return Err(CloseReason::Truncated {
                    received,
                    expected: frame_size,
                });
            }
        }
        shared.progress.set(Progress::BetweenFrames);
        charge.shrink_to(frame_size);
        self.trust = self.trust.max(TRUST_FACTOR.saturating_mul(frame_size));
        self.ready = into.freeze();
        Ok(charge)
    }
}

fn moved_to_larger(from: &Block, capacity: usize) -> Block {
    let mut larger = block(capacity);
    larger.extend_from_slice(from);
    larger
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn receive_failed(error: io::Error) -> CloseReason {
    CloseReason::Receive(error.kind())
}
