//! Parts of a bounded input: who reads which, and how far everybody has come.
//!
//! The workers of a process take parts one by one from a queue, so that none idles; between processes the division is fixed.
//! Nobody snapshots the queue: each instance's position is what it took. What is left is all parts without those, computed at
//! a restore, and divided anew over however many processes and workers there are then. Of a part that was begun the rows that
//! were emitted are skipped, so a part must give the same rows in the same order when it is read again.

use crate::source::position;
use crate::{Error, OperatorContext, Restored, Result, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Hands out parts to the workers of a process.
struct PartQueue {
    next: AtomicUsize,
    step: usize,
    /// What a restored job has left to read, and how many rows of each it has emitted; else it is all parts.
    left: OnceLock<Vec<(u64, u64)>>,
}

impl PartQueue {
    fn new(process: usize, processes: usize) -> Self {
        Self { next: AtomicUsize::new(process), step: processes, left: OnceLock::new() }
    }

    /// The next part of this process below `count` that nobody has taken, and how many of its rows to skip.
    fn take(&self, count: u64) -> Option<(u64, u64)> {
        let next = self.next.fetch_add(self.step, Relaxed);
        match self.left.get() {
            Some(left) => left.get(next).copied(),
            None => Some(next as u64).filter(|part| *part < count).map(|part| (part, 0)),
        }
    }
}

/// What an instance has taken, as state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PartsPosition {
    /// Tells one input from another.
    input: u64,
    /// Parts that were read to their ends.
    finished: Vec<u64>,
    /// Parts of which some was read, and the rows of them that were emitted.
    begun: Vec<(u64, u64)>,
}

/// The parts that one instance takes.
pub(crate) struct PartCursor {
    queue: Arc<PartQueue>,
    count: u64,
    input: u64,
    /// Speaks for what was read before a restore.
    first: bool,
    finished: Vec<u64>,
    begun: BTreeMap<u64, u64>,
    /// The part in hand, and the rows of it that were emitted.
    current: Option<(u64, u64)>,
}

impl PartCursor {
    /// Of `count` parts; `input` is a number that other parts would not have.
    pub(crate) fn new(context: &OperatorContext, count: usize, input: u64) -> Self {
        Self {
            queue: context.shared(|| PartQueue::new(context.process, context.processes)),
            count: count as u64,
            input,
            first: context.worker == 0,
            finished: Vec::new(),
            begun: BTreeMap::new(),
            current: None,
        }
    }

    /// Takes the next part; gives how many of its rows to skip too.
    pub(crate) fn take(&mut self) -> Option<(usize, u64)> {
        self.current = self.queue.take(self.count);
        self.current.map(|(part, skip)| (part as usize, skip))
    }

    /// So many rows more of the part in hand have been emitted.
    pub(crate) fn emitted(&mut self, rows: u64) {
        if let Some((_, emitted)) = &mut self.current {
            *emitted += rows;
        }
    }

    /// All of the part in hand has been emitted.
    pub(crate) fn end(&mut self) {
        self.finished.extend(self.current.take().map(|(part, _)| part));
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let begun = self.begun.iter().map(|(part, rows)| (*part, *rows)).chain(self.current).collect();
        position::save(&PartsPosition { input: self.input, finished: self.finished.clone(), begun })
    }

    /// # Errors
    /// [`Error::Plan`] if the positions are of another input.
    pub(crate) fn restore(&mut self, state: &Restored) -> Result<()> {
        let former: Vec<PartsPosition> = position::load(state)?;
        if former.is_empty() {
            return Ok(());
        }
        if former.iter().any(|position| position.input != self.input) {
            return Err(Error::Plan(
                "the restored position is of another input: its files, or the part of them that is read, have changed".into(),
            ));
        }
        let finished: BTreeSet<u64> = former.iter().flat_map(|position| &position.finished).copied().collect();
        let mut begun = BTreeMap::new();
        // Who has taken a part later knows better.
        for (part, rows) in former.iter().flat_map(|position| &position.begun).filter(|(part, _)| !finished.contains(part)) {
            let most: &mut u64 = begun.entry(*part).or_default();
            *most = rows.max(most).to_owned();
        }
        let left = (0..self.count).filter(|part| !finished.contains(part));
        // The same for all instances, each of which comes here before it takes a part.
        self.queue.left.get_or_init(|| left.map(|part| (part, begun.get(&part).copied().unwrap_or(0))).collect());
        if self.first {
            (self.finished, self.begun) = (finished.into_iter().collect(), begun);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateSection;
    use crate::testing::context;
    use proptest::prelude::*;

    fn cursors(workers: usize, parts: usize, sections: &[StateSection]) -> Vec<PartCursor> {
        let first = context(0, workers);
        let cursor = |worker| {
            let context = OperatorContext { shared: first.shared.clone(), ..context(worker, workers) };
            let mut cursor = PartCursor::new(&context, parts, 7);
            cursor.restore(&Restored { epoch: 0, sections: sections.to_vec() }).unwrap();
            cursor
        };
        (0..workers).map(cursor).collect()
    }

    proptest! {
        /// Whoever takes which part, and however often all are stopped and go on in another number: each row once.
        #[test]
        fn every_row_of_every_part_is_emitted_once(
            parts in prop::collection::vec(0u64..12, 0..12),
            rounds in prop::collection::vec((1usize..4, prop::collection::vec((0usize..4, 1u64..6), 0..20)), 1..5),
        ) {
            let mut seen = vec![0; parts.len()];
            let mut sections = Vec::new();
            let rounds = rounds.iter().map(|(workers, steps)| (*workers, steps.clone(), false)).chain([(2, vec![], true)]);
            for (workers, mut steps, last) in rounds {
                let mut cursors = cursors(workers, parts.len(), &sections);
                if last {
                    steps = (0..1000).map(|step| (step, 3)).collect();
                }
                for (worker, rows) in steps {
                    let cursor = &mut cursors[worker % workers];
                    if cursor.current.is_none() && let Some((part, skip)) = cursor.take() {
                        prop_assert_eq!(seen[part], skip);
                    }
                    let Some((part, emitted)) = cursor.current else { continue };
                    let rows = rows.min(parts[part as usize] - emitted);
                    seen[part as usize] += rows;
                    cursor.emitted(rows);
                    if emitted + rows == parts[part as usize] {
                        cursor.end();
                    }
                }
                sections = cursors.iter().flat_map(|c| c.snapshot().unwrap().into_sections().unwrap()).collect();
            }
            prop_assert_eq!(seen, parts);
        }
    }

    #[test]
    fn processes_divide_what_is_left() {
        let mut sections = Vec::new();
        for process in 0..2 {
            let mut cursor = PartCursor::new(&OperatorContext { process, processes: 2, ..context(process, 2) }, 10, 7);
            for _ in 0..=process {
                cursor.take();
                cursor.end();
            }
            cursor.take();
            cursor.emitted(5);
            sections.extend(cursor.snapshot().unwrap().into_sections().unwrap());
        }
        // 0, 1 and 3 are finished; 2 and 5 were begun.
        let mut left = Vec::new();
        for process in 0..3 {
            let mut cursor = PartCursor::new(&OperatorContext { process, processes: 3, ..context(process, 3) }, 10, 7);
            cursor.restore(&Restored { epoch: 0, sections: sections.clone() }).unwrap();
            left.extend(std::iter::from_fn(|| cursor.take()));
        }
        left.sort();
        assert_eq!(left, [(2, 5), (4, 0), (5, 5), (6, 0), (7, 0), (8, 0), (9, 0)]);
    }

    #[test]
    fn the_position_of_another_input_is_an_error() {
        let sections = cursors(1, 3, &[])[0].snapshot().unwrap().into_sections().unwrap();
        let mut other = PartCursor::new(&context(0, 1), 3, 8);
        let error = other.restore(&Restored { epoch: 0, sections }).unwrap_err().to_string();
        assert!(error.contains("another input"), "{error}");
    }
}
