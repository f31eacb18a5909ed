//! Windows of so many records.

use super::assigner::Global;
use super::builder::WindowedStream;
use super::evictor::CountEvictor;
use super::trigger::{CountTrigger, PurgingTrigger};
use crate::stream::{Data, KeySelector, KeyedStream};

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Windows of `count` records of a key, at least one, one after another. A last one that is not full gives nothing.
    ///
    /// ```
    /// # use fluvial_core::{Config, Env};
    /// # let env = Env::new(Config { threads: 1, ..Config::default() });
    /// let sums = env.from_collection([1, 2, 3, 4, 5]).key_by(|_| 0u8).count_window(2).reduce(|a, b| a + b);
    /// assert_eq!(sums.map(|w| w.value).collect()?, [3, 7]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn count_window(&self, count: u64) -> WindowedStream<T, S, Global, PurgingTrigger<CountTrigger>> {
        self.window(Global).trigger(PurgingTrigger::of(CountTrigger::of(count)))
    }

    /// The last `count` records of a key, after every `slide` of them; the first ones may be fewer.
    ///
    /// ```
    /// # use fluvial_core::{Config, Env};
    /// # let env = Env::new(Config { threads: 1, ..Config::default() });
    /// let sums = env.from_collection([1, 2, 3, 4, 5]).key_by(|_| 0u8).count_window_sliding(3, 2).reduce(|a, b| a + b);
    /// assert_eq!(sums.map(|w| w.value).collect()?, [3, 9]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn count_window_sliding(&self, count: u64, slide: u64) -> WindowedStream<T, S, Global, CountTrigger> {
        let keep = usize::try_from(count).unwrap_or(usize::MAX);
        self.window(Global).trigger(CountTrigger::of(slide)).evictor(CountEvictor::of(keep))
    }
}
