use super::key::Keys;
use super::memory_run::MemoryRun;
use fluvial_memory::{Extent, Progress, Result, Run, RunWriter, SpillManager};
use std::ops::{AddAssign, Range};
use std::sync::Arc;

/// Samples of a run that are kept at the most; beyond that every second one goes.
const SAMPLES: usize = 4096;

/// What a sort did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SortStats {
    /// Rows taken.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Runs written, those of intermediate merges included.
    pub runs: u64,
    /// Intermediate merges: passes over part of the data beyond writing it once and reading it once.
    pub merges: u64,
    /// Bytes of rows written to spill files, before compression.
    pub spilled_bytes: u64,
}

impl AddAssign for SortStats {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.runs += other.runs;
        self.merges += other.merges;
        self.spilled_bytes += other.spilled_bytes;
    }
}

/// What one [`ExternalSort`](super::ExternalSort) made of its input: runs on disk and what was left in memory, in the
/// order of arrival. Combine those of all workers in a [`SortedSet`](super::SortedSet).
#[derive(Debug)]
pub struct SortedRuns {
    pub(super) keys: Keys,
    pub(super) spilled: Vec<SortedRun>,
    pub(super) memory: Option<Arc<MemoryRun>>,
    pub(super) stats: SortStats,
    /// For intermediate merges.
    pub(super) spill: SpillManager,
    pub(super) schema: String,
}

impl SortedRuns {
    /// Rows in all.
    pub fn rows(&self) -> u64 {
        self.stats.rows
    }

    /// What the sort did so far.
    pub fn stats(&self) -> SortStats {
        self.stats
    }
}

/// A sorted run on disk with samples of its keys.
#[derive(Clone, Debug)]
pub(super) struct SortedRun {
    pub(super) run: Run,
    samples: Arc<Samples>,
    /// How many times its rows were merged before.
    pub(super) level: u32,
}

/// Prefixes of the first rows of every `stride`-th block: 16 bytes each, beside the run's own index of blocks.
#[derive(Debug)]
struct Samples {
    prefixes: Vec<u128>,
    stride: usize,
}

impl SortedRun {
    /// Blocks that can hold rows with prefixes from `from` to below `to`.
    pub(super) fn blocks(&self, from: u128, to: Option<u128>) -> Range<usize> {
        let Samples { prefixes, stride } = &*self.samples;
        let all = self.run.blocks().len();
        // Rows equal to `from` may start in the block before the first whose first row is not below it.
        let start = prefixes.partition_point(|&p| p < from).saturating_sub(1) * stride;
        let end = to.map_or(all, |to| (prefixes.partition_point(|&p| p < to) * stride).min(all));
        start.min(end)..end
    }

    /// Samples with the bytes that each stands for.
    pub(super) fn weights(&self) -> impl Iterator<Item = (u128, u64)> {
        let each = self.run.bytes() / self.samples.prefixes.len().max(1) as u64;
        self.samples.prefixes.iter().map(move |&p| (p, each))
    }
}

/// Writes rows in order, sampling them.
#[derive(Debug)]
pub(super) struct SortedWriter {
    writer: RunWriter,
    prefixes: Vec<u128>,
    stride: usize,
    /// The next block to sample.
    next: usize,
    level: u32,
}

impl SortedWriter {
    pub(super) fn new(writer: RunWriter, level: u32) -> Self {
        Self { writer, prefixes: Vec::new(), stride: 1, next: 0, level }
    }

    pub(super) fn ready(&self) -> bool {
        self.writer.ready()
    }

    pub(super) fn rows(&self) -> u64 {
        self.writer.rows()
    }

    #[inline]
    pub(super) fn push(&mut self, row: &[u8], prefix: u128) -> Result<()> {
        self.writer.push(row)?;
        if self.writer.block() == self.next {
            self.sample(prefix);
        }
        Ok(())
    }

    #[cold]
    fn sample(&mut self, prefix: u128) {
        self.prefixes.push(prefix);
        if self.prefixes.len() == SAMPLES {
            let mut index = 0;
            self.prefixes.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
        self.next = self.prefixes.len() * self.stride;
    }

    pub(super) fn flush(&mut self) -> Result<Progress> {
        self.writer.flush()
    }

    /// Ends the run; waits unless flushed.
    pub(super) fn finish(self) -> Result<(SortedRun, Vec<Extent>)> {
        let Self { writer, prefixes, stride, level, .. } = self;
        let (run, buffers) = writer.finish_with_buffers()?;
        Ok((SortedRun { run, samples: Arc::new(Samples { prefixes, stride }), level }, buffers))
    }
}
