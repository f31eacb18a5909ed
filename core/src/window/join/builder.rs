use super::context::{CoGroup, CoGroupContext};
use super::operator::TwoStreams;
use super::side::{BothSides, EitherKey, JoinSide, Lists};
use crate::graph::OperatorFactory;
use crate::process::{OutputTag, Outputs, TimeDomain};
use crate::state::KeyRef;
use crate::stream::{Data, DataStream, KeySelector, KeyedStream};
use crate::window::aligned::{self, Windows};
use crate::window::assigner::WindowAssigner;
use crate::window::contents::{Summed, Summing};
use crate::window::general::{Settings, WindowOperator};
use crate::window::millis;
use crate::window::time_window::TimeWindow;
use crate::window::trigger::Trigger;
use crate::{Operator, Result};
use std::sync::Arc;
use std::time::Duration;

/// A join of two keyed streams by windows that is being described: see [`KeyedStream::window_join`].
#[must_use = "a join does nothing before its function is given"]
pub struct WindowJoin<L, LS, R, RS, A, G> {
    left: KeyedStream<L, LS>,
    right: KeyedStream<R, RS>,
    assigner: A,
    trigger: G,
    /// The trigger is the assigner's own.
    default_trigger: bool,
    /// Milliseconds.
    lateness: i64,
    late_left: Option<OutputTag<L>>,
    late_right: Option<OutputTag<R>>,
}

impl<L: Data, LS: KeySelector<L>> KeyedStream<L, LS> {
    /// Brings the records of two streams together that have the same key and window. Windows that merge do so over both
    /// streams: a session goes on as long as records of either follow each other.
    ///
    /// ```
    /// use fluvial_core::{Env, Tumbling, WatermarkStrategy};
    /// use std::time::Duration;
    ///
    /// let env = Env::default();
    /// let ordered = || WatermarkStrategy::monotonous().with_timestamps(|r: &(u32, i64)| r.1);
    /// let joined = env.from_collection([(1u32, 3i64), (2, 7), (3, 12)]).assign_timestamps_and_watermarks(ordered());
    /// let sold = env.from_collection([(2u32, 1i64), (3, 8), (1, 9), (3, 19)]).assign_timestamps_and_watermarks(ordered());
    /// // Who joined and sold in the same 10 ms.
    /// let sellers = joined
    ///     .key_by(|person| person.0)
    ///     .window_join(&sold.key_by(|auction| auction.0), Tumbling::of(Duration::from_millis(10)))
    ///     .join(|person, auction| (person.0, person.1, auction.1));
    /// let mut sellers = sellers.collect()?;
    /// sellers.sort();
    /// assert_eq!(sellers, [(1, 3, 9), (2, 7, 1), (3, 12, 19)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn window_join<R, RS, A>(&self, right: &KeyedStream<R, RS>, assigner: A) -> WindowJoin<L, LS, R, RS, A, A::Trigger>
    where
        R: Data,
        RS: KeySelector<R, Key = LS::Key>,
        A: WindowAssigner<JoinSide<L, R>>,
    {
        WindowJoin {
            left: self.clone(),
            right: right.clone(),
            trigger: assigner.default_trigger(),
            assigner,
            default_trigger: true,
            lateness: 0,
            late_left: None,
            late_right: None,
        }
    }
}

impl<L, LS, R, RS, A, G> WindowJoin<L, LS, R, RS, A, G>
where
    L: Data,
    LS: KeySelector<L>,
    R: Data,
    RS: KeySelector<R, Key = LS::Key>,
    A: WindowAssigner<JoinSide<L, R>>,
    G: Trigger<JoinSide<L, R>, A::Window>,
{
    /// When windows give results, in place of the assigner's default.
    pub fn trigger<H: Trigger<JoinSide<L, R>, A::Window>>(self, trigger: H) -> WindowJoin<L, LS, R, RS, A, H> {
        let Self { left, right, assigner, lateness, late_left, late_right, .. } = self;
        WindowJoin { left, right, assigner, trigger, default_trigger: false, lateness, late_left, late_right }
    }

    /// For how long after its end (in event time) a window still takes records; each fires it again, with all its records.
    /// None without it.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { lateness: millis(lateness), ..self }
    }

    /// Where left records go that are too late for all their windows; they keep their event times. Otherwise they are dropped,
    /// and counted.
    pub fn late_left(self, tag: &OutputTag<L>) -> Self {
        Self { late_left: Some(tag.clone()), ..self }
    }

    /// Where right records go that are too late for all their windows.
    pub fn late_right(self, tag: &OutputTag<R>) -> Self {
        Self { late_right: Some(tag.clone()), ..self }
    }

    /// One record for each pair of a left and a right record of a window, left records in the order in which they came, with
    /// the window's last instant as event time.
    pub fn join<U: Data>(self, f: impl Fn(&L, &R) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        self.build("window_join", move |left, right, context| {
            for l in left {
                right.iter().for_each(|r| context.emit(f(l, r)));
            }
            Ok(())
        })
    }

    /// Gives each pair of a window to a function that emits what it likes. The first error fails the job and names the operator.
    pub fn process<U: Data>(
        self,
        f: impl Fn(&L, &R, &mut CoGroupContext<'_, LS::Key, A::Window, U>) -> Result<()> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.build("window_join", move |left, right, context| {
            left.iter().try_for_each(|l| right.iter().try_for_each(|r| f(l, r, context)))
        })
    }

    /// Gives all records of a window, of both streams, to a function: also of windows in which one stream has none, so that
    /// any kind of join can be made of it. The first error fails the job and names the operator.
    ///
    /// ```
    /// use fluvial_core::{CoGroupContext, Env, TimeWindow, Tumbling, WatermarkStrategy};
    /// use std::time::Duration;
    /// # let env = Env::default();
    /// # let ordered = || WatermarkStrategy::monotonous().with_timestamps(|r: &(u32, i64)| r.1);
    /// # let orders = env.from_collection([(1u32, 3i64), (2, 7), (1, 12)]).assign_timestamps_and_watermarks(ordered());
    /// # let returns = env.from_collection([(1u32, 5i64), (1, 8)]).assign_timestamps_and_watermarks(ordered());
    /// let orders = orders.key_by(|order| order.0);
    /// let counts = orders.window_join(&returns.key_by(|r| r.0), Tumbling::of(Duration::from_millis(10))).co_group(
    ///     |orders, returns, context: &mut CoGroupContext<'_, u32, TimeWindow, (u32, i64, usize, usize)>| {
    ///         context.emit((context.key(), context.window().start, orders.len(), returns.len()));
    ///         Ok(())
    ///     },
    /// );
    /// let mut counts = counts.collect()?;
    /// counts.sort();
    /// assert_eq!(counts, [(1, 0, 1, 2), (1, 10, 1, 0), (2, 0, 1, 0)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn co_group<U: Data>(
        self,
        f: impl Fn(&[L], &[R], &mut CoGroupContext<'_, LS::Key, A::Window, U>) -> Result<()> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.build("co_group", f)
    }

    fn build<U: Data>(
        self,
        kind: &'static str,
        f: impl Fn(&[L], &[R], &mut CoGroupContext<'_, LS::Key, A::Window, U>) -> Result<()> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let Self { left, right, assigner, trigger, default_trigger, lateness, late_left, late_right } = self;
        let selector = EitherKey { left: left.selector.clone(), right: right.selector.clone() };
        let make: OperatorFactory = Arc::new(move |context| {
            let (selector, assigner, trigger, f) = (selector.clone(), assigner.clone(), trigger.clone(), f.clone());
            let make = |context: &_, late| -> Box<dyn Operator> {
                // A slice that several windows share would be put together anew for each of them.
                let apart = default_trigger && assigner.domain() == TimeDomain::EventTime;
                match assigner.aligned().filter(|windows| apart && windows.slide >= windows.size) {
                    Some(of) => {
                        let windows = Windows { size: of.size, slide: of.slide, offset: of.offset, lateness };
                        let emit = move |key: KeyRef<'_>, span: TimeWindow, lists: Lists<L, R>, outputs: &mut Outputs<U>| {
                            let window = (of.window)(span);
                            let result = f(&lists.left, &lists.right, &mut CoGroupContext::new(key, &window, outputs));
                            result.unwrap_or_else(|error| outputs.fail(error));
                        };
                        aligned::operator(windows, (selector, BothSides::new()), emit, Some(late), true, context)
                    }
                    None => {
                        let settings = Settings { selector, assigner, trigger, lateness, late: Some(late) };
                        let summing = Summing { aggregator: BothSides::new(), unpack: Some };
                        Box::new(WindowOperator::new(settings, Summed(summing), CoGroup::new(f), context))
                    }
                }
            };
            Ok(Box::new(TwoStreams::new(context, (late_left.as_ref(), late_right.as_ref()), make)))
        });
        left.connect(&right).operator(kind, make)
    }
}
