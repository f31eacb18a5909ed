use crate::graph::engine::Worker;
use crate::graph::engine::array::Array64;
use crate::graph::engine::build::MUTUAL;
use fluvial_memory::SEGMENT_SIZE;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Most vertices that have a row of bits: the rows of as many fit in a third-level cache.
pub(super) const HUBS: usize = 1 << 13;

/// Which hubs have edges to which: a row of bits for each of the vertices of the smallest ranks.
pub(super) struct Rows {
    pub(super) hubs: usize,
    /// Words of a row: of edges, then where edges have a direction of those both ways.
    pub(super) width: usize,
    pub(super) bits: Arc<Option<Array64>>,
}

impl Rows {
    /// As many as memory has room for.
    pub(super) fn hubs(worker: &Worker, vertices: usize, marked: bool) -> usize {
        let room = worker.reservation.limit() * SEGMENT_SIZE / 32 * 8 / (1 + usize::from(marked));
        let room = 1 << (room.max(1).ilog2() / 2);
        room.min(HUBS).min(vertices) / 64 * 64
    }

    #[inline]
    pub(super) fn row(&self, rank: u32) -> Row<'_> {
        let (at, half) = (rank as usize * self.width, self.hubs / 64);
        let bits: &[AtomicU64] = match &*self.bits {
            Some(bits) => bits,
            None => &[],
        };
        let row = &bits[at..at + self.width];
        Row { edges: &row[..half], mutual: &row[half..] }
    }
}

/// The row of one hub.
pub(super) struct Row<'a> {
    pub(super) edges: &'a [AtomicU64],
    pub(super) mutual: &'a [AtomicU64],
}

impl Row<'_> {
    #[inline]
    fn bit(words: &[AtomicU64], rank: u32) -> u64 {
        words[rank as usize / 64].load(Relaxed) >> (rank % 64) & 1
    }

    /// Number of edges between the hub and another one.
    #[inline]
    pub(super) fn ways<const MARKED: bool>(&self, rank: u32) -> u64 {
        Self::bit(self.edges, rank) + if MARKED { Self::bit(self.mutual, rank) } else { 0 }
    }
}

/// A neighbour's rank, and whether edges lead both ways (2, else 1).
#[inline]
pub(super) fn split<const MARKED: bool>(item: u32) -> (u32, u64) {
    if MARKED { (item & !MUTUAL, 1 + u64::from(item & MUTUAL != 0)) } else { (item, 1) }
}
