use super::chunk::Chunk;
use super::key::Keys;
use super::loser_tree::{ByInput, ByKey, LoserTree, Node};
use super::radix::{Entry, prefix};
use fluvial_memory::{Address, RowPages};
use std::collections::VecDeque;
use std::ops::Range;

/// Rows in memory with their sorted chunks: together one sorted run.
#[derive(Debug)]
pub(super) struct MemoryRun {
    pub(super) keys: Keys,
    pub(super) pages: RowPages,
    pub(super) chunks: Vec<Chunk>,
}

impl MemoryRun {
    pub(super) fn rows(&self) -> u64 {
        self.pages.rows()
    }

    /// Segments of rows and entries.
    pub(super) fn segments(&self) -> usize {
        self.pages.segments() + self.chunks.iter().map(Chunk::segments).sum::<usize>()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// The rows whose prefixes are in `range` (no end: to the last), in order.
    pub(super) fn cursor(&self, from: u128, to: Option<u128>) -> Cursor {
        let mut chains: Vec<Chain> = Vec::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let start = chunk.lower_bound(from);
            let end = to.map_or(chunk.len(), |to| chunk.lower_bound(to));
            if start < end {
                let piece = Piece { chunk: number, range: start..end };
                match chains.last_mut() {
                    // Chunks of presorted input follow each other; the merge need not compare them.
                    Some(chain) if self.follows(chain, &piece) => chain.pieces.push_back(piece),
                    _ => chains.push(Chain { pieces: VecDeque::from([piece]) }),
                }
            }
        }
        let heads: Vec<_> = chains.iter().enumerate().map(|(i, chain)| chain.head(i, self)).collect();
        let tree = if self.keys.long {
            LoserTree::new(&heads, &ByKey(|i: usize| self.key(&chains[i])))
        } else {
            LoserTree::new(&heads, &ByInput)
        };
        let lines = (self.bytes() / self.rows().max(1) / 64 + 1).min(4);
        Cursor { chains, tree, lines }
    }

    /// Samples of the keys with the bytes that each stands for.
    pub(super) fn weights(&self) -> impl Iterator<Item = (u128, u64)> {
        const EVERY: usize = 1024;
        let each = self.bytes() * EVERY as u64 / self.rows().max(1);
        self.chunks.iter().flat_map(move |chunk| (0..chunk.len()).step_by(EVERY).map(move |i| (chunk.prefix(i), each)))
    }

    /// Whether all of `piece` comes after all of `chain`, equal keys included, since it arrived later.
    fn follows(&self, chain: &Chain, piece: &Piece) -> bool {
        chain.pieces.back().is_some_and(|last| {
            let (a, b) = (&self.chunks[last.chunk], &self.chunks[piece.chunk]);
            let (a, b) = (a.entry(last.range.end - 1), b.entry(piece.range.start));
            match prefix(&a).cmp(&prefix(&b)) {
                std::cmp::Ordering::Equal if self.keys.long => self.entry_key(&a) <= self.entry_key(&b),
                order => order.is_le(),
            }
        })
    }

    fn entry_key(&self, entry: &Entry) -> &[u8] {
        self.keys.key(self.pages.row(Address(entry[2])))
    }

    /// The key at the head of a chain that is not exhausted.
    fn key(&self, chain: &Chain) -> &[u8] {
        chain.entry(self).map_or(&[], |entry| self.keys.key(self.pages.row(Address(entry[2]))))
    }
}

/// Part of a chunk.
#[derive(Debug)]
struct Piece {
    chunk: usize,
    range: Range<usize>,
}

/// Parts of chunks that follow each other in order.
#[derive(Debug)]
struct Chain {
    pieces: VecDeque<Piece>,
}

impl Chain {
    #[inline]
    fn entry(&self, run: &MemoryRun) -> Option<Entry> {
        self.pieces.front().map(|piece| run.chunks[piece.chunk].entry(piece.range.start))
    }

    #[inline]
    fn head(&self, input: usize, run: &MemoryRun) -> Node {
        self.entry(run).map_or(Node::exhausted(input), |entry| Node::new(prefix(&entry), input))
    }

    #[inline]
    fn advance(&mut self) {
        if let Some(piece) = self.pieces.front_mut() {
            piece.range.start += 1;
            if piece.range.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// A merge of the chunks of a [`MemoryRun`], which is given at each call so that a cursor can live beside it.
#[derive(Debug)]
pub(super) struct Cursor {
    chains: Vec<Chain>,
    tree: LoserTree,
    /// Cache lines of a row that are worth fetching ahead.
    lines: u64,
}

impl Cursor {
    /// Replaces what is in `out` by the next entries, at most `count`; their rows are on their way to the cache.
    pub(super) fn fill(&mut self, run: &MemoryRun, out: &mut Vec<Entry>, count: usize) {
        out.clear();
        if run.keys.long {
            while self.pop(run, out, count) {
                let chains = &self.chains;
                let input = self.tree.winner().input();
                self.tree.replace(chains[input].head(input, run), &ByKey(|i: usize| run.key(&chains[i])));
            }
        } else {
            while self.pop(run, out, count) {
                let input = self.tree.winner().input();
                self.tree.replace(self.chains[input].head(input, run), &ByInput);
            }
        }
    }

    /// Moves the winner to `out`; whether there was one and room for it.
    #[inline]
    fn pop(&mut self, run: &MemoryRun, out: &mut Vec<Entry>, count: usize) -> bool {
        let winner = self.tree.winner();
        if winner.is_exhausted() || out.len() == count {
            return false;
        }
        let chain = &mut self.chains[winner.input()];
        let Some(entry) = chain.entry(run) else { return false };
        for line in 0..self.lines {
            run.pages.prefetch(Address(entry[2] + 64 * line));
        }
        out.push(entry);
        chain.advance();
        true
    }
}
