//! Tasks: order, cancelling, panics, fairness.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_runtime::{now, sleep, spawn, stats, yield_now};

use crate::support::run;
use crate::tcp::pair;

struct OnDrop(Rc<Cell<u32>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn tasks_run_in_the_order_they_became_ready() {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..10)
            .map(|n| {
                let log = log.clone();
                spawn("task", async move {
                    log.borrow_mut().push(n);
                    yield_now().await;
                    log.borrow_mut().push(n + 100);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let expected: Vec<_> = (0..10).chain(100..110).collect();
        assert_eq!(*log.borrow(), expected);
    });
}

#[test]
fn dropping_a_task_drops_its_future_at_once_and_detaching_does_not() {
    run(async {
        let drops = Rc::new(Cell::new(0));
        let guard = OnDrop(drops.clone());
        let task = spawn("waits", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        drop(task);
        assert_eq!(drops.get(), 1);
        let done = Rc::new(Cell::new(false));
        let flag = done.clone();
        spawn("detached", async move {
            yield_now().await;
            flag.set(true);
        })
        .detach();
        assert_eq!(spawn("value", async { 7 }).cancel().await, None);
        for _ in 0..3 {
            yield_now().await;
        }
        assert!(done.get());
        let finished = spawn("value", async { 7 });
        yield_now().await;
        assert_eq!(finished.cancel().await, Some(7));
    });
}

#[test]
fn a_task_may_cancel_itself_and_others_from_its_own_drop() {
    run(async {
        let drops = Rc::new(Cell::new(0));
        let cell = Rc::new(RefCell::new(None));
        let (guard, own) = (OnDrop(drops.clone()), cell.clone());
        let task = spawn("suicide", async move {
            let _guard = guard;
            drop(own.borrow_mut().take());
            yield_now().await;
            unreachable!("cancelled while it ran");
        });
        *cell.borrow_mut() = Some(task);
        yield_now().await;
        yield_now().await;
        assert_eq!(drops.get(), 1);
        let guard = OnDrop(drops.clone());
        let inner = spawn("inner", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        let outer = spawn("outer", async move {
            let _inner = inner;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        drop(outer);
        assert_eq!(drops.get(), 2);
    });
}

#[test]
fn a_panic_in_one_task_is_returned_and_the_rest_goes_on() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "dropped too");
        }
    }
    run(async {
        let steady = spawn("steady", async {
            for _ in 0..10 {
                yield_now().await;
            }
            5
        });
        let bad = spawn("bad", async {
            yield_now().await;
            panic!("at {}", 3);
        });
        let panicked = bad.await.unwrap_err();
        assert_eq!((panicked.name, &*panicked.message), ("bad", "at 3"));
        // Its future panics when it is dropped as well.
        let bomb = spawn("bomb", async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        drop(bomb);
        let bomb = spawn("bomb", async { drop(Bomb) });
        assert_eq!(bomb.await.unwrap_err().message, "dropped too");
        assert_eq!(steady.await, Ok(5));
        assert_eq!(stats().tasks, 1);
    });
}

#[test]
#[should_panic(expected = "the root fails")]
fn a_panic_of_the_root_comes_out_of_run() {
    run(async { panic!("the root fails") });
}

#[test]
fn what_is_left_when_the_root_ends_is_dropped() {
    let drops = Rc::new(Cell::new(0));
    let copy = drops.clone();
    run(async move {
        for _ in 0..100 {
            let guard = OnDrop(copy.clone());
            spawn("left", async move {
                let _guard = guard;
                sleep(Duration::from_secs(1000)).await;
            })
            .detach();
        }
        yield_now().await;
    });
    assert_eq!(drops.get(), 100);
}

#[test]
fn a_task_that_always_wakes_itself_starves_neither_sockets_nor_timers() {
    run(async {
        let spinner = spawn("spinner", async {
            loop {
                yield_now().await;
            }
        });
        let (client, server) = pair().await;
        let echo = spawn("echo", async move {
            for _ in 0..100 {
                let block = server.recv_some().await.unwrap();
                server.send(vec![block.freeze()]).await.0.unwrap();
            }
        });
        for _ in 0..100 {
            client
                .send(vec![Bytes::from_static(b"ping")])
                .await
                .0
                .unwrap();
            assert_eq!(&client.recv_some().await.unwrap()[..], b"ping");
        }
        echo.await.unwrap();
        let before = now();
        sleep(Duration::from_millis(5)).await;
        assert!(now().duration_since(before) >= Duration::from_millis(5));
        drop(spinner);
    });
}

#[test]
fn a_task_with_endless_ready_input_lets_others_run() {
    run(async {
        let items = corelog_runtime::mesh::<u64>(1, 1024)
            .pop()
            .map(Rc::new)
            .unwrap();
        let feeder = items.clone();
        let eater = spawn("eater", async move {
            loop {
                let (_, n) = items.recv().await;
                // Feeds itself: its queue is never empty.
                items.try_send(0, n + 1).unwrap();
            }
        });
        feeder.try_send(0, 0).unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        drop(eater);
    });
}
