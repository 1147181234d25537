//! Many blocking jobs at once.

use corelog_runtime::{blocking_all, spawn};

use crate::support::run;

#[test]
fn jobs_wait_side_by_side_and_answer_in_their_order() {
    run(async {
        // Each of the first three goes on only when all three have begun.
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(3));
        let job = |number: usize| {
            let barrier = barrier.clone();
            move || {
                if number < 3 {
                    barrier.wait();
                }
                number
            }
        };
        let jobs = (0..100).map(job).collect();
        let answers = blocking_all("jobs", 3, jobs).await;
        assert_eq!(answers, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn no_jobs_are_done_at_once() {
    run(async {
        let none: Vec<fn() -> u8> = Vec::new();
        let answers = blocking_all("none", 8, none).await;
        assert_eq!(answers, Vec::<u8>::new());
    });
}

#[test]
fn a_panic_in_one_of_the_jobs_is_the_panic_of_the_task_that_waits() {
    run(async {
        let jobs: Vec<fn() -> u8> = vec![|| 1, || panic!("no such luck"), || 3];
        let waits = spawn("waits", blocking_all("bad", 2, jobs));
        let panicked = waits.await.unwrap_err();
        assert_eq!(&*panicked.message, "no such luck");
    });
}
