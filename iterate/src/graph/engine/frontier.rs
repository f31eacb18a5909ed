use super::adjacency::Adjacency;
use super::worker::Worker;
use fluvial_core::Result;
use std::ops::Range;
use std::sync::Arc;

/// The vertices that a superstep works on: what the workers found in the one before.
pub(crate) struct Frontier {
    lists: Vec<Arc<Vec<u32>>>,
    pieces: Vec<(usize, Range<usize>)>,
    length: usize,
}

/// Vertices that are dealt at once, at the most.
const PIECE: usize = 512;

impl Frontier {
    /// A barrier at which the workers put together what they have found.
    ///
    /// # Errors
    /// They do not all come here: a bug.
    pub(crate) async fn new(worker: &Worker, mut mine: Vec<u32>, adjacency: &Adjacency) -> Result<Self> {
        adjacency.arrange(&mut mine);
        let lists = worker.gather(mine).await?;
        let length: usize = lists.iter().map(|list| list.len()).sum();
        // Small frontiers are divided too: some vertices have many neighbours.
        let size = (length / (worker.members() * 8)).clamp(1, PIECE);
        let cut = |(number, list): (usize, &Arc<Vec<u32>>)| {
            let length = list.len();
            (0..length).step_by(size).map(move |from| (number, from..length.min(from + size)))
        };
        let pieces = lists.iter().enumerate().flat_map(cut).collect();
        Ok(Self { lists, pieces, length })
    }

    /// Number of vertices.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The next vertices that nobody has taken.
    pub(crate) fn deal(&self, worker: &Worker) -> Option<&[u32]> {
        worker.deal(self.pieces.len()).map(|piece| {
            let (list, range) = &self.pieces[piece];
            &self.lists[*list][range.clone()]
        })
    }
}
