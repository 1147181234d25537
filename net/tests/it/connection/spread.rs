//! Several shards behind one port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use corelog_net::limits::ConnectionLimits;
use corelog_net::server::{Accepted, Admission, Server};
use corelog_runtime::{Notify, Runtime, mesh, now, spawn};

use super::harness::*;

enum Crossing {
    Socket(Accepted),
    Stop,
}

/// What a shard says when it has ended.
struct Told {
    opened: usize,
    closed: usize,
    served: u64,
}

#[test]
#[expect(clippy::disallowed_methods, reason = "each shard is a thread")]
fn connections_are_spread_evenly_over_the_shards_of_a_port() {
    const SHARDS: usize = 3;
    const CONNECTIONS: usize = 30;
    let limits = ConnectionLimits::default();
    let admission = Admission::new(SHARDS, &limits);
    let ports = mesh::<Crossing>(SHARDS, 64);
    let (tell_addr, addr) = mpsc::channel();
    let (tell_end, ends) = mpsc::channel();
    let mut threads = Vec::new();
    let mut known = None;
    for (shard, port) in ports.into_iter().enumerate() {
        let (limits, admission) = (limits.clone(), admission.clone());
        let (tell_addr, tell_end) = (tell_addr.clone(), tell_end.clone());
        threads.push(std::thread::spawn(move || {
            let runtime = Runtime::new(&config(shard)).expect("a runtime");
            runtime.run(async move {
                let port = Rc::new(port);
                let script = Rc::new(Script::default());
                let out = Rc::clone(&port);
                let hand_over = Box::new(move |to, accepted| {
                    out.try_send(to, Crossing::Socket(accepted))
                        .map_err(|back| match back {
                            Crossing::Socket(accepted) => accepted,
                            Crossing::Stop => unreachable!("a socket was sent"),
                        })
                });
                let server = Server::new(Rc::clone(&script), shard, limits, admission, hand_over);
                let bound = server
                    .listen("TEST", known.unwrap_or_else(loopback))
                    .expect("bound");
                tell_addr.send(bound).expect("the test listens");
                let stop = Rc::new(Notify::new());
                let (port_in, stopped) = (Rc::clone(&port), Rc::clone(&stop));
                let adopting = server.clone();
                let crossings = spawn("crossings", async move {
                    loop {
                        match port_in.recv().await {
                            (_, Crossing::Socket(accepted)) => {
                                assert_eq!(accepted.shard(), shard);
                                adopting.adopt(accepted);
                            }
                            (_, Crossing::Stop) => stopped.notify_one(),
                        }
                    }
                });
                // The shard that is told to release this number stops them all.
                let (told, asked) = (Rc::clone(&stop), Rc::clone(&script));
                let watch = spawn("watch", async move {
                    asked.wait_released(STOP).await;
                    for other in (0..SHARDS).filter(|&other| other != shard) {
                        port.send(other, Crossing::Stop).await;
                    }
                    told.notify_one();
                });
                stop.notified().await;
                server.shutdown(now() + Duration::from_secs(5)).await;
                drop((crossings, watch));
                let told = Told {
                    opened: script.opened.get(),
                    closed: script.closed.get(),
                    served: server.counters().requests,
                };
                tell_end.send(told).expect("the test listens");
            });
        }));
        if known.is_none() {
            known = Some(
                addr.recv_timeout(PATIENCE)
                    .expect("the first shard listens"),
            );
        } else {
            addr.recv_timeout(PATIENCE).expect("the shard listens");
        }
    }
    let addr = known.expect("learned from the first");
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Blocking::connect(addr)).collect();
    for client in &mut clients {
        client.exchange(&request(1, ECHO, b"x"), b"\0\0\0\x01x");
    }
    for shard in 0..SHARDS {
        assert_eq!(
            admission.on_shard(shard),
            CONNECTIONS / SHARDS,
            "shard {shard}"
        );
    }
    clients[0].exchange(&request(2, RELEASE, &[STOP]), &[0, 0, 0, 2, STOP]);
    for _ in 0..SHARDS {
        let told = ends.recv_timeout(PATIENCE).expect("every shard ends");
        assert_eq!(
            (told.opened, told.closed),
            (CONNECTIONS / SHARDS, CONNECTIONS / SHARDS)
        );
        assert!(told.served >= 10);
    }
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(admission.total(), 0);
    assert_eq!(server_sockets(addr.port()), 0);
}

const STOP: u8 = 255;

struct Blocking(TcpStream);

impl Blocking {
    fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    fn exchange(&mut self, request: &[u8], expected: &[u8]) {
        self.0.write_all(request).expect("sent");
        let mut response = vec![0; 4 + expected.len()];
        self.0.read_exact(&mut response).expect("a response");
        assert_eq!(&response[4..], expected);
    }
}
