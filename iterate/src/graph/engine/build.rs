//! From chunks of edges to adjacency.
//!
//! Edges are first divided by the vertex whose list they go to, into partitions whose lists fit in a processor's cache, then each partition is
//! sorted by counting, in memory, and its lists are appended to the blocks of the worker's part. Both steps touch memory in order but for
//! a few places at a time, and both spill: partitions as blocks, lists as blocks. A partition larger than memory is read as often as its
//! vertices have to be taken in turns.

use super::adjacency::{Adjacency, Part};
use super::array::Array64;
use super::block::{Block, BlockMaker, BlockReader, Place, too_small};
use super::dictionary::{Dictionary, with_rank};
use super::raw::{Chunk, pack, unpack};
use super::worker::Worker;
use fluvial_core::Result;
use fluvial_memory::SEGMENT_SIZE;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, RwLock};

/// Which edges are in whose list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) lists: Lists,
    /// Lists are sorted, without duplicates and loops.
    pub(crate) simple: bool,
    /// With weights.
    pub(crate) weighted: bool,
}

/// What the list of a vertex holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// Targets of the edges that it is the source of.
    Targets,
    /// Sources of the edges that it is the target of.
    Sources,
    /// Both; a loop once.
    Both,
    /// Both; a loop twice.
    All,
    /// Both, for simple lists: a neighbour to and from which edges lead has [`MUTUAL`] set, those without do not.
    Marked,
}

/// The bit of a neighbour in [`Lists::Marked`] that says that edges lead both ways.
pub(crate) const MUTUAL: u32 = 1 << 31;

/// The edges of a graph of ranks, not laid out yet.
pub(crate) struct Edges {
    pub(crate) chunks: Vec<RwLock<Chunk>>,
    pub(crate) weighted: bool,
}

/// Vertices are counted by so many equal ranges, to cut partitions of about equal size.
const BINS: usize = 4096;

/// Edges of a partition: what it takes as edges, and its lists, fit in a second-level cache together.
const PARTITION: u64 = 1 << 17;

/// Most partitions: a worker writes to all of them in turn.
const MOST: usize = 256;

/// Edges by the range that their vertex is in.
pub(crate) struct Histogram {
    shift: u32,
    by_source: Vec<u64>,
    by_target: Vec<u64>,
}

impl Edges {
    /// Calls `take` with source, target and weight of each edge of a chunk.
    ///
    /// # Errors
    /// Of reading.
    #[inline]
    pub(crate) fn for_each(
        &self,
        chunk: &Chunk,
        dictionary: &Dictionary,
        reader: &mut BlockReader,
        mut take: impl FnMut(u32, u32, f64),
    ) -> Result<()> {
        if chunk.ranked {
            return chunk
                .for_each_edge(self.weighted, reader, |source, target, weight| take(source as u32, target as u32, weight));
        }
        with_rank!(dictionary, |rank| chunk.for_each_edge(self.weighted, reader, |source, target, weight| {
            take(rank(source), rank(target), weight);
        }))
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
            let mut chunk = self.chunks[next].write().unwrap_or_else(|e| e.into_inner());
            let mut count = |source: u32, target: u32| {
                by_source[(source >> shift) as usize] += 1;
                by_target[(target >> shift) as usize] += 1;
                also(source, target);
            };
            if chunk.ranked {
                chunk.rank(self.weighted, &mut reader, |id| id as u32, &mut count)?;
            } else {
                with_rank!(dictionary, |rank| chunk.rank(self.weighted, &mut reader, rank, &mut count))?;
            }
            drop(chunk);
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

    /// Lays out adjacency. With `last` the edges are given up as they are read.
    ///
    /// # Errors
    /// Too little memory, or a full disk.
    pub(crate) async fn lay_out(
        &self,
        worker: &Worker,
        dictionary: &Dictionary,
        histogram: &Histogram,
        view: View,
        last: bool,
    ) -> Result<Arc<Adjacency>> {
        let plan = Plan::new(worker, dictionary.vertices, histogram, view);
        let partitions: Arc<Vec<Mutex<Vec<Piece>>>> =
            worker.share(|| Ok(plan.bounds.iter().map(|_| Mutex::default()).collect())).await?;
        self.partition(worker, dictionary, histogram.shift, &plan, view, last, &partitions).await?;
        worker.barrier().await;
        let part = build(worker, &plan, view, &partitions).await?;
        assemble(worker, vec![part]).await
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a whole, called once")]
    async fn partition(
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
            let chunk = self.chunks[next].read().unwrap_or_else(|e| e.into_inner());
            let loops = !view.simple;
            match view.lists {
                Lists::Targets => self.for_each(&chunk, dictionary, &mut reader, |source, target, weight| {
                    if loops || source != target {
                        put(source, target, weight);
                    }
                })?,
                Lists::Sources => self.for_each(&chunk, dictionary, &mut reader, |source, target, weight| {
                    if loops || source != target {
                        put(target, source, weight);
                    }
                })?,
                Lists::Both => self.for_each(&chunk, dictionary, &mut reader, |source, target, weight| {
                    if source != target {
                        put(source, target, weight);
                        put(target, source, weight);
                    } else if loops {
                        put(source, target, weight);
                    }
                })?,
                Lists::All => self.for_each(&chunk, dictionary, &mut reader, |source, target, weight| {
                    if loops || source != target {
                        put(source, target, weight);
                        put(target, source, weight);
                    }
                })?,
                // The last bit tells directions apart until duplicates are gone.
                Lists::Marked => self.for_each(&chunk, dictionary, &mut reader, |source, target, weight| {
                    if source != target {
                        put(source, target << 1, weight);
                        put(target, source << 1 | 1, weight);
                    }
                })?,
            }
            drop(chunk);
            done?;
            if last {
                let mut chunk = self.chunks[next].write().unwrap_or_else(|e| e.into_inner());
                (chunk.words, chunk.place) = (0, Place::Pending(0));
            }
            worker.breathe().await;
        }
        for (partition, pieces) in writer.finish()?.into_iter().enumerate() {
            lock(&partitions[partition]).extend(pieces);
        }
        Ok(())
    }
}

impl Adjacency {
    /// The lists without some neighbours, those kept where `keep` says so of a vertex and an item of its list.
    ///
    /// # Errors
    /// Too little memory, or a full disk.
    pub(crate) async fn filter(&self, worker: &Worker, keep: impl Fn(u32, u32) -> bool) -> Result<Arc<Self>> {
        let mut made = Vec::new();
        let mut cursor = self.cursor(&worker.reservation);
        for (number, part) in self.parts.iter().enumerate() {
            if number % worker.members() != worker.index() {
                continue;
            }
            let offsets = Array64::zeros(&worker.reservation, part.vertices().len() + 1)?;
            let mut targets = Appender::new(worker.maker());
            let (mut written, mut kept, mut since) = (0, Vec::new(), 0);
            for vertex in part.vertices() {
                kept.clear();
                cursor.pieces(number, vertex, |list| kept.extend(list.iter().copied().filter(|&item| keep(vertex, item))))?;
                targets.append(bytemuck::cast_slice(&kept))?;
                written += kept.len() as u64;
                offsets[(vertex - part.first) as usize + 1].store(written, Relaxed);
                since += 1 + kept.len();
                if since > 1 << 15 {
                    since = 0;
                    worker.breathe().await;
                }
            }
            let (first, shift) = (part.first, part.shift);
            made.push(Part { first, offsets, targets: targets.finish()?, weights: Vec::new(), shift });
        }
        assemble(worker, made).await
    }
}

/// Puts together what the workers have made.
async fn assemble(worker: &Worker, made: Vec<Part>) -> Result<Arc<Adjacency>> {
    let parts = worker.gather(Mutex::new(made)).await?;
    let make = || {
        let mut parts: Vec<Part> = parts.iter().flat_map(|made| std::mem::take(&mut *lock(made))).collect();
        parts.sort_by_key(|part| part.first);
        // Of parts without vertices only one is left, if there are no others.
        let some = parts.iter().any(|part| !part.vertices().is_empty());
        parts.retain(|part| !some || !part.vertices().is_empty());
        parts.truncate(if some { parts.len() } else { 1 });
        Ok(Adjacency::new(parts))
    };
    worker.share(make).await
}

/// How vertices are divided.
struct Plan {
    /// The partition of each bin.
    partition_of: Vec<u16>,
    /// The vertices of each partition.
    bounds: Vec<Range<u32>>,
    /// The partitions of each worker.
    owned: Vec<Range<usize>>,
}

impl Plan {
    fn new(worker: &Worker, vertices: u32, histogram: &Histogram, view: View) -> Self {
        let count = |bin: usize| match view.lists {
            Lists::Targets => histogram.by_source[bin],
            Lists::Sources => histogram.by_target[bin],
            Lists::Both | Lists::All | Lists::Marked => histogram.by_source[bin] + histogram.by_target[bin],
        };
        let bins = (vertices.max(1) - 1 >> histogram.shift) as usize + 1;
        let total: u64 = (0..bins).map(count).sum();
        // All workers have a block of each partition in hand.
        let room = worker.reservation.limit() / 4 / (worker.members() * worker.maker().bytes() / SEGMENT_SIZE);
        let wanted = (total / PARTITION).clamp(worker.members() as u64 * 4, MOST as u64) as usize;
        let size = total / wanted.min(room).max(1) as u64 + 1;
        let (mut partition_of, mut bounds, mut sizes) = (vec![0u16; BINS + 1], Vec::new(), Vec::new());
        let (mut first, mut filled) = (0, 0);
        for bin in 0..bins {
            if filled > 0 && filled + count(bin) > size {
                bounds.push((first << histogram.shift) as u32..(bin << histogram.shift) as u32);
                sizes.push(filled);
                (first, filled) = (bin, 0);
            }
            partition_of[bin] = bounds.len() as u16;
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
    words: usize,
    place: Place,
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

/// Sorts the partitions of this worker and makes its part of them.
async fn build(worker: &Worker, plan: &Plan, view: View, partitions: &[Mutex<Vec<Piece>>]) -> Result<Part> {
    let owned = plan.owned[worker.index()].clone();
    let bounds = &plan.bounds[owned.clone()];
    let first = bounds.first().map_or(u32::MAX, |vertices| vertices.start);
    let count = bounds.iter().map(Range::len).sum::<usize>();
    let shift = (worker.maker().bytes() / 4).ilog2();
    let offsets = Array64::zeros(&worker.reservation, count + 1)?;
    let mut lists = ListWriter::new(worker, view)?;
    let mut reader = worker.reader();
    for partition in owned {
        let pieces = std::mem::take(&mut *lock(&partitions[partition]));
        let vertices = plan.bounds[partition].clone();
        let mut counts = vec![0u32; vertices.len()];
        for piece in &pieces {
            piece.for_each(view.weighted, &mut reader, |edge, _| counts[(unpack(edge).0 - vertices.start) as usize] += 1)?;
        }
        worker.breathe().await;
        let mut from = 0;
        while from < counts.len() {
            from = lists.turn(&pieces, &counts, from, &vertices, (&offsets, first), &mut reader)?;
            worker.breathe().await;
        }
    }
    let (targets, weights) = lists.finish()?;
    Ok(Part { first, offsets, targets, weights, shift })
}

impl Piece {
    #[inline]
    fn for_each(&self, weighted: bool, reader: &mut BlockReader, mut take: impl FnMut(u64, u64)) -> Result<()> {
        let words: &[u64] = &bytemuck::cast_slice(reader.bytes(&self.place, 0)?)[..self.words];
        if weighted {
            words.as_chunks().0.iter().for_each(|&[edge, weight]| take(edge, weight));
        } else {
            words.iter().for_each(|&edge| take(edge, 0));
        }
        Ok(())
    }
}

/// Sorts edges and appends lists to blocks.
struct ListWriter<'a> {
    worker: &'a Worker,
    view: View,
    targets: Appender,
    weights: Appender,
    written: u64,
}

/// Appends values to blocks.
struct Appender {
    maker: BlockMaker,
    /// Made when it is needed.
    block: Option<Block>,
    /// Bytes of the block that are filled.
    filled: usize,
    places: Vec<Place>,
}

impl<'a> ListWriter<'a> {
    fn new(worker: &'a Worker, view: View) -> Result<Self> {
        Ok(Self { worker, view, targets: Appender::new(worker.maker()), weights: Appender::new(worker.maker()), written: 0 })
    }

    /// Makes the lists of as many vertices as memory allows, from the one numbered `from` in the partition on; gives the next.
    fn turn(
        &mut self,
        pieces: &[Piece],
        counts: &[u32],
        from: usize,
        vertices: &Range<u32>,
        (offsets, first): (&Array64, u32),
        reader: &mut BlockReader,
    ) -> Result<usize> {
        let width = if self.view.weighted { 12 } else { 4 };
        let all: usize = counts[from..].iter().map(|&count| count as usize).sum();
        let mut segments = (all * width).div_ceil(SEGMENT_SIZE).max(1);
        let mut scratch = loop {
            match self.worker.reservation.alloc_extent(segments) {
                Some(scratch) => break scratch,
                None if segments > 1 => segments = segments.div_ceil(2),
                None => return Err(too_small(&self.worker.reservation, SEGMENT_SIZE)),
            }
        };
        let room = (scratch.len() / width).min(u32::MAX as usize);
        // Where the next edge of each vertex goes.
        let mut places = Vec::with_capacity(counts.len() - from);
        let mut edges = 0;
        for &count in &counts[from..] {
            if edges + count as usize > room {
                break;
            }
            places.push(edges as u32);
            edges += count as usize;
        }
        if places.is_empty() {
            return Err(too_small(&self.worker.reservation, counts[from] as usize * width));
        }
        let to = from + places.len();
        let (weights, targets) = scratch.split_at_mut(if self.view.weighted { room * 8 } else { 0 });
        let (weights, targets): (&mut [u64], &mut [u32]) = (bytemuck::cast_slice_mut(weights), bytemuck::cast_slice_mut(targets));
        let base = vertices.start + from as u32;
        for piece in pieces {
            piece.for_each(self.view.weighted, reader, |edge, weight| {
                let (vertex, neighbour) = unpack(edge);
                if let Some(place) = places.get_mut(vertex.wrapping_sub(base) as usize) {
                    targets[*place as usize] = neighbour;
                    if self.view.weighted {
                        weights[*place as usize] = weight;
                    }
                    *place += 1;
                }
            })?;
        }
        // Places are ends of lists now.
        let mut start = 0;
        for (number, end) in places.iter().enumerate() {
            let end = *end as usize;
            let mut length = end - start;
            if self.view.simple {
                let list = &mut targets[start..end];
                list.sort_unstable();
                length = if self.view.lists == Lists::Marked { merge_marks(list) } else { dedup(list) };
            }
            self.targets.append(bytemuck::cast_slice(&targets[start..start + length]))?;
            if self.view.weighted {
                self.weights.append(bytemuck::cast_slice(&weights[start..start + length]))?;
            }
            self.written += length as u64;
            offsets[(base - first) as usize + number + 1].store(self.written, Relaxed);
            start = end;
        }
        Ok(to)
    }

    fn finish(self) -> Result<(Vec<Place>, Vec<Place>)> {
        Ok((self.targets.finish()?, self.weights.finish()?))
    }
}

/// Moves the different values of a sorted list to its front; gives their number.
fn dedup(list: &mut [u32]) -> usize {
    let mut kept = 0;
    for at in 0..list.len() {
        if at == 0 || list[at] != list[kept - 1] {
            list[kept] = list[at];
            kept += 1;
        }
    }
    kept
}

/// As [`dedup`] of neighbours with a direction as last bit; gives them the mark of edges both ways.
fn merge_marks(list: &mut [u32]) -> usize {
    let (mut kept, mut first) = (0, 0);
    for at in 0..list.len() {
        let (neighbour, direction) = (list[at] >> 1, list[at] & 1);
        if kept > 0 && list[kept - 1] & !MUTUAL == neighbour {
            // Sorted: a direction other than that of the first comes after it.
            list[kept - 1] |= if direction == first { 0 } else { MUTUAL };
        } else {
            (list[kept], first) = (neighbour, direction);
            kept += 1;
        }
    }
    kept
}

impl Appender {
    fn new(maker: BlockMaker) -> Self {
        Self { maker, block: None, filled: 0, places: Vec::new() }
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let block = match &mut self.block {
                Some(block) => block,
                none => none.insert(self.maker.fresh().map_or_else(|| self.maker.scratch(), Ok)?),
            };
            let room: &mut [u8] = bytemuck::cast_slice_mut(&mut block.large_mut()[self.filled / 8..]);
            let room = &mut room[self.filled % 8..];
            let here = room.len().min(bytes.len());
            room[..here].copy_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            self.filled += here;
            if self.filled == self.maker.bytes()
                && let Some(block) = self.block.take()
            {
                let (place, next) = self.maker.keep(block)?;
                self.places.push(place);
                (self.block, self.filled) = (Some(next), 0);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Place>> {
        if let Some(block) = self.block.take()
            && self.filled > 0
        {
            self.places.push(self.maker.keep_last(block)?);
        }
        self.maker.settle(self.places.iter_mut())?;
        Ok(self.places)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
