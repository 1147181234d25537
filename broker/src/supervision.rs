//! What the process tells who watches over it: systemd with `Type=notify` and `WatchdogSec=`.
//!
//! Owns: the messages `READY`, `STATUS`, `STOPPING`, `EXTEND_TIMEOUT_USEC`, `WATCHDOG` and when they are sent.
//! Lives on: shard 0; one task per shard asks it for a sign of life.
//! Invariants:
//! 1. WATCHDOG is sent only if every shard has answered a question over the mesh within half the watchdog's time: its
//!    loop turns, takes requests and answers. A timer that merely goes off proves nothing of the other shards.
//! 2. A start that takes long asks for more time only if it has come further since it last asked.
//! 3. Every message but `WATCHDOG` and `EXTEND_TIMEOUT_USEC` is sent until it was taken.
//!
//! A stop is not prolonged: `TimeoutStopSec=` bounds it. Disks are not part of the sign of life: a process does not get
//! well by being killed when its disk hangs; a directory that fails is taken offline by itself.
//!
//! Not here: the socket (`corelog_runtime::Supervisor`), phases (`admin::Status`).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use corelog_runtime::{Instant, Supervisor, Task, now, sleep, spawn};

use crate::admin::{Phase, Progress};
use crate::mesh::Request;
use crate::shard::Shard;

/// The telling, if somebody listens. Dropping it ends it.
pub(crate) struct Supervision {
    voice: Option<Rc<Voice>>,
    _tasks: Vec<Task<()>>,
}

impl Supervision {
    /// Begins to tell.
    pub(crate) fn begin(shard: &Rc<Shard>) -> Self {
        let mut tasks = Vec::new();
        let supervisor = match Supervisor::from_environment() {
            None => None,
            Some(Ok(supervisor)) => Some(supervisor),
            Some(Err(error)) => {
                tracing::warn!("systemd cannot be told how the broker is: {error}");
                None
            }
        };
        let voice = supervisor.map(|supervisor| {
            let watchdog = supervisor.watchdog();
            let voice = Rc::new(Voice {
                shard: Rc::clone(shard),
                supervisor,
                told: RefCell::new(Told::new(watchdog)),
                beats: RefCell::new(vec![now(); shard.shards]),
            });
            if let Some(watchdog) = watchdog {
                for to in 0..shard.shards {
                    let heart = Rc::clone(&voice).heart(to, watchdog / 8);
                    tasks.push(spawn("sign of life", heart));
                }
            }
            let every = watchdog.map_or(TOLD_EVERY, |watchdog| (watchdog / 4).min(TOLD_EVERY));
            tasks.push(spawn("supervision", Rc::clone(&voice).tell_for_ever(every)));
            voice
        });
        Self {
            voice,
            _tasks: tasks,
        }
    }

    /// The phase has changed: that is told at once.
    pub(crate) fn phase_changed(&self) {
        if let Some(voice) = &self.voice {
            voice.tell();
        }
    }
}

struct Voice {
    shard: Rc<Shard>,
    supervisor: Supervisor,
    told: RefCell<Told>,
    /// When each shard last answered.
    beats: RefCell<Vec<Instant>>,
}

impl Voice {
    /// Asks one shard again and again; one that does not answer is not asked a second time.
    async fn heart(self: Rc<Self>, to: usize, every: Duration) {
        // A shard that was told to close takes no more requests.
        while self.shard.status.phase() != Phase::Stopping {
            self.shard.call(to, Request::Beat).await;
            self.beats.borrow_mut()[to] = now();
            sleep(every).await;
        }
    }

    async fn tell_for_ever(self: Rc<Self>, every: Duration) {
        loop {
            self.tell();
            sleep(every).await;
        }
    }

    fn tell(&self) {
        let shard = &self.shard;
        let state = State {
            phase: shard.status.phase(),
            progress: shard.status.progress(),
            partitions: shard.image().partition_count(),
            offline: offline(shard),
        };
        let mut told = self.told.borrow_mut();
        let late = told.late(now(), &self.beats.borrow());
        if let Some(text) = told.step(&state, late)
            && let Err(error) = self.supervisor.tell(&text)
        {
            told.forget();
            tracing::debug!("systemd did not take {text:?}: {error}");
        }
    }
}

fn offline(shard: &Shard) -> Vec<String> {
    let disks = shard.allowances.disks();
    (0..shard.directories.len())
        .filter(|at| disks.is_offline(*at))
        .map(|at| disks.path(at).to_string())
        .collect()
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    progress: Progress,
    partitions: usize,
    /// Log directories that are not in use.
    offline: Vec<String>,
}

impl State {
    /// One line for who asks `systemctl status`.
    fn sentence(&self) -> String {
        let mut sentence = match self.phase {
            Phase::Starting => "starting".to_owned(),
            Phase::Recovering => {
                let Progress {
                    logs, logs_done, ..
                } = self.progress;
                format!("opening logs: {logs_done} of {logs}")
            }
            Phase::Serving => format!("serving {} partitions", self.partitions),
            Phase::Stopping => "stopping".to_owned(),
        };
        if !self.offline.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(sentence, "; offline: {}", self.offline.join(", "));
        }
        sentence
    }
}

/// What was told, and so what is new.
#[derive(Debug)]
struct Told {
    watchdog: Option<Duration>,
    sentence: String,
    phase: Option<Phase>,
    progress: Progress,
    is_late: bool,
}

impl Told {
    fn new(watchdog: Option<Duration>) -> Self {
        Self {
            watchdog,
            sentence: String::new(),
            phase: None,
            progress: Progress::default(),
            is_late: false,
        }
    }

    /// The shard that has been silent for longest, and how long, if that is too long.
    fn late(&self, now: Instant, beats: &[Instant]) -> Option<(usize, Duration)> {
        let limit = self.watchdog? / 2;
        let silences = beats.iter().enumerate();
        let silences = silences.map(|(shard, beat)| (shard, now.duration_since(*beat)));
        let longest = silences.max_by_key(|(_, silence)| *silence);
        longest.filter(|(_, silence)| *silence > limit)
    }

    /// The next message.
    fn step(&mut self, state: &State, late: Option<(usize, Duration)>) -> Option<String> {
        let mut lines = Vec::new();
        if self.phase != Some(state.phase) {
            match state.phase {
                Phase::Serving => lines.push("READY=1".to_owned()),
                Phase::Stopping => lines.push("STOPPING=1".to_owned()),
                Phase::Starting | Phase::Recovering => {}
            }
            self.phase = Some(state.phase);
        }
        if state.phase == Phase::Recovering && state.progress != self.progress {
            lines.push(format!("EXTEND_TIMEOUT_USEC={}", MORE_TIME.as_micros()));
            self.progress = state.progress;
        }
        let sentence = state.sentence();
        if sentence != self.sentence {
            lines.push(format!("STATUS={sentence}"));
            self.sentence = sentence;
        }
        if state.phase == Phase::Stopping {
            return (!lines.is_empty()).then(|| lines.join("\n"));
        }
        match late {
            Some((shard, silence)) if !self.is_late => tracing::error!(
                "shard={shard} has not answered for {} ms; systemd is not told that the broker is alive",
                silence.as_millis()
            ),
            None if self.is_late => tracing::warn!("all shards answer again"),
            _ => {}
        }
        self.is_late = late.is_some();
        if self.watchdog.is_some() && late.is_none() {
            lines.push("WATCHDOG=1".to_owned());
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The last message was not taken: all of it is told again.
    fn forget(&mut self) {
        self.phase = None;
        self.sentence.clear();
    }
}

/// Without a watchdog, or with one that has a lot of time.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// Asked for while logs are opened; more than the longest log takes between two steps of progress.
const MORE_TIME: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: Phase) -> State {
        State {
            phase,
            progress: Progress::default(),
            partitions: 12,
            offline: Vec::new(),
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn a_start_and_a_stop_are_told_once_each() {
        let mut told = Told::new(None);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            told.step(&state(Phase::Starting), None),
            text("STATUS=starting")
        );
        assert_eq!(told.step(&state(Phase::Starting), None), None);
        let mut recovering = state(Phase::Recovering);
        recovering.progress.logs = 12;
        let first = "EXTEND_TIMEOUT_USEC=120000000\nSTATUS=opening logs: 0 of 12";
        assert_eq!(told.step(&recovering, None), text(first));
        assert_eq!(
            told.step(&recovering, None),
            None,
            "no progress, no more time"
        );
        recovering.progress.bytes_checked = 1;
        assert_eq!(
            told.step(&recovering, None),
            text("EXTEND_TIMEOUT_USEC=120000000")
        );
        assert_eq!(
            told.step(&state(Phase::Serving), None),
            text("READY=1\nSTATUS=serving 12 partitions")
        );
        assert_eq!(told.step(&state(Phase::Serving), None), None);
        assert_eq!(
            Told::new(Some(MORE_TIME)).step(&state(Phase::Stopping), Some((0, MORE_TIME))),
            text("STOPPING=1\nSTATUS=stopping")
        );
        let mut less = state(Phase::Serving);
        less.offline.push("/data/2".to_owned());
        assert_eq!(
            told.step(&less, None),
            text("STATUS=serving 12 partitions; offline: /data/2")
        );
        assert_eq!(
            told.step(&state(Phase::Stopping), None),
            text("STOPPING=1\nSTATUS=stopping")
        );
    }

    #[test]
    fn what_was_not_taken_is_told_again() {
        let mut told = Told::new(None);
        let ready = told.step(&state(Phase::Serving), None);
        told.forget();
        assert_eq!(told.step(&state(Phase::Serving), None), ready);
    }

    #[test]
    fn one_silent_shard_is_enough_to_tell_nothing() {
        let mut told = Told::new(Some(Duration::from_secs(20)));
        told.step(&state(Phase::Serving), None);
        let serving = state(Phase::Serving);
        let beat = Some("WATCHDOG=1".to_owned());
        let mut beats = vec![at(100), at(100), at(100)];
        for (now, silent, said) in [
            (105, None, &beat),
            (110, None, &beat),
            (111, Some(1), &None),
            (130, Some(1), &None),
        ] {
            let late = told.late(at(now), &beats);
            assert_eq!(late.map(|(shard, _)| shard), silent, "at {now}");
            assert_eq!(told.step(&serving, late), *said, "at {now}");
            beats[0] = at(now);
            beats[2] = at(now);
        }
        // It answers: all is well again.
        beats[1] = at(131);
        let late = told.late(at(132), &beats);
        assert_eq!(told.step(&serving, late), beat);
    }

    #[test]
    fn without_a_watchdog_nobody_is_late() {
        let told = Told::new(None);
        assert_eq!(told.late(at(1000), &[at(0)]), None);
    }
}
