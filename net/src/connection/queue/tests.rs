use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;

use super::*;
use crate::frame::{FrameWriter, RequestHeader};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn response(text: &'static str) -> Response {
    let header = RequestHeader {
        api_key: ApiKey::ApiVersions,
        api_version: 0,
        correlation_id: 1,
        client_id: None,
    };
    let mut writer = Response::writer(&header, 0);
    FrameWriter::bytes(&mut writer, Bytes::from_static(text.as_bytes()));
    writer.finish().expect("small")
}

fn text(front: Front) -> String {
    match front {
        Front::NotReady => "not ready".to_owned(),
        Front::Close(reason) => reason.to_string(),
        Front::Response(response) => match response.parts().last() {
            Some(crate::frame::Body::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?}"),
        },
    }
}

/// A reply that is given from outside, and counts how often it is polled.
#[derive(Clone, Default)]
struct Outside(Rc<OutsideState>);

#[derive(Default)]
struct OutsideState {
    reply: RefCell<Option<Reply>>,
    waker: RefCell<Option<Waker>>,
    polls: Cell<usize>,
}

impl Outside {
    fn later(&self) -> Later {
        let state = Rc::clone(&self.0);
        Box::pin(std::future::poll_fn(move |cx| {
            state.polls.set(state.polls.get() + 1);
            *state.waker.borrow_mut() = Some(cx.waker().clone());
            state
                .reply
                .borrow_mut()
                .take()
                .map_or(Poll::Pending, Poll::Ready)
        }))
    }

    fn answer(&self, reply: Reply) {
        *self.0.reply.borrow_mut() = Some(reply);
        let waker = self.0.waker.borrow().clone();
        waker.expect("polled before").wake();
    }
}

#[test]
fn responses_leave_in_request_order_whatever_order_they_become_ready_in() {
    let count = Arc::new(Count::default());
    let task = Waker::from(Arc::clone(&count));
    let mut queue = Queue::default();
    let outside: [Outside; 3] = Default::default();
    queue.push_later(outside[0].later(), ApiKey::Fetch, &task);
    queue.push_reply(Reply::Response(response("b")));
    queue.push_later(outside[1].later(), ApiKey::Fetch, &task);
    queue.push_reply(Reply::Nothing);
    queue.push_later(outside[2].later(), ApiKey::Fetch, &task);
    assert!(!queue.poll_waiting());
    assert_eq!(text(queue.take()), "not ready");

    outside[2].answer(Reply::Response(response("d")));
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(queue.poll_waiting());
    assert_eq!(text(queue.take()), "not ready");
    assert_eq!(
        outside[0].0.polls.get(),
        1,
        "not polled for the sake of another"
    );

    outside[0].answer(Reply::Response(response("a")));
    assert!(queue.poll_waiting());
    assert_eq!(text(queue.take()), "a");
    assert_eq!(text(queue.take()), "b");
    assert_eq!(text(queue.take()), "not ready");
    outside[1].answer(Reply::Nothing);
    assert!(queue.poll_waiting());
    assert_eq!(text(queue.take()), "d");
    assert_eq!(
        (queue.len(), queue.waiting(), queue.response_bytes()),
        (0, 0, 0)
    );
}

#[test]
fn wakers_are_used_again_and_late_calls_are_harmless() {
    let task = Waker::from(Arc::new(Count::default()));
    let mut queue = Queue::default();
    let first = Outside::default();
    queue.push_later(first.later(), ApiKey::Fetch, &task);
    queue.poll_waiting();
    first.answer(Reply::Nothing);
    queue.poll_waiting();
    queue.take();
    let second = Outside::default();
    queue.push_later(second.later(), ApiKey::Fetch, &task);
    assert_eq!(queue.spare.len(), 0, "taken from the spare ones");
    assert!(!queue.poll_waiting());
    let late = first.0.waker.borrow().clone();
    late.expect("polled before").wake();
    assert!(!queue.poll_waiting(), "one poll too many, nothing else");
    assert_eq!(second.0.polls.get(), 2);
}

#[test]
fn a_close_waits_for_what_was_promised_and_nothing_follows_it() {
    let task = Waker::from(Arc::new(Count::default()));
    let mut queue = Queue::default();
    let first = Outside::default();
    queue.push_later(first.later(), ApiKey::Fetch, &task);
    queue.push_reply(Reply::Close("unreadable"));
    queue.push_reply(Reply::Response(response("never")));
    queue.poll_waiting();
    assert_eq!(text(queue.take()), "not ready");
    first.answer(Reply::Response(response("a")));
    queue.poll_waiting();
    assert_eq!(text(queue.take()), "a");
    assert_eq!(text(queue.take()), "unreadable");
    assert_eq!(text(queue.take()), "unreadable");
}

#[test]
fn a_panic_of_a_reply_becomes_a_close() {
    let task = Waker::from(Arc::new(Count::default()));
    let mut queue = Queue::default();
    queue.push_later(Box::pin(async { panic!("planted") }), ApiKey::Fetch, &task);
    assert!(queue.poll_waiting());
    assert!(matches!(
        queue.take(),
        Front::Close(CloseReason::Panicked(ApiKey::Fetch))
    ));
}
