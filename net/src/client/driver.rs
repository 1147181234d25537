//! The task of a client's connection.
//!
//! **Owns** sending what is queued, in as few calls as possible, and cutting responses out of what
//! comes.
//! **Lives on** the client's shard; ends with its last handle.
//! **Invariants** 1. Whatever wakes the task, both halves are polled.
//! **Not here**: matching responses to requests (`client`).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use corelog_runtime::block;

use super::{ClientError, State, WRITABLE_BELOW};
use crate::frame::{Body, SIZE_PREFIX};
use crate::limits::{
    OWN_BLOCK_MIN, SEND_BYTES_MAX, SEND_PARTS_MAX, SHARED_BLOCK, TRUST_FACTOR, TRUST_MIN,
};
use crate::transport::Transport;

pub(super) async fn drive(transport: Transport, state: Rc<State>) {
    let state = &*state;
    let mut receiving = pin!(receive(&transport, state));
    let mut sending = pin!(send(&transport, state));
    let error = poll_fn(|cx| {
        *state.driver.borrow_mut() = Some(cx.waker().clone());
        if let Some(error) = state.ended.borrow().clone() {
            return Poll::Ready(error);
        }
        if let Poll::Ready(error) = receiving.as_mut().poll(cx) {
            return Poll::Ready(error);
        }
        sending.as_mut().poll(cx)
    })
    .await;
    state.end(&error);
}

async fn send(transport: &Transport, state: &State) -> ClientError {
    let mut parts: Vec<Bytes> = Vec::new();
    loop {
        let (file, size) = poll_fn(|_| {
            let gathered = gather(state, &mut parts);
            if parts.is_empty() && gathered.0.is_none() {
                Poll::Pending
            } else {
                Poll::Ready(gathered)
            }
        })
        .await;
        let failed = |error: std::io::Error| ClientError::Io {
            addr: state.addr,
            kind: error.kind(),
        };
        if !parts.is_empty() {
            let (result, mut back) = transport.send(parts).await;
            if let Err(error) = result {
                return failed(error);
            }
            back.clear();
            parts = back;
        }
        if let Some((file, range)) = file
            && let Err(error) = transport.send_file(&file, range).await
        {
            return failed(error);
        }
        let left = state.outgoing_bytes.get() - size;
        state.outgoing_bytes.set(left);
        if left < WRITABLE_BELOW {
            state.wake_writable();
        }
    }
}

type FileRange = (corelog_runtime::File, std::ops::Range<u64>);

/// Takes queued parts for one send, up to and including a file range; says how many bytes they are.
fn gather(state: &State, parts: &mut Vec<Bytes>) -> (Option<FileRange>, u64) {
    let mut size = 0;
    let mut outgoing = state.outgoing.borrow_mut();
    while let Some(frame) = outgoing.front_mut() {
        while !frame.is_empty() {
            if size >= SEND_BYTES_MAX as u64 || parts.len() >= SEND_PARTS_MAX {
                return (None, size);
            }
            let part = frame.remove(0);
            size += part.size();
            match part {
                Body::Bytes(bytes) => parts.push(bytes),
                Body::File { file, range } => return (Some((file, range)), size),
            }
        }
        outgoing.pop_front();
    }
    (None, size)
}

async fn receive(transport: &Transport, state: &State) -> ClientError {
    let mut ready = Bytes::new();
    let mut trust = TRUST_MIN;
    loop {
        match receive_frame(transport, state, &mut ready, &mut trust).await {
            Ok(frame) => {
                if let Err(error) = state.received(frame) {
                    return error;
                }
            }
            Err(error) => return error,
        }
    }
}

/// One frame, without its size prefix.
async fn receive_frame(
    transport: &Transport,
    state: &State,
    ready: &mut Bytes,
    trust: &mut usize,
) -> Result<Bytes, ClientError> {
    let addr = state.addr;
    let failed = |error: std::io::Error| ClientError::Io {
        addr,
        kind: error.kind(),
    };
    let size = loop {
        if let Some(prefix) = ready.first_chunk::<SIZE_PREFIX>() {
            break i32::from_be_bytes(*prefix);
        }
        let begun = std::mem::take(ready);
        let received = transport.recv_some().await.map_err(failed)?;
        if received.is_empty() {
            return Err(ClientError::Closed { addr });
        }
        *ready = if begun.is_empty() {
            received.freeze()
        } else {
            let mut joined = block(begun.len() + received.len());
            joined.extend_from_slice(&begun);
            joined.extend_from_slice(&received);
            joined.freeze()
        };
    };
    let frame_size = match usize::try_from(size) {
        Ok(size) if size <= state.options.response_size_max => SIZE_PREFIX + size,
        _ => return Err(ClientError::ResponseSize(size)),
    };
    if ready.len() < frame_size {
        let mut capacity = frame_size.min((*trust).max(TRUST_FACTOR * ready.len()));
        let small = frame_size < OWN_BLOCK_MIN;
        let mut into = block(if small {
            capacity.max(SHARED_BLOCK)
        } else {
            capacity
        });
        into.extend_from_slice(ready);
        *ready = Bytes::new();
        while into.len() < frame_size {
            if into.len() >= capacity {
                capacity = frame_size.min(TRUST_FACTOR * into.len());
                let mut larger = block(capacity);
                larger.extend_from_slice(&into);
                into = larger;
            }
            let (result, back) = transport.recv(into).await;
            into = back;
            if result.map_err(failed)? == 0 {
                return Err(ClientError::Closed { addr });
            }
        }
        *trust = (*trust).max(TRUST_FACTOR.saturating_mul(frame_size));
        *ready = into.freeze();
    }
    let mut frame = ready.split_to(frame_size);
    let _ = frame.split_to(SIZE_PREFIX);
    Ok(frame)
}
