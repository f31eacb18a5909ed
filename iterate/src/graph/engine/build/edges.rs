use super::super::block::BlockReader;
use super::super::dictionary::{Dictionary, with_rank};
use super::super::raw::Chunk;
use super::super::worker::Worker;
use super::lock;
use fluvial_core::Result;
use std::sync::{Arc, Mutex, RwLock};

/// The edges of a graph of ranks, not laid out yet.
pub(crate) struct Edges {
    pub(crate) chunks: Vec<RwLock<Chunk>>,
    pub(crate) weighted: bool,
}

/// Vertices are counted by so many equal ranges, to cut partitions of about equal size.
pub(super) const BINS: usize = 4096;

/// Edges by the range that their vertex is in.
pub(crate) struct Histogram {
    pub(super) shift: u32,
    pub(super) by_source: Vec<u64>,
    pub(super) by_target: Vec<u64>,
}

impl Edges {
    /// Calls `take` with source, target and weight of each edge of a chunk, by its number.
    ///
    /// # Errors
    /// Of reading.
    #[inline]
    pub(crate) fn for_each(
        &self,
        chunk: usize,
        dictionary: &Dictionary,
        reader: &mut BlockReader,
        mut take: impl FnMut(u32, u32, f64),
    ) -> Result<()> {
        let chunk = self.chunks[chunk].read().unwrap_or_else(|e| e.into_inner());
        if chunk.ranked {
            return chunk
                .for_each_edge(self.weighted, reader, |source, target, weight| take(source as u32, target as u32, weight));
        }
        with_rank!(dictionary, |rank| chunk.for_each_edge(self.weighted, reader, |source, target, weight| {
            take(rank(source), rank(target), weight);
        }))
    }

    fn rank_chunk(
        &self,
        chunk: usize,
        dictionary: &Dictionary,
        reader: &mut BlockReader,
        take: impl FnMut(u32, u32),
    ) -> Result<()> {
        let mut chunk = self.chunks[chunk].write().unwrap_or_else(|e| e.into_inner());
        if chunk.ranked {
            return chunk.rank(self.weighted, reader, |id| id as u32, take);
        }
        with_rank!(dictionary, |rank| chunk.rank(self.weighted, reader, rank, take))
    }

    /// Replaces ids by ranks where edges are in memory, and counts; `also` sees each edge.
    ///
    /// # Errors
    /// Of reading.
    pub(crate) async fn rank(&self, worker: &Worker, dictionary: &Dictionary, also: impl Fn(u32, u32)) -> Result<Arc<Histogram>> {
        let shift = dictionary.vertices.max(1).next_power_of_two().ilog2().saturating_sub(BINS.ilog2());
        let (mut by_source, mut by_target) = (vec![0u64; BINS + 1], vec![0u64; BINS + 1]);
        let mut reader = worker.reader();
        worker.barrier().await;
        while let Some(next) = worker.deal(self.chunks.len()) {
            self.rank_chunk(next, dictionary, &mut reader, |source, target| {
                by_source[(source >> shift) as usize] += 1;
                by_target[(target >> shift) as usize] += 1;
                also(source, target);
            })?;
            worker.breathe().await;
        }
        let all = worker.share(|| Ok(Mutex::new((vec![0u64; BINS + 1], vec![0u64; BINS + 1])))).await?;
        {
            let mut all = lock(&all);
            let (all_sources, all_targets) = &mut *all;
            for bin in 0..=BINS {
                all_sources[bin] += by_source[bin];
                all_targets[bin] += by_target[bin];
            }
        }
        worker.barrier().await;
        let take = || {
            let (by_source, by_target) = std::mem::take(&mut *lock(&all));
            Ok(Histogram { shift, by_source, by_target })
        };
        worker.share(take).await
    }
}
