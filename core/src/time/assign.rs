//! The assigner: a step of a chain that gives records their event times and watches the splits they come from; and what
//! makes the source, or the operator, that runs the chain announce its watermark.

use super::splits::SplitTimes;
use super::watermark::{Generator, WatermarkStrategy};
use crate::chain::{AnyCollector, BoxCollector, Collector, Context};
use crate::graph::{Body, LinkFactory, TaskContext, Timing};
use crate::stream::{typed_head, typed_port};
use crate::{Batch, Data, DataStream, Operator, OperatorContext, Output, Position, Progress, Restored, Result, Snapshot, Source};
use std::sync::Arc;
use std::time::Instant;

impl<T: Data> DataStream<T> {
    /// Gives the records event times and the stream its watermarks, in place of those that it has. Best right behind a
    /// source: each split of it then has a watermark of its own. In batch mode there are no watermarks before the end.
    ///
    /// ```
    /// # use fluvial_core::{Env, WatermarkStrategy};
    /// # let env = Env::default();
    /// let readings = env.sequence(0..100).map(|n| (n % 4, n * 1_000));
    /// let timed = readings.assign_timestamps_and_watermarks(
    ///     WatermarkStrategy::monotonous().with_timestamps(|reading: &(u64, u64)| reading.1 as i64),
    /// );
    /// assert_eq!(timed.count()?, 100);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn assign_timestamps_and_watermarks(&self, strategy: WatermarkStrategy<T>) -> DataStream<T> {
        let detail = strategy.detail.clone();
        let make: LinkFactory = Arc::new(move |context, next| Ok(strategy.collector(context, next.into::<T>()?)));
        let body = Body::Link { make, head: typed_head::<T>(), port: typed_port::<T>() };
        let node = self.after("assign_timestamps", detail, body).timing(Timing::Assigns);
        DataStream::new(&self.env, self.env.add(node))
    }
}

/// Puts an assigner before a collector. Made where the type of the user's function is known, so that it is no call by pointer
/// a record.
pub(super) type Attach<T> = Arc<dyn Fn(Option<Generators<T>>, BoxCollector<T>) -> AnyCollector + Send + Sync>;

/// For a function that is given each record and the time that it has, and says which it gets.
pub(super) fn attach<T: 'static>(time: impl Fn(&T, i64) -> i64 + Clone + Send + Sync + 'static) -> Attach<T> {
    Arc::new(move |generators, next| AnyCollector::new::<T>(Assign { time: time.clone(), generators, next }))
}

impl<T: 'static> WatermarkStrategy<T> {
    fn collector(&self, context: &TaskContext, next: BoxCollector<T>) -> AnyCollector {
        let times = context.splits();
        let watches = context.is_streaming() && times.claim(self.rules);
        let generators =
            watches.then(|| Generators { strategy: self.clone(), slots: Vec::new(), current: 0, times: times.clone() });
        (self.attach)(generators, next)
    }
}

struct Assign<T, F> {
    time: F,
    /// None in batch mode, and where another assigner follows in the same chain.
    generators: Option<Generators<T>>,
    next: BoxCollector<T>,
}

impl<T: 'static, F: Fn(&T, i64) -> i64> Collector<T> for Assign<T, F> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        let before = context.time;
        let time = (self.time)(&record, before);
        if let Some(generators) = &mut self.generators {
            generators.on_event(context.split, &record, time);
        }
        context.time = time;
        self.next.push(record, context);
        // The step before may make several records of one.
        context.time = before;
    }

    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        self.next.end_batch(position, context);
        // Only now have they been sent.
        if let Some(generators) = &mut self.generators {
            generators.publish();
        }
    }

    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        self.next.finish(context)
    }
}

/// One generator a split.
pub(super) struct Generators<T> {
    strategy: WatermarkStrategy<T>,
    /// Ordered by split.
    slots: Vec<Slot<T>>,
    /// The slot of the last record.
    current: usize,
    times: SplitTimes,
}

struct Slot<T> {
    split: u32,
    generator: Generator<T>,
    /// Whether it had a record since the last look.
    touched: bool,
}

impl<T: 'static> Generators<T> {
    #[inline]
    fn on_event(&mut self, split: u32, record: &T, time: i64) {
        if self.slots.get(self.current).is_none_or(|slot| slot.split != split) {
            self.turn_to(split);
        }
        let slot = &mut self.slots[self.current];
        slot.touched = true;
        slot.generator.on_event(record, time);
    }

    #[cold]
    fn turn_to(&mut self, split: u32) {
        let found = self.slots.binary_search_by_key(&split, |slot| slot.split);
        self.current = found.unwrap_or_else(|at| {
            self.slots.insert(at, Slot { split, generator: self.strategy.generator(), touched: false });
            at
        });
    }

    /// Says how far the splits are.
    fn publish(&mut self) {
        let ended = self.times.take_ended();
        if !ended.is_empty() {
            self.slots.retain(|slot| !ended.contains(&slot.split));
        }
        let now = self.times.now();
        for slot in self.slots.iter_mut().filter(|slot| slot.touched) {
            slot.touched = false;
            self.times.observe(slot.split, slot.generator.current(), now);
        }
    }
}

/// A source whose watermark is that of the assigner in its chain; in batch mode it has none before its end.
pub(crate) struct AssignedSource {
    source: Box<dyn Source>,
    /// `None` in batch mode.
    times: Option<SplitTimes>,
    /// Since when it has not been read although it could be: what passes until the next poll is not the splits' silence.
    held_up_since: Option<i64>,
    look: Look,
}

/// Asks for a call when a split may have become idle, for one at a time.
#[derive(Default)]
struct Look {
    at: Option<i64>,
}

impl Look {
    /// `now` by the clock.
    fn arrange(&mut self, times: &SplitTimes, now: i64, out: &mut dyn Output) {
        if self.at.is_some_and(|at| at > now) {
            return;
        }
        self.at = times.next_look();
        if let Some(at) = self.at {
            out.set_timer(at);
        }
    }
}

impl AssignedSource {
    /// Wraps a source whose chain has an assigner, or any source in batch mode.
    pub(crate) fn wrap(source: Box<dyn Source>, context: &TaskContext) -> Box<dyn Source> {
        let times = match context.is_streaming() {
            true if !context.splits().is_assigned() => return source,
            true => Some(context.splits().clone()),
            false => None,
        };
        Box::new(Self { source, times, held_up_since: None, look: Look::default() })
    }
}

impl Source for AssignedSource {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.source.open(context)
    }

    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let Some(times) = self.times.as_ref().filter(|times| times.measures_idleness()) else { return self.source.poll(out) };
        if let Some(since) = self.held_up_since.take() {
            times.held_up(times.clock_now() - since);
        }
        let progress = self.source.poll(out)?;
        let now = times.clock_now();
        match progress {
            Progress::More => self.held_up_since = Some(now),
            Progress::Waiting => self.look.arrange(times, now, out),
            Progress::Done => {}
        }
        Ok(progress)
    }

    fn held_up(&mut self) {
        if let Some(times) = self.times.as_ref().filter(|times| times.measures_idleness()) {
            let now = times.clock_now();
            // From now on, if the splits have been silent up to here.
            let since = self.held_up_since.replace(now).unwrap_or(now);
            times.held_up(now - since);
        }
        self.source.held_up();
    }

    fn wake_at(&self) -> Option<Instant> {
        self.source.wake_at()
    }

    fn watermark(&self) -> i64 {
        self.times.as_ref().map_or(i64::MIN, SplitTimes::watermark)
    }
    fn idle(&self) -> bool {
        self.times.as_ref().is_some_and(|times| times.idle() || self.source.idle())
    }
    fn on_global_watermark(&mut self, watermark: i64) {
        if let Some(times) = &self.times {
            times.on_global_watermark(watermark);
        }
        self.source.on_global_watermark(watermark);
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.source.snapshot(epoch)
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        self.source.restore(state)
    }
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.source.checkpoint_complete(epoch)
    }
    fn stop(&mut self) {
        self.source.stop();
    }
    fn abort(&mut self) {
        self.source.abort();
    }
}

/// A chain with an assigner in mid-graph: its watermark replaces that of its input.
pub(crate) struct AssigningOperator {
    chain: Box<dyn Operator>,
    times: SplitTimes,
    look: Look,
}

impl AssigningOperator {
    pub(crate) fn new(chain: Box<dyn Operator>, context: &TaskContext) -> Self {
        let times = context.splits().clone();
        // All that comes here is one split.
        times.begin_split(0);
        Self { chain, times, look: Look::default() }
    }

    fn look(&mut self, out: &mut dyn Output) {
        if self.times.measures_idleness() {
            self.look.arrange(&self.times, self.times.clock_now(), out);
        }
    }
}

impl Operator for AssigningOperator {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.chain.open(context)
    }
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.chain.process(input, batch, out)?;
        self.look(out);
        Ok(progress)
    }
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.chain.resume(out)
    }
    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        self.chain.end_input(input, out)
    }
    fn on_timer(&mut self, _now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.look(out);
        Ok(Progress::Done)
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.chain.finish(out)
    }
    fn watermark(&self) -> i64 {
        self.times.watermark()
    }
    fn idle(&self) -> bool {
        self.times.idle()
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.chain.snapshot(epoch)
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        self.chain.restore(state)
    }
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.chain.checkpoint_complete(epoch)
    }
    fn checkpoint_aborted(&mut self, epoch: u64) -> Result<()> {
        self.chain.checkpoint_aborted(epoch)
    }
    fn commits(&self) -> bool {
        self.chain.commits()
    }
    fn abort(&mut self) {
        self.chain.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::super::splits::Rules;
    use super::*;
    use crate::Clock;

    /// A source that has nothing at present, and says when it will.
    struct Quiet(Instant);

    impl Source for Quiet {
        fn poll(&mut self, _: &mut dyn Output) -> Result<Progress> {
            Ok(Progress::Waiting)
        }
        fn wake_at(&self) -> Option<Instant> {
            Some(self.0)
        }
    }

    struct Nowhere;

    impl Output for Nowhere {
        fn send(&mut self, _: usize, _: Batch) -> Result<()> {
            Ok(())
        }
        fn congested(&self, _: usize) -> bool {
            false
        }
        fn set_timer(&mut self, _: i64) {}
    }

    fn quiet(clock: &Clock) -> (AssignedSource, SplitTimes) {
        let times = SplitTimes::new(clock);
        times.claim(Rules { idleness: Some(1_000), drift: None });
        let source = Box::new(Quiet(Instant::now()));
        (AssignedSource { source, times: Some(times.clone()), held_up_since: None, look: Look::default() }, times)
    }

    #[test]
    fn time_without_room_is_no_silence() {
        let clock = Clock::manual(0);
        let (mut source, times) = quiet(&clock);
        times.observe(0, 100, times.now());
        times.observe(1, 90, times.now());
        assert_eq!(source.poll(&mut Nowhere).unwrap(), Progress::Waiting);
        clock.advance_to(400);
        for time in [400, 3_000, 5_000] {
            clock.advance_to(time);
            source.held_up();
            assert_eq!((source.watermark(), source.idle()), (90, false), "at {time}");
        }
        assert_eq!(source.poll(&mut Nowhere).unwrap(), Progress::Waiting);
        times.observe(0, 100, times.now());
        // Split 1 has been silent for the 400 ms before and for what has passed since.
        clock.advance_to(5_599);
        assert_eq!(source.watermark(), 90);
        clock.advance_to(5_601);
        assert_eq!(source.watermark(), 100);
    }

    #[test]
    fn a_wrapped_source_still_says_when_it_is_to_be_polled() {
        let (source, _) = quiet(&Clock::manual(0));
        assert!(source.wake_at().is_some());
    }
}
