use super::time_window::Window;
use crate::codec::KeyType;
use crate::process::TimeDomain;
use crate::state::{KeyBytes, KeyRef, TimerQueue};
use crate::time::Clock;
use crate::{Output, Result, Snapshot, StateSection};

/// When windows of keys are due, in both times; and what time it is.
pub(super) struct WindowTimers<W> {
    event: TimerQueue<W>,
    processing: TimerQueue<W>,
    pub(super) watermark: i64,
    /// The clock's time as of the batch or timer in hand.
    pub(super) now: i64,
    /// The last watermark has been: nothing follows.
    pub(super) ended: bool,
    /// No more timers of processing time can be set.
    closed: bool,
    /// Of the assigner.
    pub(super) domain: TimeDomain,
    clock: Clock,
    /// The processing time that the harness was asked to call at.
    alarm: i64,
    /// Timers of one instant that are about to fire, the next one last.
    due: Vec<(i64, KeyBytes, W)>,
}

impl<W: Window> WindowTimers<W> {
    pub(super) fn new(domain: TimeDomain, clock: Clock, keys: &KeyType) -> Self {
        Self {
            event: TimerQueue::new("window event timers").keyed(keys),
            processing: TimerQueue::new("window processing timers").keyed(keys),
            watermark: i64::MIN,
            now: i64::MIN,
            ended: false,
            closed: false,
            domain,
            clock,
            alarm: i64::MAX,
            due: Vec::new(),
        }
    }

    fn queue(&mut self, domain: TimeDomain) -> &mut TimerQueue<W> {
        match domain {
            TimeDomain::EventTime => &mut self.event,
            TimeDomain::ProcessingTime => &mut self.processing,
        }
    }

    pub(super) fn look_at_clock(&mut self) {
        self.now = self.clock.now();
    }

    pub(super) fn set(&mut self, domain: TimeDomain, at: i64, key: KeyRef<'_>, window: &W) {
        if self.closed && domain == TimeDomain::ProcessingTime {
            return;
        }
        self.queue(domain).set(at, key, window.clone());
    }

    pub(super) fn delete(&mut self, domain: TimeDomain, at: i64, key: KeyRef<'_>, window: &W) {
        self.queue(domain).delete(at, key, window.clone());
    }

    /// Takes the next timer that is due at `until`: in the order of times, keys, windows.
    pub(super) fn pop(&mut self, domain: TimeDomain, until: i64) -> Option<(i64, KeyBytes, W)> {
        if self.due.is_empty() {
            let mut due = std::mem::take(&mut self.due);
            let queue = self.queue(domain);
            due.extend(queue.pop(until));
            if let Some(&(at, ..)) = due.first() {
                while queue.next() == Some(at) {
                    due.extend(queue.pop(at));
                }
                due.sort_unstable_by(|a, b| b.cmp(a));
            }
            self.due = due;
        }
        self.due.pop()
    }

    /// Has the harness call when the next processing-time timer is due: a millisecond after its time, since a window of
    /// processing time still takes the records of its last instant.
    pub(super) fn arm(&mut self, out: &mut dyn Output) {
        if let Some(next) = self.processing.next().map(|at| at.saturating_add(1))
            && next < self.alarm
        {
            self.alarm = next;
            out.set_timer(next);
        }
    }

    /// The harness calls when a timer is due. Gives the time of the last timer that fires: the clock has passed it. At the end of
    /// the input all are due, and no more can be set, or there might be no end of them.
    pub(super) fn call(&mut self, now: i64) -> i64 {
        self.now = now;
        self.alarm = i64::MAX;
        self.closed = self.ended;
        if self.closed { i64::MAX } else { now.saturating_sub(1) }
    }

    pub(super) fn snapshot(&self, into: &mut Snapshot) {
        into.deferred.push(self.event.snapshot());
        into.deferred.push(self.processing.snapshot());
    }

    /// Takes back a section, if it is of these timers.
    pub(super) fn restore(&mut self, section: &StateSection) -> Result<bool> {
        Ok(self.event.restore(section)? || self.processing.restore(section)?)
    }
}
