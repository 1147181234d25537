//! **Owns** when records are due.
//! **Lives on** any thread: pure.
//! **Invariants** (1) What is due does not depend on what was sent: a client that could not send in time is late, and its
//! records' latencies begin where they were due (no coordinated omission). (2) Times never go back.
//! **Not here** waiting for them (`mixed::sender`).

use std::time::Duration;

use corelog_runtime::Instant;
use corelog_tools::load::to_f64;

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Even,
    /// At random, as of many independent senders (exponential distances).
    Poisson,
}

/// The times at which records are due, one after the other.
#[derive(Clone, Debug)]
pub struct Schedule {
    begin: Instant,
    /// Nanoseconds between two records on average.
    spacing: f64,
    arrivals: Arrivals,
    /// Records taken.
    taken: u64,
    /// Nanoseconds from the begin to the next one.
    next: f64,
}

impl Schedule {
    /// So many records a second (above zero) from `begin`; `phase` (0 to 1) of a distance later, so that clients are not in
    /// step.
    pub fn new(begin: Instant, rate: f64, phase: f64, arrivals: Arrivals) -> Self {
        let spacing = 1e9 / rate;
        Self {
            begin,
            spacing,
            arrivals,
            taken: 0,
            next: phase * spacing,
        }
    }

    /// When the next record is due.
    pub fn due(&self) -> Instant {
        self.begin + Duration::from_nanos(whole(self.next))
    }

    /// Takes the next record; `random` is any number, used for arrivals at random.
    pub fn take(&mut self, random: u64) -> Instant {
        let due = self.due();
        self.taken += 1;
        self.next += match self.arrivals {
            // Sums of doubles drift by less than a microsecond in a billion records.
            Arrivals::Even => self.spacing,
            Arrivals::Poisson => {
                let uniform = to_f64((random >> 12) + 1) / to_f64(1 << 52);
                -uniform.ln() * self.spacing
            }
        };
        due
    }

    /// Records taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast of nanoseconds, never negative"
)]
fn whole(nanos: f64) -> u64 {
    nanos as u64
}

/// Whether the last values (throughputs of windows, say) are as even as a load that has settled: all of the last
/// [`STEADY_COUNT`] within `tolerance` of their mean.
pub fn is_steady(values: &[f64], tolerance: f64) -> bool {
    let Some(last) = values.len().checked_sub(STEADY_COUNT) else {
        return false;
    };
    let last = &values[last..];
    let mean = last.iter().sum::<f64>() / to_f64(STEADY_COUNT as u64);
    mean > 0.0
        && last
            .iter()
            .all(|value| (value - mean).abs() <= tolerance * mean)
}

/// Windows that must be alike.
pub const STEADY_COUNT: usize = 5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corelog_runtime::Instant;

    use super::{Arrivals, Schedule, is_steady};

    #[test]
    fn a_rate_is_kept_whoever_is_late() {
        let begin = Instant::from_millis(5);
        let mut schedule = Schedule::new(begin, 1_000.0, 0.0, Arrivals::Even);
        assert_eq!(schedule.due(), begin);
        for _ in 0..10_000 {
            schedule.take(0);
        }
        assert_eq!(schedule.due(), begin + Duration::from_secs(10));
        assert_eq!(schedule.taken(), 10_000);
    }

    #[test]
    fn clients_begin_out_of_step() {
        let begin = Instant::from_millis(0);
        let mut schedule = Schedule::new(begin, 100.0, 0.5, Arrivals::Even);
        assert_eq!(schedule.take(7), begin + Duration::from_millis(5));
        assert_eq!(schedule.take(7), begin + Duration::from_millis(15));
    }

    #[test]
    fn arrivals_at_random_have_the_mean_and_the_spread_of_a_poisson_process() {
        let begin = Instant::from_millis(0);
        let mut schedule = Schedule::new(begin, 1_000.0, 0.0, Arrivals::Poisson);
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        let mut last = schedule.due();
        let mut shorter = 0;
        for _ in 0..20_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            schedule.take(bits);
            assert!(schedule.due() >= last, "times do not go back");
            shorter += u32::from(schedule.due() - last < Duration::from_millis(1));
            last = schedule.due();
        }
        let seconds = (schedule.due() - begin).as_secs_f64();
        assert!((19.0..21.0).contains(&seconds), "{seconds}");
        // 1 − 1/e of the distances are below the mean.
        assert!((12_200..13_100).contains(&shorter), "{shorter}");
    }

    #[test]
    fn steady_is_five_alike() {
        assert!(!is_steady(&[100.0; 4], 0.1));
        assert!(is_steady(&[1.0, 100.0, 101.0, 99.0, 100.0, 104.0], 0.1));
        assert!(!is_steady(&[100.0, 100.0, 130.0, 100.0, 100.0], 0.1));
        assert!(!is_steady(&[0.0; 5], 0.1));
    }
}
