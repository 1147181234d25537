//! Low limits are lived with or explained.

use std::process::Command;

use corelog_runtime::{Backend, BackendChoice, Config, Runtime, StartError, limits};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use crate::support::run;

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let limit = limits::raise_nofile();
    assert_eq!(limit.soft, limit.hard);
    assert!(!limits::cpus().is_empty());
}

#[test]
fn a_runtime_pins_its_thread_where_told() {
    let cpu = *limits::cpus().last().unwrap();
    let config = Config {
        cpu: Some(cpu),
        ..crate::support::config()
    };
    let join = std::thread::Builder::new().spawn(move || {
        Runtime::new(&config)
            .unwrap()
            .run(async move { assert_eq!(limits::cpus(), [cpu]) });
    });
    join.unwrap().join().unwrap();
    let config = Config {
        cpu: Some(1_000_000),
        ..crate::support::config()
    };
    let Err(error) = Runtime::new(&config) else {
        panic!("no such processor")
    };
    assert!(error.to_string().contains("taskset"), "{error}");
}

#[test]
fn one_runtime_per_thread_at_a_time() {
    run(async {
        assert!(matches!(
            Runtime::new(&crate::support::config()),
            Err(StartError::Nested)
        ));
    });
}

/// The limit counts per process: this runs the next test in a process of its own.
#[test]
fn little_lockable_memory_gives_smaller_rings_then_readiness_with_the_cure() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "limits::in_a_process_with_little_lockable_memory",
            "--include-ignored",
        ])
        .env("CORELOG_TEST_LOW_MEMLOCK", "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && output.contains("1 passed"),
        "{output}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

#[test]
#[ignore = "changes limits of the whole process; run by the test above in a process of its own"]
fn in_a_process_with_little_lockable_memory() {
    if std::env::var_os("CORELOG_TEST_LOW_MEMLOCK").is_none() {
        return;
    }
    let own = Config {
        backend: BackendChoice::Ring,
        ring_entries: 4096,
        ..Config::default()
    };
    if let Err(error) = Runtime::new(&own) {
        // No io_uring on this machine at all: then its text must say what to do.
        assert!(error.to_string().contains("readiness"), "{error}");
        return;
    }
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    rustix::thread::set_capabilities(None, sets).unwrap();
    let lock = |bytes| {
        let maximum = getrlimit(Resource::Memlock).maximum;
        setrlimit(
            Resource::Memlock,
            Rlimit {
                current: Some(bytes),
                maximum,
            },
        )
        .unwrap();
    };
    // 4096 entries take 256 KiB and their 16384 completions as much again: half of it must do.
    lock(300 << 10);
    assert_eq!(Runtime::new(&own).unwrap().run(async { 3 }), 3);
    lock(0);
    match Runtime::new(&own) {
        Err(error) => assert!(error.to_string().contains("LimitMEMLOCK"), "{error}"),
        // Before Linux 6.14 rings of this size are not counted.
        Ok(runtime) => assert_eq!(runtime.backend(), Backend::Ring),
    }
    let auto = Config {
        backend: BackendChoice::Auto,
        ..own
    };
    let runtime = Runtime::new(&auto).unwrap();
    assert_eq!(runtime.run(async { 4 }), 4);
}
