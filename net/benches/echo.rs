//! What a small request costs above the runtime: CPU time of the server's thread per request, for a
//! framed echo written directly on the runtime's sockets and for the same through `Server` and
//! `Connection`, at 1, 16 and 256 connections with one request in flight each, and with 16 in flight.
//!
//! `cargo bench -p corelog-net --bench echo [-- MILLISECONDS]`; `CORELOG_TEST_BACKEND` chooses the
//! driver. The load comes from another thread; only the server's thread is measured.

#![expect(clippy::print_stdout, reason = "a bench prints its results")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::connection::{Dispatched, Peer, Request, Response, Service};
use corelog_net::limits::ConnectionLimits;
use corelog_net::server::{Admission, Server};
use corelog_net::wire::ApiKey;
use corelog_runtime::{
    BackendChoice, Config, ListenOptions, Listener, Runtime, Tcp, block, now, sleep, spawn,
};

fn main() {
    let millis = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(1500);
    let measured = Duration::from_millis(millis);
    println!("CPU of the server's thread per request of {REQUEST} bytes, µs (user + system)");
    println!("connections  in flight       runtime echo         connection     ratio  user above");
    for (connections, in_flight) in [(1, 1), (16, 1), (256, 1), (16, 16)] {
        // Each twice, the better one: the other core's noise only adds.
        let best = |kind| {
            let runs = [0, 1, 2].map(|_| measure(kind, connections, in_flight, measured));
            runs.into_iter()
                .min_by(|a, b| a.total().total_cmp(&b.total()))
                .expect("three runs")
        };
        let raw = best(Kind::Raw);
        let served = best(Kind::Served);
        println!(
            "{connections:>11} {in_flight:>10} {:>8.2} = {:.2}+{:.2} {:>8.2} = {:.2}+{:.2} {:>9.2} {:>11.2}",
            raw.total(),
            raw.user,
            raw.system,
            served.total(),
            served.user,
            served.system,
            served.total() / raw.total(),
            served.user - raw.user,
        );
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Raw,
    Served,
}

#[derive(Clone, Copy)]
struct Cost {
    user: f64,
    system: f64,
}

impl Cost {
    fn total(self) -> f64 {
        self.user + self.system
    }
}

struct Echo {
    body: Bytes,
}

impl Service for Echo {
    type Session = ();

    fn open(self: &Rc<Self>, _: &Peer) {}

    fn versions(&self, _: ApiKey) -> Option<RangeInclusive<i16>> {
        Some(0..=12)
    }

    async fn dispatch(self: &Rc<Self>, _: &Rc<()>, request: Request) -> Dispatched {
        let mut response = Response::writer(&request.header, self.body.len());
        response.buffer().extend_from_slice(&self.body);
        response.finish().expect("small").into()
    }

    fn closed(self: &Rc<Self>, _: Rc<()>) {}
}

#[expect(
    clippy::disallowed_methods,
    reason = "server and load are threads of their own"
)]
fn measure(kind: Kind, connections: usize, in_flight: usize, measured: Duration) -> Cost {
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let (tell_addr, addr) = mpsc::channel();
    let (stop_load, count) = (Arc::clone(&stop), Arc::clone(&answered));
    let server = std::thread::spawn(move || {
        let config = Config {
            shard: 0,
            cpu: Some(0),
            backend: BackendChoice::from_test_env(),
            ring_entries: 1024,
            seed: 1,
        };
        Runtime::new(&config).expect("a runtime").run(async move {
            let _server = match kind {
                Kind::Raw => {
                    tell_addr.send(raw_echo()).expect("main waits");
                    None
                }
                Kind::Served => {
                    let limits = ConnectionLimits {
                        backlog: 512,
                        ..ConnectionLimits::default()
                    };
                    let admission = Admission::new(1, &limits);
                    let echo = Rc::new(Echo {
                        body: Bytes::from(vec![7; RESPONSE - 8]),
                    });
                    let server =
                        Server::new(echo, 0, limits, admission, Box::new(|_, back| Err(back)));
                    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
                    tell_addr
                        .send(server.listen("ECHO", loopback).expect("bound"))
                        .expect("main");
                    Some(server)
                }
            };
            while count.load(Ordering::Relaxed) < 20_000 {
                sleep(Duration::from_millis(10)).await;
            }
            let (before, requests_before) = (cpu_time(), count.load(Ordering::Relaxed));
            let end = now() + measured;
            while now() < end {
                sleep(Duration::from_millis(100)).await;
            }
            let (after, requests_after) = (cpu_time(), count.load(Ordering::Relaxed));
            stop_load.store(true, Ordering::Relaxed);
            let requests = u32::try_from(requests_after - requests_before).expect("a short run");
            let requests = f64::from(requests);
            Cost {
                user: (after.user - before.user) / requests,
                system: (after.system - before.system) / requests,
            }
        })
    });
    let addr = addr.recv().expect("the server listens");
    load(addr, connections, in_flight, &stop, &answered);
    server.join().expect("the server ends")
}

/// Closed loop over all connections: send to each, then read from each.
fn load(
    addr: SocketAddr,
    connections: usize,
    in_flight: usize,
    stop: &AtomicBool,
    answered: &AtomicU64,
) {
    let mut request = u32::try_from(REQUEST - 4)
        .expect("small")
        .to_be_bytes()
        .to_vec();
    request.extend([0, 3, 0, 1, 0, 0, 0, 1, 0, 4, b'l', b'o', b'a', b'd']);
    request.resize(REQUEST, 0);
    let batch = request.repeat(in_flight);
    let mut responses = vec![0; RESPONSE * in_flight];
    let mut streams: Vec<TcpStream> = (0..connections)
        .map(|_| {
            let stream = TcpStream::connect(addr).expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            stream
        })
        .collect();
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut streams {
            if stream.write_all(&batch).is_err() {
                return;
            }
        }
        for stream in &mut streams {
            if stream.read_exact(&mut responses).is_err() {
                return;
            }
            answered.fetch_add(in_flight as u64, Ordering::Relaxed);
        }
    }
}

/// The same echo on bare sockets: no limits, no order, no versions, one task per connection.
fn raw_echo() -> SocketAddr {
    let options = ListenOptions {
        reuse_port: false,
        backlog: 512,
    };
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &options).expect("bound");
    let addr = listener.local_addr().expect("an address");
    spawn("acceptor", async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).expect("no delay");
            spawn("raw echo", raw_connection(tcp)).detach();
        }
    })
    .detach();
    addr
}

async fn raw_connection(tcp: Tcp) {
    let mut response = u32::try_from(RESPONSE - 4)
        .expect("small")
        .to_be_bytes()
        .to_vec();
    response.resize(RESPONSE, 7);
    let response = Bytes::from(response);
    let mut parts = Vec::new();
    let mut received = block(16 * 1024);
    loop {
        let (result, back) = tcp.recv(received).await;
        received = back;
        if result.unwrap_or(0) == 0 {
            return;
        }
        let mut rest = &received[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
            let size = u32::from_be_bytes(*prefix) as usize;
            let Some(after) = after.get(size..) else {
                break;
            };
            parts.push(response.clone());
            rest = after;
        }
        let rest = rest.to_vec();
        received.clear();
        received.extend_from_slice(&rest);
        let (result, mut back) = tcp.send(parts).await;
        back.clear();
        parts = back;
        if result.is_err() {
            return;
        }
    }
}

struct CpuTime {
    user: f64,
    system: f64,
}

/// CPU time of this thread in microseconds: the sum to the nanosecond from the scheduler, divided as
/// the clock ticks saw it.
#[expect(clippy::disallowed_methods, reason = "a bench looks at its own thread")]
fn cpu_time() -> CpuTime {
    let field = |file: &str, at: usize| {
        let text = std::fs::read(format!("/proc/thread-self/{file}")).expect("/proc");
        let text = String::from_utf8_lossy(&text).into_owned();
        let after_name = text.rsplit(')').next().expect("some text").to_owned();
        let field = after_name
            .split_whitespace()
            .nth(at)
            .expect("the field")
            .to_owned();
        field.parse::<f64>().expect("a number")
    };
    // Fields 14 and 15 of stat are user and system ticks; what follows the name begins at 3.
    let (user, system) = (field("stat", 11), field("stat", 12));
    let total = field("schedstat", 0) / 1000.0;
    let share = user / (user + system).max(1.0);
    CpuTime {
        user: total * share,
        system: total * (1.0 - share),
    }
}

const REQUEST: usize = 100;
const RESPONSE: usize = 100;
