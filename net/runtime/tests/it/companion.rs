//! Blocking jobs.

use corelog_runtime::{blocking, blocking_brief, spawn, yield_now};

use crate::support::run;

#[test]
fn a_job_runs_on_another_thread_and_its_answer_comes_back() {
    run(async {
        let here = std::thread::current().id();
        let there = blocking("where", || std::thread::current().id()).await;
        assert_ne!(here, there);
        let again = blocking("where", || std::thread::current().id()).await;
        assert_eq!(there, again);
    });
}

#[test]
fn the_shard_goes_on_while_a_job_blocks() {
    run(async {
        let (go, wait) = flume::bounded::<()>(1);
        let job = spawn("job", blocking("blocks", move || wait.recv().is_ok()));
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!job.is_done());
        go.send(()).unwrap();
        assert!(job.await.unwrap());
    });
}

#[test]
fn a_panic_in_a_job_is_the_panic_of_the_task_that_waits() {
    run(async {
        let job = spawn(
            "waits",
            blocking("bad", || -> u8 { panic!("no such luck") }),
        );
        let panicked = job.await.unwrap_err();
        assert_eq!(
            (panicked.name, &*panicked.message),
            ("waits", "no such luck")
        );
        assert_eq!(blocking("good", || 5).await, 5);
    });
}

#[test]
fn a_job_nobody_waits_for_is_finished_when_begun_and_skipped_when_not() {
    run(async {
        let (go, wait) = flume::bounded::<()>(1);
        let (begun, begin) = flume::bounded::<()>(1);
        let (done, finish) = flume::unbounded::<&str>();
        let also_done = done.clone();
        let first = spawn(
            "first",
            blocking("first", move || {
                begun.send(()).unwrap();
                wait.recv().unwrap();
                done.send("first").unwrap();
            }),
        );
        while begin.try_recv().is_err() {
            yield_now().await;
        }
        let second = spawn(
            "second",
            blocking("second", move || also_done.send("second").unwrap()),
        );
        yield_now().await;
        yield_now().await;
        drop(first);
        drop(second);
        go.send(()).unwrap();
        blocking("last", || ()).await;
        assert_eq!(finish.try_iter().collect::<Vec<_>>(), ["first"]);
    });
}

#[test]
fn a_brief_job_does_not_wait_for_a_long_one() {
    run(async {
        let (go, wait) = flume::bounded::<()>(1);
        let long = spawn("long", blocking("long", move || wait.recv().is_ok()));
        yield_now().await;
        for number in 0..20 {
            assert_eq!(blocking_brief("brief", move || number).await, number);
        }
        go.send(()).unwrap();
        assert!(long.await.unwrap());
    });
}

#[test]
fn brief_jobs_run_side_by_side() {
    run(async {
        // Each waits for all: one after the other they would wait for ever.
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(4));
        let jobs: Vec<_> = (0..4)
            .map(|_| {
                let barrier = barrier.clone();
                spawn(
                    "brief",
                    blocking_brief("brief", move || barrier.wait().is_leader()),
                )
            })
            .collect();
        let mut leaders = 0;
        for job in jobs {
            leaders += usize::from(job.await.unwrap());
        }
        assert_eq!(leaders, 1);
        // More than there are threads are all done.
        let many: Vec<_> = (0..50)
            .map(|number| spawn("many", blocking_brief("many", move || number)))
            .collect();
        for (number, job) in many.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), number);
        }
    });
}
