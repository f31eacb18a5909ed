use super::order::Order;
use super::rows::{Row, split};
use crate::graph::VertexId;
use crate::graph::engine::Worker;
use fluvial_core::Batch;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is done with triangles. Corners are ranks: the first is that of the list at hand, the second one of its items, the third is looked for.
pub(super) trait Visit<const MARKED: bool> {
    /// Candidates are neighbours of the first corner.
    fn probe(&mut self, corners: [u32; 2], ways: u64, candidates: &[u32], second: &Row<'_>);

    /// Candidates are neighbours of the second corner; marks say which are of the first, and how.
    fn scan(&mut self, corners: [u32; 2], ways: u64, candidates: &[u32], first: &[u8]);

    /// All triangles of a first corner have been visited.
    async fn end(&mut self, worker: &Worker);
}

/// Adds to each corner the number of edges between the other two. Written without branches: whether there is a triangle is hardly ever foreseen.
pub(super) struct Counter<'a> {
    pub(super) mine: &'a [AtomicU64],
}

impl Counter<'_> {
    #[inline]
    fn add(&self, rank: u32, ways: u64) {
        let count = &self.mine[rank as usize];
        count.store(count.load(Relaxed) + ways, Relaxed);
    }
}

impl<const MARKED: bool> Visit<MARKED> for Counter<'_> {
    #[inline]
    fn probe(&mut self, [a, b]: [u32; 2], ways: u64, candidates: &[u32], second: &Row<'_>) {
        let (mut of_a, mut of_b) = (0, 0);
        for &item in candidates {
            let (c, ac) = split::<MARKED>(item);
            let bc = second.ways::<MARKED>(c);
            let found = if MARKED { u64::from(bc > 0) } else { bc };
            of_a += bc;
            of_b += found * ac;
            self.add(c, found * ways);
        }
        self.add(a, of_a);
        self.add(b, of_b);
    }

    #[inline]
    fn scan(&mut self, [a, b]: [u32; 2], ways: u64, candidates: &[u32], first: &[u8]) {
        let (mut of_a, mut of_b) = (0, 0);
        for &item in candidates {
            let (c, bc) = split::<MARKED>(item);
            let ac = u64::from(first[c as usize]);
            let found = if MARKED { u64::from(ac > 0) } else { ac };
            of_a += found * bc;
            of_b += ac;
            self.add(c, found * ways);
        }
        self.add(a, of_a);
        self.add(b, of_b);
    }

    async fn end(&mut self, _worker: &Worker) {}
}

/// Names the corners of triangles.
pub(super) struct Lister<'a, I, N> {
    pub(super) order: &'a Order,
    pub(super) names: N,
    pub(super) batch: Vec<(I, I, I)>,
    pub(super) total: u64,
}

impl<I: VertexId, N: Fn(u32) -> I> Lister<'_, I, N> {
    fn found(&mut self, corners: [u32; 3]) {
        let mut corners = corners.map(|rank| self.order.vertex(rank));
        corners.sort_unstable();
        let [a, b, c] = corners.map(&self.names);
        self.batch.push((a, b, c));
        self.total += 1;
    }
}

impl<I: VertexId, N: Fn(u32) -> I> Visit<false> for Lister<'_, I, N> {
    fn probe(&mut self, [a, b]: [u32; 2], _ways: u64, candidates: &[u32], second: &Row<'_>) {
        candidates.iter().filter(|c| second.ways::<false>(**c) > 0).for_each(|c| self.found([a, b, *c]));
    }

    fn scan(&mut self, [a, b]: [u32; 2], _ways: u64, candidates: &[u32], first: &[u8]) {
        candidates.iter().filter(|c| first[**c as usize] > 0).for_each(|c| self.found([a, b, *c]));
    }

    async fn end(&mut self, worker: &Worker) {
        const BATCH: usize = 4096;
        if self.batch.len() >= BATCH {
            worker.emit(Batch::typed(std::mem::take(&mut self.batch))).await;
        }
    }
}
