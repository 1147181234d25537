//! Every message that one core may send to another, and the calls made with them.
//!
//! Owns: [`Request`] and [`Reply`] (the one enum of cross-core messages and its answers), the table of
//! calls that wait for an answer.
//! Lives on: every shard, one [`Mesh`] each.
//! Invariants:
//! 1. Requests from one shard to another are served in the order they were sent: the sender's
//!    `start(..).await` returning fixes that order.
//! 2. Every call is answered exactly once. At most [`CALLS_MAX`] calls to one shard are open, so a
//!    reply always finds room in its queue and no two shards can wait for each other's queue.
//! 3. Serving a class may call only classes below it, so waiting for replies cannot form a circle:
//!
//! ```text
//!   Group ──► Data ──► (nothing)       Control ──► Publish ──► (nothing)
//!   Adopt, Beat, Open, Listen, Checkpoint, Sizes, Sample, Relocate, DirectoryFailed, Drain, Close ──► (nothing)
//! ```
//!
//! Txn may call Control (`Txn ──► Control`), for producer ids. Markers of transactions go from tasks of the coordinator's shard to Group and Data; what producing
//! asks of Txn, the connection's shard asks, before it sends anything to Data.
//!
//! Not here: what a request does (`shard.rs`), the queues themselves (`corelog_runtime::mesh`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use corelog_net::server::{Accepted, Admission};
use corelog_net::wire::ErrorCode;
use corelog_runtime::{Map, Port, Receiver, Semaphore, Sender, oneshot};
use corelog_storage::producer::Standing;
use corelog_storage::types::TopicId;

use crate::group;
use crate::metadata::{Delta, Image};
use crate::metrics::sample::{Sample, Selection};
use crate::partition::append::{AppendCall, Appended};
use crate::partition::lookup::{Looked, LookupCall};
use crate::partition::read::{self, FetchCall};
use crate::shard::logs::{Checkpoints, Opened};
use crate::shard::moves::Relocate;
use crate::shard::{LogOffsets, LogSize, control};
use crate::txn;

/// Calls of one shard to another that may wait for their reply. A long poll and a member that waits
/// for its group hold one each, so there are enough for every connection of a busy shard.
pub(crate) const CALLS_MAX: usize = 16 * 1024;

/// What one shard may ask of another.
pub(crate) enum Request {
    /// Data: append validated batches to partitions of the shard.
    Append(AppendCall),
    /// Data: read from partitions of the shard, waiting for data if asked to.
    Fetch(FetchCall),
    /// Data: end the wait of the fetch call with this number, from the same sender. Not answered.
    CancelFetch(u64),
    /// Data: the fetch session of the same sender with this watch is over. Not answered.
    Unwatch(u64),
    /// Data: offsets by timestamp or epoch, deletion of records.
    Lookup(LookupCall),
    /// Group: a request to the coordinator of one offsets partition.
    Group {
        partition: i32,
        request: Box<group::Request>,
    },
    /// Data: whether these producers have their transactions open in partitions of the shard.
    Verify(Vec<crate::shard::verify::Unverified>),
    /// Data: what partitions of the shard, by topic and number, know of their producers.
    Producers(Vec<(TopicId, i32)>),
    /// Txn: a request to the coordinator of one transaction partition.
    Txn {
        partition: i32,
        request: Box<txn::Request>,
    },
    /// Control: a question to the controller, on shard 0.
    Control(Box<control::Question>),
    /// Publish: a new metadata image; answered when the shard's logs follow it.
    Publish {
        image: Arc<Image>,
        delta: Arc<Delta>,
    },
    /// Start: open the logs that the image gives to the shard.
    Open(Arc<Checkpoints>),
    /// Start: listen on these addresses, one for each listener of the settings.
    Listen(Arc<Admission>, Arc<[SocketAddr]>),
    /// A connection that another shard accepted and this one shall serve. Not answered.
    Adopt(Accepted),
    /// A sign of life; answered at once.
    Beat,
    /// The offsets to checkpoint of every log of the shard.
    Checkpoint,
    /// The size of every log of the shard.
    Sizes,
    /// What the shard has counted, for a scrape.
    Sample(Arc<Selection>),
    /// Logs of the shard shall move to other directories.
    Relocate(Vec<Relocate>),
    /// A log directory failed: its partitions go offline. Not answered.
    DirectoryFailed(usize),
    /// Stop: no new connections and requests, answer what is in flight.
    Drain,
    /// Stop: write out and close the logs; the last request a shard gets.
    Close,
}

/// What a shard answers.
pub(crate) enum Reply {
    /// To [`Request::Append`], in the order of its parts.
    Appended(Vec<Appended>),
    /// To [`Request::Fetch`]: every part, or those with news.
    Fetched(Vec<read::Answer>),
    /// To [`Request::Lookup`], in the order of its parts.
    Looked(Vec<Looked>),
    /// To [`Request::Group`].
    Group(Box<group::Reply>),
    /// To [`Request::Verify`], in the order of its parts.
    Standings(Vec<Option<Standing>>),
    /// To [`Request::Producers`], in the order of its parts.
    Producers(Vec<Option<Vec<crate::shard::verify::KnownProducer>>>),
    /// To [`Request::Txn`].
    Txn(Box<txn::Reply>),
    /// To [`Request::Control`].
    Control(Box<control::Answer>),
    /// To [`Request::Open`].
    Opened(Opened),
    /// To [`Request::Listen`]: the bound addresses, or why not.
    Listening(Result<Vec<SocketAddr>, String>),
    /// To [`Request::Checkpoint`] and [`Request::Close`].
    Offsets(Vec<LogOffsets>),
    /// To [`Request::Sizes`].
    Sizes(Vec<LogSize>),
    /// To [`Request::Sample`].
    Sample(Box<Sample>),
    /// To [`Request::Relocate`], in the order of the logs.
    Relocated(Vec<ErrorCode>),
    /// To requests that need no other answer.
    Done,
    /// The shard that should have answered stopped or failed before it could.
    Gone,
}

/// A request on its way. Without a call number nobody waits for a reply.
struct Envelope {
    call: Option<u64>,
    request: Request,
}

/// The two ports of a shard before its thread runs.
pub(crate) struct Ports {
    requests: Port<Envelope>,
    replies: Port<(u64, Reply)>,
}

/// One [`Ports`] for each shard. `capacity` (`corelog.mesh.capacity`) is how many requests of one shard
/// to another may be queued and not yet taken. A sender that finds the queue full waits, which stops
/// it from reading its connections: backpressure ends at the socket.
pub(crate) fn ports(shards: usize, capacity: usize) -> Vec<Ports> {
    let requests = corelog_runtime::mesh(shards, capacity);
    let replies = corelog_runtime::mesh(shards, CALLS_MAX);
    requests
        .into_iter()
        .zip(replies)
        .map(|(requests, replies)| Ports { requests, replies })
        .collect()
}

/// A shard's end of the mesh.
pub(crate) struct Mesh {
    requests: Port<Envelope>,
    replies: Port<(u64, Reply)>,
    open: RefCell<Map<u64, Sender<Reply>>>,
    next_call: Cell<u64>,
    sent: Cell<u64>,
    permits: Vec<Semaphore>,
}

/// What is left to do of a request whose order is fixed.
pub(crate) type Work = Pin<Box<dyn Future<Output = Reply>>>;

/// What a shard made of a request.
pub(crate) enum Served {
    /// It is answered.
    Now(Reply),
    /// It will be.
    Later(Work),
    /// Nobody waits for an answer.
    Done,
}

impl Served {
    /// It takes time.
    pub(crate) fn later(work: impl Future<Output = Reply> + 'static) -> Self {
        Self::Later(Box::pin(work))
    }
}

/// A call whose place in the order is fixed and whose reply is on its way.
pub(crate) enum Pending {
    /// Asked of this shard itself, which has answered.
    Answered(Reply),
    /// Asked of this shard itself.
    Here(Work),
    /// Asked of another; `call` names it to [`Request::CancelFetch`].
    There {
        receiver: Receiver<Reply>,
        call: u64,
    },
}

impl Pending {
    /// Work of this shard itself.
    pub(crate) fn here(served: Served) -> Self {
        match served {
            Served::Now(reply) => Self::Answered(reply),
            Served::Later(work) => Self::Here(work),
            Served::Done => Self::Answered(Reply::Gone),
        }
    }

    /// Waits for the reply.
    pub(crate) async fn reply(self) -> Reply {
        match self {
            Self::Answered(reply) => reply,
            Self::Here(work) => work.await,
            Self::There { receiver, .. } => receiver.await.unwrap_or(Reply::Gone),
        }
    }
}

impl Mesh {
    pub(crate) fn new(ports: Ports, shards: usize) -> Self {
        Self {
            requests: ports.requests,
            replies: ports.replies,
            open: RefCell::new(Map::default()),
            next_call: Cell::new(0),
            sent: Cell::new(0),
            permits: (0..shards).map(|_| Semaphore::new(CALLS_MAX)).collect(),
        }
    }

    /// Sends `request` to shard `to`. When this returns, its place in the order is fixed.
    pub(crate) async fn start(&self, to: usize, request: Request) -> Pending {
        self.permits[to].acquire().await.forget();
        let call = self.next_call.get();
        self.next_call.set(call + 1);
        let (sender, receiver) = oneshot();
        self.open.borrow_mut().insert(call, sender);
        self.count();
        self.requests
            .send(
                to,
                Envelope {
                    call: Some(call),
                    request,
                },
            )
            .await;
        Pending::There { receiver, call }
    }

    /// As `start`, if nothing need be waited for; else gives the request back.
    // HOT: the reply's oneshot
    pub(crate) fn try_start(&self, to: usize, request: Request) -> Result<Pending, Request> {
        let Some(permit) = self.permits[to].try_acquire() else {
            return Err(request);
        };
        let call = self.next_call.get();
        let envelope = Envelope {
            call: Some(call),
            request,
        };
        self.requests
            .try_send(to, envelope)
            .map_err(|envelope| envelope.request)?;
        permit.forget();
        self.next_call.set(call + 1);
        let (sender, receiver) = oneshot();
        self.open.borrow_mut().insert(call, sender);
        self.count();
        Ok(Pending::There { receiver, call })
    }

    /// Sends a request that has no reply.
    pub(crate) async fn post(&self, to: usize, request: Request) {
        self.count();
        self.requests
            .send(
                to,
                Envelope {
                    call: None,
                    request,
                },
            )
            .await;
    }

    /// Sends a request that has no reply if there is room for it now; else gives it back.
    pub(crate) fn try_post(&self, to: usize, request: Request) -> Result<(), Request> {
        let envelope = Envelope {
            call: None,
            request,
        };
        self.requests
            .try_send(to, envelope)
            .map_err(|envelope| envelope.request)?;
        self.count();
        Ok(())
    }

    fn count(&self) {
        self.sent.set(self.sent.get() + 1);
    }

    /// Messages sent to other shards so far, replies too.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Requests of other shards that wait to be taken here.
    pub(crate) fn queued(&self) -> usize {
        self.requests.pending()
    }

    /// Calls of this shard that wait for their reply.
    pub(crate) fn calls(&self) -> usize {
        self.open.borrow().len()
    }

    /// Serves the requests of the other shards for ever. `serve` must fix the order of what it does
    /// before it returns its future.
    pub(crate) async fn serve(
        self: Rc<Self>,
        mut serve: impl FnMut(usize, Option<u64>, Request) -> Served,
    ) {
        loop {
            let (from, Envelope { call, request }) = self.requests.recv().await;
            let served = serve(from, call, request);
            let answer = call.map(|call| Answer {
                mesh: Rc::clone(&self),
                to: from,
                call,
                sent: false,
            });
            match (served, answer) {
                (Served::Later(work), Some(answer)) => {
                    let work = async move { answer.send(work.await) };
                    corelog_runtime::spawn("mesh call", work).detach();
                }
                (Served::Later(work), None) => {
                    corelog_runtime::spawn("mesh post", async move { drop(work.await) }).detach();
                }
                (Served::Now(reply), Some(answer)) => answer.send(reply),
                (Served::Done, Some(answer)) => answer.send(Reply::Gone),
                (Served::Now(_) | Served::Done, None) => {}
            }
        }
    }

    /// Hands the replies of the other shards to the calls that wait for them, for ever.
    pub(crate) async fn collect(self: Rc<Self>) {
        loop {
            let (from, (call, reply)) = self.replies.recv().await;
            if let Some(sender) = self.open.borrow_mut().remove(&call) {
                self.permits[from].release(1);
                // The caller may have given up (its connection closed): the reply is then dropped.
                let _ = sender.send(reply);
            }
        }
    }
}

/// The duty to answer a call: dropped unsent (the work panicked), it answers [`Reply::Gone`].
struct Answer {
    mesh: Rc<Mesh>,
    to: usize,
    call: u64,
    sent: bool,
}

impl Answer {
    fn send(mut self, reply: Reply) {
        self.put(reply);
    }

    fn put(&mut self, reply: Reply) {
        self.sent = true;
        self.mesh.count();
        if self
            .mesh
            .replies
            .try_send(self.to, (self.call, reply))
            .is_err()
        {
            // Invariant 2: the caller holds one of CALLS_MAX permits until this reply is taken.
            unreachable!("the reply queue holds every call that may be open");
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.sent {
            self.put(Reply::Gone);
        }
    }
}
