//! The admin port: metrics, health and readiness over HTTP, for machines that watch the broker.
//!
//! Owns: the listener of `corelog.admin.listener`, its connections, the [`Status`] that they tell.
//! Lives on: shard 0.
//! Invariants:
//! 1. It listens before a log is opened: a broker that recovers for an hour says that it is alive, and how far it is.
//! 2. One page is gathered at a time, and at most [`CONNECTIONS_MAX`] connections are open; each has its deadlines.
//! 3. It only tells. Nothing can be changed by it, and no record of a topic is shown.
//!
//! ```text
//!   GET /metrics      Prometheus text                          200, 503 when a shard does not answer
//!   GET /healthz      the process lives and its loop turns     200
//!   GET /readyz       clients are served                       200, 503 with the reason
//!   GET /status.json  the same and more, to be read by eye     200
//! ```
//!
//! A default address that is taken (a second broker on the machine) is a warning, and the broker goes on without the port;
//! an address that the operator has set is a refusal to start, as for any listener.
//!
//! Not here: HTTP itself (`admin/http.rs`), what the numbers are (`metrics.rs`).

mod http;
mod status;

use std::cell::Cell;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelog_runtime::{ListenOptions, Listener, Semaphore, Tcp, now, sleep, spawn, timeout_at};

use crate::config::broker::AdminListener;
use crate::mesh::{Reply, Request};
use crate::metrics::page::{self, Gathered};
use crate::metrics::sample::Selection;
use crate::metrics::text;
use crate::shard::Shard;
use http::{Head, Method, Response};
pub(crate) use status::{Phase, Progress, Status};

/// The port, when it is open.
struct Admin {
    shard: Rc<Shard>,
    connections: Cell<usize>,
    gathering: Semaphore,
}

/// Opens the port and serves it for as long as the runtime runs. An error is a sentence.
pub(crate) fn open(shard: &Rc<Shard>) -> Result<(), String> {
    let Some(wanted) = &shard.config.admin_listener else {
        return Ok(());
    };
    let sentence = |why: &dyn std::fmt::Display| {
        format!(
            "corelog.admin.listener cannot bind {}:{}: {why}; set another address, port 0 for any free one, or nothing to \
             have no admin port",
            wanted.host, wanted.port
        )
    };
    match bind(wanted) {
        Ok((listener, address)) => {
            tracing::info!("admin address={address}");
            let admin = Admin {
                shard: Rc::clone(shard),
                connections: Cell::new(0),
                gathering: Semaphore::new(1),
            };
            spawn("admin", Rc::new(admin).serve(listener)).detach();
            Ok(())
        }
        Err(error) if wanted.is_default && error.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::warn!(
                "{}; the broker goes on without metrics and health checks",
                sentence(&error)
            );
            Ok(())
        }
        Err(error) => Err(sentence(&error)),
    }
}

fn bind(wanted: &AdminListener) -> std::io::Result<(Listener, SocketAddr)> {
    let mut found = (wanted.host.as_str(), wanted.port).to_socket_addrs()?;
    let address = found
        .next()
        .ok_or_else(|| std::io::Error::other("the host is not known"))?;
    let listener = Listener::bind(address, &ListenOptions::default())?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Admin {
    async fn serve(self: Rc<Self>, listener: Listener) {
        loop {
            match listener.accept().await {
                // Who scrapes in such numbers comes again.
                Ok(_) if self.connections.get() >= CONNECTIONS_MAX => {}
                Ok((tcp, _)) => {
                    self.connections.set(self.connections.get() + 1);
                    let admin = Rc::clone(&self);
                    spawn("admin connection", async move {
                        admin.converse(&tcp).await;
                        admin.connections.set(admin.connections.get() - 1);
                    })
                    .detach();
                }
                Err(error) => {
                    tracing::warn!("admin port: accepting failed: {error}");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Answers the requests of one connection, one after the other.
    async fn converse(&self, tcp: &Tcp) {
        let mut held = Vec::new();
        loop {
            let received = timeout_at(now() + REQUEST_TIME, receive(tcp, &mut held)).await;
            let (response, method, goes_on) = match received {
                // Silence, or the end.
                None | Some(None) => return,
                Some(Some(Ok(head))) => {
                    let response = self.answer(&head.path).await;
                    (response, head.method, head.keep_alive)
                }
                Some(Some(Err(status))) => (Response::refusal(status), Method::Get, false),
            };
            let parts = response.parts(method, goes_on);
            let sent = timeout_at(now() + SEND_TIME, tcp.send(parts)).await;
            if !goes_on || !matches!(sent, Some((Ok(()), _))) {
                return;
            }
        }
    }

    async fn answer(&self, path: &str) -> Response {
        let status = &self.shard.status;
        match path {
            "/" => Response::text(
                200,
                "Corelog\n\n/metrics\n/healthz\n/readyz\n/status.json\n",
            ),
            "/healthz" => Response::text(200, "alive\n"),
            "/readyz" => match status.not_ready() {
                None => Response::text(200, "ready\n"),
                Some(why) => Response::text(503, &format!("not ready: {why}\n")),
            },
            "/metrics" => match self.gather().await {
                Ok(gathered) => {
                    let page = page::print(&self.shard, &gathered).await;
                    Response::new(200, text::CONTENT_TYPE, page)
                }
                Err(sentence) => Response::text(503, &sentence),
            },
            "/status.json" => {
                let gathered = self.gather().await.ok();
                let json = status::json(&self.shard, gathered.as_ref());
                Response::new(200, "application/json", json)
            }
            _ => Response::refusal(http::Status::NOT_FOUND),
        }
    }

    /// Asks all shards what they have counted.
    async fn gather(&self) -> Result<Gathered, String> {
        let _turn = self.gathering.acquire().await;
        let shard = &self.shard;
        let begun = now();
        let limits = shard.config.metrics_limits;
        let selection = Selection::new(&shard.image(), limits.topics_max, limits.partitions_max);
        let selection = Arc::new(selection);
        let asked = shard.call_all(|| Request::Sample(Arc::clone(&selection)));
        let replies = timeout_at(begun + GATHER_TIME, asked)
            .await
            .ok_or_else(|| format!("a shard did not answer in {} s\n", GATHER_TIME.as_secs()))?;
        let mut samples = Vec::with_capacity(replies.len());
        for reply in replies {
            match reply {
                Reply::Sample(sample) => samples.push(*sample),
                _ => return Err("the broker is stopping\n".to_owned()),
            }
        }
        let took = now().duration_since(begun);
        let usage = corelog_runtime::blocking_brief(
            "process usage",
            corelog_runtime::limits::process_usage,
        )
        .await;
        Ok(Gathered {
            samples,
            selection,
            usage,
            took_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

/// The head of the next request, or the status that refuses it; `None` when the peer has closed.
async fn receive(tcp: &Tcp, held: &mut Vec<u8>) -> Option<Result<Head, http::Status>> {
    loop {
        match http::parse(held) {
            Ok(Some((head, size))) => {
                held.drain(..size);
                return Some(Ok(head));
            }
            Ok(None) => {}
            Err(status) => return Some(Err(status)),
        }
        let more: Bytes = tcp.recv_some().await.ok()?.freeze();
        if more.is_empty() {
            return None;
        }
        held.extend_from_slice(&more);
    }
}

/// Connections at one time.
const CONNECTIONS_MAX: usize = 32;

/// A request must have come by then, counted from the end of the one before.
const REQUEST_TIME: Duration = Duration::from_secs(75);

/// A response must have gone by then.
const SEND_TIME: Duration = Duration::from_secs(30);

/// Shards have this long to say what they counted.
const GATHER_TIME: Duration = Duration::from_secs(5);

/// After an accept that failed (no descriptors).
const ACCEPT_RETRY: Duration = Duration::from_secs(1);
