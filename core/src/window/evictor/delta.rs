use super::{Evictor, EvictorContext};
use crate::window::WindowRecords;

/// Keeps the records that are less than a threshold away from the last one.
#[derive(Clone, Copy, Debug)]
pub struct DeltaEvictor<F> {
    threshold: f64,
    distance: F,
    after: bool,
}

impl<F> DeltaEvictor<F> {
    /// Evicts the records for which `distance` to the window's last one is the threshold or more.
    pub fn of<T>(threshold: f64, distance: F) -> Self
    where
        F: Fn(&T, &T) -> f64 + Send + Sync + 'static,
    {
        Self { threshold, distance, after: false }
    }

    /// Evicts after the function in place of before it.
    #[must_use]
    pub fn after(self) -> Self {
        Self { after: true, ..self }
    }

    fn evict<T: Clone>(&self, records: &mut WindowRecords<T>)
    where
        F: Fn(&T, &T) -> f64,
    {
        let Some(last) = records.records().last().cloned() else { return };
        records.retain(|record, _| (self.distance)(record, &last) < self.threshold);
    }
}

impl<T: Clone, W, F: Fn(&T, &T) -> f64 + Send + Sync + 'static> Evictor<T, W> for DeltaEvictor<F> {
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
