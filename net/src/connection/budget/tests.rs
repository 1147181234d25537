use std::future::Future;
use std::pin::pin;
use std::task::Context;

use super::*;

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn take(account: &Rc<Account>, bytes: usize) -> Charge {
    match poll(pin!(account.charge(bytes))) {
        Poll::Ready(charge) => charge,
        Poll::Pending => panic!("{bytes} bytes should fit"),
    }
}

#[test]
fn what_fits_is_taken_and_given_back() {
    let budget = Budget::new(100);
    let account = Account::new(Rc::clone(&budget));
    let a = take(&account, 60);
    let b = take(&account, 40);
    assert_eq!((budget.used(), account.bytes()), (100, 100));
    drop(a);
    assert_eq!((budget.used(), account.bytes()), (40, 40));
    drop(b);
    assert_eq!((budget.used(), account.bytes()), (0, 0));
}

#[test]
fn one_frame_above_the_budget_is_read_alone() {
    let budget = Budget::new(100);
    let account = Account::new(Rc::clone(&budget));
    let huge = take(&account, 1000);
    {
        let mut next = pin!(account.charge(1));
        assert!(poll(next.as_mut()).is_pending());
        drop(huge);
        assert!(poll(next.as_mut()).is_ready());
    }
    assert_eq!(budget.used(), 0);
}

#[test]
fn waiting_is_in_order_so_that_large_frames_are_not_starved() {
    let budget = Budget::new(100);
    let account = Account::new(Rc::clone(&budget));
    let first = take(&account, 80);
    let mut large = pin!(account.charge(90));
    assert!(poll(large.as_mut()).is_pending());
    let mut small = pin!(account.charge(10));
    assert!(
        poll(small.as_mut()).is_pending(),
        "it fits, but others wait"
    );
    assert!(budget.contended());
    drop(first);
    let Poll::Ready(large) = poll(large.as_mut()) else {
        panic!("90 of 100")
    };
    let Poll::Ready(small) = poll(small.as_mut()) else {
        panic!("100 of 100")
    };
    assert_eq!(budget.used(), 100);
    drop((large, small));
    assert_eq!(budget.used(), 0);
    assert!(!budget.contended());
}

#[test]
fn leaving_the_line_leaks_nothing_and_lets_the_next_one_through() {
    let budget = Budget::new(100);
    let account = Account::new(Rc::clone(&budget));
    let first = take(&account, 80);
    let mut small = pin!(account.charge(15));
    {
        let mut large = pin!(account.charge(90));
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending());
    }
    let Poll::Ready(small) = poll(small.as_mut()) else {
        panic!("the large one left")
    };
    // Granted and then never looked at again.
    {
        let mut granted = pin!(account.charge(50));
        assert!(poll(granted.as_mut()).is_pending());
        drop(first);
        assert_eq!(budget.used(), 65);
    }
    assert_eq!(budget.used(), 15);
    drop(small);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_growing_frame_may_overdraw_up_to_twice_the_budget() {
    let budget = Budget::new(100);
    let account = Account::new(Rc::clone(&budget));
    let mut growing = take(&account, 10);
    let other = take(&account, 90);
    growing.grow_to(110).expect("200 of 200");
    assert!(growing.grow_to(111).is_err());
    assert_eq!(growing.bytes(), 110);
    growing.shrink_to(50);
    assert_eq!(budget.used(), 140);
    drop(other);
    growing
        .grow_to(10_000)
        .expect("alone it may be of any size");
    drop(growing);
    assert_eq!(budget.used(), 0);
}
