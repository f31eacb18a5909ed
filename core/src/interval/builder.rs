use super::bound::{Interval, TimeBound};
use super::context::IntervalContext;
use super::operator::{IntervalOperator, Settings};
use crate::Result;
use crate::graph::OperatorFactory;
use crate::process::OutputTag;
use crate::stream::{Data, DataStream, KeySelector, KeyedStream};
use std::sync::Arc;

/// A join of two keyed streams on time that is being described: see [`KeyedStream::interval_join`].
#[must_use = "a join does nothing before its function is given"]
pub struct IntervalJoin<L, LS, R, RS> {
    left: KeyedStream<L, LS>,
    right: KeyedStream<R, RS>,
    lower: TimeBound,
    upper: TimeBound,
    late_left: Option<OutputTag<L>>,
    late_right: Option<OutputTag<R>>,
}

impl<L: Data, LS: KeySelector<L>> KeyedStream<L, LS> {
    /// Joins each record with those of another stream that have the same key and an event time within an interval around its
    /// own: every such pair once, in whatever order the two come, if neither was late when it came.
    ///
    /// A record is late if its event time is not later than the operator's watermark, which is the smaller of both streams'.
    /// As event time passes, records that no partner can come for any more are forgotten.
    ///
    /// ```
    /// use fluvial_core::{Env, TimeBound, WatermarkStrategy};
    /// use std::time::Duration;
    ///
    /// let env = Env::default();
    /// let ordered = || WatermarkStrategy::monotonous().with_timestamps(|r: &(u32, i64)| r.1);
    /// let orders = env.from_collection([(1u32, 100i64), (2, 200), (1, 300)]).assign_timestamps_and_watermarks(ordered());
    /// let payments = env.from_collection([(1u32, 150i64), (2, 261), (1, 310)]).assign_timestamps_and_watermarks(ordered());
    /// // Payments that follow an order of the same customer within 60 ms.
    /// let paid = orders
    ///     .key_by(|order| order.0)
    ///     .interval_join(&payments.key_by(|payment| payment.0))
    ///     .between(TimeBound::same_time(), TimeBound::after(Duration::from_millis(60)))
    ///     .join(|order, payment| (order.0, order.1, payment.1));
    /// let mut paid = paid.collect()?;
    /// paid.sort();
    /// assert_eq!(paid, [(1, 100, 150), (1, 300, 310)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn interval_join<R: Data, RS: KeySelector<R, Key = LS::Key>>(
        &self,
        right: &KeyedStream<R, RS>,
    ) -> IntervalJoin<L, LS, R, RS> {
        IntervalJoin {
            left: self.clone(),
            right: right.clone(),
            lower: TimeBound::same_time(),
            upper: TimeBound::same_time(),
            late_left: None,
            late_right: None,
        }
    }
}

impl<L: Data, LS: KeySelector<L>, R: Data, RS: KeySelector<R, Key = LS::Key>> IntervalJoin<L, LS, R, RS> {
    /// Where the right partners of a left record lie, relative to it. Without this they have the same event time.
    ///
    /// An interval without any time in it is an [`Error::Plan`](crate::Error::Plan) when the job starts.
    pub fn between(self, lower: TimeBound, upper: TimeBound) -> Self {
        Self { lower, upper, ..self }
    }

    /// Where late left records go; they keep their event times. Otherwise they are dropped, and counted.
    pub fn late_left(self, tag: &OutputTag<L>) -> Self {
        Self { late_left: Some(tag.clone()), ..self }
    }

    /// Where late right records go.
    pub fn late_right(self, tag: &OutputTag<R>) -> Self {
        Self { late_right: Some(tag.clone()), ..self }
    }

    /// One record for each pair, with the later event time of the two.
    pub fn join<U: Data>(self, mut f: impl FnMut(&L, &R) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        self.process(move |left, right, context| {
            context.emit(f(left, right));
            Ok(())
        })
    }

    /// Gives each pair to a function that emits what it likes. The first error fails the job and names the operator.
    ///
    /// ```
    /// use fluvial_core::{Env, IntervalContext, TimeBound, WatermarkStrategy};
    /// use std::time::Duration;
    /// # let env = Env::default();
    /// # let ordered = || WatermarkStrategy::monotonous().with_timestamps(|r: &(u32, i64)| r.1);
    /// # let (starts, ends) = (env.from_collection([(1u32, 100i64), (2, 200)]), env.from_collection([(1u32, 150i64), (2, 500)]));
    /// # let starts = starts.assign_timestamps_and_watermarks(ordered()).key_by(|s| s.0);
    /// # let ends = ends.assign_timestamps_and_watermarks(ordered()).key_by(|e| e.0);
    /// let hour = TimeBound::after(Duration::from_secs(3600));
    /// let slow = starts.interval_join(&ends).between(TimeBound::same_time(), hour).process(
    ///     |_start, _end, context: &mut IntervalContext<'_, u32, String>| {
    ///         let took = context.right_time() - context.left_time();
    ///         if took > 100 {
    ///             context.emit(format!("{} took {took} ms", context.key()));
    ///         }
    ///         Ok(())
    ///     },
    /// );
    /// assert_eq!(slow.collect()?, ["2 took 300 ms"]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn process<U: Data>(
        self,
        f: impl FnMut(&L, &R, &mut IntervalContext<'_, LS::Key, U>) -> Result<()> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let Self { left, right, lower, upper, late_left, late_right } = self;
        let (left_selector, right_selector) = (left.selector.clone(), right.selector.clone());
        let make: OperatorFactory = Arc::new(move |context| {
            let settings = Settings {
                left: left_selector.clone(),
                right: right_selector.clone(),
                interval: Interval::new(lower, upper)?,
                late_left: late_left.clone(),
                late_right: late_right.clone(),
            };
            Ok(Box::new(IntervalOperator::new(settings, f.clone(), context)))
        });
        left.connect(&right).operator("interval_join", make)
    }
}
