//! Runtimes for tests.

use std::future::Future;

use corelog_runtime::{BackendChoice, Config, Runtime};

pub(crate) fn config() -> Config {
    Config {
        backend: BackendChoice::from_test_env(),
        seed: 7,
        ..Config::default()
    }
}

/// Runs `root` on a runtime of its own.
pub(crate) fn run<T: 'static>(root: impl Future<Output = T> + 'static) -> T {
    Runtime::new(&config()).unwrap().run(root)
}
