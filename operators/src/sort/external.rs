use super::chunk::Chunk;
use super::key::Keys;
use super::memory_run::{Cursor, MemoryRun};
use super::merge::MergeReader;
use super::merger::LOOKAHEAD;
use super::radix::{Entry, prefix};
use super::runs::{SortStats, SortedRun, SortedRuns, SortedWriter};
use super::set::{KeyRange, SortedSet};
use fluvial_memory::{
    Address, Error, Extent, Progress, Reservation, Result, RowBatch, RowPages, RowShape, SEGMENT_SIZE, SpillManager, Waker,
};
use std::fmt;
use std::sync::Arc;

/// Segments of the largest chunk: 1 MiB, with its scratch what a second-level cache holds about.
const CHUNK: usize = 32;
/// Rows that a call writes at the most before it returns.
const FUEL: usize = 1 << 14;
/// Runs that are left to the last merge at the most, at one level.
const MOST_RUNS: usize = 256;
/// Parts of the budget that rows may take in memory after the end of an input that spilled.
const REMAINDER: usize = 16;
/// Blocks that merging two runs into one takes.
const MERGE: usize = 3;
/// Segments for rows and their entries, at the least.
const ROOM: usize = 4;

/// What to sort.
#[derive(Clone, Debug)]
pub struct SortOptions {
    /// The rows' shape; the order is that of the key bytes.
    pub shape: RowShape,
    /// Schema of the rows, for the headers of spill files.
    pub schema: String,
}

impl SortOptions {
    /// Rows of this shape.
    pub fn new(shape: RowShape) -> Self {
        Self { shape, schema: String::new() }
    }
}

/// Sorts rows by their keys, in memory or through spill files; stable. See the module for how.
///
/// After [`Progress::More`] or [`Progress::Waiting`] call [`ExternalSort::resume`] until it says `Done`, before more is
/// pushed. Without a waker it waits for I/O itself and never says `Waiting`.
///
/// ```
/// use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager};
/// use fluvial_operators::{ExternalSort, KeyRange, SortOptions, SortedSet};
/// let memory = MemoryManager::new(4 << 20)?;
/// let reservation = memory.reserve("sort", ExternalSort::MINIMUM_SEGMENTS)?;
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let shape = RowShape::fixed(1, 2);
/// let mut sort = ExternalSort::new(&reservation, &spill, SortOptions::new(shape), None)?;
/// let mut rows = RowBatch::new(shape);
/// [(b"c", b"03"), (b"a", b"01"), (b"b", b"02")].iter().for_each(|(key, payload)| rows.push(*key, *payload));
/// sort.push(&rows)?;
/// let sorted = SortedSet::new(vec![sort.into_runs()?]);
/// let mut out = RowBatch::new(shape);
/// let mut reader = sorted.merge(KeyRange::ALL, &reservation, None);
/// while reader.pull(&mut out, 1000, 1 << 20)? != Progress::Done {}
/// assert_eq!(out.iter().collect::<Vec<_>>(), [b"a01", b"b02", b"c03"]);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct ExternalSort {
    reservation: Reservation,
    spill: SpillManager,
    options: SortOptions,
    waker: Option<Waker>,
    /// All chunks but the last are sorted.
    memory: MemoryRun,
    scratch: Option<Extent>,
    /// Buffers for writing runs, held from the start: when the pool is exhausted it is too late to ask.
    buffers: Vec<Extent>,
    runs: Vec<SortedRun>,
    /// The batch in hand that did not fit, and its first row that is not taken.
    pending: Option<(RowBatch, usize)>,
    stage: Stage,
    finishing: bool,
    /// Whether scratch and buffers have the size that the pool allowed when the first rows came.
    fitted: bool,
    /// How many rows are wanted of the sorted whole, and the key from which on rows are not among them.
    limit: Option<u64>,
    bound: Option<(u128, Vec<u8>)>,
    stats: SortStats,
}

enum Stage {
    /// Taking rows.
    Fill,
    /// Writing what is in memory as a run.
    Spill { cursor: Cursor, entries: Vec<Entry>, next: usize, writer: SortedWriter },
    /// Merging the last `count` runs into one.
    Merge { reader: Box<MergeReader>, writer: SortedWriter, count: usize },
    /// The input has ended and everything is sorted.
    Sorted,
}

impl ExternalSort {
    /// The least a reservation for a sort guarantees: 512 KiB. With more, merging has more runs at once.
    pub const MINIMUM_SEGMENTS: usize = 16;

    /// A minimum with which blocks of runs can have their full length of 8 segments: 37 segments. With less they are
    /// shorter, whatever the pool has when the sort begins, since it may have nothing when runs are merged.
    pub const FULL_BLOCK_SEGMENTS: usize = ROOM + 1 + (MERGE + 1) * 8;

    /// A sort within `reservation`.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if the reservation has not the three segments to start with.
    pub fn new(reservation: &Reservation, spill: &SpillManager, options: SortOptions, waker: Option<Waker>) -> Result<Self> {
        Self::limited(reservation, spill, options, None, waker)
    }

    /// A sort of which only the first `limit` rows are wanted.
    pub(super) fn limited(
        reservation: &Reservation,
        spill: &SpillManager,
        options: SortOptions,
        limit: Option<u64>,
        waker: Option<Waker>,
    ) -> Result<Self> {
        let scratch = alloc(reservation, 1)?;
        // Short enough for the minimum to hold all that a merge of two runs needs.
        let block = reservation.minimum().saturating_sub(ROOM + 1) / (MERGE + 1);
        let buffers = vec![alloc(reservation, spill.block_segments(reservation).min(block.max(1)))?];
        let keys = Keys::new(options.shape);
        let pages = RowPages::new(reservation, options.shape);
        Ok(Self {
            reservation: reservation.clone(),
            spill: spill.clone(),
            options,
            waker,
            memory: MemoryRun { keys, pages, chunks: Vec::new() },
            scratch: Some(scratch),
            buffers,
            runs: Vec::new(),
            pending: None,
            stage: Stage::Fill,
            finishing: false,
            fitted: false,
            limit,
            bound: None,
            stats: SortStats::default(),
        })
    }

    /// Takes larger scratch, so that larger chunks are sorted, and more buffers, so that one is filled while others are
    /// written: as far as the pool can guarantee what is needed beside them. When rows come first, since then everybody has
    /// reserved a minimum.
    fn fit(&mut self) -> Result<()> {
        self.fitted = true;
        let budget = self.reservation.limit();
        let block = self.buffers.first().map_or(1, Extent::segments);
        let (mut scratch, mut buffers) = ((budget / 64).clamp(1, CHUNK), 1 + (budget / 256).min(2));
        while !self.reservation.guarantee(scratch + (buffers + MERGE) * block + ROOM) {
            if scratch == 1 && buffers == 1 {
                return Ok(());
            }
            (scratch, buffers) = ((scratch / 2).max(1), (buffers - 1).max(1));
        }
        self.scratch = None;
        self.scratch = Some(alloc(&self.reservation, scratch)?);
        self.buffers.extend((1..buffers).map_while(|_| self.reservation.alloc_extent(block)));
        Ok(())
    }

    /// Takes a batch of rows, all of it: what does not fit is kept aside until a run is written.
    ///
    /// # Errors
    /// Of writing runs.
    pub fn push(&mut self, rows: &RowBatch) -> Result<Progress> {
        debug_assert!(self.pending.is_none() && !self.finishing, "resume until done before the next batch");
        if !self.fitted {
            self.fit()?;
        }
        let pressed = self.reservation.pressure();
        if pressed > 0 && self.memory.segments() >= pressed.max(CHUNK) {
            self.begin_spill()?;
        }
        let taken = if matches!(self.stage, Stage::Fill) { self.take(rows, 0)? } else { 0 };
        if taken == rows.len() {
            return Ok(Progress::Done);
        }
        self.pending = Some((rows.clone(), taken));
        self.resume()
    }

    /// Goes on with what `push` or `finish` left undone.
    ///
    /// # Errors
    /// Of writing or merging runs.
    pub fn resume(&mut self) -> Result<Progress> {
        loop {
            let progress = match self.stage {
                Stage::Fill => self.fill()?,
                Stage::Spill { .. } => self.write()?,
                Stage::Merge { .. } => self.merge()?,
                Stage::Sorted => return Ok(Progress::Done),
            };
            match progress {
                None => {}
                Some(Progress::More) if self.waker.is_none() => {}
                Some(progress) => return Ok(progress),
            }
        }
    }

    /// The input has ended: sorts and, if runs were written, writes what is left, unless that is little.
    ///
    /// # Errors
    /// Of writing runs.
    pub fn finish(&mut self) -> Result<Progress> {
        self.finishing = true;
        self.resume()
    }

    /// The result, after [`ExternalSort::finish`] said `Done`; waits for that where it did not.
    ///
    /// # Errors
    /// Of writing runs.
    pub fn into_runs(mut self) -> Result<SortedRuns> {
        self.waker = None;
        while self.finish()? != Progress::Done {
            // Only a writer made with a waker says so; a blocking push would be next, so give its thread the turn.
            std::thread::yield_now();
        }
        let memory = (self.memory.rows() > 0).then(|| Arc::new(self.memory));
        let (keys, stats) = (Keys::new(self.options.shape), self.stats);
        Ok(SortedRuns { keys, spilled: self.runs, memory, stats, spill: self.spill, schema: self.options.schema })
    }

    /// What was done so far.
    pub fn stats(&self) -> SortStats {
        self.stats
    }

    /// Takes rows from `first` on into memory; gives the first that did not fit.
    fn take(&mut self, rows: &RowBatch, first: usize) -> Result<usize> {
        let keys = self.memory.keys;
        let mut at = first;
        while at < rows.len() {
            if self.memory.chunks.last().is_none_or(Chunk::is_full) {
                self.prune();
            }
            if self.memory.chunks.last().is_none_or(Chunk::is_full) && !self.next_chunk() {
                break;
            }
            let Some(chunk) = self.memory.chunks.last_mut() else { break };
            while at < rows.len() && !chunk.is_full() {
                let row = rows.row(at);
                let prefix = keys.prefix(row);
                if self.bound.as_ref().is_some_and(|(p, key)| (prefix, keys.key(row)) >= (*p, &key[..])) {
                    at += 1;
                    continue;
                }
                let Some(address) = self.memory.pages.append(row) else {
                    self.count(rows, first, at);
                    return Ok(at);
                };
                chunk.push(prefix, address);
                at += 1;
            }
        }
        self.count(rows, first, at);
        Ok(at)
    }

    fn count(&mut self, rows: &RowBatch, first: usize, end: usize) {
        let (_, offsets) = rows.parts();
        self.stats.rows += (end - first) as u64;
        self.stats.bytes += u64::from(offsets[end] - offsets[first]);
    }

    /// Sorts the last chunk and begins another, if the memory is there.
    fn next_chunk(&mut self) -> bool {
        self.sort_last_chunk();
        let Some(scratch) = &self.scratch else { return false };
        // A small input should not take a large chunk, so they grow with the number of rows.
        let rows = self.memory.chunks.len() * CHUNK;
        let mut segments = scratch.segments().min((rows / 2).max(2));
        loop {
            match self.reservation.alloc_extent(segments) {
                Some(extent) => {
                    self.memory.chunks.push(Chunk::new(extent));
                    return true;
                }
                None if segments > 1 && self.memory.chunks.is_empty() => segments /= 2,
                None => return false,
            }
        }
    }

    /// Where only the first rows are wanted and twice as many are here: keeps those and learns their bound.
    fn prune(&mut self) {
        let Some(limit) = self.limit.filter(|&limit| self.memory.rows() / 2 >= limit) else { return };
        self.sort_last_chunk();
        let mut cursor = self.memory.cursor(0, None);
        let (mut pages, mut chunks) = (RowPages::new(&self.reservation, self.options.shape), Vec::<Chunk>::new());
        let (mut entries, mut kept, mut last) = (Vec::with_capacity(LOOKAHEAD), 0, None);
        while kept < limit {
            cursor.fill(&self.memory, &mut entries, LOOKAHEAD.min((limit - kept) as usize));
            for entry in &entries {
                let row = self.memory.pages.row(Address(entry[2]));
                let Some(address) = pages.append(row) else { return };
                if chunks.last().is_none_or(Chunk::is_full) {
                    let segments = self.memory.chunks.last().map_or(1, Chunk::segments);
                    // Without the memory for a copy everything stays as it is, and is spilled when it must be.
                    let Some(extent) = self.reservation.alloc_extent(segments) else { return };
                    chunks.push(Chunk::new(extent));
                }
                if let Some(chunk) = chunks.last_mut() {
                    chunk.push(prefix(entry), address);
                }
                last = Some((prefix(entry), address));
            }
            kept += entries.len() as u64;
            if entries.is_empty() {
                break;
            }
        }
        let keys = self.memory.keys;
        self.bound = last.map_or(Some((0, Vec::new())), |(p, address)| Some((p, keys.key(pages.row(address)).to_vec())));
        self.memory = MemoryRun { keys, pages, chunks };
    }

    fn sort_last_chunk(&mut self) {
        if let (Some(chunk), Some(scratch)) = (self.memory.chunks.last_mut(), self.scratch.as_mut()) {
            chunk.sort(scratch, &self.memory.keys, &self.memory.pages);
        }
    }

    /// Takes what is pending; begins what is next. `None`: the stage has changed, or there is more to do in this one.
    fn fill(&mut self) -> Result<Option<Progress>> {
        if let Some((rows, from)) = self.pending.take() {
            let taken = self.take(&rows, from)?;
            if taken == rows.len() {
                return Ok(None);
            }
            if self.memory.rows() > 0 {
                self.pending = Some((rows, taken));
                self.begin_spill()?;
                return Ok(None);
            }
            // Not even this row fits in memory: written from where it lies, it is a run by itself.
            let mut writer = self.writer(0)?;
            let row = rows.row(taken);
            writer.push(row, self.memory.keys.prefix(row))?;
            self.count(&rows, taken, taken + 1);
            self.memory.chunks.clear();
            self.pending = (taken + 1 < rows.len()).then_some((rows, taken + 1));
            self.end_run(writer)?;
            return Ok(None);
        }
        if !self.finishing {
            return Ok(Some(Progress::Done));
        }
        let block = self.buffers.first().map_or(1, Extent::segments);
        let kept = self.memory.segments();
        // What stays in memory must leave room for merging it, here or with what others have spilled.
        let stays = self.runs.is_empty() || kept <= self.reservation.limit() / REMAINDER;
        if kept > 0 && !(stays && self.reservation.guarantee(kept + MERGE * block + 1)) {
            self.begin_spill()?;
            return Ok(None);
        }
        self.sort_last_chunk();
        self.scratch = None;
        self.buffers.clear();
        self.stage = Stage::Sorted;
        Ok(None)
    }

    fn writer(&mut self, level: u32) -> Result<SortedWriter> {
        let (operator, shape) = (self.reservation.operator(), self.options.shape);
        let buffers = std::mem::take(&mut self.buffers);
        let waker = self.waker.clone();
        let writer = self.spill.writer_with(operator, shape, &self.options.schema, &self.reservation, buffers, waker)?;
        Ok(SortedWriter::new(writer, level))
    }

    fn begin_spill(&mut self) -> Result<()> {
        self.sort_last_chunk();
        let cursor = self.memory.cursor(0, None);
        let writer = self.writer(0)?;
        self.stage = Stage::Spill { cursor, entries: Vec::with_capacity(LOOKAHEAD), next: 0, writer };
        Ok(())
    }

    /// Writes some of the rows in memory.
    fn write(&mut self) -> Result<Option<Progress>> {
        let Stage::Spill { cursor, entries, next, writer } = &mut self.stage else { return Ok(None) };
        let mut fuel = FUEL;
        loop {
            while *next < entries.len() {
                if !writer.ready() && self.waker.is_some() {
                    return Ok(Some(Progress::Waiting));
                }
                let entry = &entries[*next];
                let row = self.memory.pages.row(Address(entry[2]));
                writer.push(row, prefix(entry))?;
                if self.limit == Some(writer.rows()) {
                    // As many rows as are wanted precede whatever comes after this one.
                    self.bound = Some((prefix(entry), self.memory.keys.key(row).to_vec()));
                }
                *next += 1;
            }
            if fuel < LOOKAHEAD {
                return Ok(Some(Progress::More));
            }
            fuel -= LOOKAHEAD;
            let wanted = self.limit.map_or(u64::MAX, |limit| limit - writer.rows().min(limit));
            cursor.fill(&self.memory, entries, LOOKAHEAD.min(usize::try_from(wanted).unwrap_or(LOOKAHEAD)));
            *next = 0;
            if entries.is_empty() {
                break;
            }
        }
        if writer.flush()? == Progress::Waiting && self.waker.is_some() {
            return Ok(Some(Progress::Waiting));
        }
        if let Stage::Spill { writer, .. } = std::mem::replace(&mut self.stage, Stage::Fill) {
            self.memory.chunks.clear();
            self.memory.pages.clear();
            self.end_run(writer)?;
        }
        Ok(None)
    }

    /// Notes a run; begins to merge the last ones if they have become many.
    fn end_run(&mut self, writer: SortedWriter) -> Result<()> {
        let (run, buffers) = writer.finish()?;
        self.buffers = buffers;
        self.stats.runs += 1;
        self.stats.spilled_bytes += run.run.bytes();
        self.runs.push(run);
        let most = (self.reservation.limit() / (4 * self.spill.block_segments(&self.reservation))).clamp(8, MOST_RUNS);
        let level = self.runs.last().map_or(0, |run| run.level);
        let count = self.runs.iter().rev().take_while(|run| run.level == level).count();
        if count >= most {
            let spilled = self.runs[self.runs.len() - count..].to_vec();
            let (keys, spill, schema) = (self.memory.keys, self.spill.clone(), self.options.schema.clone());
            let group = SortedRuns { keys, spilled, memory: None, stats: SortStats::default(), spill, schema };
            let reader = SortedSet::new(vec![group]).merge(KeyRange::ALL, &self.reservation, self.waker.clone());
            let writer = self.writer(level + 1)?;
            self.stage = Stage::Merge { reader: Box::new(reader), writer, count };
        }
        Ok(())
    }

    /// Merges some more of the runs that are being merged into one.
    fn merge(&mut self) -> Result<Option<Progress>> {
        let Stage::Merge { reader, writer, .. } = &mut self.stage else { return Ok(None) };
        let waits = self.waker.is_some();
        if waits && !writer.ready() {
            return Ok(Some(Progress::Waiting));
        }
        let mut fuel = FUEL;
        let limit = self.limit.unwrap_or(u64::MAX);
        if writer.rows() < limit {
            let progress = reader.drive(|row, prefix| {
                writer.push(row, prefix)?;
                fuel -= 1;
                Ok(fuel > 0 && (!waits || writer.ready()) && writer.rows() < limit)
            })?;
            if progress != Progress::Done && writer.rows() < limit {
                return Ok(Some(progress));
            }
        }
        if writer.flush()? == Progress::Waiting && waits {
            return Ok(Some(Progress::Waiting));
        }
        if let Stage::Merge { reader, writer, count } = std::mem::replace(&mut self.stage, Stage::Fill) {
            self.runs.truncate(self.runs.len() - count);
            let inner = reader.stats();
            self.stats.merges += inner.merges + 1;
            self.stats.runs += inner.runs;
            self.stats.spilled_bytes += inner.spilled_bytes;
            drop(reader);
            self.end_run(writer)?;
        }
        Ok(None)
    }
}

/// An extent of `segments`, or as many as there are.
fn alloc(reservation: &Reservation, mut segments: usize) -> Result<Extent> {
    loop {
        match reservation.alloc_extent(segments) {
            Some(extent) => return Ok(extent),
            None if segments > 1 => segments /= 2,
            None => {
                return Err(Error::BudgetTooSmall {
                    operator: reservation.operator().to_owned(),
                    needed: ExternalSort::MINIMUM_SEGMENTS * SEGMENT_SIZE,
                    available: (reservation.held() - reservation.used()) * SEGMENT_SIZE,
                    budget: reservation.limit() * SEGMENT_SIZE,
                });
            }
        }
    }
}

impl fmt::Debug for ExternalSort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalSort").field("options", &self.options).field("stats", &self.stats).finish_non_exhaustive()
    }
}
