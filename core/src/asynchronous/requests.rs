use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The records whose results have not been given yet: those that are requested, up to a capacity, and those that wait for
/// room. Numbered in the order in which they came.
pub(super) struct Requests<T, R> {
    ordered: bool,
    capacity: usize,
    next: u64,
    /// Requested, or answered and not yet given because the results are ordered.
    open: BTreeMap<u64, Open<T, R>>,
    /// To be requested.
    waiting: VecDeque<(u64, Kept<T>)>,
    /// What each record holds back event time at; the first is the smallest.
    holds: BTreeSet<(i64, u64)>,
}

struct Kept<T> {
    record: Arc<T>,
    time: i64,
    hold: i64,
}

struct Open<T, R> {
    kept: Kept<T>,
    result: Option<R>,
}

impl<T, R> Requests<T, R> {
    pub(super) fn new(ordered: bool, capacity: usize) -> Self {
        Self {
            ordered,
            capacity: capacity.max(1),
            next: 0,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            holds: BTreeSet::new(),
        }
    }

    /// A record came at event time `time`, after `watermark`. It holds back event time just before its own, so that it stays
    /// in time; one that was late already only holds back what would make it later than it was.
    pub(super) fn push(&mut self, record: T, time: i64, watermark: i64) {
        let hold = time.saturating_sub(1).max(watermark);
        self.holds.insert((hold, self.next));
        self.waiting.push_back((self.next, Kept { record: Arc::new(record), time, hold }));
        self.next += 1;
    }

    /// The next record to request, with its number, if there is one and room for it.
    pub(super) fn start(&mut self) -> Option<(u64, Arc<T>)> {
        if self.open.len() >= self.capacity {
            return None;
        }
        let (number, kept) = self.waiting.pop_front()?;
        let record = kept.record.clone();
        self.open.insert(number, Open { kept, result: None });
        Some((number, record))
    }

    /// Takes the result of a record, and gives those that are due with their event times.
    pub(super) fn finish(&mut self, number: u64, result: R, mut give: impl FnMut(R, i64)) {
        if !self.ordered {
            if let Some(open) = self.open.remove(&number) {
                self.holds.remove(&(open.kept.hold, number));
                give(result, open.kept.time);
            }
            return;
        }
        if let Some(open) = self.open.get_mut(&number) {
            open.result = Some(result);
        }
        while let Some(mut first) = self.open.first_entry() {
            let Some(result) = first.get_mut().result.take() else { return };
            let (number, open) = first.remove_entry();
            self.holds.remove(&(open.kept.hold, number));
            give(result, open.kept.time);
        }
    }

    /// Whether all records are requested.
    pub(super) fn all_started(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether no record is left.
    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Event time must not pass this; `i64::MAX` if nothing is held back.
    pub(super) fn held_watermark(&self) -> i64 {
        self.holds.first().map_or(i64::MAX, |(hold, _)| *hold)
    }

    /// The records that are left with their event times, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = (&T, i64)> {
        let kept = self.open.values().map(|o| &o.kept).chain(self.waiting.iter().map(|(_, kept)| kept));
        kept.map(|k| (&*k.record, k.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(requests: &mut Requests<&'static str, u32>) -> Vec<(u64, &'static str)> {
        std::iter::from_fn(|| requests.start()).map(|(number, record)| (number, *record)).collect()
    }

    fn finish(requests: &mut Requests<&'static str, u32>, number: u64) -> Vec<(u32, i64)> {
        let mut given = Vec::new();
        requests.finish(number, number as u32 * 10, |result, time| given.push((result, time)));
        given
    }

    fn with(ordered: bool) -> Requests<&'static str, u32> {
        let mut requests = Requests::new(ordered, 2);
        requests.push("a", 7, 3);
        requests.push("b", 5, 3);
        requests.push("c", 9, 3);
        requests
    }

    #[test]
    fn ordered_results_wait_for_those_before_them_and_take_room_until_then() {
        let mut requests = with(true);
        assert_eq!(started(&mut requests), [(0, "a"), (1, "b")]);
        assert_eq!(finish(&mut requests, 1), []);
        assert_eq!((started(&mut requests), requests.held_watermark()), (vec![], 4));
        assert_eq!(finish(&mut requests, 0), [(0, 7), (10, 5)]);
        assert_eq!((started(&mut requests), requests.held_watermark()), (vec![(2, "c")], 8));
        assert_eq!(finish(&mut requests, 2), [(20, 9)]);
        assert!(requests.is_empty() && requests.held_watermark() == i64::MAX);
    }

    #[test]
    fn unordered_results_are_given_at_once() {
        let mut requests = with(false);
        assert_eq!(started(&mut requests).len(), 2);
        assert_eq!(finish(&mut requests, 1), [(10, 5)]);
        assert_eq!(requests.held_watermark(), 6);
        assert_eq!(started(&mut requests), [(2, "c")]);
        assert_eq!(requests.records().collect::<Vec<_>>(), [(&"a", 7), (&"c", 9)]);
        assert_eq!(finish(&mut requests, 2), [(20, 9)]);
        assert_eq!(finish(&mut requests, 0), [(0, 7)]);
        assert!(requests.is_empty());
    }

    #[test]
    fn a_late_record_holds_back_event_time_at_the_watermark_that_it_came_after() {
        let mut requests: Requests<_, ()> = Requests::new(false, 9);
        requests.push("in time", 11, 10);
        assert_eq!(requests.held_watermark(), 10);
        requests.push("late", 4, 10);
        requests.push("without event time", i64::MIN, 12);
        assert_eq!(requests.held_watermark(), 10);
        requests.push("first of all", i64::MIN, i64::MIN);
        assert_eq!(requests.held_watermark(), i64::MIN);
    }
}
