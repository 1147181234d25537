//! The writing half of a connection.
//!
//! **Owns** what goes into one vectored send, and file ranges between them.
//! **Lives on** its connection's task.
//! **Invariants** 1. Bytes leave in the order of the queue; a file range is sent after what precedes
//! it and before what follows. 2. The vector of parts is used again for every send.
//! **Not here**: the order of responses (`queue`).

use std::future::poll_fn;
use std::ops::Range;
use std::task::Poll;

use bytes::Bytes;
use corelog_runtime::File;

use super::queue::Front;
use super::state::Shared;
use super::{Body, CloseReason};
use crate::frame::Parts;
use crate::limits::{SEND_BYTES_MAX, SEND_FILE_MAX, SEND_PARTS_MAX};
use crate::transport::Transport;

/// Sends what the queue holds until it holds a close.
pub(super) async fn write(transport: &Transport, shared: &Shared) -> CloseReason {
    let mut gathered = Gathered::default();
    loop {
        if let Some(reason) = poll_fn(|_| gathered.gather(shared)).await {
            return reason;
        }
        if let Err(reason) = send(&mut gathered, transport, shared).await {
            return reason;
        }
        gathered.sent(shared);
    }
}

/// What the next send takes.
#[derive(Default)]
struct Gathered {
    parts: Vec<Bytes>,
    bytes: usize,
    /// Comes after `parts`.
    file: Option<(File, Range<u64>)>,
    /// The rest of a response that has been begun.
    rest: Option<smallvec::IntoIter<[Body; 4]>>,
    /// Responses begun and not counted as sent.
    responses: usize,
}

impl Gathered {
    /// Collects what is ready: several small responses for one send. Pending while nothing is; the
    /// task is woken by whoever makes something ready.
    fn gather(&mut self, shared: &Shared) -> Poll<Option<CloseReason>> {
        loop {
            while let Some(part) = self.rest.as_mut().and_then(Iterator::next) {
                match part {
                    Body::Bytes(bytes) => {
                        self.bytes += bytes.len();
                        self.parts.push(bytes);
                        if self.bytes >= SEND_BYTES_MAX || self.parts.len() >= SEND_PARTS_MAX {
                            return Poll::Ready(None);
                        }
                    }
                    Body::File { file, range } => {
                        self.file = Some((file, range));
                        return Poll::Ready(None);
                    }
                }
            }
            self.rest = None;
            let front = shared.queue.borrow_mut().take();
            match front {
                Front::Response(response) => {
                    self.responses += 1;
                    let (responses, bytes) = shared.sending.get();
                    if responses == 0 {
                        // The service may have taken long; the peer's time to read begins now.
                        shared.moved();
                    }
                    shared
                        .sending
                        .set((responses + 1, bytes + response.memory()));
                    shared.counters.responses.add(1);
                    shared.counters.response_bytes.add(response.size);
                    self.begin(response.parts);
                }
                _ if !self.parts.is_empty() => return Poll::Ready(None),
                Front::NotReady => return Poll::Pending,
                Front::Close(reason) => return Poll::Ready(Some(reason)),
            }
        }
    }

    fn begin(&mut self, parts: Parts) {
        self.rest = Some(parts.into_iter());
    }

    /// What was gathered is on the socket.
    fn sent(&mut self, shared: &Shared) {
        let (responses, bytes) = shared.sending.get();
        // A response with parts to come stays counted until they are sent.
        let unfinished = usize::from(self.rest.as_ref().is_some_and(|rest| rest.len() > 0));
        let finished = self.responses - unfinished;
        shared
            .sending
            .set((responses - finished, bytes - self.bytes));
        self.responses = unfinished;
        self.bytes = 0;
        shared.moved();
        shared.reader_may_go_on();
    }
}

async fn send(
    gathered: &mut Gathered,
    transport: &Transport,
    shared: &Shared,
) -> Result<(), CloseReason> {
    if !gathered.parts.is_empty() {
        shared.counters.sends.add(1);
        let (result, mut parts) = transport.send(std::mem::take(&mut gathered.parts)).await;
        parts.clear();
        gathered.parts = parts;
        result.map_err(|error| CloseReason::Send(error.kind()))?;
    }
    if let Some((file, range)) = gathered.file.take() {
        let mut position = range.start;
        // In pieces, so that a slow but reading peer is seen to move.
        while position < range.end {
            let end = range.end.min(position + SEND_FILE_MAX);
            let result = transport.send_file(&file, position..end).await;
            result.map_err(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                    CloseReason::Send(error.kind())
                }
                kind => CloseReason::SendFile(kind),
            })?;
            shared.counters.file_bytes.add(end - position);
            shared.moved();
            position = end;
        }
    }
    Ok(())
}
