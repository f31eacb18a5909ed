//! Which records of a window its function does not see: one kind of evictor a file.

mod count;
mod delta;
mod time;

pub use count::CountEvictor;
pub use delta::DeltaEvictor;
pub use time::TimeEvictor;

use super::records::WindowRecords;

/// Removes records from a window when it fires, before or after its function sees them; for good.
///
/// With an evictor a window keeps all its records, also where its function could sum them up as they come.
///
/// ```
/// use fluvial_core::*;
///
/// /// The function sees no record twice.
/// struct Once;
/// impl<T, W> Evictor<T, W> for Once {
///     fn evict_after(&self, records: &mut WindowRecords<T>, _context: EvictorContext<'_, W>) {
///         records.remove_first(records.len());
///     }
/// }
///
/// # let env = Env::new(Config { threads: 1, ..Config::default() });
/// let sums = env.sequence(1..=4).window_all(Global).trigger(CountTrigger::of(2)).evictor(Once).reduce(|a, b| a + b);
/// assert_eq!(sums.map(|w| w.value).collect()?, [3, 7]);
/// # Ok::<(), Error>(())
/// ```
pub trait Evictor<T, W>: Send + Sync + 'static {
    /// Removes records that the function should not see.
    fn evict_before(&self, records: &mut WindowRecords<T>, context: EvictorContext<'_, W>) {
        let _ = (records, context);
    }

    /// Removes records that the function has seen.
    fn evict_after(&self, records: &mut WindowRecords<T>, context: EvictorContext<'_, W>) {
        let _ = (records, context);
    }
}

/// What an evictor may know.
#[derive(Debug)]
pub struct EvictorContext<'a, W> {
    /// The window.
    pub window: &'a W,
    /// The operator's watermark.
    pub watermark: i64,
    /// The clock's time, milliseconds UTC.
    pub processing_time: i64,
}

impl<W> Clone for EvictorContext<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for EvictorContext<'_, W> {}
