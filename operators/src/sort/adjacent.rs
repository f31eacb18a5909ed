use super::radix::{self, Entry};
use fluvial_memory::{Extent, KeyWidth, Progress, Reservation, RowBatch, RowShape, SEGMENT_SIZE};
use std::collections::VecDeque;

/// Bytes of rows of a bucket, about: with their entries what a second-level cache holds.
const BUCKET: usize = 256 << 10;
/// At most so many bits of the key name a bucket: each bucket is a place that is written to.
const MOST_BITS: u32 = 10;
/// Segments of an extent of rows as they come.
const EXTENT: usize = 32;
/// Most rows of one bucket whose keys differ.
const LARGEST_BUCKET: usize = 1 << 20;
/// Widths of rows for which it is worth moving the rows themselves.
const WIDTHS: std::ops::RangeInclusive<usize> = 8..=64;

/// Sorts short rows of one width, with keys of 8 bytes, that all fit in memory; stable. Rows are first collected as they come,
/// then moved into buckets by the upper bits in which their keys differ, and sorted bucket by bucket as they are asked for: all
/// in the cache, but for one pass over the rows.
///
/// Whoever uses it has an [`ExternalSort`](super::ExternalSort) for what does not fit.
///
/// ```
/// use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape};
/// use fluvial_operators::AdjacentRows;
/// let reservation = MemoryManager::new(4 << 20)?.reserve("sort", 0)?;
/// let shape = RowShape::fixed(8, 1);
/// let mut rows = RowBatch::new(shape);
/// [(3u64, b"c"), (1, b"a"), (2, b"b")].iter().for_each(|(key, payload)| rows.push(&key.to_be_bytes(), *payload));
/// let mut sort = AdjacentRows::new(&reservation, shape).expect("short rows");
/// assert_eq!(sort.push(&rows), 3);
/// let mut sorted = sort.sort().expect("there is memory");
/// let mut out = RowBatch::new(shape);
/// assert_eq!(sorted.pull(&mut out, 1000, 1 << 20), Progress::Done);
/// assert_eq!(out.iter().map(|row| row[8]).collect::<Vec<_>>(), b"abc");
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Debug)]
pub struct AdjacentRows {
    reservation: Reservation,
    shape: RowShape,
    width: usize,
    blocks: VecDeque<Block>,
    /// Those that have been moved.
    buckets: Vec<VecDeque<Block>>,
    rows: u64,
    /// The key of the first row, and the bits in which others differ from it.
    first: u64,
    differ: u64,
}

#[derive(Debug)]
struct Block {
    extent: Extent,
    /// Bytes of rows in it.
    filled: usize,
}

impl AdjacentRows {
    /// No rows yet; `None` if rows of this shape are not for it. All memory is asked for as it is needed.
    pub fn new(reservation: &Reservation, shape: RowShape) -> Option<Self> {
        let width = shape.row.filter(|width| shape.key == KeyWidth::Fixed(8) && WIDTHS.contains(width))?;
        Some(Self {
            reservation: reservation.clone(),
            shape,
            width,
            blocks: VecDeque::new(),
            buckets: Vec::new(),
            rows: 0,
            first: 0,
            differ: 0,
        })
    }

    /// Takes rows, as many as there is memory for, and says how many.
    pub fn push(&mut self, rows: &RowBatch) -> usize {
        let (bytes, _) = rows.parts();
        let mut taken = 0;
        while taken < bytes.len() {
            let room = self.blocks.back().map_or(0, |block| (block.extent.len() - block.filled) / self.width * self.width);
            if room == 0 {
                if !self.grow() {
                    break;
                }
                continue;
            }
            let piece = &bytes[taken..bytes.len().min(taken + room)];
            if self.rows == 0 {
                self.first = key(piece);
            }
            let first = self.first;
            self.differ |= piece.chunks_exact(self.width).fold(0, |differ, row| differ | (key(row) ^ first));
            if let Some(block) = self.blocks.back_mut() {
                block.extent[block.filled..block.filled + piece.len()].copy_from_slice(piece);
                block.filled += piece.len();
            }
            self.rows += (piece.len() / self.width) as u64;
            taken += piece.len();
        }
        taken / self.width
    }

    fn grow(&mut self) -> bool {
        if self.reservation.pressure() > 0 {
            return false;
        }
        let segments = if self.blocks.len() < 8 { 1 } else { EXTENT };
        let extent = self.reservation.alloc_extent(segments);
        self.blocks.extend(extent.map(|extent| Block { extent, filled: 0 }));
        self.blocks.back().is_some_and(|block| block.filled == 0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Takes some of the rows out again, those of equal keys in the order in which they came, and gives their memory back; false when
    /// there are none.
    pub fn take(&mut self, out: &mut RowBatch) -> bool {
        out.clear();
        while self.buckets.last().is_some_and(VecDeque::is_empty) {
            self.buckets.pop();
        }
        let block = self.buckets.last_mut().and_then(VecDeque::pop_front).or_else(|| self.blocks.pop_front());
        let Some(Block { extent, filled }) = block else { return false };
        out.extend_adjacent(self.width, &extent[..filled]);
        self.rows -= out.len() as u64;
        true
    }

    /// Moves the rows into buckets; their memory is used again meanwhile.
    ///
    /// # Errors
    /// The rows, to be taken out again, where there is not the memory, or most of them are in one bucket.
    pub fn sort(mut self) -> Result<SortedRows, Box<Self>> {
        let top = u64::BITS - self.differ.leading_zeros();
        let bytes = self.rows as usize * self.width;
        let bits = (bytes / BUCKET + 1).next_power_of_two().ilog2().min(MOST_BITS).min(top);
        let bucket = Bucket { shift: top - bits, mask: (1 << bits) - 1 };
        self.buckets.resize_with(1 << bits, VecDeque::new);
        while let Some(mut block) = self.blocks.pop_front() {
            let rows = &block.extent[..block.filled];
            let moved = match self.width {
                16 => self.scatter(rows.as_chunks::<16>().0.iter(), bucket),
                24 => self.scatter(rows.as_chunks::<24>().0.iter(), bucket),
                32 => self.scatter(rows.as_chunks::<32>().0.iter(), bucket),
                width => self.scatter(rows.chunks_exact(width), bucket),
            };
            let moved = moved * self.width;
            if moved < block.filled {
                block.extent.copy_within(moved..block.filled, 0);
                block.filled -= moved;
                self.blocks.push_front(block);
                return Err(Box::new(self));
            }
        }
        let rows = |bucket: &VecDeque<Block>| bucket.iter().map(|block| block.filled / self.width).sum::<usize>();
        let largest = self.buckets.iter().map(rows).max().unwrap_or(0);
        let segments = (largest * size_of::<Entry>()).div_ceil(SEGMENT_SIZE).next_power_of_two();
        let entries = || (largest <= LARGEST_BUCKET).then(|| self.reservation.alloc_extent(segments)).flatten();
        let (Some(entries), Some(scratch)) = (entries(), entries()) else { return Err(Box::new(self)) };
        let buckets = self.buckets.into_iter();
        let bucket = VecDeque::new();
        Ok(SortedRows { shape: self.shape, width: self.width, buckets, bucket, rows: 0, at: 0, entries, scratch })
    }

    /// Moves rows to the ends of their buckets, as many as there is memory for, and says how many.
    #[inline]
    fn scatter<'a, R: AsRef<[u8]> + ?Sized + 'a>(&mut self, rows: impl Iterator<Item = &'a R>, bucket: Bucket) -> usize {
        let mut moved = 0;
        for row in rows {
            let row = row.as_ref();
            let blocks = &mut self.buckets[bucket.of(key(row))];
            loop {
                if let Some(block) = blocks.back_mut()
                    && let Some(room) = block.extent.get_mut(block.filled..block.filled + row.len())
                {
                    room.copy_from_slice(row);
                    block.filled += row.len();
                    break;
                }
                let Some(extent) = self.reservation.alloc() else { return moved };
                blocks.push_back(Block { extent, filled: 0 });
            }
            moved += 1;
        }
        moved
    }
}

/// The key at the front of a row, in the order of its bytes.
#[inline(always)]
fn key(row: &[u8]) -> u64 {
    row.first_chunk().map_or(0, |word| u64::from_be_bytes(*word))
}

/// The bits of a key that name its bucket.
#[derive(Clone, Copy)]
struct Bucket {
    shift: u32,
    mask: u64,
}

impl Bucket {
    #[inline(always)]
    fn of(self, key: u64) -> usize {
        (key.unbounded_shr(self.shift) & self.mask) as usize
    }
}

/// Rows in the order of their keys. Their memory is given back bucket by bucket.
#[derive(Debug)]
pub struct SortedRows {
    shape: RowShape,
    width: usize,
    buckets: std::vec::IntoIter<VecDeque<Block>>,
    /// The bucket at hand, how many rows it has, and how many of them are out.
    bucket: VecDeque<Block>,
    rows: usize,
    at: usize,
    entries: Extent,
    scratch: Extent,
}

impl SortedRows {
    /// Appends rows to `out` until it has `max_rows` rows or `max_bytes` bytes (`More`) or there are no more (`Done`).
    pub fn pull(&mut self, out: &mut RowBatch, max_rows: usize, max_bytes: usize) -> Progress {
        let width = self.width;
        loop {
            if self.at == self.rows {
                let Some(bucket) = self.buckets.next() else {
                    self.bucket.clear();
                    return Progress::Done;
                };
                self.bucket = bucket;
                self.sort_bucket();
                continue;
            }
            let room = max_rows.saturating_sub(out.len()).min(max_bytes.saturating_sub(out.byte_len()).div_ceil(width));
            if room == 0 {
                return Progress::More;
            }
            let next = self.at..self.rows.min(self.at + room);
            self.at = next.end;
            let entries = self.entries.u64s().as_chunks::<3>().0;
            let row = |entry: &Entry| {
                let (block, start) = ((entry[2] >> 32) as usize, entry[2] as u32 as usize);
                &self.bucket[block].extent[start..start + width]
            };
            out.extend_fixed(width, entries[next].iter().map(row));
        }
    }

    /// Makes entries for the rows of the bucket at hand and sorts these.
    fn sort_bucket(&mut self) {
        let entries = self.entries.as_u64s().as_chunks_mut::<3>().0;
        (self.rows, self.at) = (0, 0);
        for (block, Block { extent, filled }) in self.bucket.iter().enumerate() {
            for (i, row) in extent[..*filled].chunks_exact(self.width).enumerate() {
                entries[self.rows] = [key(row), 0, (block as u64) << 32 | (i * self.width) as u64];
                self.rows += 1;
            }
        }
        radix::sort(&mut entries[..self.rows], self.scratch.as_u64s().as_chunks_mut::<3>().0);
    }

    /// The rows' shape.
    pub fn shape(&self) -> RowShape {
        self.shape
    }
}
