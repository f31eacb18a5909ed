use super::assign::{Attach, attach};
use super::milliseconds;
use super::splits::Rules;
use std::sync::Arc;
use std::time::Duration;

/// Makes watermarks of the records that pass: one generator a split of a source, or one an instance of an assigner in
/// mid-graph.
pub trait WatermarkGenerator<T> {
    /// A record passes; `time` is its event time, milliseconds UTC, `i64::MIN` if it has none.
    fn on_event(&mut self, record: &T, time: i64);

    /// The watermark as of now: only records later than it are still to come. `i64::MIN` if there is none yet. A value
    /// smaller than an earlier one counts as that one.
    fn current(&self) -> i64;
}

/// Decides by record whether it brings a watermark.
type Punctuate<T> = Arc<dyn Fn(&T, i64) -> Option<i64> + Send + Sync>;

/// The generator of one split. An enum, so that the usual ones cost a record a comparison and no call.
pub(super) enum Generator<T> {
    /// The latest time seen less a delay.
    Delayed {
        seen: i64,
        delay: i64,
    },
    Punctuated {
        watermark: i64,
        of: Punctuate<T>,
    },
    Custom(Box<dyn WatermarkGenerator<T>>),
    None,
}

impl<T> Generator<T> {
    #[inline]
    pub(super) fn on_event(&mut self, record: &T, time: i64) {
        match self {
            Self::Delayed { seen, .. } => *seen = (*seen).max(time),
            Self::Punctuated { watermark, of } => {
                if let Some(new) = of(record, time) {
                    *watermark = (*watermark).max(new);
                }
            }
            Self::Custom(generator) => generator.on_event(record, time),
            Self::None => {}
        }
    }

    pub(super) fn current(&self) -> i64 {
        match self {
            Self::Delayed { seen, delay } => seen.saturating_sub(*delay),
            Self::Punctuated { watermark, .. } => *watermark,
            Self::Custom(generator) => generator.current(),
            Self::None => i64::MIN,
        }
    }
}

/// How the records of a stream get event times, and the stream its watermarks (Akidau et al., "The Dataflow Model", VLDB
/// 2015): given to [`DataStream::assign_timestamps_and_watermarks`](crate::DataStream::assign_timestamps_and_watermarks).
///
/// ```
/// use fluvial_core::{Env, WatermarkStrategy};
/// use std::time::Duration;
///
/// let env = Env::default();
/// let clicks = env.from_collection([("a".to_string(), 1_000i64), ("b".to_string(), 900)]);
/// // Records come up to five seconds late; a split that is silent for a minute is not waited for.
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(5))
///     .with_timestamps(|click: &(String, i64)| click.1)
///     .with_idleness(Duration::from_secs(60));
/// assert_eq!(clicks.assign_timestamps_and_watermarks(strategy).count()?, 2);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct WatermarkStrategy<T> {
    generator: Arc<dyn Fn() -> Generator<T> + Send + Sync>,
    pub(super) attach: Attach<T>,
    pub(super) rules: Rules,
    /// What kind of watermarks, for people.
    pub(super) detail: String,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        let Self { generator, attach, rules, detail } = self;
        Self { generator: generator.clone(), attach: attach.clone(), rules: *rules, detail: detail.clone() }
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    fn new(detail: String, generator: impl Fn() -> Generator<T> + Send + Sync + 'static) -> Self {
        // Records keep the event times that they have.
        Self { generator: Arc::new(generator), attach: attach(|_, time| time), rules: Rules::default(), detail }
    }

    /// For records in the order of their event times, several of one time included: the watermark is the latest time less
    /// 1 ms.
    pub fn monotonous() -> Self {
        Self::new("monotonous".into(), || Generator::Delayed { seen: i64::MIN, delay: 1 })
    }

    /// For records that come at most `bound` later than one with a later event time: the watermark is the latest time less
    /// `bound` and 1 ms.
    pub fn bounded_out_of_orderness(bound: Duration) -> Self {
        let delay = milliseconds(bound).saturating_add(1);
        Self::new(format!("out of order by {bound:?}"), move || Generator::Delayed { seen: i64::MIN, delay })
    }

    /// The records bring the watermarks: `watermark` is given each with its event time and says whether there is one.
    ///
    /// ```
    /// use fluvial_core::WatermarkStrategy;
    /// // A record without a value says that everything up to its time has come.
    /// let strategy = WatermarkStrategy::punctuated(|reading: &(i64, Option<f64>), time| reading.1.is_none().then_some(time))
    ///     .with_timestamps(|reading| reading.0);
    /// # let _ = strategy;
    /// ```
    pub fn punctuated(watermark: impl Fn(&T, i64) -> Option<i64> + Send + Sync + 'static) -> Self {
        let of: Punctuate<T> = Arc::new(watermark);
        Self::new("punctuated".into(), move || Generator::Punctuated { watermark: i64::MIN, of: of.clone() })
    }

    /// Generators of one's own; `make` is called for every split.
    pub fn custom<G: WatermarkGenerator<T> + 'static>(make: impl Fn() -> G + Send + Sync + 'static) -> Self {
        Self::new("custom".into(), move || Generator::Custom(Box::new(make())))
    }

    /// No watermarks before the end of the stream, for jobs that go by processing time.
    pub fn none() -> Self {
        Self::new("no watermarks".into(), || Generator::None)
    }

    /// Where the event time of a record is, milliseconds UTC. Without it records keep the times that they have: of their source,
    /// or of an operator before.
    #[must_use]
    pub fn with_timestamps(self, time: impl Fn(&T) -> i64 + Clone + Send + Sync + 'static) -> Self {
        Self { attach: attach(move |record, _| time(record)), ..self }
    }

    /// A split that brings no record for this long, by the job's clock, does not hold back event time until it brings one
    /// again. Its records may be late then: time does not go back for them. What passes while the source waits for a slower
    /// consumer, or for slower splits, does not count.
    #[must_use]
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.rules.idleness = Some(milliseconds(timeout).max(1));
        self
    }

    /// A split whose watermark is ahead of the slowest one's, over all workers, by more than `drift` is not read until that
    /// one has caught up: what operators keep for the time between stays small. Needs a source that has splits, right before
    /// the assigner; elsewhere it changes nothing.
    #[must_use]
    pub fn with_alignment(mut self, drift: Duration) -> Self {
        self.rules.drift = Some(milliseconds(drift));
        self
    }

    pub(super) fn generator(&self) -> Generator<T> {
        (self.generator)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermarks<T: 'static>(strategy: &WatermarkStrategy<T>, events: impl IntoIterator<Item = (T, i64)>) -> Vec<i64> {
        let mut generator = strategy.generator();
        let mut seen = vec![generator.current()];
        for (record, time) in events {
            generator.on_event(&record, time);
            seen.push(generator.current());
        }
        seen
    }

    #[test]
    fn the_built_in_generators() {
        let times = [5, 7, 3, i64::MIN, 20].map(|time| ((), time));
        assert_eq!(watermarks(&WatermarkStrategy::monotonous(), times), [i64::MIN, 4, 6, 6, 6, 19]);
        let bounded = WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(10));
        assert_eq!(watermarks(&bounded, times), [i64::MIN, -6, -4, -4, -4, 9]);
        assert_eq!(watermarks(&WatermarkStrategy::none(), times), [i64::MIN; 6]);
        let forever = WatermarkStrategy::bounded_out_of_orderness(Duration::MAX);
        assert_eq!(watermarks(&forever, [((), 0), ((), i64::MAX)]), [i64::MIN, -i64::MAX, 0], "saturates");
        let marks = WatermarkStrategy::punctuated(|mark: &bool, time| mark.then_some(time));
        assert_eq!(watermarks(&marks, [(false, 9), (true, 8), (true, 2)]), [i64::MIN, i64::MIN, 8, 8]);
    }
}
