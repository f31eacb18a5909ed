use super::key::Keys;
use super::loser_tree::{ByInput, ByKey, LoserTree, Node};
use super::memory_run::{Cursor, MemoryRun};
use super::radix::{Entry, prefix};
use fluvial_memory::{Address, Progress, Result, RunReader, Step};
use std::sync::Arc;

/// Entries that a cursor looks ahead, so that rows are in the cache when they are copied.
pub(super) const LOOKAHEAD: usize = 128;

/// Sorted rows to merge.
#[derive(Debug)]
pub(super) enum Input {
    Spilled(RunReader),
    Memory {
        run: Arc<MemoryRun>,
        cursor: Cursor,
        entries: Vec<Entry>,
        next: usize,
    },
    /// At its end; what it held is given back.
    Ended,
}

enum Head {
    Row(u128),
    Waiting,
    End,
}

impl Input {
    pub(super) fn memory(run: &Arc<MemoryRun>, from: u128, to: Option<u128>) -> Self {
        Self::Memory { cursor: run.cursor(from, to), run: run.clone(), entries: Vec::with_capacity(LOOKAHEAD), next: 0 }
    }

    #[inline]
    fn advance(&mut self, keys: &Keys) -> Result<Head> {
        match self {
            Self::Spilled(reader) => Ok(match reader.advance()? {
                Step::Row => Head::Row(keys.prefix(reader.row())),
                Step::Waiting => Head::Waiting,
                Step::End => Head::End,
            }),
            Self::Memory { run, cursor, entries, next } => {
                *next += 1;
                if *next >= entries.len() {
                    cursor.fill(run, entries, LOOKAHEAD);
                    *next = 0;
                }
                Ok(entries.get(*next).map_or(Head::End, |entry| Head::Row(prefix(entry))))
            }
            Self::Ended => Ok(Head::End),
        }
    }

    #[inline]
    fn row(&self) -> &[u8] {
        match self {
            Self::Spilled(reader) => reader.row(),
            Self::Memory { run, entries, next, .. } => run.pages.row(Address(entries[*next][2])),
            Self::Ended => &[],
        }
    }
}

/// A merge of inputs whose buffers it has: the loser tree and its inputs.
#[derive(Debug)]
pub(super) struct Merger {
    keys: Keys,
    /// The range of prefixes to give: from the first to the last, both included.
    first: u128,
    last: u128,
    inputs: Vec<Input>,
    /// First heads of the inputs, until all are there.
    heads: Vec<Node>,
    tree: Option<LoserTree>,
    /// Whether the winner was given out and its input has to advance.
    stale: bool,
}

impl Merger {
    pub(super) fn new(keys: Keys, from: u128, to: Option<u128>, inputs: Vec<Input>) -> Self {
        // An empty range never gets here; below the smallest prefix there is nothing.
        let last = to.map_or(u128::MAX, |to| to.saturating_sub(1));
        Self { keys, first: from, last, heads: Vec::with_capacity(inputs.len()), inputs, tree: None, stale: false }
    }

    /// Gives rows in order to `sink`, with their prefixes, until it answers `false` (`More`), a block is outstanding
    /// (`Waiting`), or there are no more (`Done`).
    pub(super) fn drive(&mut self, mut sink: impl FnMut(&[u8], u128) -> Result<bool>) -> Result<Progress> {
        while self.heads.len() < self.inputs.len() {
            let number = self.heads.len();
            let input = &mut self.inputs[number];
            let head = loop {
                match input.advance(&self.keys)? {
                    Head::Waiting => return Ok(Progress::Waiting),
                    Head::Row(prefix) if prefix < self.first => {}
                    Head::Row(prefix) if prefix <= self.last => break Node::new(prefix, number),
                    Head::Row(_) | Head::End => {
                        *input = Input::Ended;
                        break Node::exhausted(number);
                    }
                }
            };
            self.heads.push(head);
        }
        let (heads, inputs) = (&self.heads, &self.inputs);
        let long = self.keys.long;
        let tree = self.tree.get_or_insert_with(|| match long {
            true => LoserTree::new(heads, &ByKey(|i: usize| self.keys.key(inputs[i].row()))),
            false => LoserTree::new(heads, &ByInput),
        });
        loop {
            let number = tree.winner().input();
            if self.stale {
                let input = &mut self.inputs[number];
                let head = match input.advance(&self.keys)? {
                    Head::Waiting => return Ok(Progress::Waiting),
                    Head::Row(prefix) if prefix <= self.last => Node::new(prefix, number),
                    Head::Row(_) | Head::End => {
                        *input = Input::Ended;
                        Node::exhausted(number)
                    }
                };
                if long {
                    let inputs = &self.inputs;
                    tree.replace(head, &ByKey(|i: usize| self.keys.key(inputs[i].row())));
                } else {
                    tree.replace(head, &ByInput);
                }
                self.stale = false;
                continue;
            }
            if tree.winner().is_exhausted() {
                return Ok(Progress::Done);
            }
            self.stale = true;
            if !sink(self.inputs[number].row(), tree.winner().prefix())? {
                return Ok(Progress::More);
            }
        }
    }
}
