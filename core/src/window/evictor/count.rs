use super::{Evictor, EvictorContext};
use crate::window::WindowRecords;

/// Keeps the last so many records.
#[derive(Clone, Copy, Debug)]
pub struct CountEvictor {
    keep: usize,
    after: bool,
}

impl CountEvictor {
    /// Keeps this many.
    pub fn of(keep: usize) -> Self {
        Self { keep, after: false }
    }

    /// Evicts after the function in place of before it.
    #[must_use]
    pub fn after(self) -> Self {
        Self { after: true, ..self }
    }

    fn evict<T>(self, records: &mut WindowRecords<T>) {
        records.remove_first(records.len().saturating_sub(self.keep));
    }
}

impl<T, W> Evictor<T, W> for CountEvictor {
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
