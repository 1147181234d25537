#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![allow(clippy::all, clippy::pedantic, missing_docs, clippy::disallowed_types, clippy::disallowed_methods, reason = "interim")]
//! Interim readiness-only executor behind the final interface.
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
pub use std::time::Duration;

use bytes::Bytes;
use rustix::event::epoll;

pub type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;
pub type Set<K> = hashbrown::HashSet<K, foldhash::fast::RandomState>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendChoice { Auto, Ring, Readiness }
impl BackendChoice { pub fn from_test_env() -> Self { Self::Auto } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend { Ring, Readiness }
#[derive(Clone, Debug)]
pub struct Config { pub shard: usize, pub cpu: Option<usize>, pub backend: BackendChoice, pub ring_entries: u32, pub seed: u64 }
impl Default for Config { fn default() -> Self { Self { shard: 0, cpu: None, backend: BackendChoice::Auto, ring_entries: 256, seed: 1 } } }
#[derive(Debug)]
pub struct StartError(pub io::Error);
impl std::fmt::Display for StartError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) } }
impl std::error::Error for StartError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);
impl Instant {
    pub fn from_millis(ms: u64) -> Self { Self(ms.saturating_mul(1_000_000)) }
    pub fn as_millis(self) -> u64 { self.0 / 1_000_000 }
    pub fn as_nanos(self) -> u64 { self.0 }
    pub fn duration_since(self, earlier: Self) -> Duration { Duration::from_nanos(self.0.saturating_sub(earlier.0)) }
}
impl std::ops::Add<Duration> for Instant { type Output = Self; fn add(self, d: Duration) -> Self { Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))) } }
pub fn now() -> Instant {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Instant(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}
pub fn wall_clock() -> i64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}
thread_local! { static RNG: Cell<u64> = Cell::new(0); static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) }; }
pub fn random() -> u64 {
    RNG.with(|r| {
        let mut x = r.get();
        if x == 0 { x = now().0 ^ 0x9e37_79b9_7f4a_7c15; }
        x ^= x << 13; x ^= x >> 7; x ^= x << 17; r.set(x); x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}
struct Shared { queue: Mutex<Vec<u64>>, asleep: AtomicBool, event: OwnedFd }
impl Shared { fn push(&self, id: u64) { self.queue.lock().unwrap().push(id); if self.asleep.swap(false, Ordering::SeqCst) { let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes()); } } }
struct TaskWake { shared: Arc<Shared>, id: u64, queued: AtomicBool }
impl Wake for TaskWake { fn wake(self: Arc<Self>) { self.wake_by_ref() } fn wake_by_ref(self: &Arc<Self>) { if !self.queued.swap(true, Ordering::SeqCst) { self.shared.push(self.id) } } }
struct Entry { future: Option<Pin<Box<dyn Future<Output = ()>>>>, wake: Arc<TaskWake> }
#[derive(Default)]
struct IoEntry { read: Vec<Waker>, write: Vec<Waker> }
struct Inner {
    shared: Arc<Shared>, tasks: RefCell<Map<u64, Entry>>, next: Cell<u64>, timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    epoll: OwnedFd, io: RefCell<Map<u64, IoEntry>>, jobs: RefCell<Option<flume::Sender<Box<dyn FnOnce() + Send>>>>,
}
pub struct Runtime { inner: Rc<Inner> }
pub fn in_runtime() -> bool { CURRENT.with(|c| c.borrow().is_some()) }
fn current() -> Rc<Inner> { CURRENT.with(|c| c.borrow().clone().expect("inside a runtime")) }
impl Runtime {
    pub fn new(c: &Config) -> Result<Self, StartError> { Self::start(c).map_err(StartError) }
    fn start(_: &Config) -> io::Result<Self> {
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC)?;
        let ep = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&ep, &event, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;
        Ok(Self { inner: Rc::new(Inner { shared: Arc::new(Shared { queue: Mutex::default(), asleep: AtomicBool::new(false), event }), tasks: RefCell::default(), next: Cell::new(1), timers: RefCell::default(), epoll: ep, io: RefCell::default(), jobs: RefCell::new(None) }) })
    }
    pub fn backend(&self) -> Backend { Backend::Readiness }
    pub fn run<T: 'static>(self, root: impl Future<Output = T> + 'static) -> T {
        let inner = self.inner;
        CURRENT.with(|c| *c.borrow_mut() = Some(inner.clone()));
        let slot = Rc::new(RefCell::new(None));
        let out = slot.clone();
        let task = spawn("root", async move { *out.borrow_mut() = Some(root.await); });
        let mut ready = Vec::new();
        while slot.borrow().is_none() && !task.is_done() {
            inner.shared.asleep.store(true, Ordering::SeqCst);
            std::mem::swap(&mut ready, &mut *inner.shared.queue.lock().unwrap());
            let t = now();
            let wait = if !ready.is_empty() { Some(0) } else { inner.timers.borrow().keys().next().map(|k| k.0.0.saturating_sub(t.0)) };
            let spec = wait.map(|ns| rustix::event::Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as _ });
            let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
            match epoll::wait(&inner.epoll, rustix::buffer::spare_capacity(&mut events), spec.as_ref()) { Ok(_) | Err(rustix::io::Errno::INTR) => {} Err(e) => panic!("epoll: {e}") }
            inner.shared.asleep.store(false, Ordering::SeqCst);
            let mut wakers = Vec::new();
            for e in &events {
                let id = e.data.u64();
                if id == u64::MAX { let mut b = [0; 8]; let _ = rustix::io::read(&inner.shared.event, &mut b[..]); continue; }
                if let Some(io) = inner.io.borrow_mut().get_mut(&id) {
                    let flags = e.flags;
                    if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP) { wakers.append(&mut io.read) }
                    if flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::HUP | epoll::EventFlags::ERR) { wakers.append(&mut io.write) }
                }
            }
            let t = now();
            loop {
                let mut timers = inner.timers.borrow_mut();
                match timers.first_key_value() { Some((k, _)) if k.0 <= t => { wakers.push(timers.pop_first().unwrap().1) } _ => break }
            }
            for w in wakers { w.wake() }
            for id in ready.drain(..) {
                let taken = { let mut tasks = inner.tasks.borrow_mut(); tasks.get_mut(&id).and_then(|e| { e.wake.queued.store(false, Ordering::SeqCst); e.future.take().map(|f| (f, e.wake.clone())) }) };
                let Some((mut f, wake)) = taken else { continue };
                let waker = Waker::from(wake);
                let poll = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f.as_mut().poll(&mut Context::from_waker(&waker))));
                match poll {
                    Ok(Poll::Pending) => { if let Some(e) = inner.tasks.borrow_mut().get_mut(&id) { e.future = Some(f) } }
                    _ => { let e = inner.tasks.borrow_mut().remove(&id); drop(e); drop(f); }
                }
            }
        }
        loop { let e = { let mut t = inner.tasks.borrow_mut(); let k = t.keys().next().copied(); k.and_then(|k| t.remove(&k)) }; if e.is_none() { break } }
        *inner.jobs.borrow_mut() = None;
        CURRENT.with(|c| *c.borrow_mut() = None);
        slot.borrow_mut().take().expect("the root panicked")
    }
}
#[derive(Debug, Clone, PartialEq, Eq)] pub struct Panicked;
impl std::fmt::Display for Panicked { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("the task panicked") } }
impl std::error::Error for Panicked {}
struct Slot<T> { value: Option<T>, done: bool, waker: Option<Waker> }
struct Done<T>(Rc<RefCell<Slot<T>>>);
impl<T> Drop for Done<T> { fn drop(&mut self) { let w = { let mut s = self.0.borrow_mut(); s.done = true; s.waker.take() }; if let Some(w) = w { w.wake() } } }
#[must_use] pub struct Task<T> { slot: Rc<RefCell<Slot<T>>>, id: u64, detached: bool }
pub fn spawn<T: 'static>(_name: &'static str, f: impl Future<Output = T> + 'static) -> Task<T> {
    let inner = current();
    let slot = Rc::new(RefCell::new(Slot { value: None, done: false, waker: None }));
    let id = inner.next.get(); inner.next.set(id + 1);
    let done = Done(slot.clone());
    let future = Box::pin(async move { let v = f.await; done.0.borrow_mut().value = Some(v); drop(done) });
    let wake = Arc::new(TaskWake { shared: inner.shared.clone(), id, queued: AtomicBool::new(true) });
    inner.tasks.borrow_mut().insert(id, Entry { future: Some(future), wake });
    inner.shared.push(id);
    Task { slot, id, detached: false }
}
impl<T> Task<T> {
    pub fn detach(mut self) { self.detached = true }
    pub fn is_done(&self) -> bool { self.slot.borrow().done }
    pub async fn cancel(mut self) -> Option<T> { self.detached = true; let e = current().tasks.borrow_mut().remove(&self.id); drop(e); self.slot.borrow_mut().value.take() }
}
impl<T> Drop for Task<T> { fn drop(&mut self) { if !self.detached && in_runtime() { let e = current().tasks.borrow_mut().remove(&self.id); drop(e) } } }
impl<T> Future for Task<T> { type Output = Result<T, Panicked>; fn poll(self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<Self::Output> { let mut s = self.slot.borrow_mut(); if let Some(v) = s.value.take() { return Poll::Ready(Ok(v)) } if s.done { return Poll::Ready(Err(Panicked)) } s.waker = Some(c.waker().clone()); Poll::Pending } }
impl<T> Unpin for Task<T> {}
struct Sleep { at: Instant, key: Option<(Instant, u64)> }
impl Future for Sleep { type Output = (); fn poll(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<()> { let inner = current(); if let Some(k) = self.key.take() { inner.timers.borrow_mut().remove(&k); } if now() >= self.at { return Poll::Ready(()) } let n = inner.next.get(); inner.next.set(n + 1); let k = (self.at, n); inner.timers.borrow_mut().insert(k, c.waker().clone()); self.key = Some(k); Poll::Pending } }
impl Drop for Sleep { fn drop(&mut self) { if let Some(k) = self.key.take() { if in_runtime() { current().timers.borrow_mut().remove(&k); } } } }
pub async fn sleep(d: Duration) { sleep_until(now() + d).await }
pub async fn sleep_until(at: Instant) { Sleep { at, key: None }.await }
pub async fn yield_now() { let mut y = false; std::future::poll_fn(|c| if y { Poll::Ready(()) } else { y = true; c.waker().wake_by_ref(); Poll::Pending }).await }
pub async fn timeout_at<F: Future>(at: Instant, f: F) -> Option<F::Output> { let mut f = std::pin::pin!(f); let mut s = std::pin::pin!(Sleep { at, key: None }); std::future::poll_fn(|c| { if let Poll::Ready(v) = f.as_mut().poll(c) { return Poll::Ready(Some(v)) } if s.as_mut().poll(c).is_ready() { return Poll::Ready(None) } Poll::Pending }).await }
#[derive(Default, Debug)] pub struct Notify { wakers: RefCell<Vec<(u64, Waker)>>, permit: Cell<bool>, next: Cell<u64>, generation: Cell<u64> }
impl Notify {
    pub fn new() -> Self { Self::default() }
    pub fn notify_one(&self) { let w = { let mut w = self.wakers.borrow_mut(); if w.is_empty() { None } else { Some(w.remove(0).1) } }; self.permit.set(true); if let Some(w) = w { w.wake() } }
    pub fn notify_all(&self) { self.generation.set(self.generation.get() + 1); let w = std::mem::take(&mut *self.wakers.borrow_mut()); for (_, w) in w { w.wake() } }
    pub async fn notified(&self) { let g = self.generation.get(); std::future::poll_fn(|c| { if self.generation.get() != g || self.permit.replace(false) { return Poll::Ready(()) } let n = self.next.get(); self.next.set(n + 1); self.wakers.borrow_mut().push((n, c.waker().clone())); Poll::Pending }).await }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)] pub struct Closed;
struct One<T> { value: Option<T>, closed: bool, waker: Option<Waker> }
pub struct Sender<T>(Rc<RefCell<One<T>>>); pub struct Receiver<T>(Rc<RefCell<One<T>>>);
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) { let o = Rc::new(RefCell::new(One { value: None, closed: false, waker: None })); (Sender(o.clone()), Receiver(o)) }
impl<T> Sender<T> { pub fn send(self, v: T) -> Result<(), T> { let w = { let mut o = self.0.borrow_mut(); if o.closed { return Err(v) } o.value = Some(v); o.waker.take() }; if let Some(w) = w { w.wake() } Ok(()) } }
impl<T> Drop for Sender<T> { fn drop(&mut self) { let w = { let mut o = self.0.borrow_mut(); o.closed = true; o.waker.take() }; if let Some(w) = w { w.wake() } } }
impl<T> Drop for Receiver<T> { fn drop(&mut self) { self.0.borrow_mut().closed = true } }
impl<T> Future for Receiver<T> { type Output = Result<T, Closed>; fn poll(self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<Self::Output> { let mut o = self.0.borrow_mut(); if let Some(v) = o.value.take() { return Poll::Ready(Ok(v)) } if o.closed { return Poll::Ready(Err(Closed)) } o.waker = Some(c.waker().clone()); Poll::Pending } }
pub struct Semaphore { permits: Cell<usize>, notify: Notify }
pub struct Permit<'a>(&'a Semaphore);
impl Permit<'_> { pub fn forget(self) { std::mem::forget(self) } }
impl Drop for Permit<'_> { fn drop(&mut self) { self.0.release(1) } }
impl Semaphore { pub fn new(n: usize) -> Self { Self { permits: Cell::new(n), notify: Notify::new() } } pub async fn acquire(&self) -> Permit<'_> { while self.permits.get() == 0 { self.notify.notified().await } self.permits.set(self.permits.get() - 1); Permit(self) } pub fn release(&self, n: usize) { self.permits.set(self.permits.get() + n); self.notify.notify_all() } }
#[derive(Debug)] pub struct Block(Vec<u8>);
pub fn block(capacity: usize) -> Block { Block(Vec::with_capacity(capacity)) }
impl Block { pub fn len(&self) -> usize { self.0.len() } pub fn is_empty(&self) -> bool { self.0.is_empty() } pub fn capacity(&self) -> usize { self.0.capacity() } pub fn spare(&self) -> usize { self.0.capacity() - self.0.len() } pub fn clear(&mut self) { self.0.clear() } pub fn truncate(&mut self, n: usize) { self.0.truncate(n) } pub fn extend_from_slice(&mut self, b: &[u8]) { self.0.extend_from_slice(b) } pub fn freeze(self) -> Bytes { Bytes::from(self.0) } }
impl Deref for Block { type Target = [u8]; fn deref(&self) -> &[u8] { &self.0 } }
impl DerefMut for Block { fn deref_mut(&mut self) -> &mut [u8] { &mut self.0 } }
pub type Io<T, B> = (io::Result<T>, B);
struct Readiness { fd: OwnedFd, id: u64 }
impl Readiness {
    fn new(fd: OwnedFd) -> io::Result<Self> { rustix::io::ioctl_fionbio(&fd, true)?; let i = current(); let id = i.next.get(); i.next.set(id + 1); epoll::add(&i.epoll, &fd, epoll::EventData::new_u64(id), epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET)?; i.io.borrow_mut().insert(id, IoEntry::default()); Ok(Self { fd, id }) }
    fn into_fd(self) -> OwnedFd { let i = current(); let _ = epoll::delete(&i.epoll, &self.fd); i.io.borrow_mut().remove(&self.id); let fd = self.fd.try_clone().expect("dup"); fd }
    async fn wait(&self, write: bool) { let mut first = true; std::future::poll_fn(|c| { if !first { return Poll::Ready(()) } first = false; let i = current(); let mut io = i.io.borrow_mut(); let e = io.get_mut(&self.id).expect("registered"); if write { e.write.push(c.waker().clone()) } else { e.read.push(c.waker().clone()) } Poll::Pending }).await }
}
impl Drop for Readiness { fn drop(&mut self) { if in_runtime() { current().io.borrow_mut().remove(&self.id); } } }
#[derive(Clone, Copy, Debug)] pub struct ListenOptions { pub reuse_port: bool, pub backlog: i32 }
impl Default for ListenOptions { fn default() -> Self { Self { reuse_port: true, backlog: 128 } } }
pub struct Listener(Readiness);
fn again(e: rustix::io::Errno) -> bool { e == rustix::io::Errno::AGAIN || e == rustix::io::Errno::INTR }
fn socket(a: SocketAddr) -> io::Result<OwnedFd> { use rustix::net::*; Ok(socket_with(if a.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?) }
impl Listener {
    pub fn bind(a: SocketAddr, o: &ListenOptions) -> io::Result<Self> { let fd = socket(a)?; rustix::net::sockopt::set_socket_reuseaddr(&fd, true)?; if o.reuse_port { rustix::net::sockopt::set_socket_reuseport(&fd, true)? } rustix::net::bind(&fd, &a)?; rustix::net::listen(&fd, o.backlog)?; Ok(Self(Readiness::new(fd)?)) }
    pub fn local_addr(&self) -> io::Result<SocketAddr> { std::net::TcpListener::from(self.0.fd.try_clone()?).local_addr() }
    pub async fn accept(&self) -> io::Result<(Tcp, SocketAddr)> { loop { match rustix::net::acceptfrom_with(&self.0.fd, rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK) { Ok((fd, a)) => { let a = a.and_then(|a| SocketAddr::try_from(a).ok()).ok_or_else(|| io::Error::other("no address"))?; let t = Tcp(Readiness::new(fd)?); let _ = t.set_nodelay(true); return Ok((t, a)) } Err(e) if again(e) => self.0.wait(false).await, Err(e) => return Err(e.into()) } } }
}
pub struct Tcp(Readiness);
impl Tcp {
    pub async fn connect(a: SocketAddr) -> io::Result<Self> { let fd = socket(a)?; let t; match rustix::net::connect(&fd, &a) { Ok(()) => t = Tcp(Readiness::new(fd)?), Err(rustix::io::Errno::INPROGRESS) => { t = Tcp(Readiness::new(fd)?); t.0.wait(true).await; if let Err(e) = rustix::net::sockopt::socket_error(&t.0.fd)? { return Err(e.into()) } } Err(e) => return Err(e.into()) } let _ = t.set_nodelay(true); Ok(t) }
    pub fn into_fd(self) -> OwnedFd { self.0.into_fd() }
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> { Ok(Tcp(Readiness::new(fd)?)) }
    pub async fn recv_some(&self) -> io::Result<Block> { loop { let mut v = Vec::with_capacity(16384); match rustix::io::read(&self.0.fd, rustix::buffer::spare_capacity(&mut v)) { Ok(_) => return Ok(Block(v)), Err(e) if again(e) => { drop(v); self.0.wait(false).await } Err(e) => return Err(e.into()) } } }
    pub async fn recv(&self, mut b: Block) -> Io<usize, Block> { loop { match rustix::io::read(&self.0.fd, rustix::buffer::spare_capacity(&mut b.0)) { Ok(n) => return (Ok(n), b), Err(e) if again(e) => self.0.wait(false).await, Err(e) => return (Err(e.into()), b) } } }
    pub async fn send(&self, mut parts: Vec<Bytes>) -> Io<(), Vec<Bytes>> {
        let mut at = 0;
        while at < parts.len() {
            if parts[at].is_empty() { at += 1; continue }
            let r = { let iov: Vec<io::IoSlice<'_>> = parts[at..].iter().take(1024).map(|p| io::IoSlice::new(p)).collect(); rustix::net::sendmsg(&self.0.fd, &iov, &mut rustix::net::SendAncillaryBuffer::default(), rustix::net::SendFlags::NOSIGNAL) };
            match r { Ok(mut n) => while n > 0 { let l = parts[at].len(); if n >= l { n -= l; at += 1 } else { bytes::Buf::advance(&mut parts[at], n); n = 0 } }, Err(e) if again(e) => self.0.wait(true).await, Err(e) => { parts.clear(); return (Err(e.into()), parts) } }
        }
        parts.clear(); (Ok(()), parts)
    }
    pub async fn send_file(&self, f: &File, r: Range<u64>) -> io::Result<()> { let mut at = r.start; while at < r.end { let mut o = at; match rustix::fs::sendfile(&self.0.fd, &f.0, Some(&mut o), (r.end - at) as usize) { Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()), Ok(n) => at += n as u64, Err(e) if again(e) => self.0.wait(true).await, Err(e) => return Err(e.into()) } } Ok(()) }
    pub fn shutdown(&self) { let _ = rustix::net::shutdown(&self.0.fd, rustix::net::Shutdown::Both); }
    pub fn peer_addr(&self) -> io::Result<SocketAddr> { std::net::TcpStream::from(self.0.fd.try_clone()?).peer_addr() }
    pub fn local_addr(&self) -> io::Result<SocketAddr> { std::net::TcpStream::from(self.0.fd.try_clone()?).local_addr() }
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> { Ok(rustix::net::sockopt::set_tcp_nodelay(&self.0.fd, on)?) }
    pub fn set_buffer_sizes(&self, receive: Option<usize>, send: Option<usize>) -> io::Result<()> { if let Some(n) = receive { rustix::net::sockopt::set_socket_recv_buffer_size(&self.0.fd, n)? } if let Some(n) = send { rustix::net::sockopt::set_socket_send_buffer_size(&self.0.fd, n)? } Ok(()) }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub enum Temperature { Warm, Cold }
#[derive(Clone, Debug)] pub struct File(Arc<OwnedFd>);
impl File {
    pub fn from_fd(fd: Arc<OwnedFd>) -> Self { Self(fd) }
    pub async fn read_at(&self, mut into: Block, position: u64, len: usize, _: Temperature) -> Io<usize, Block> { let fd = self.0.clone(); blocking("read", move || { let start = into.0.len(); into.0.resize(start + len, 0); let mut done = 0; let r = loop { if done == len { break Ok(done) } match rustix::io::pread(&fd, &mut into.0[start + done..], position + done as u64) { Ok(0) => break Ok(done), Ok(n) => done += n, Err(rustix::io::Errno::INTR) => {} Err(e) => break Err(e.into()) } }; into.0.truncate(start + done); (r, into) }).await }
    pub async fn write_at(&self, mut parts: Vec<Bytes>, position: u64) -> Io<(), Vec<Bytes>> { let r = self.write_now(&parts, position); parts.clear(); (r, parts) }
    pub fn write_now(&self, parts: &[Bytes], mut position: u64) -> io::Result<()> { for chunk in parts.chunks(1024) { let mut iov: Vec<io::IoSlice<'_>> = chunk.iter().map(|p| io::IoSlice::new(p)).collect(); let mut rest = &mut iov[..]; while !rest.is_empty() { let n = rustix::io::pwritev(&self.0, rest, position)?; position += n as u64; if n == 0 && rest.iter().all(|p| p.is_empty()) { break } io::IoSlice::advance_slices(&mut rest, n) } } Ok(()) }
    pub async fn sync_data(&self) -> io::Result<()> { let fd = self.0.clone(); blocking("sync", move || rustix::fs::fdatasync(&fd).map_err(Into::into)).await }
    pub async fn reserve(&self, r: Range<u64>) -> io::Result<()> { let fd = self.0.clone(); blocking("reserve", move || rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::KEEP_SIZE, r.start, r.end - r.start).map_err(Into::into)).await }
    pub async fn start_writeback(&self, _: Range<u64>) -> io::Result<()> { Ok(()) }
    pub fn drop_cache(&self, r: Range<u64>) { let _ = rustix::fs::fadvise(&self.0, r.start, std::num::NonZeroU64::new(r.end - r.start), rustix::fs::Advice::DontNeed); }
    pub fn resident(&self, _: Range<u64>) -> bool { true }
}
pub async fn blocking<T: Send + 'static>(_name: &'static str, job: impl FnOnce() -> T + Send + 'static) -> T {
    let inner = current();
    let slot: Arc<Mutex<(Option<std::thread::Result<T>>, Option<Waker>)>> = Arc::new(Mutex::new((None, None)));
    let out = slot.clone();
    let run: Box<dyn FnOnce() + Send> = Box::new(move || { let v = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)); let w = { let mut o = out.lock().unwrap(); o.0 = Some(v); o.1.take() }; if let Some(w) = w { w.wake() } });
    { let mut jobs = inner.jobs.borrow_mut(); let tx = jobs.get_or_insert_with(|| { let (tx, rx) = flume::unbounded::<Box<dyn FnOnce() + Send>>(); for _ in 0..2 { let rx = rx.clone(); std::thread::spawn(move || { for j in rx { j() } }); } tx }); tx.send(run).ok().expect("companion"); }
    let v = std::future::poll_fn(|c| { let mut s = slot.lock().unwrap(); match s.0.take() { Some(v) => Poll::Ready(v), None => { s.1 = Some(c.waker().clone()); Poll::Pending } } }).await;
    match v { Ok(v) => v, Err(p) => std::panic::resume_unwind(p) }
}
struct Pair<T> { queue: VecDeque<T>, full: Vec<Waker> }
struct Net<T> { pairs: Vec<Mutex<Pair<T>>>, wakers: Vec<Mutex<Option<Waker>>>, shards: usize, capacity: usize }
pub struct Port<T> { net: Arc<Net<T>>, me: usize }
pub fn mesh<T: Send + 'static>(shards: usize, capacity: usize) -> Vec<Port<T>> { let net = Arc::new(Net { pairs: (0..shards * shards).map(|_| Mutex::new(Pair { queue: VecDeque::new(), full: Vec::new() })).collect(), wakers: (0..shards).map(|_| Mutex::new(None)).collect(), shards, capacity }); (0..shards).map(|me| Port { net: net.clone(), me }).collect() }
impl<T: Send + 'static> Port<T> {
    fn put(&self, to: usize, v: T, w: Option<&Waker>) -> Result<(), T> { let mut p = self.net.pairs[self.me * self.net.shards + to].lock().unwrap(); if p.queue.len() >= self.net.capacity { if let Some(w) = w { p.full.push(w.clone()) } return Err(v) } p.queue.push_back(v); drop(p); let w = self.net.wakers[to].lock().unwrap().take(); if let Some(w) = w { w.wake() } Ok(()) }
    pub fn try_send(&self, to: usize, v: T) -> Result<(), T> { self.put(to, v, None) }
    pub async fn send(&self, to: usize, v: T) { let mut v = Some(v); std::future::poll_fn(|c| match self.put(to, v.take().unwrap(), Some(c.waker())) { Ok(()) => Poll::Ready(()), Err(b) => { v = Some(b); Poll::Pending } }).await }
    pub fn try_recv(&self) -> Option<(usize, T)> { for from in 0..self.net.shards { let mut p = self.net.pairs[from * self.net.shards + self.me].lock().unwrap(); if let Some(v) = p.queue.pop_front() { let w = std::mem::take(&mut p.full); drop(p); for w in w { w.wake() } return Some((from, v)) } } None }
    pub async fn recv(&self) -> (usize, T) { std::future::poll_fn(|c| { if let Some(v) = self.try_recv() { return Poll::Ready(v) } *self.net.wakers[self.me].lock().unwrap() = Some(c.waker().clone()); match self.try_recv() { Some(v) => Poll::Ready(v), None => Poll::Pending } }).await }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub enum Signal { Term, Int, Hup }
pub struct Signals;
impl Signals { pub fn new(_: &[Signal]) -> io::Result<Self> { Ok(Self) } pub async fn next(&mut self) -> Signal { std::future::pending().await } }
