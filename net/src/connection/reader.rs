//! The reading half of a connection.
//!
//! **Owns** judging frames by their first bytes, parsing headers, starting requests.
//! **Lives on** its connection's task.
//! **Invariants**
//! 1. Nothing is taken for a frame before it is judged.
//! 2. One request is started at a time.
//!
//! **Not here**: buffers (`input`), answers (`queue`, `writer`).

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use corelog_runtime::now;

use super::input::Input;
use super::state::{Connection, Order, Progress};
use super::{Charge, CloseReason, Dispatched, Reply, Request, Response, Service};
use crate::frame::{HEAD, Head, HeaderRest, Parsed, RequestHeader};
use crate::wire::ApiKey;

/// Reads and starts requests until there is a reason to stop.
pub(super) async fn read<S: Service>(connection: &Connection<S>) -> CloseReason {
    let mut reader = Reader {
        connection,
        input: Input::new(),
        client_id: None,
    };
    loop {
        if let Err(reason) = reader.next().await {
            return reason;
        }
        if connection.shared.order() != Order::Run {
            return CloseReason::Shutdown;
        }
    }
}

struct Reader<'a, S: Service> {
    connection: &'a Connection<S>,
    input: Input,
    /// The client id of the last request, shared by all that carry the same.
    client_id: Option<Rc<str>>,
}

/// What the first bytes of a frame entitle it to.
enum Verdict {
    Serve(ApiKey),
    /// `ApiVersions` in a version that is not served.
    TellVersions(RangeInclusive<i16>),
}

impl<S: Service> Reader<'_, S> {
    async fn next(&mut self) -> Result<(), CloseReason> {
        let Connection {
            shared, transport, ..
        } = self.connection;
        let size_max = shared.limits.request_size_max;
        let head = loop {
            match Head::parse(self.input.ready(), size_max) {
                Parsed::Head(head) => break head,
                Parsed::Short => self.input.receive_head(transport, shared).await?,
                Parsed::BadSize(size) => return Err(CloseReason::FrameSize { size, size_max }),
            }
        };
        let verdict = self.judge(&head)?;
        let frame_size = head.frame_size();
        shared.room(frame_size).await;
        let charge = if self.input.ready().len() < frame_size {
            self.input
                .receive_rest(transport, shared, frame_size)
                .await?
        } else {
            shared.progress.set(Progress::HeldBack);
            let charge = shared.account.charge(frame_size).await;
            shared.progress.set(Progress::BetweenFrames);
            charge
        };
        let frame = self.input.take(frame_size);
        shared.counters.requests.add(1);
        shared.counters.request_bytes.add(frame_size as u64);
        match verdict {
            Verdict::Serve(api_key) => self.start(api_key, &head, frame, charge).await,
            Verdict::TellVersions(served) => {
                let response = Response::api_versions_unsupported(head.correlation_id, &served);
                shared
                    .queue
                    .borrow_mut()
                    .push_reply(Reply::Response(response));
                Ok(())
            }
        }
    }

    /// Whether this frame will be served, from its first bytes.
    fn judge(&self, head: &Head) -> Result<Verdict, CloseReason> {
        let Connection {
            service,
            session,
            shared,
            ..
        } = self.connection;
        let unknown = CloseReason::UnknownApi(head.api_key);
        let api_key = ApiKey::try_from(head.api_key).map_err(|_| unknown)?;
        let served = service.versions(api_key).ok_or(unknown)?;
        let size_max = service.frame_size_max(session, api_key, shared.limits.request_size_max);
        if head.size > size_max {
            return Err(CloseReason::FrameSizeOfApi {
                api_key,
                size: head.size,
                size_max,
            });
        }
        if served.contains(&head.api_version) {
            Ok(Verdict::Serve(api_key))
        } else if api_key == ApiKey::ApiVersions {
            Ok(Verdict::TellVersions(served))
        } else {
            Err(CloseReason::UnsupportedVersion {
                api_key,
                api_version: head.api_version,
            })
        }
    }

    /// Parses the header and lets the service start the request.
    async fn start(
        &mut self,
        api_key: ApiKey,
        head: &Head,
        frame: Bytes,
        charge: Charge,
    ) -> Result<(), CloseReason> {
        let Connection {
            service,
            session,
            shared,
            ..
        } = self.connection;
        let mut body = frame;
        body.advance(HEAD);
        let header_version = api_key.request_header_version(head.api_version);
        let rest = HeaderRest::parse(&body, header_version).map_err(CloseReason::Header)?;
        let client_id = remembered(&mut self.client_id, rest.client_id);
        let rest_size = rest.size;
        body.advance(rest_size);
        let request = Request {
            header: RequestHeader {
                api_key,
                api_version: head.api_version,
                correlation_id: head.correlation_id,
                client_id,
            },
            body,
            frame_size: head.frame_size(),
            charge,
            received: now(),
        };
        shared.progress.set(Progress::Dispatching);
        let dispatched = {
            let mut dispatch = pin!(service.dispatch(session, request));
            poll_fn(
                |cx| match catch_unwind(AssertUnwindSafe(|| dispatch.as_mut().poll(cx))) {
                    Ok(poll) => poll.map(Ok),
                    Err(_) => std::task::Poll::Ready(Err(CloseReason::Panicked(api_key))),
                },
            )
            .await?
        };
        shared.progress.set(Progress::BetweenFrames);
        match dispatched {
            Dispatched::Now(Reply::Close(reason)) => return Err(CloseReason::Service(reason)),
            Dispatched::Now(reply) => shared.queue.borrow_mut().push_reply(reply),
            Dispatched::Later(later) => {
                let task = shared.task();
                shared.queue.borrow_mut().push_later(later, api_key, &task);
            }
        }
        Ok(())
    }
}

/// The client id as a counted string: the last one again if it is the same.
fn remembered(last: &mut Option<Rc<str>>, bytes: Option<&[u8]>) -> Option<Rc<str>> {
    let bytes = bytes?;
    match last {
        Some(last) if last.as_bytes() == bytes => {}
        _ => *last = Some(String::from_utf8_lossy(bytes).into()),
    }
    last.clone()
}
