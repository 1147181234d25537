//! Signals arrive as values. A program of its own, without the test harness: the harness has a thread that
//! would not block them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, run as a program"
)]

use corelog_runtime::{BackendChoice, Config, Runtime, Signal, Signals, blocking};
use rustix::process::{Signal as Number, getpid, kill_process};

fn main() {
    let mut signals = Signals::new(&[Signal::Term, Signal::Int, Signal::Usr1]).unwrap();
    let backend = BackendChoice::from_test_env();
    let runtime = Runtime::new(&Config {
        backend,
        ..Config::default()
    })
    .unwrap();
    runtime.run(async move {
        for (number, expected) in [
            (Number::USR1, Signal::Usr1),
            (Number::INT, Signal::Int),
            (Number::TERM, Signal::Term),
        ] {
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, expected);
        }
        // From another thread of the process, while this one sleeps.
        blocking("kill", || kill_process(getpid(), Number::TERM).unwrap()).await;
        assert_eq!(signals.next().await, Signal::Term);
    });
    println!("test signals_arrive_as_values_and_kill_nobody ... ok");
    println!("1 passed, 0 failed");
}
