//! Wakes from other threads, and stale ones.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use corelog_runtime::{spawn, yield_now};

use crate::support::run;

#[test]
fn no_foreign_wake_of_very_many_is_lost() {
    const WAKES: u64 = 120_000;
    run(async {
        let given = Arc::new(AtomicU64::new(0));
        let (wakers, receive) = flume::unbounded::<Waker>();
        let count = given.clone();
        let thread = std::thread::Builder::new()
            .spawn(move || {
                // Each wake answers one registration: a lost one would hang the pair.
                for waker in receive.iter().take(usize::try_from(WAKES).unwrap()) {
                    count.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }
            })
            .unwrap();
        let mut sent = 0;
        poll_fn(|cx| {
            if given.load(Ordering::SeqCst) < sent {
                return Poll::Pending;
            }
            if sent == WAKES {
                return Poll::Ready(());
            }
            sent += 1;
            wakers.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
        thread.join().unwrap();
    });
}

#[test]
fn a_storm_of_wakes_from_several_threads_is_survived() {
    run(async {
        let stop = Arc::new(AtomicU64::new(0));
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (waker, stop) = (waker.clone(), stop.clone());
                std::thread::Builder::new()
                    .spawn(move || {
                        for _ in 0..50_000 {
                            waker.wake_by_ref();
                        }
                        stop.fetch_add(1, Ordering::SeqCst);
                        waker.wake();
                    })
                    .unwrap()
            })
            .collect();
        poll_fn(|_| {
            if stop.load(Ordering::SeqCst) == 4 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_stale_waker_does_not_poll_the_task_that_took_its_place() {
    run(async {
        let kept = Rc::new(Cell::new(None));
        let keep = kept.clone();
        spawn(
            "first",
            poll_fn(move |cx| {
                keep.set(Some(cx.waker().clone()));
                Poll::Ready(())
            }),
        )
        .await
        .unwrap();
        let polls = Rc::new(Cell::new(0));
        let count = polls.clone();
        let second = spawn(
            "second",
            poll_fn(move |_| {
                count.set(count.get() + 1);
                Poll::<()>::Pending
            }),
        );
        yield_now().await;
        assert_eq!(polls.get(), 1);
        kept.take().unwrap().wake();
        yield_now().await;
        yield_now().await;
        assert_eq!(polls.get(), 1);
        drop(second);
    });
}

#[test]
fn wakers_outlive_their_runtime_harmlessly() {
    let mut wakers = Vec::new();
    for _ in 0..20 {
        wakers.push(run(poll_fn(|cx| Poll::Ready(cx.waker().clone()))));
        for waker in &wakers {
            waker.wake_by_ref();
        }
        run(async { yield_now().await });
    }
    let waker = wakers.pop().unwrap();
    run(async move {
        for waker in wakers {
            waker.wake();
        }
        std::thread::Builder::new()
            .spawn(move || waker.wake())
            .unwrap()
            .join()
            .unwrap();
        yield_now().await;
    });
}
