use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Waker;

/// Where processing time comes from: the system, or a program that drives it by hand. Clones are the same clock; it is part
/// of a [`Config`](crate::Config), and all processing-time timers of its jobs go by it.
///
/// ```
/// use fluvial_core::Clock;
/// let clock = Clock::manual(1_000);
/// clock.advance_to(61_000);
/// assert_eq!(clock.now(), 61_000);
/// clock.advance_to(5); // time does not go back
/// assert_eq!(clock.now(), 61_000);
/// assert!(Clock::system().now() > 61_000);
/// ```
#[derive(Clone, Default)]
pub struct Clock {
    /// `None`: the system's.
    manual: Option<Arc<Manual>>,
}

struct Manual {
    now: AtomicI64,
    /// Who is to be woken when, earliest first.
    sleepers: Mutex<BTreeMap<i64, Vec<Waker>>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `start`, milliseconds UTC, until it is advanced.
    pub fn manual(start: i64) -> Self {
        Self { manual: Some(Arc::new(Manual { now: AtomicI64::new(start), sleepers: Mutex::default() })) }
    }

    /// Milliseconds UTC.
    pub fn now(&self) -> i64 {
        match &self.manual {
            Some(manual) => manual.now.load(SeqCst),
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
        }
    }

    /// Sets a manual clock to `time`, milliseconds UTC, and has what is due by then happen. It does not go back; a time before
    /// the present one changes nothing, and neither does any time on the system's clock.
    pub fn advance_to(&self, time: i64) {
        let Some(manual) = &self.manual else { return };
        let due = {
            let mut sleepers = manual.sleepers.lock().unwrap_or_else(|e| e.into_inner());
            let now = manual.now.fetch_max(time, SeqCst).max(time);
            match now.checked_add(1) {
                Some(next) => {
                    let later = sleepers.split_off(&next);
                    std::mem::replace(&mut *sleepers, later)
                }
                None => std::mem::take(&mut *sleepers),
            }
        };
        due.into_values().flatten().for_each(|wake| wake());
    }

    /// Arranges a call at `time`. Gives the real time until then, for the caller to arrange it; `None` if this clock is driven by
    /// hand and will call `waker`.
    pub(crate) fn call_at(&self, time: i64, waker: impl FnOnce() -> Waker) -> Option<Duration> {
        let Some(manual) = &self.manual else {
            return Some(Duration::from_millis(time.saturating_sub(self.now()).max(0) as u64));
        };
        let waker = waker();
        let mut sleepers = manual.sleepers.lock().unwrap_or_else(|e| e.into_inner());
        // With the lock: whoever advances the clock from here on finds the sleeper.
        if manual.now.load(SeqCst) >= time {
            drop(sleepers);
            waker();
        } else {
            sleepers.entry(time).or_default().push(waker);
        }
        None
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.manual {
            Some(manual) => write!(f, "manual clock at {}", manual.now.load(SeqCst)),
            None => f.write_str("system clock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_manual_clock_wakes_those_whose_time_has_come() {
        let clock = Clock::manual(0);
        let woken = Arc::new(AtomicUsize::new(0));
        let waker = || -> Waker {
            let woken = woken.clone();
            Arc::new(move || {
                woken.fetch_add(1, SeqCst);
            })
        };
        for time in [10, 10, 20, i64::MAX] {
            assert_eq!(clock.call_at(time, waker), None);
        }
        clock.advance_to(9);
        assert_eq!(woken.load(SeqCst), 0);
        clock.advance_to(10);
        assert_eq!(woken.load(SeqCst), 2);
        clock.call_at(7, waker);
        assert_eq!(woken.load(SeqCst), 3, "what is due already is called at once");
        clock.advance_to(i64::MAX);
        assert_eq!(woken.load(SeqCst), 5);
    }

    #[test]
    fn the_systems_clock_says_how_long_it_takes() {
        let clock = Clock::system();
        let wait = clock.call_at(clock.now() + 60_000, || unreachable!("the caller waits"));
        assert!(wait.is_some_and(|wait| wait <= Duration::from_secs(60) && wait > Duration::from_secs(30)));
        assert_eq!(clock.call_at(i64::MIN, || unreachable!("the caller waits")), Some(Duration::ZERO));
    }
}
