use super::bound::Interval;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Records of one side of a key in the order of time, and in that of arrival among those of the same time.
///
/// They mostly come in that order, and go from its front.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Held<T>(VecDeque<(i64, T)>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Held<T> {
    #[inline]
    pub(super) fn insert(&mut self, time: i64, record: T) {
        match self.0.back() {
            Some((last, _)) if *last > time => {
                let place = self.0.partition_point(|(of, _)| *of <= time);
                self.0.insert(place, (time, record));
            }
            _ => self.0.push_back((time, record)),
        }
    }

    /// The records from the first time to the last.
    #[inline]
    pub(super) fn between(&self, (first, last): (i64, i64)) -> impl Iterator<Item = &(i64, T)> {
        let start = self.0.partition_point(|(time, _)| *time < first);
        self.0.range(start..).take_while(move |(time, _)| *time <= last)
    }

    /// Removes the records from the front for which `gone` holds, by their times; says how many.
    fn expire(&mut self, gone: impl Fn(i64) -> bool) -> usize {
        let before = self.0.len();
        while self.0.front().is_some_and(|(time, _)| gone(*time)) {
            self.0.pop_front();
        }
        before - self.0.len()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What a key keeps.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pair<L, R> {
    pub(super) left: Held<L>,
    pub(super) right: Held<R>,
}

impl<L, R> Default for Pair<L, R> {
    fn default() -> Self {
        Self { left: Held::default(), right: Held::default() }
    }
}

impl<L, R> Pair<L, R> {
    pub(super) fn len(&self) -> usize {
        self.left.len() + self.right.len()
    }

    /// Removes what all partners still to come, later than the watermark, are too late for; says how many.
    #[inline]
    pub(super) fn expire(&mut self, interval: Interval, watermark: i64) -> usize {
        let left = self.left.expire(|time| interval.of_left(time).1 <= watermark);
        left + self.right.expire(|time| interval.of_right(time).1 <= watermark)
    }

    /// The time of the last partner that any of the records can have; `None` if there are no records.
    pub(super) fn last_partner(&self, interval: Interval) -> Option<i64> {
        let left = self.left.0.back().map(|(time, _)| interval.of_left(*time).1);
        left.max(self.right.0.back().map(|(time, _)| interval.of_right(*time).1))
    }
}
