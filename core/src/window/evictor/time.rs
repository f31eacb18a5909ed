use super::{Evictor, EvictorContext};
use crate::window::{WindowRecords, millis};
use std::time::Duration;

/// Keeps the records whose event times are less than a span behind the latest one.
#[derive(Clone, Copy, Debug)]
pub struct TimeEvictor {
    keep: i64,
    after: bool,
}

impl TimeEvictor {
    /// Keeps this much time, counted in milliseconds. Records without event times stay.
    pub fn of(keep: Duration) -> Self {
        Self { keep: millis(keep), after: false }
    }

    /// Evicts after the function in place of before it.
    #[must_use]
    pub fn after(self) -> Self {
        Self { after: true, ..self }
    }

    fn evict<T>(self, records: &mut WindowRecords<T>) {
        let Some(&latest) = records.times().iter().max() else { return };
        let cutoff = latest.saturating_sub(self.keep);
        records.retain(|_, time| time > cutoff || time == i64::MIN);
    }
}

impl<T, W> Evictor<T, W> for TimeEvictor {
    fn evict_before(&self, records: &mut WindowRecords<T>, _context: EvictorContext<'_, W>) {
        if !self.after {
            self.evict(records);
        }
    }

    fn evict_after(&self, records: &mut WindowRecords<T>, _context: EvictorContext<'_, W>) {
        if self.after {
            self.evict(records);
        }
    }
}
