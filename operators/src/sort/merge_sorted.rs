use super::key::Keys;
use super::loser_tree::{ByInput, ByKey, LoserTree, Node};
use fluvial_memory::{Progress, RowBatch, RowShape};
use std::collections::VecDeque;

/// Merges sorted streams of rows into one. Rows with equal keys come in the order of the inputs' numbers.
///
/// It holds the batches it is given and nothing else; give one when [`MergeSorted::starving`] asks.
///
/// ```
/// use fluvial_memory::{Progress, RowBatch, RowShape};
/// use fluvial_operators::MergeSorted;
/// let shape = RowShape::fixed(1, 0);
/// let batch = |keys: &str| {
///     let mut batch = RowBatch::new(shape);
///     keys.bytes().for_each(|key| batch.push(&[key], b""));
///     batch
/// };
/// let mut merge = MergeSorted::new(shape, 2);
/// merge.push(0, batch("ace"));
/// merge.push(1, batch("bd"));
/// let mut out = RowBatch::new(shape);
/// assert_eq!(merge.pull(&mut out, 100, 1000), Progress::Waiting);
/// assert_eq!(merge.starving(), Some(1), "what comes after d?");
/// merge.end(1);
/// merge.end(0);
/// assert_eq!(merge.pull(&mut out, 100, 1000), Progress::Done);
/// assert_eq!(out.parts().0, b"abcde");
/// ```
#[derive(Debug)]
pub struct MergeSorted {
    keys: Keys,
    inputs: Vec<Input>,
    /// None until every input has a head.
    tree: Option<LoserTree>,
    /// Whether the winner was given out and its input has to advance.
    stale: bool,
}

#[derive(Debug, Default)]
struct Input {
    batches: VecDeque<RowBatch>,
    /// The head, in the first batch.
    row: usize,
    ended: bool,
}

impl Input {
    fn head(&self, number: usize, keys: &Keys) -> Option<Node> {
        match self.batches.front() {
            Some(batch) => Some(Node::new(keys.prefix(batch.row(self.row)), number)),
            None => self.ended.then(|| Node::exhausted(number)),
        }
    }

    fn key(&self) -> &[u8] {
        self.batches.front().map_or(&[], |batch| batch.key(self.row))
    }

    fn advance(&mut self) {
        self.row += 1;
        if self.batches.front().is_some_and(|batch| self.row >= batch.len()) {
            self.batches.pop_front();
            self.row = 0;
        }
    }
}

impl MergeSorted {
    /// A merge of so many inputs.
    pub fn new(shape: RowShape, inputs: usize) -> Self {
        let inputs = std::iter::repeat_with(Input::default).take(inputs).collect();
        Self { keys: Keys::new(shape), inputs, tree: None, stale: false }
    }

    /// Gives an input its next rows, in order.
    pub fn push(&mut self, input: usize, rows: RowBatch) {
        debug_assert!(!self.inputs[input].ended, "the input has ended");
        if !rows.is_empty() {
            self.inputs[input].batches.push_back(rows);
        }
    }

    /// Says that an input has no more rows.
    pub fn end(&mut self, input: usize) {
        self.inputs[input].ended = true;
    }

    /// An input without which the merge cannot go on.
    pub fn starving(&self) -> Option<usize> {
        let needs = |&i: &usize| self.inputs[i].batches.is_empty() && !self.inputs[i].ended;
        match &self.tree {
            None => (0..self.inputs.len()).find(needs),
            Some(tree) => Some(tree.winner().input()).filter(|i| self.stale && self.inputs.get(*i).is_some() && needs(i)),
        }
    }

    /// Appends rows to `out` until it has `max_rows` rows or `max_bytes` bytes (`More`), an input starves (`Waiting`), or all
    /// are at their ends (`Done`).
    pub fn pull(&mut self, out: &mut RowBatch, max_rows: usize, max_bytes: usize) -> Progress {
        let Self { keys, inputs, tree, stale } = self;
        let tree = match tree {
            Some(tree) => tree,
            None => {
                let heads: Option<Vec<_>> = inputs.iter().enumerate().map(|(i, input)| input.head(i, keys)).collect();
                let Some(heads) = heads else { return Progress::Waiting };
                tree.insert(if keys.long {
                    LoserTree::new(&heads, &ByKey(|i: usize| inputs[i].key()))
                } else {
                    LoserTree::new(&heads, &ByInput)
                })
            }
        };
        loop {
            let number = tree.winner().input();
            if *stale {
                let Some(head) = inputs[number].head(number, keys) else { return Progress::Waiting };
                if keys.long {
                    tree.replace(head, &ByKey(|i: usize| inputs[i].key()));
                } else {
                    tree.replace(head, &ByInput);
                }
                *stale = false;
                continue;
            }
            if tree.winner().is_exhausted() {
                return Progress::Done;
            }
            if out.len() >= max_rows || out.byte_len() >= max_bytes {
                return Progress::More;
            }
            let input = &mut inputs[number];
            if let Some(batch) = input.batches.front() {
                out.push_row(batch.row(input.row));
            }
            input.advance();
            *stale = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merges_like_a_stable_sort(
            inputs in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u8..3, 0..20), 0..30), 1..6),
            slice in 1usize..7,
        ) {
            let mut merge = MergeSorted::new(RowShape::VARIABLE, inputs.len());
            let mut all = Vec::new();
            let mut left: Vec<VecDeque<Vec<u8>>> = inputs.into_iter().enumerate().map(|(i, mut keys)| {
                keys.sort();
                all.extend(keys.iter().cloned().map(|key| (key, i as u8)));
                keys.into()
            }).collect();
            all.sort();
            let mut out = RowBatch::new(RowShape::VARIABLE);
            let mut merged = Vec::new();
            loop {
                out.clear();
                let progress = merge.pull(&mut out, 4, 1 << 20);
                merged.extend((0..out.len()).map(|r| (out.key(r).to_vec(), out.payload(r)[0])));
                match progress {
                    Progress::More => {}
                    Progress::Done => break,
                    Progress::Waiting => {
                        let i = merge.starving().unwrap();
                        let mut batch = RowBatch::new(RowShape::VARIABLE);
                        while batch.len() < slice && let Some(key) = left[i].pop_front() {
                            batch.push(&key, &[i as u8]);
                        }
                        if batch.is_empty() { merge.end(i) } else { merge.push(i, batch) }
                    }
                }
            }
            prop_assert_eq!(merged, all);
        }
    }
}
