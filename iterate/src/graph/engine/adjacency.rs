//! Adjacency laid out for the cache: compressed sparse rows in blocks.
//!
//! Vertices are divided into parts, contiguous ranges with about equal numbers of edges, one a worker. A part has the place of each
//! vertex's list among the part's edges, and the lists one after another in blocks, in memory or on disk. Kernels walk over vertices in order, so
//! edges on disk are read in order. A list may straddle blocks: it comes in pieces.

use super::array::Array64;
use super::block::{BlockReader, Place};
use fluvial_core::Result;
use fluvial_memory::Reservation;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Lists of neighbours.
pub(crate) struct Adjacency {
    pub(crate) parts: Vec<Part>,
    /// Pieces of work: ranges of vertices, each within a part, with about equal numbers of edges.
    pub(crate) tasks: Vec<Task>,
    /// Edges in all lists.
    pub(crate) edges: u64,
    /// Whether lists are better read in the order of the vertices.
    on_disk: bool,
}

/// A range of vertices of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) part: usize,
    pub(crate) vertices: Range<u32>,
}

/// The lists of a range of vertices.
pub(crate) struct Part {
    pub(crate) first: u32,
    /// For each vertex where its list begins among the part's edges, and at last where the last one ends.
    pub(crate) offsets: Array64,
    pub(crate) targets: Vec<Place>,
    /// Weights of edges, where there are some.
    pub(crate) weights: Vec<Place>,
    /// Bits of the number of targets of a block.
    pub(crate) shift: u32,
}

/// Work that is dealt at once, in edges, while edges are in memory.
const TASK: u64 = 1 << 16;

impl Part {
    /// The vertices that the part is of.
    pub(crate) fn vertices(&self) -> Range<u32> {
        self.first..self.first + (self.offsets.len() as u32).saturating_sub(1)
    }

    #[inline]
    fn list(&self, vertex: u32) -> Range<u64> {
        let at = (vertex - self.first) as usize;
        self.offsets[at].load(Relaxed)..self.offsets[at + 1].load(Relaxed)
    }

    /// Edges of all lists.
    pub(crate) fn edges(&self) -> u64 {
        self.offsets.last().map_or(0, |end| end.load(Relaxed))
    }

    fn is_in_memory(&self) -> bool {
        self.targets.iter().chain(&self.weights).all(|place| matches!(place, Place::Memory(_)))
    }

    /// Cuts the part into pieces of work.
    fn tasks(&self, part: usize) -> Vec<Task> {
        let size = if self.is_in_memory() { TASK } else { TASK.max(4 << self.shift) };
        let (mut tasks, mut first) = (Vec::new(), self.first);
        let end = self.vertices().end;
        while first < end {
            let from = self.list(first).start;
            // A vertex counts as an edge: what is done for each costs about as much.
            let within =
                |place: usize| self.offsets[place].load(Relaxed) - from + place as u64 <= (first - self.first) as u64 + size;
            let (mut low, mut high) = ((first - self.first) as usize + 1, (end - self.first) as usize);
            while low < high {
                let middle = (low + high).div_ceil(2);
                if within(middle) { low = middle } else { high = middle - 1 }
            }
            let next = self.first + low as u32;
            tasks.push(Task { part, vertices: first..next });
            first = next;
        }
        tasks
    }
}

impl Adjacency {
    /// Of these parts, in the order of their vertices.
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        let tasks = parts.iter().enumerate().flat_map(|(number, part)| part.tasks(number)).collect();
        let edges = parts.iter().map(Part::edges).sum();
        let on_disk = !parts.iter().all(Part::is_in_memory);
        Self { parts, tasks, edges, on_disk }
    }

    /// Whether some lists are on disk.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk
    }

    /// Puts vertices whose lists will be read in the order in which that is best.
    pub(crate) fn arrange(&self, vertices: &mut [u32]) {
        if self.on_disk {
            vertices.sort_unstable();
        }
    }

    /// The number of neighbours of a vertex.
    #[inline]
    pub(crate) fn degree(&self, vertex: u32) -> u64 {
        let list = self.parts[self.part_of(vertex)].list(vertex);
        list.end - list.start
    }

    #[inline]
    pub(crate) fn part_of(&self, vertex: u32) -> usize {
        let mut part = self.parts.len() - 1;
        while part > 0 && vertex < self.parts[part].first {
            part -= 1;
        }
        part
    }

    /// Reads lists.
    pub(crate) fn cursor(&self, reservation: &Reservation) -> Cursor<'_> {
        Cursor { adjacency: self, targets: BlockReader::new(reservation), weights: BlockReader::new(reservation) }
    }
}

/// Blocks that are read ahead where lists are read in order.
const AHEAD: usize = 3;

/// Reads lists of neighbours.
pub(crate) struct Cursor<'a> {
    adjacency: &'a Adjacency,
    targets: BlockReader,
    weights: BlockReader,
}

impl<'a> Cursor<'a> {
    /// Calls `take` with the neighbours of a vertex, in one piece or several.
    ///
    /// # Errors
    /// Of reading.
    #[inline]
    pub(crate) fn pieces(&mut self, part: usize, vertex: u32, mut take: impl FnMut(&[u32])) -> Result<()> {
        let part = &self.adjacency.parts[part];
        let Range { start, end } = part.list(vertex);
        let mut at = start;
        while at < end {
            let block = (at >> part.shift) as usize;
            let stop = end.min((block as u64 + 1) << part.shift);
            let mask = (1 << part.shift) - 1;
            let place = (at & mask) as usize..((stop - 1) & mask) as usize + 1;
            match &part.targets[block] {
                Place::Memory(block) => take(&block.small()[place]),
                elsewhere => take(&bytemuck::cast_slice(self.targets.bytes(elsewhere, AHEAD)?)[place]),
            }
            at = stop;
        }
        Ok(())
    }

    /// Whether one of the neighbours of a vertex is as wanted; looks at no more than it must.
    ///
    /// # Errors
    /// Of reading.
    #[inline]
    pub(crate) fn any(&mut self, part: usize, vertex: u32, wanted: impl Fn(u32) -> bool) -> Result<bool> {
        let part = &self.adjacency.parts[part];
        let Range { start, end } = part.list(vertex);
        let mut at = start;
        while at < end {
            let block = (at >> part.shift) as usize;
            let stop = end.min((block as u64 + 1) << part.shift);
            let mask = (1 << part.shift) - 1;
            let place = (at & mask) as usize..((stop - 1) & mask) as usize + 1;
            let neighbours: &[u32] = match &part.targets[block] {
                Place::Memory(block) => &block.small()[place],
                elsewhere => &bytemuck::cast_slice(self.targets.bytes(elsewhere, AHEAD)?)[place],
            };
            if neighbours.iter().any(|&neighbour| wanted(neighbour)) {
                return Ok(true);
            }
            at = stop;
        }
        Ok(false)
    }

    /// Calls `take` with the neighbours of a vertex and the weights of the edges to them, in one piece or several.
    ///
    /// # Errors
    /// Of reading.
    pub(crate) fn weighted(&mut self, part: usize, vertex: u32, mut take: impl FnMut(&[u32], &[f64])) -> Result<()> {
        let part = &self.adjacency.parts[part];
        let Range { start, end } = part.list(vertex);
        let mut at = start;
        while at < end {
            // Weights are twice as long: half as many are in a block.
            let half = part.shift - 1;
            let stop = end.min(((at >> half) + 1) << half);
            let within = |shift: u32| {
                let mask = (1 << shift) - 1;
                (at & mask) as usize..((stop - 1) & mask) as usize + 1
            };
            let (targets, weights) = (&part.targets[(at >> part.shift) as usize], &part.weights[(at >> half) as usize]);
            let targets = &bytemuck::cast_slice(self.targets.bytes(targets, AHEAD)?)[within(part.shift)];
            let weights = &bytemuck::cast_slice(self.weights.bytes(weights, AHEAD * 2)?)[within(half)];
            take(targets, weights);
            at = stop;
        }
        Ok(())
    }
}
