//! A service that does what its requests say, and a raw client.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use corelog_net::connection::{Dispatched, Peer, Reply, Request, Response, Service};
use corelog_net::limits::ConnectionLimits;
use corelog_net::server::{Admission, Server};
use corelog_net::wire::ApiKey;
use corelog_runtime::{
    BackendChoice, Config, File, Notify, Runtime, Tcp, block, now, sleep, timeout_at,
};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn config(shard: usize) -> Config {
    Config {
        shard,
        cpu: None,
        backend: BackendChoice::from_test_env(),
        ring_entries: 256,
        seed: 7,
    }
}

/// Runs a test in a runtime of its own.
pub(crate) fn run<F: Future<Output = ()> + 'static>(test: F) {
    let runtime = Runtime::new(&config(0)).expect("a runtime");
    runtime.run(async {
        timeout_at(now() + PATIENCE, test)
            .await
            .expect("the test ends in time");
    });
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + Duration::from_secs(20);
    while !condition() {
        assert!(now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// What a request asks the service to do: the first byte of its body.
pub(crate) const ECHO: u8 = 0;
pub(crate) const HOLD: u8 = 1;
pub(crate) const RELEASE: u8 = 2;
pub(crate) const FILL: u8 = 3;
pub(crate) const NOTHING: u8 = 4;
pub(crate) const CLOSE: u8 = 5;
pub(crate) const PANIC: u8 = 6;
pub(crate) const PANIC_LATER: u8 = 7;
pub(crate) const FILE: u8 = 8;
pub(crate) const DISPATCH_SLOWLY: u8 = 9;
pub(crate) const SUM: u8 = 10;

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) opened: Cell<usize>,
    pub(crate) closed: Cell<usize>,
    pub(crate) dispatched: Cell<usize>,
    pub(crate) client_ids: RefCell<Vec<String>>,
    /// Ids that have been released, and the news of it.
    released: RefCell<Vec<u8>>,
    release: Notify,
    /// Instructions that wait or panic are taken for echoes.
    pub(crate) harmless: Cell<bool>,
    pub(crate) file: RefCell<Option<Arc<OwnedFd>>>,
}

impl Script {
    pub(crate) fn release(&self, id: u8) {
        self.released.borrow_mut().push(id);
        self.release.notify_all();
    }

    fn is_released(&self, id: u8) -> bool {
        self.released.borrow().contains(&id)
    }

    pub(crate) async fn wait_released(self: Rc<Self>, id: u8) {
        while !self.is_released(id) {
            self.release.notified().await;
        }
    }
}

impl Service for Script {
    type Session = SocketAddr;

    fn open(self: &Rc<Self>, peer: &Peer) -> SocketAddr {
        assert_eq!(&*peer.listener, "TEST");
        self.opened.set(self.opened.get() + 1);
        peer.addr
    }

    fn versions(&self, api_key: ApiKey) -> Option<RangeInclusive<i16>> {
        match api_key {
            ApiKey::ApiVersions => Some(0..=4),
            ApiKey::Metadata => Some(1..=12),
            ApiKey::Produce => Some(3..=12),
            _ => None,
        }
    }

    async fn dispatch(self: &Rc<Self>, _: &Rc<SocketAddr>, request: Request) -> Dispatched {
        self.dispatched.set(self.dispatched.get() + 1);
        let Request {
            header,
            mut body,
            charge,
            ..
        } = request;
        self.client_ids
            .borrow_mut()
            .push(header.client_id().to_owned());
        if header.api_key == ApiKey::ApiVersions {
            let mut response = Response::writer(&header, 64);
            let rows: [[i16; 3]; 3] = [[18, 0, 4], [3, 1, 12], [0, 3, 12]];
            let out = response.buffer();
            out.extend_from_slice(&0_i16.to_be_bytes());
            if header.api_version >= 3 {
                out.push(4);
            } else {
                out.extend_from_slice(&3_i32.to_be_bytes());
            }
            for row in rows {
                for value in row {
                    out.extend_from_slice(&value.to_be_bytes());
                }
                if header.api_version >= 3 {
                    out.push(0);
                }
            }
            if header.api_version >= 1 {
                out.extend_from_slice(&0_i32.to_be_bytes());
            }
            if header.api_version >= 3 {
                out.push(0);
            }
            return response.finish().expect("small").into();
        }
        let what = match body.first() {
            Some(&what) if !self.harmless.get() => {
                body.advance(1);
                what
            }
            Some(&what @ (NOTHING | CLOSE)) => what,
            _ => ECHO,
        };
        let mut response = Response::writer(&header, 8);
        match what {
            HOLD => {
                let id = body.get_u8();
                let script = Rc::clone(self);
                return Dispatched::Later(Box::pin(async move {
                    script.wait_released(id).await;
                    drop(charge);
                    response.buffer().push(id);
                    Reply::Response(response.finish().expect("small"))
                }));
            }
            RELEASE => {
                let id = body.get_u8();
                self.release(id);
                response.buffer().push(id);
            }
            FILL => {
                let size = body.get_u32() as usize;
                let part = Bytes::from(pattern(1000));
                for _ in 0..size / part.len() {
                    response.bytes(part.clone());
                }
                response
                    .buffer()
                    .extend_from_slice(&part[..size % part.len()]);
            }
            NOTHING => return Reply::Nothing.into(),
            CLOSE => return Reply::Close("the test wants it").into(),
            PANIC => panic!("planted in dispatch"),
            PANIC_LATER => {
                return Dispatched::Later(Box::pin(async move {
                    corelog_runtime::yield_now().await;
                    panic!("planted in a later reply")
                }));
            }
            FILE => {
                let (start, end) = (body.get_u64(), body.get_u64());
                let fd = self.file.borrow().clone().expect("a file");
                response.buffer().extend_from_slice(b"<");
                response.file(File::from_fd(fd), start..end);
                response.buffer().extend_from_slice(b">");
            }
            DISPATCH_SLOWLY => {
                let id = body.get_u8();
                Rc::clone(self).wait_released(id).await;
                response.buffer().push(id);
            }
            SUM => {
                let sum = body
                    .iter()
                    .fold(0_u64, |sum, &byte| sum * 31 % 1_000_003 + u64::from(byte));
                response.buffer().extend_from_slice(&sum.to_be_bytes());
            }
            _ => response.bytes(body),
        }
        response.finish().expect("small").into()
    }

    fn closed(self: &Rc<Self>, _: Rc<SocketAddr>) {
        self.closed.set(self.closed.get() + 1);
    }
}

/// Bytes that are not all alike.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at * 7 + at / 251).to_be_bytes()[7])
        .collect()
}

/// A server of one shard.
pub(crate) struct Stage {
    pub(crate) script: Rc<Script>,
    pub(crate) server: Server<Script>,
    pub(crate) addr: SocketAddr,
}

impl Stage {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let script = Rc::new(Script::default());
        let admission = Admission::new(1, &limits);
        let nowhere = Box::new(|_, accepted| Err(accepted));
        let server = Server::new(Rc::clone(&script), 0, limits, admission, nowhere);
        let addr = server.listen("TEST", loopback()).expect("a free port");
        Self {
            script,
            server,
            addr,
        }
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.addr).await
    }

    /// Stops the server and asserts that nothing is left of its connections.
    pub(crate) async fn end(self) {
        self.server.shutdown(now() + Duration::from_secs(5)).await;
        assert_eq!(
            self.script.opened.get(),
            self.script.closed.get(),
            "sessions are closed"
        );
        assert_eq!(self.server.connection_count(), 0);
        assert_eq!(self.server.request_bytes(), 0, "all charges are released");
        let counters = self.server.counters();
        assert_eq!(counters.opened, counters.closed_total());
        let port = self.addr.port();
        until("no descriptor is left", || server_sockets(port) == 0).await;
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Sockets that this process holds whose local port is this one: the server's side.
#[expect(
    clippy::disallowed_methods,
    reason = "a test looks at its own descriptors"
)]
pub(crate) fn server_sockets(port: u16) -> usize {
    let table = std::fs::read("/proc/net/tcp").expect("/proc/net/tcp");
    let table = String::from_utf8_lossy(&table);
    let mut inodes = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields[1].rsplit(':').next().expect("address:port");
        if u16::from_str_radix(local, 16).expect("a port") == port && fields[9] != "0" {
            inodes.push(format!("socket:[{}]", fields[9]));
        }
    }
    let mut count = 0;
    for entry in std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .flatten()
    {
        if let Ok(target) = std::fs::read_link(entry.path()) {
            count += usize::from(
                inodes
                    .iter()
                    .any(|inode| target.as_os_str() == inode.as_str()),
            );
        }
    }
    count
}

/// A frame of Metadata version 1, whose header has no tagged fields.
pub(crate) fn request(correlation_id: i32, what: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![what];
    body.extend_from_slice(rest);
    frame(3, 1, correlation_id, &body)
}

/// A frame with client id "t".
pub(crate) fn frame(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let size = i32::try_from(8 + 3 + body.len()).expect("small");
    let mut frame = size.to_be_bytes().to_vec();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(b"\0\x01t");
    frame.extend_from_slice(body);
    frame
}

/// A client that sends bytes and takes frames apart, nothing more.
pub(crate) struct Raw {
    pub(crate) tcp: Tcp,
    received: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::over(Tcp::connect(addr).await.expect("a connection"))
    }

    pub(crate) fn over(tcp: Tcp) -> Self {
        Self {
            tcp,
            received: Vec::new(),
        }
    }

    /// Sends all of it, or as much as the other side takes before it closes.
    pub(crate) async fn send(&self, bytes: &[u8]) {
        let _ = self.tcp.send(vec![Bytes::copy_from_slice(bytes)]).await;
    }

    /// The next response: its correlation id and what follows. `None` when the connection ended.
    pub(crate) async fn response(&mut self) -> Option<(i32, Vec<u8>)> {
        loop {
            if let Some((size, rest)) = self.received.split_first_chunk::<4>() {
                let size = u32::from_be_bytes(*size) as usize;
                if rest.len() >= size {
                    let mut frame: Vec<u8> = self.received.drain(..4 + size).skip(4).collect();
                    let body = frame.split_off(4);
                    let id = i32::from_be_bytes(frame.try_into().expect("four bytes"));
                    return Some((id, body));
                }
            }
            match self.tcp.recv(block(64 * 1024)).await {
                (Ok(1..), received) => self.received.extend_from_slice(&received),
                _ => return None,
            }
        }
    }

    pub(crate) async fn assert_response(&mut self, id: i32, body: &[u8]) {
        let (got, bytes) = self.response().await.expect("a response");
        assert_eq!((got, bytes.len()), (id, body.len()));
        assert!(bytes == body, "the body of response {id}");
    }

    /// Asserts that the other side closes without another response.
    pub(crate) async fn assert_closed(&mut self, why: &str) {
        let response = self.response().await;
        assert_eq!(response, None, "{why}");
        assert!(self.received.is_empty(), "{why}: {:?}", self.received);
    }
}
