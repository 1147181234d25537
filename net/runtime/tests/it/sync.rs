//! Waiting between tasks of one shard.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelog_runtime::{Closed, Notify, Semaphore, oneshot, queue, spawn, yield_now};

use crate::support::run;

#[test]
fn notify_serves_in_order_keeps_one_permit_and_loses_no_wake_of_a_dropped_waiter() {
    run(async {
        let notify = Rc::new(Notify::new());
        notify.notify_one();
        notify.notify_one();
        notify.notified().await;
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut tasks: Vec<_> = (0..3)
            .map(|n| {
                let (notify, log) = (notify.clone(), log.clone());
                spawn("waiter", async move {
                    notify.notified().await;
                    log.borrow_mut().push(n);
                })
            })
            .collect();
        yield_now().await;
        assert!(log.borrow().is_empty());
        notify.notify_one();
        // Served, but dropped before it could look: the next one gets it.
        drop(tasks.remove(0));
        yield_now().await;
        assert_eq!(*log.borrow(), [1]);
        notify.notify_all();
        yield_now().await;
        assert_eq!(*log.borrow(), [1, 2]);
    });
}

#[test]
fn oneshot_gives_its_value_or_says_closed() {
    run(async {
        let (sender, receiver) = oneshot();
        let task = spawn("receiver", receiver);
        yield_now().await;
        sender.send(5).unwrap();
        assert_eq!(task.await.unwrap(), Ok(5));
        let (sender, receiver) = oneshot::<u8>();
        let task = spawn("receiver", receiver);
        yield_now().await;
        drop(sender);
        assert_eq!(task.await.unwrap(), Err(Closed));
        let (sender, receiver) = oneshot();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(1), Err(1));
    });
}

#[test]
fn a_semaphore_never_lets_more_in_and_survives_cancelled_waiters() {
    run(async {
        let semaphore = Rc::new(Semaphore::new(3));
        let inside = Rc::new(Cell::new(0));
        let most = Rc::new(Cell::new(0));
        let mut tasks: Vec<_> = (0..50)
            .map(|n| {
                let (semaphore, inside, most) = (semaphore.clone(), inside.clone(), most.clone());
                spawn("user", async move {
                    let permit = semaphore.acquire().await;
                    inside.set(inside.get() + 1);
                    most.set(most.get().max(inside.get()));
                    for _ in 0..n % 5 {
                        yield_now().await;
                    }
                    inside.set(inside.get() - 1);
                    drop(permit);
                })
            })
            .collect();
        yield_now().await;
        tasks.drain(10..20);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!((most.get(), semaphore.available()), (3, 3));
        semaphore.acquire().await.forget();
        assert_eq!(semaphore.available(), 2);
        semaphore.release(1);
        assert_eq!(semaphore.available(), 3);
    });
}

#[test]
fn a_queue_is_bounded_in_order_and_closes() {
    run(async {
        let items = queue(4);
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let items = items.clone();
                spawn("writer", async move {
                    for n in 0..200 {
                        items.push((writer, n)).await.unwrap();
                        assert!(items.len() <= 4);
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let items = items.clone();
                spawn("reader", async move {
                    let mut seen = Vec::new();
                    while let Some(item) = items.pop().await {
                        seen.push(item);
                    }
                    seen
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        items.close();
        assert_eq!(items.push((9, 9)).await, Err((9, 9)));
        let mut count = 0;
        for reader in readers {
            let seen = reader.await.unwrap();
            count += seen.len();
            for writer in 0..3 {
                let of: Vec<_> = seen.iter().filter(|(w, _)| *w == writer).collect();
                assert!(of.is_sorted());
            }
        }
        assert_eq!(count, 600);
    });
}
