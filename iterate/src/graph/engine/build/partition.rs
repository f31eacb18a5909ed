use super::super::block::{Block, BlockMaker, BlockReader, Place};
use super::super::dictionary::Dictionary;
use super::super::raw::pack;
use super::super::worker::Worker;
use super::edges::{BINS, Edges, Histogram};
use super::{Lists, View, lock};
use fluvial_core::Result;
use fluvial_memory::SEGMENT_SIZE;
use std::ops::Range;
use std::sync::Mutex;

/// Edges of a partition: what it takes as edges, and its lists, fit in a second-level cache together.
const PARTITION: u64 = 1 << 17;

/// Most partitions: a worker writes to all of them in turn.
const MOST: usize = 256;

/// How vertices are divided.
pub(super) struct Plan {
    /// The partition of each bin.
    pub(super) partition_of: Vec<u16>,
    /// The vertices of each partition.
    pub(super) bounds: Vec<Range<u32>>,
    /// The partitions of each worker.
    pub(super) owned: Vec<Range<usize>>,
}

impl Plan {
    pub(super) fn new(worker: &Worker, vertices: u32, histogram: &Histogram, view: View) -> Self {
        let count = |bin: usize| match view.lists {
            Lists::Targets => histogram.by_source[bin],
            Lists::Sources => histogram.by_target[bin],
            Lists::Both | Lists::All | Lists::Marked => histogram.by_source[bin] + histogram.by_target[bin],
        };
        let bins = ((vertices.max(1) - 1) >> histogram.shift) as usize + 1;
        let total: u64 = (0..bins).map(count).sum();
        // All workers have a block of each partition in hand.
        let room = worker.reservation.limit() / 4 / (worker.members() * worker.maker().bytes() / SEGMENT_SIZE);
        let wanted = (total / PARTITION).clamp(worker.members() as u64 * 4, MOST as u64) as usize;
        let size = total / wanted.min(room).max(1) as u64 + 1;
        let (mut partition_of, mut bounds, mut sizes) = (vec![0u16; BINS + 1], Vec::new(), Vec::new());
        let (mut first, mut filled) = (0, 0);
        for (bin, partition) in partition_of.iter_mut().enumerate().take(bins) {
            if filled > 0 && filled + count(bin) > size {
                bounds.push((first << histogram.shift) as u32..(bin << histogram.shift) as u32);
                sizes.push(filled);
                (first, filled) = (bin, 0);
            }
            *partition = bounds.len() as u16;
            filled += count(bin);
        }
        bounds.push((first << histogram.shift) as u32..vertices);
        sizes.push(filled);
        let mut owned = Vec::new();
        let (mut at, mut before) = (0, 0);
        for member in 1..=worker.members() as u64 {
            let from = at;
            let goal = total * member / worker.members() as u64;
            while at < bounds.len() && (member == worker.members() as u64 || before + sizes[at] / 2 < goal) {
                before += sizes[at];
                at += 1;
            }
            owned.push(from..at);
        }
        Self { partition_of, bounds, owned }
    }
}

/// Edges of one partition in one block: each a word, and a word for its weight.
pub(super) struct Piece {
    pub(super) words: usize,
    pub(super) place: Place,
}

impl Piece {
    #[inline]
    pub(super) fn for_each(&self, weighted: bool, reader: &mut BlockReader, mut take: impl FnMut(u64, u64)) -> Result<()> {
        let words: &[u64] = &bytemuck::cast_slice(reader.bytes(&self.place, 0)?)[..self.words];
        if weighted {
            words.as_chunks().0.iter().for_each(|&[edge, weight]| take(edge, weight));
        } else {
            words.iter().for_each(|&edge| take(edge, 0));
        }
        Ok(())
    }
}

impl Edges {
    /// Nobody reads a chunk any more.
    fn give_up(&self, chunk: usize) {
        let mut chunk = self.chunks[chunk].write().unwrap_or_else(|e| e.into_inner());
        (chunk.words, chunk.place) = (0, Place::Pending(0));
    }

    /// Divides the edges by the partition of the vertex whose list they go to.
    ///
    /// # Errors
    /// Of reading and writing.
    #[expect(clippy::too_many_arguments, reason = "one step of a whole, called once")]
    pub(super) async fn partition(
        &self,
        worker: &Worker,
        dictionary: &Dictionary,
        shift: u32,
        plan: &Plan,
        view: View,
        last: bool,
        partitions: &[Mutex<Vec<Piece>>],
    ) -> Result<()> {
        let mut writer = PartitionWriter::new(worker.maker(), plan.bounds.len(), view.weighted);
        let mut reader = worker.reader();
        while let Some(next) = worker.deal(self.chunks.len()) {
            let mut done = Ok(());
            let mut put = |vertex: u32, neighbour: u32, weight: f64| {
                let partition = plan.partition_of[(vertex >> shift) as usize];
                if let Err(error) = writer.put(partition as usize, pack(vertex, neighbour), weight) {
                    done = Err(error);
                }
            };
            let loops = !view.simple;
            match view.lists {
                Lists::Targets => self.for_each(next, dictionary, &mut reader, |source, target, weight| {
                    if loops || source != target {
                        put(source, target, weight);
                    }
                })?,
                Lists::Sources => self.for_each(next, dictionary, &mut reader, |source, target, weight| {
                    if loops || source != target {
                        put(target, source, weight);
                    }
                })?,
                Lists::Both => self.for_each(next, dictionary, &mut reader, |source, target, weight| {
                    if source != target {
                        put(source, target, weight);
                        put(target, source, weight);
                    } else if loops {
                        put(source, target, weight);
                    }
                })?,
                Lists::All => self.for_each(next, dictionary, &mut reader, |source, target, weight| {
                    if loops || source != target {
                        put(source, target, weight);
                        put(target, source, weight);
                    }
                })?,
                // The last bit tells directions apart until duplicates are gone.
                Lists::Marked => self.for_each(next, dictionary, &mut reader, |source, target, weight| {
                    if source != target {
                        put(source, target << 1, weight);
                        put(target, source << 1 | 1, weight);
                    }
                })?,
            }
            done?;
            if last {
                self.give_up(next);
            }
            worker.breathe().await;
        }
        for (partition, pieces) in writer.finish()?.into_iter().enumerate() {
            lock(&partitions[partition]).extend(pieces);
        }
        Ok(())
    }
}

/// Writes the edges that one worker has for each partition.
struct PartitionWriter {
    maker: BlockMaker,
    weighted: bool,
    open: Vec<Option<(Block, usize)>>,
    pieces: Vec<Vec<Piece>>,
}

impl PartitionWriter {
    fn new(maker: BlockMaker, partitions: usize, weighted: bool) -> Self {
        let open = (0..partitions).map(|_| None).collect();
        Self { maker, weighted, open, pieces: (0..partitions).map(|_| Vec::new()).collect() }
    }

    #[inline]
    fn put(&mut self, partition: usize, edge: u64, weight: f64) -> Result<()> {
        if let Some((block, filled)) = &mut self.open[partition] {
            let room = &mut block.large_mut()[*filled..];
            if !self.weighted && !room.is_empty() {
                room[0] = edge;
                *filled += 1;
                return Ok(());
            }
            if room.len() >= 2 {
                (room[0], room[1]) = (edge, weight.to_bits());
                *filled += 2;
                return Ok(());
            }
        }
        self.turn(partition)?;
        self.put(partition, edge, weight)
    }

    #[cold]
    fn turn(&mut self, partition: usize) -> Result<()> {
        let block = match self.open[partition].take() {
            None => self.maker.fresh().map_or_else(|| self.maker.scratch(), Ok)?,
            Some((block, words)) => {
                let (place, next) = self.maker.keep(block)?;
                self.pieces[partition].push(Piece { words, place });
                next
            }
        };
        self.open[partition] = Some((block, 0));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Vec<Piece>>> {
        for (pieces, open) in self.pieces.iter_mut().zip(self.open) {
            if let Some((block, words)) = open
                && words > 0
            {
                pieces.push(Piece { words, place: self.maker.keep_last(block)? });
            }
        }
        self.maker.settle(self.pieces.iter_mut().flatten().map(|piece| &mut piece.place))?;
        Ok(self.pieces)
    }
}
