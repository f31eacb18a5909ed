use serde::{Deserialize, Serialize};

/// The records of a window with their event times, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRecords<T> {
    records: Vec<T>,
    times: Vec<i64>,
}

impl<T> Default for WindowRecords<T> {
    fn default() -> Self {
        Self { records: Vec::new(), times: Vec::new() }
    }
}

impl<T> WindowRecords<T> {
    #[inline]
    pub(crate) fn push(&mut self, record: T, time: i64) {
        self.records.push(record);
        self.times.push(time);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.records.append(&mut other.records);
        self.times.append(&mut other.times);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records.
    pub fn records(&self) -> &[T] {
        &self.records
    }

    /// Their event times, milliseconds UTC; `i64::MIN` where a record has none.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Removes the first `count` records.
    pub fn remove_first(&mut self, count: usize) {
        let count = count.min(self.records.len());
        self.records.drain(..count);
        self.times.drain(..count);
    }

    /// Removes the records for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&T, i64) -> bool) {
        let keeps: Vec<bool> = self.records.iter().zip(&self.times).map(|(record, time)| keep(record, *time)).collect();
        let mut next = keeps.iter();
        self.records.retain(|_| *next.next().unwrap_or(&true));
        let mut next = keeps.iter();
        self.times.retain(|_| *next.next().unwrap_or(&true));
    }
}
