//! Marks on rare paths, and rare paths made common: only in simulation.
//!
//! **Owns** the macros `mark!` and `buggify!`; a shipped binary has neither.
//! **Lives on** any thread.
//! **Invariants** 1. Outside a simulated run both do nothing. 2. A name stands in `sim::marks::ALL`, so that a path nobody
//! reaches is seen.
//! **Not here** the counting (`sim::marks`).

/// Says that a path was reached: `mark!("torn end cut")`.
macro_rules! mark {
    ($name:literal) => {
        #[cfg(any(test, feature = "sim"))]
        $crate::sim::marks::reached($name);
    };
}

/// In simulation a number that makes a rare path common, now and then; otherwise the number itself:
/// `buggify!(RECENT_MAX, 3)`.
macro_rules! buggify {
    ($number:expr, $small:expr) => {{
        #[cfg(any(test, feature = "sim"))]
        let number = if $crate::sim::marks::buggified() {
            $small
        } else {
            $number
        };
        #[cfg(not(any(test, feature = "sim")))]
        let number = $number;
        number
    }};
}
