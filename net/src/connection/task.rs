//! The task of a connection.
//!
//! **Owns** how reader, replies and writer share one task, and how a connection ends.
//! **Lives on** the connection's shard.
//! **Invariants**
//! 1. Whatever wakes the task, all three are polled, so they need no wakers among themselves.
//! 2. The reader is never dropped while the service starts a request, except when the connection is
//!    closed at once.
//!
//! **Not here**: the registry of connections (`server`).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use corelog_runtime::{now, timeout_at};

use super::state::{Connection, Order, Progress, Shared};
use super::{CloseReason, Service, reader, writer};
use crate::limits::LINGER;
use crate::transport::Transport;

/// Serves one connection to its end.
pub(crate) async fn serve<S: Service>(
    service: Rc<S>,
    transport: Transport,
    shared: Rc<Shared>,
) -> CloseReason {
    let session = Rc::new(service.open(&shared.peer));
    let open = Open {
        connection: Connection {
            service,
            session,
            transport,
            shared,
        },
    };
    let reason = exchange(&open.connection).await;
    if reason == CloseReason::Shutdown {
        linger(&open.connection.transport).await;
    }
    reason
}

/// Ends the session whatever happens to the task.
struct Open<S: Service> {
    connection: Connection<S>,
}

impl<S: Service> Drop for Open<S> {
    fn drop(&mut self) {
        let Connection {
            service,
            session,
            shared,
            ..
        } = &self.connection;
        shared.clear();
        service.closed(Rc::clone(session));
    }
}

async fn exchange<S: Service>(connection: &Connection<S>) -> CloseReason {
    let shared = &*connection.shared;
    let mut reader = pin!(Some(reader::read(connection)));
    let mut writer = pin!(writer::write(&connection.transport, shared));
    poll_fn(|cx| {
        shared.remember_task(cx.waker());
        match shared.order() {
            Order::Run => {}
            Order::Close(reason) => return Poll::Ready(reason),
            Order::Drain if shared.progress.get() == Progress::Dispatching => {}
            Order::Drain => {
                if reader.is_some() {
                    reader.set(None);
                    end_reading(shared, CloseReason::Shutdown);
                }
            }
        }
        for _ in 0..ROUNDS_MAX {
            shared.look_again.set(false);
            if let Some(reading) = reader.as_mut().as_pin_mut()
                && let Poll::Ready(reason) = reading.poll(cx)
            {
                reader.set(None);
                end_reading(shared, reason);
            }
            if shared.queue.borrow_mut().poll_waiting() {
                shared.reader_may_go_on();
            }
            if let Poll::Ready(reason) = writer.as_mut().poll(cx) {
                return Poll::Ready(reason);
            }
            if !shared.look_again.get() {
                return Poll::Pending;
            }
        }
        // Others on this shard have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Nothing more is read; what was asked is answered, then the connection closes.
fn end_reading(shared: &Shared, reason: CloseReason) {
    shared.progress.set(Progress::Ended);
    shared.queue.borrow_mut().push_close(reason);
}

/// Lets the peer take its last responses: closes our side and reads until it closes its own.
async fn linger(transport: &Transport) {
    transport.shutdown_write();
    timeout_at(now() + LINGER, async {
        while transport
            .recv_some()
            .await
            .is_ok_and(|received| !received.is_empty())
        {}
    })
    .await;
}

/// Rounds of one poll in which reader and writer feed each other.
const ROUNDS_MAX: usize = 16;
