//! Server CPU per request of a framed echo (4-byte length, 100 bytes): our runtime on both drivers beside a
//! hand-written epoll loop. One client thread drives all connections with one request outstanding on each.
//!
//! `cargo bench -p corelog-runtime --bench echo [-- REQUESTS REPETITIONS]`. Repetitions of the three servers are
//! interleaved; medians are printed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program"
)]

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use corelog_runtime::{
    BackendChoice, Config, ListenOptions, Listener, Runtime, Tcp, limits, spawn, stats,
};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use rustix::time::{ClockId, clock_gettime};

const BODY: usize = 100;
const FRAME: usize = 4 + BODY;

fn main() {
    cpu(0);
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse::<usize>().ok());
    let requests = numbers.next().unwrap_or(40_000);
    let repetitions = numbers.next().unwrap_or(7);
    println!(
        "framed echo of {BODY} B, server CPU per request, median of {repetitions} × {requests}"
    );
    println!(
        "{:>12} {:>10} {:>10} {:>10} {:>9} {:>9}",
        "connections", "raw µs", "ring µs", "epoll µs", "ring/raw", "epoll/raw"
    );
    for connections in [1, 16, 256] {
        let mut samples = [const { Vec::new() }; 3];
        for _ in 0..repetitions {
            samples[0].push(raw(connections, requests));
            samples[1].push(ours(BackendChoice::Ring, connections, requests));
            samples[2].push(ours(BackendChoice::Readiness, connections, requests));
        }
        let [raw, ring, readiness] = samples.map(|mut sample| {
            sample.sort_by(f64::total_cmp);
            sample[sample.len() / 2]
        });
        println!(
            "{connections:>12} {raw:>10.2} {ring:>10.2} {readiness:>10.2} {:>9.2} {:>9.2}",
            ring / raw,
            readiness / raw
        );
    }
}

/// The server has one processor and the client another, where there are two.
fn cpu(index: usize) -> Option<usize> {
    // The first call is from the unpinned main thread: threads inherit a narrowed mask.
    static CPUS: OnceLock<Vec<usize>> = OnceLock::new();
    let cpus = CPUS.get_or_init(limits::cpus);
    (cpus.len() > 1).then(|| cpus[index % cpus.len()])
}

/// Pins the calling thread, by a runtime that never runs.
fn pin(cpu: Option<usize>) {
    let backend = BackendChoice::Readiness;
    drop(
        Runtime::new(&Config {
            cpu,
            backend,
            ..Config::default()
        })
        .unwrap(),
    );
}

fn wait_for(poll: &OwnedFd, events: &mut Vec<epoll::Event>) {
    match epoll::wait(poll, rustix::buffer::spare_capacity(events), None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => panic!("{error}"),
    }
}

fn thread_cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a benchmark")]
    let us = time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3;
    us
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn per_request(start: f64, requests: usize, connections: usize) -> f64 {
    (thread_cpu_us() - start) / (requests / connections * connections) as f64
}

/// Our runtime: one task per connection.
fn ours(backend: BackendChoice, connections: usize, requests: usize) -> f64 {
    let server = std::thread::Builder::new()
        .name(format!("{backend:?}"))
        .spawn(move || {
            let config = Config {
                backend,
                cpu: cpu(0),
                ..Config::default()
            };
            Runtime::new(&config).unwrap().run(async move {
                let any = "127.0.0.1:0".parse().unwrap();
                let listener = Listener::bind(any, &ListenOptions::default()).unwrap();
                let (client, go) =
                    start_client(listener.local_addr().unwrap(), connections, requests);
                let mut sockets = Vec::new();
                for _ in 0..connections {
                    sockets.push(listener.accept().await.unwrap().0);
                }
                let start = thread_cpu_us();
                go.send(()).unwrap();
                let tasks: Vec<_> = sockets
                    .into_iter()
                    .map(|tcp| spawn("echo", echo(tcp)))
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
                let result = per_request(start, requests, connections);
                client.join().unwrap();
                if std::env::var_os("ECHO_STATS").is_some() {
                    println!("{:?}", stats());
                }
                result
            })
        })
        .unwrap();
    server.join().unwrap()
}

async fn echo(tcp: Tcp) {
    let mut pending = Bytes::new();
    let mut parts = Vec::new();
    loop {
        let block = tcp.recv_some().await.unwrap();
        if block.is_empty() {
            return;
        }
        let mut input = if pending.is_empty() {
            block.freeze()
        } else {
            let mut joined = BytesMut::from(&pending[..]);
            joined.extend_from_slice(&block);
            joined.freeze()
        };
        while let Some(size) = frame_size(&input) {
            parts.push(input.split_to(size));
        }
        pending = input;
        let (result, back) = tcp.send(parts).await;
        if result.is_err() {
            return;
        }
        parts = back;
    }
}

/// The size of the first frame, when it is there as a whole.
fn frame_size(input: &[u8]) -> Option<usize> {
    let size = 4 + u32::from_be_bytes(*input.first_chunk()?) as usize;
    (input.len() >= size).then_some(size)
}

/// The hand-written loop: level-triggered epoll, one buffer per connection, recv, send.
fn raw(connections: usize, requests: usize) -> f64 {
    let server = std::thread::Builder::new()
        .name("Raw".to_owned())
        .spawn(move || {
            pin(cpu(0));
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let (client, go) = start_client(listener.local_addr().unwrap(), connections, requests);
            let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let mut open: Vec<Option<(OwnedFd, Vec<u8>, usize)>> = Vec::new();
            for index in 0..connections {
                let (socket, _) = listener.accept().unwrap();
                socket.set_nonblocking(true).unwrap();
                socket.set_nodelay(true).unwrap();
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&poll, &socket, data, epoll::EventFlags::IN).unwrap();
                open.push(Some((socket.into(), vec![0; 4096], 0)));
            }
            let start = thread_cpu_us();
            go.send(()).unwrap();
            let mut left = connections;
            let mut events = Vec::with_capacity(256);
            while left > 0 {
                events.clear();
                wait_for(&poll, &mut events);
                for event in &events {
                    let data = event.data;
                    let place = &mut open[usize::try_from(data.u64()).unwrap()];
                    let (socket, buffer, filled) = place.as_mut().unwrap();
                    let room = &mut buffer[*filled..];
                    match rustix::net::recv(socket.as_fd(), room, RecvFlags::DONTWAIT) {
                        Ok((0, _)) => {
                            *place = None;
                            left -= 1;
                        }
                        Ok((n, _)) => {
                            *filled += n;
                            let mut whole = 0;
                            while let Some(size) = frame_size(&buffer[whole..*filled]) {
                                whole += size;
                            }
                            let mut sent = 0;
                            while sent < whole {
                                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                                sent += rustix::net::send(&*socket, &buffer[sent..whole], flags)
                                    .unwrap();
                            }
                            buffer.copy_within(whole..*filled, 0);
                            *filled -= whole;
                        }
                        Err(Errno::AGAIN) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            let result = per_request(start, requests, connections);
            client.join().unwrap();
            result
        })
        .unwrap();
    server.join().unwrap()
}

/// Drives all connections from one thread: one request outstanding on each.
fn start_client(
    address: SocketAddr,
    connections: usize,
    requests: usize,
) -> (JoinHandle<()>, flume::Sender<()>) {
    let (go, wait) = flume::bounded(1);
    let client = std::thread::Builder::new()
        .spawn(move || {
            pin(cpu(1));
            let each = requests / connections;
            let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let mut open = Vec::new();
            for index in 0..connections {
                let socket: OwnedFd = std::net::TcpStream::connect(address).unwrap().into();
                sockopt::set_tcp_nodelay(&socket, true).unwrap();
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&poll, &socket, data, epoll::EventFlags::IN).unwrap();
                open.push((Some(socket), 0_usize, 0_usize));
            }
            wait.recv().unwrap();
            let mut frame = vec![7; FRAME];
            frame[..4].copy_from_slice(&u32::try_from(BODY).unwrap().to_be_bytes());
            for (socket, ..) in &open {
                rustix::net::send(socket.as_ref().unwrap(), &frame, SendFlags::empty()).unwrap();
            }
            let mut left = connections;
            let mut events = Vec::with_capacity(256);
            let mut buffer = vec![0; 4096];
            while left > 0 {
                events.clear();
                wait_for(&poll, &mut events);
                for event in &events {
                    let data = event.data;
                    let place = &mut open[usize::try_from(data.u64()).unwrap()];
                    let (socket, received, done) = place;
                    let connected = socket.as_ref().unwrap();
                    let flags = RecvFlags::DONTWAIT;
                    let (n, _) = rustix::net::recv(connected, &mut buffer[..], flags).unwrap();
                    assert!(n > 0, "the server closed");
                    *received += n;
                    if *received < FRAME {
                        continue;
                    }
                    assert_eq!(*received, FRAME);
                    (*received, *done) = (0, *done + 1);
                    if *done == each {
                        *socket = None;
                        left -= 1;
                    } else {
                        rustix::net::send(connected, &frame, SendFlags::empty()).unwrap();
                    }
                }
            }
        })
        .unwrap();
    (client, go)
}
