//! Numbers divided over workers: each has every n-th.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The numbers `next, next + step, ...` below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lane {
    next: u64,
    step: u64,
    end: u64,
}

/// Some numbers of a lane, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) step: u64,
    pub(super) len: u64,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// Takes at most `most` numbers that are less than `below`.
    fn take(&mut self, most: u64, below: u64) -> Option<Run> {
        let end = self.end.min(below);
        if self.next >= end {
            return None;
        }
        let run = Run { start: self.next, step: self.step, len: (end - self.next).div_ceil(self.step).min(most) };
        // Past the last number there is nothing to count on to.
        self.next = self.step.checked_mul(run.len).and_then(|n| n.checked_add(run.start)).unwrap_or(self.end);
        Some(run)
    }

    /// The part of worker `worker` of `workers`.
    fn part(&self, worker: u64, workers: u64) -> Self {
        let next = worker.checked_mul(self.step).and_then(|n| n.checked_add(self.next)).unwrap_or(self.end);
        Self { next, step: self.step.saturating_mul(workers), end: self.end }
    }
}

/// What one instance still has to make, and so its position.
///
/// `tail` is every n-th number up to the end, where n is the number of workers. When the numbers of some workers are
/// divided anew over others, former ones stand at different numbers: below the farthest of them they leave gaps, which
/// are divided too and come first, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lanes {
    gaps: Vec<Lane>,
    tail: Lane,
}

impl Lanes {
    /// The part of worker `worker` of `workers` of the numbers below `end`.
    pub(super) fn new(end: u64, worker: usize, workers: usize) -> Self {
        Self { gaps: Vec::new(), tail: Lane { next: 0, step: 1, end }.part(worker as u64, workers as u64) }
    }

    /// The same of what former workers have left.
    ///
    /// # Errors
    /// [`Error::Plan`] if the position of one of them is missing.
    pub(super) fn divided(former: &[Self], end: u64, worker: usize, workers: usize) -> Result<Self> {
        let (worker, workers) = (worker as u64, workers as u64);
        if let Some(wrong) = former.iter().find(|l| l.tail.step != former.len() as u64) {
            let (found, expected) = (former.len(), wrong.tail.step);
            return Err(Error::Plan(format!("the restored state has the positions of {found} of {expected} instances")));
        }
        let farthest = former.iter().map(|l| l.tail.next).max().unwrap_or(0).min(end);
        let left = former.iter().flat_map(|l| l.gaps.iter().copied().chain([Lane { end: farthest, ..l.tail }]));
        let parts = left.map(|gap| Lane { end: gap.end.min(end), ..gap }.part(worker, workers));
        let gaps = parts.filter(|gap| !gap.is_empty()).collect();
        Ok(Self { gaps, tail: Lane { next: farthest, step: 1, end }.part(worker, workers) })
    }

    /// The smallest number left of all.
    pub(super) fn first_of(all: &[Self]) -> u64 {
        all.iter().filter_map(Self::next).min().unwrap_or(0)
    }

    /// The number that comes next.
    pub(super) fn next(&self) -> Option<u64> {
        self.gaps.iter().chain([&self.tail]).filter(|l| !l.is_empty()).map(|l| l.next).min()
    }

    /// Takes at most `most` numbers that are less than `below`, the smallest first.
    pub(super) fn take(&mut self, most: u64, below: u64) -> Option<Run> {
        if self.gaps.is_empty() {
            return self.tail.take(most, below);
        }
        let first = (0..self.gaps.len()).min_by_key(|i| self.gaps[*i].next)?;
        // Gaps are below the tail. A run ends where another gap has the next number.
        let others = self.gaps.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, gap)| gap.next).min();
        let run = self.gaps[first].take(most, below.min(others.unwrap_or(u64::MAX)));
        if self.gaps[first].is_empty() {
            self.gaps.swap_remove(first);
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(run: Run) -> impl Iterator<Item = u64> {
        (0..run.len).map(move |i| run.start + i * run.step)
    }

    #[test]
    fn the_last_numbers_of_all_are_made_without_overflow() {
        let mut lane = Lane { next: u64::MAX - 5, step: 4, end: u64::MAX };
        assert_eq!(lane.take(10, u64::MAX).map(|r| numbers(r).collect()), Some(vec![u64::MAX - 5, u64::MAX - 1]));
        assert!(lane.is_empty());
        assert_eq!(lane.take(10, u64::MAX), None);
    }

    #[test]
    fn a_missing_position_is_an_error() {
        let one = Lanes::new(100, 0, 2);
        let error = Lanes::divided(&[one], 100, 0, 1).unwrap_err();
        assert_eq!(error.to_string(), "the restored state has the positions of 1 of 2 instances");
    }

    proptest! {
        /// However far each worker got and however many there are after each restore: every number once, each worker's
        /// in order.
        #[test]
        fn every_number_is_made_once(
            end in 0u64..500,
            rounds in prop::collection::vec((1usize..5, prop::collection::vec((1u64..40, 0u64..60), 5)), 1..5),
        ) {
            let mut seen = Vec::new();
            let mut former: Option<Vec<Lanes>> = None;
            for (round, (workers, amounts)) in rounds.iter().enumerate() {
                let last = round + 1 == rounds.len();
                let mut now = Vec::new();
                for (worker, amount) in amounts.iter().enumerate().take(*workers) {
                    let mut lanes = match &former {
                        None => Lanes::new(end, worker, *workers),
                        Some(former) => Lanes::divided(former, end, worker, *workers).unwrap(),
                    };
                    let (most, mut left) = (amount.0, if last { u64::MAX } else { amount.1 });
                    let mut own = Vec::new();
                    while left > 0 {
                        let Some(run) = lanes.take(most.min(left), u64::MAX) else { break };
                        left -= run.len;
                        own.extend(numbers(run));
                    }
                    prop_assert!(own.is_sorted());
                    seen.extend(own);
                    now.push(lanes);
                }
                former = Some(now);
            }
            seen.sort();
            prop_assert_eq!(seen, (0..end).collect::<Vec<_>>());
        }
    }
}
