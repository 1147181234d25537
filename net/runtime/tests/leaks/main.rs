//! Shutdown leaks nothing. A binary of its own with one test: it counts the descriptors of the process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use corelog_runtime::{
    BackendChoice, Block, Config, File, ListenOptions, Listener, Runtime, Tcp, Temperature, block,
    blocking, spawn, stats, yield_now,
};
use rustix::fs::{Mode, OFlags};

fn descriptors() -> usize {
    // The listing itself holds one; every count has it.
    #[expect(clippy::disallowed_methods, reason = "a test looks at the real system")]
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn runtime() -> Runtime {
    let backend = BackendChoice::from_test_env();
    Runtime::new(&Config {
        backend,
        seed: 3,
        ..Config::default()
    })
    .unwrap()
}

fn file() -> Arc<OwnedFd> {
    let exe = std::env::current_exe().unwrap();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
    Arc::new(rustix::fs::open(exe.parent().unwrap(), flags, Mode::RUSR | Mode::WUSR).unwrap())
}

const SIZE: usize = 1 << 20;

/// Everything a shard may be in the middle of when it is told to stop.
async fn busy(fd: Arc<OwnedFd>, escaped: flume::Sender<Block>) {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(address, &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = spawn("acceptor", async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // Reads little, so the peer's sends stay half done.
            spawn("server", async move {
                let block = tcp.recv_some().await.unwrap();
                std::future::pending::<()>().await;
                drop((tcp, block));
            })
            .detach();
        }
    });
    for _ in 0..5 {
        let tcp = Tcp::connect(address).await.unwrap();
        spawn("client", async move {
            tcp.send(vec![Bytes::from(vec![1; 32 << 20])]).await.0
        })
        .detach();
    }
    // One that is accepted by nobody any more.
    spawn(
        "connect",
        async move { Tcp::connect(address).await.map(drop) },
    )
    .detach();
    let file = File::from_fd(fd);
    for part in 0..8_u64 {
        let file = file.clone();
        spawn("read", async move {
            file.read_at(block(SIZE), part * SIZE as u64, SIZE, Temperature::Cold)
                .await
                .0
        })
        .detach();
    }
    let sync = file.clone();
    spawn("sync", async move { sync.sync_data().await }).detach();
    spawn("job", blocking("job", || 1)).detach();
    // A block that comes home after its home is gone.
    escaped.send(block(SIZE)).unwrap();
    for _ in 0..stats().turns % 5 {
        yield_now().await;
    }
    acceptor.detach();
}

#[test]
fn twenty_shutdowns_with_everything_in_flight_leave_no_descriptor() {
    let fd = file();
    runtime().run({
        let file = File::from_fd(fd.clone());
        async move {
            let mut data = block(SIZE);
            data.spare().fill(7);
            data.advance(SIZE);
            let data = data.freeze();
            for part in 0..8 {
                file.write_at(vec![data.clone()], part * SIZE as u64)
                    .await
                    .0
                    .unwrap();
            }
        }
    });
    let before = descriptors();
    for round in 0..20 {
        let (escaped, escapes) = flume::unbounded();
        runtime().run(busy(fd.clone(), escaped));
        assert_eq!(descriptors(), before, "round {round}");
        drop(escapes);
        assert_eq!(
            Arc::strong_count(&fd),
            1,
            "operations gave their files back"
        );
    }
    // Never run, and unwound out of.
    drop(runtime());
    let fd_copy = fd.clone();
    let unwound = std::panic::catch_unwind(|| {
        runtime().run(async move {
            let (escaped, _escapes) = flume::unbounded();
            busy(fd_copy, escaped).await;
            panic!("the root fails in the middle");
        });
    });
    assert!(unwound.is_err());
    assert_eq!(descriptors(), before);
    assert_eq!(Arc::strong_count(&fd), 1);
}
