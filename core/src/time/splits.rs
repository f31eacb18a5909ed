use super::Clock;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What an assigner asks of its splits, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// A split without a record for this long is idle.
    pub(super) idleness: Option<i64>,
    /// How far a split may be ahead of the slowest.
    pub(super) drift: Option<i64>,
}

/// Event time of the splits that one instance reads: a source says which there are, the assigner in its chain how far each
/// is. Clones are the same. The watermark of all is the smallest of the active splits, and never goes back.
#[derive(Clone)]
pub(crate) struct SplitTimes(Rc<RefCell<Splits>>);

struct Splits {
    clock: Clock,
    /// `None`: there is no assigner.
    rules: Option<Rules>,
    splits: BTreeMap<u32, Split>,
    /// Splits that have ended since the assigner looked last.
    ended: Vec<u32>,
    /// Whether there was a split ever.
    begun: bool,
    /// The smallest watermark of the active splits, unless `stale`; `None` if there are none.
    lowest: Option<i64>,
    stale: bool,
    /// The watermark that has been given out.
    reached: i64,
    /// The smallest watermark of the active instances.
    global: Option<i64>,
    /// When it was made, and how long the instance has been held up since: time that does not count.
    made_at: i64,
    held_up: i64,
}

struct Split {
    watermark: i64,
    /// When it was active last; time in which the instance was held up does not count.
    active_at: i64,
    idle: bool,
}

impl SplitTimes {
    pub(crate) fn new(clock: &Clock) -> Self {
        let splits = Splits {
            made_at: clock.now(),
            clock: clock.clone(),
            rules: None,
            splits: BTreeMap::new(),
            ended: Vec::new(),
            begun: false,
            lowest: None,
            stale: false,
            reached: i64::MIN,
            global: None,
            held_up: 0,
        };
        Self(Rc::new(RefCell::new(splits)))
    }

    /// An assigner says that the splits are its. Whether they are: of several in one chain only the last has them, and asks
    /// first.
    pub(super) fn claim(&self, rules: Rules) -> bool {
        let mut splits = self.0.borrow_mut();
        let first = splits.rules.is_none();
        splits.rules.get_or_insert(rules);
        first
    }

    /// Whether there is an assigner.
    pub(crate) fn is_assigned(&self) -> bool {
        self.0.borrow().rules.is_some()
    }

    /// A source begins to read a split, which holds back event time from now on; one that is not announced does so from its
    /// first record on.
    pub(crate) fn begin_split(&self, split: u32) {
        self.0.borrow_mut().split(split);
    }

    /// A split has ended: it does not hold back event time any more. Its number may be used again.
    pub(crate) fn end_split(&self, split: u32) {
        let mut splits = self.0.borrow_mut();
        if splits.rules.is_some() {
            splits.splits.remove(&split);
            splits.ended.push(split);
            (splits.begun, splits.stale) = (true, true);
        }
    }

    /// Whether a split is so far ahead of the slowest that it should not be read at present. Another look is due when the
    /// source is polled next: that happens whenever the slowest has moved.
    pub(crate) fn paused(&self, split: u32) -> bool {
        self.0.borrow_mut().paused(split)
    }

    /// The smallest watermark of the active instances, for alignment.
    pub(super) fn on_global_watermark(&self, watermark: i64) {
        self.0.borrow_mut().global = Some(watermark);
    }

    /// All records of `split` with which `watermark` came have been sent. `now` is that of [`SplitTimes::now`].
    pub(super) fn observe(&self, split: u32, watermark: i64, now: i64) {
        let mut splits = self.0.borrow_mut();
        let lowest = splits.lowest;
        let known = splits.split(split);
        let changes = known.idle || lowest.is_none_or(|lowest| known.watermark <= lowest);
        known.watermark = known.watermark.max(watermark);
        (known.active_at, known.idle) = (now, false);
        splits.stale |= changes;
    }

    /// The time by which idleness is measured; 0 where it is not.
    pub(super) fn now(&self) -> i64 {
        self.0.borrow().now()
    }

    /// Whether splits can become idle.
    pub(super) fn measures_idleness(&self) -> bool {
        self.0.borrow().rules.is_some_and(|rules| rules.idleness.is_some())
    }

    /// What the clock says.
    pub(super) fn clock_now(&self) -> i64 {
        self.0.borrow().clock.now()
    }

    /// The splits that have ended since the last call.
    pub(super) fn take_ended(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.borrow_mut().ended)
    }

    /// The instance could not read for so long, for no fault of its splits.
    pub(super) fn held_up(&self, milliseconds: i64) {
        self.0.borrow_mut().held_up += milliseconds;
    }

    /// Only records later than this follow from this instance, except late ones.
    pub(super) fn watermark(&self) -> i64 {
        let mut splits = self.0.borrow_mut();
        splits.look();
        if let Some(lowest) = splits.lowest() {
            splits.reached = splits.reached.max(lowest);
        }
        splits.reached
    }

    /// Whether no split is active.
    pub(super) fn idle(&self) -> bool {
        let mut splits = self.0.borrow_mut();
        splits.look();
        match splits.rules.and_then(|rules| rules.idleness) {
            Some(idleness) if !splits.begun => splits.now() - splits.made_at >= idleness,
            _ => splits.begun && splits.lowest().is_none(),
        }
    }

    /// When a split may become idle, by the clock; `None` if none can.
    pub(super) fn next_look(&self) -> Option<i64> {
        let splits = self.0.borrow();
        let idleness = splits.rules?.idleness?;
        let quiet = match splits.begun {
            false => splits.made_at,
            true => splits.splits.values().filter(|s| !s.idle).map(|s| s.active_at).min()?,
        };
        Some(quiet.saturating_add(idleness).saturating_add(splits.held_up))
    }
}

impl Splits {
    fn now(&self) -> i64 {
        match self.rules {
            Some(Rules { idleness: Some(_), .. }) => self.clock.now() - self.held_up,
            _ => 0,
        }
    }

    fn split(&mut self, split: u32) -> &mut Split {
        let now = self.now();
        let Self { splits, begun, stale, .. } = self;
        *begun = true;
        splits.entry(split).or_insert_with(|| {
            *stale = true;
            Split { watermark: i64::MIN, active_at: now, idle: false }
        })
    }

    fn lowest(&mut self) -> Option<i64> {
        if std::mem::take(&mut self.stale) {
            self.lowest = self.splits.values().filter(|s| !s.idle).map(|s| s.watermark).min();
        }
        self.lowest
    }

    fn paused(&mut self, split: u32) -> bool {
        let Some(drift) = self.rules.and_then(|rules| rules.drift) else { return false };
        let Some(slowest) = self.lowest().into_iter().chain(self.global).min() else { return false };
        self.splits.get(&split).is_some_and(|s| s.watermark > slowest.saturating_add(drift))
    }

    /// Finds out which splits are idle.
    fn look(&mut self) {
        let Some(idleness) = self.rules.and_then(|rules| rules.idleness) else { return };
        let now = self.now();
        let quiet: Vec<u32> =
            self.splits.iter().filter(|(_, s)| !s.idle && now - s.active_at >= idleness).map(|(split, _)| *split).collect();
        for split in quiet {
            // One that is not read has no chance to say something.
            let paused = self.paused(split);
            if let Some(split) = self.splits.get_mut(&split) {
                split.idle = !paused;
                split.active_at = now;
            }
            self.stale = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rules: Rules) -> (SplitTimes, Clock) {
        let clock = Clock::manual(1_000);
        let times = SplitTimes::new(&clock);
        assert!(times.claim(rules));
        (times, clock)
    }

    #[test]
    fn the_slowest_active_split_decides() {
        let (times, _) = times(Rules::default());
        assert_eq!((times.watermark(), times.idle()), (i64::MIN, false));
        times.begin_split(1);
        times.observe(7, 50, times.now());
        assert_eq!(times.watermark(), i64::MIN, "split 1 has said nothing yet");
        times.observe(1, 40, times.now());
        assert_eq!(times.watermark(), 40);
        times.end_split(1);
        assert_eq!((times.watermark(), times.take_ended()), (50, vec![1]));
        times.observe(2, 10, times.now());
        assert_eq!(times.watermark(), 50, "time does not go back");
        times.end_split(2);
        times.end_split(7);
        assert_eq!((times.watermark(), times.idle()), (50, true), "none is left");
        times.begin_split(9);
        assert_eq!((times.watermark(), times.idle()), (50, false));
    }

    #[test]
    fn silent_splits_fall_idle_and_resume_without_moving_time_back() {
        let (times, clock) = times(Rules { idleness: Some(100), drift: None });
        times.observe(0, 10, times.now());
        times.observe(1, 500, times.now());
        assert_eq!((times.watermark(), times.next_look()), (10, Some(1_100)));
        clock.advance_to(1_060);
        times.observe(1, 600, times.now());
        clock.advance_to(1_100);
        assert_eq!((times.watermark(), times.idle()), (600, false), "split 0 is left out");
        assert_eq!(times.next_look(), Some(1_160));
        times.observe(0, 20, times.now());
        assert_eq!(times.watermark(), 600);
        times.observe(1, 700, times.now());
        assert_eq!(times.watermark(), 600, "split 0 is at 20 and holds back again");
        times.observe(0, 650, times.now());
        assert_eq!(times.watermark(), 650);
        clock.advance_to(1_200);
        assert_eq!((times.watermark(), times.idle(), times.next_look()), (650, true, None));
    }

    #[test]
    fn an_instance_that_never_had_a_record_is_idle_after_a_while() {
        let (times, clock) = times(Rules { idleness: Some(100), drift: None });
        assert!(!times.idle());
        clock.advance_to(1_100);
        assert!(times.idle());
    }

    #[test]
    fn time_in_which_the_instance_is_held_up_does_not_count() {
        let (times, clock) = times(Rules { idleness: Some(100), drift: None });
        times.observe(0, 1, times.now());
        clock.advance_to(5_000);
        times.held_up(3_950);
        assert!(!times.idle());
        assert_eq!(times.next_look(), Some(5_050));
        clock.advance_to(5_050);
        assert!(times.idle());
    }

    #[test]
    fn fast_splits_are_paused_and_do_not_fall_idle_for_it() {
        let (times, clock) = times(Rules { idleness: Some(100), drift: Some(50) });
        times.observe(0, 100, times.now());
        times.observe(1, 150, times.now());
        assert!(!times.paused(0) && !times.paused(1));
        times.observe(1, 151, times.now());
        assert!(times.paused(1) && !times.paused(0));
        clock.advance_to(1_099);
        times.observe(0, 100, times.now());
        clock.advance_to(1_150);
        assert_eq!(times.watermark(), 100);
        assert!(times.paused(1));
        times.on_global_watermark(20);
        assert!(times.paused(0), "another instance is slower");
        times.on_global_watermark(100);
        assert!(!times.paused(0));
        clock.advance_to(1_200);
        assert_eq!(times.watermark(), 151, "split 0 is idle, split 1 was held up");
        assert!(!times.paused(2), "a split that nobody knows is not");
    }
}
