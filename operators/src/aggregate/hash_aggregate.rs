use super::Aggregation;
use super::layout::Layout;
use super::partitions::{Partitions, Spilled, Surroundings, mix};
use fluvial_memory::{
    Error, KeyWidth, Progress, Reservation, Result, RowBatch, RowCursor, RowShape, RunReader, SpillManager, Step, Waker,
};
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes after which [`HashAggregate::pull`] closes a batch, however many rows were asked for.
const BATCH_BYTES: usize = 1 << 20;
/// Rows read back before they are looked up together.
const READ_ROWS: usize = 1024;
/// Bytes of such rows; a longer row is taken alone, from where it lies.
const READ_BYTES: usize = 128 * 1024;
/// Batches read back in one call.
const FUEL: usize = 32;

/// How a [`HashAggregate`] works; the default is right unless measured otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HashAggregateOptions {
    /// Partitions of each level. Default: by the budget, 8 to 64.
    pub partitions: Option<usize>,
    /// Describes the rows in spill files' headers.
    pub schema: String,
    /// Recursion level from which keys that do not fit are taken to be inseparable by their hashes and are aggregated in
    /// several passes instead. Default: 12.
    pub last_level: u32,
}

impl Default for HashAggregateOptions {
    fn default() -> Self {
        Self { partitions: None, schema: String::new(), last_level: 12 }
    }
}

/// Final aggregation: one row a key, within a memory reservation.
///
/// Rows are `[key][partial state]`. Push batches, [`HashAggregate::end`], then pull batches of `[key][state]`, in no
/// order, each key once.
///
/// ```
/// use fluvial_memory::{KeyWidth, MemoryManager, Progress, RowBatch, SpillConfig, SpillManager};
/// use fluvial_operators::aggregate::{Distinct, HashAggregate, HashAggregateOptions};
/// let memory = MemoryManager::new(4 << 20)?;
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let reservation = memory.reserve("distinct", HashAggregate::<Distinct>::MINIMUM_SEGMENTS)?;
/// let options = HashAggregateOptions::default();
/// let mut distinct = HashAggregate::new(reservation, spill, KeyWidth::Variable, Distinct, options, None)?;
/// let mut words = RowBatch::new(distinct.shape());
/// for word in ["to", "be", "or", "not", "to", "be"] {
///     words.push(word.as_bytes(), &[]);
/// }
/// distinct.push(&words)?;
/// distinct.end()?;
/// let mut out = RowBatch::new(distinct.shape());
/// let mut rows = 0;
/// loop {
///     let progress = distinct.pull(&mut out, 1024)?;
///     rows += out.len();
///     if progress == Progress::Done {
///         break;
///     }
/// }
/// assert_eq!(rows, 4);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct HashAggregate<A> {
    pub(super) aggregation: A,
    pub(super) around: Surroundings,
    pub(super) partitions: Partitions,
    stage: Stage,
    /// Rows given that found no memory while the disk was busy, and how many of them were taken since.
    pub(super) rest: RowBatch,
    pub(super) rest_taken: usize,
    spilled: Vec<Spilled>,
    hashes: Vec<u64>,
    pub(super) mixed: Vec<u64>,
}

enum Stage {
    /// Rows are pushed.
    Input,
    /// The rows of a level have come to their end; the log is being closed.
    Sealing,
    /// What stayed in memory goes out.
    Emitting((usize, RowCursor)),
    /// Spilled rows come in again.
    Reading(Box<Reading>),
    Done,
}

/// Spilled rows on their way back.
struct Reading {
    spilled: Spilled,
    ranges: VecDeque<Range<usize>>,
    reader: Option<RunReader>,
    /// The reader's row is a long one that was not taken yet.
    long: bool,
    batch: RowBatch,
    taken: usize,
}

impl<A: Aggregation> HashAggregate<A> {
    /// Segments that suffice for any input whose rows are small against them (1,081,344 bytes).
    pub const MINIMUM_SEGMENTS: usize = 33;

    /// An aggregation of rows whose keys have this width. The operator's name in messages and spill files is the
    /// reservation's. With a waker, calls answer [`Progress::Waiting`] instead of waiting for the disk.
    ///
    /// # Errors
    /// If the reservation has not even one segment.
    pub fn new(
        reservation: Reservation,
        spill: SpillManager,
        key: KeyWidth,
        aggregation: A,
        options: HashAggregateOptions,
        waker: Option<Waker>,
    ) -> Result<Self> {
        let layout = Layout { key, state: aggregation.width() };
        let HashAggregateOptions { partitions, schema, last_level } = options;
        let around = Surroundings { reservation, spill, schema, waker, layout, last_level, partitions };
        Ok(Self {
            aggregation,
            partitions: Partitions::new(around.clone(), 0)?,
            around,
            stage: Stage::Input,
            rest: RowBatch::new(layout.shape()),
            rest_taken: 0,
            spilled: Vec::new(),
            hashes: Vec::new(),
            mixed: Vec::new(),
        })
    }

    /// The shape of the rows, in and out.
    pub fn shape(&self) -> RowShape {
        self.around.layout.shape()
    }

    /// The aggregation.
    pub fn aggregation(&self) -> &A {
        &self.aggregation
    }

    /// Takes a batch of partial states: all of it, if need be by keeping a copy of what found no memory yet. After
    /// `Waiting`, call [`HashAggregate::resume`] until it says `Done` before the next push.
    ///
    /// # Errors
    /// What the aggregation returns; a failed write; [`fluvial_memory::Error::RecordTooLarge`].
    pub fn push(&mut self, batch: &RowBatch) -> Result<Progress> {
        debug_assert!(matches!(self.stage, Stage::Input), "rows come before the end");
        if self.rest_taken < self.rest.len() || self.partitions.is_evicting() {
            batch.iter().for_each(|row| self.rest.push_row(row));
            return self.resume();
        }
        let taken = self.take(batch)?;
        if taken < batch.len() {
            self.rest.clear();
            self.rest_taken = 0;
            (taken..batch.len()).for_each(|i| self.rest.push_row(batch.row(i)));
            return Ok(Progress::Waiting);
        }
        self.partitions.relieve()
    }

    /// Goes on with what a call left undone for lack of memory while the disk was busy.
    ///
    /// # Errors
    /// As [`HashAggregate::push`].
    pub fn resume(&mut self) -> Result<Progress> {
        if self.rest_taken < self.rest.len() {
            let empty = RowBatch::new(self.shape());
            let rest = std::mem::replace(&mut self.rest, empty);
            self.hash(&rest);
            let taken = self.take_from(&rest, self.rest_taken);
            self.rest = rest;
            self.rest_taken = taken?;
            if self.rest_taken < self.rest.len() {
                return Ok(Progress::Waiting);
            }
            self.rest = RowBatch::new(self.shape());
            self.rest_taken = 0;
        }
        match self.stage {
            Stage::Input => self.partitions.relieve(),
            _ => Ok(Progress::Done),
        }
    }

    /// All rows were pushed.
    ///
    /// # Errors
    /// As [`HashAggregate::push`].
    pub fn end(&mut self) -> Result<Progress> {
        if matches!(self.stage, Stage::Input) {
            self.stage = Stage::Sealing;
        }
        self.resume()
    }

    /// Once all results are out: makes ready for another input, as often as one likes. From the second on the tables have the
    /// size that they came to before. False if it cannot: rows were spilled, or others would like memory.
    pub fn begin_again(&mut self) -> bool {
        let ready = matches!(self.stage, Stage::Done) && self.partitions.begin_again();
        if ready {
            self.stage = Stage::Input;
        }
        ready
    }

    /// Replaces what is in `out` by up to `max_rows` result rows `[key][state]`, or somewhat over 1 MiB of them.
    ///
    /// `More`: call again, also if `out` is empty. `Done`: these were the last.
    ///
    /// # Errors
    /// As [`HashAggregate::push`], and failed reads.
    pub fn pull(&mut self, out: &mut RowBatch, max_rows: usize) -> Result<Progress> {
        out.clear();
        let mut fuel = FUEL;
        loop {
            match &mut self.stage {
                Stage::Input | Stage::Done => return Ok(Progress::Done),
                Stage::Sealing => {
                    if self.resume()? == Progress::Waiting || self.partitions.seal()? == Progress::Waiting {
                        return Ok(if out.is_empty() { Progress::Waiting } else { Progress::More });
                    }
                    self.spilled.extend(self.partitions.spilled()?);
                    self.stage = Stage::Emitting(Default::default());
                }
                Stage::Emitting(at) => {
                    if let Some(width) = self.around.layout.row_width() {
                        while out.len() < max_rows && out.byte_len() < BATCH_BYTES {
                            let room = (max_rows - out.len()).min((BATCH_BYTES - out.byte_len()).div_ceil(width));
                            let Some(rows) = self.partitions.advance_run(at, room) else {
                                self.stage = self.next_stage()?;
                                break;
                            };
                            out.extend_adjacent(width, rows);
                        }
                        if out.len() >= max_rows || out.byte_len() >= BATCH_BYTES {
                            return Ok(Progress::More);
                        }
                        continue;
                    }
                    while out.len() < max_rows && out.byte_len() < BATCH_BYTES {
                        let emit = |key: &[u8], state: &[u8]| {
                            let (bytes, _) = out.parts_mut();
                            bytes.extend_from_slice(key);
                            out.push_row(state);
                        };
                        if !self.partitions.advance(at, emit) {
                            self.stage = self.next_stage()?;
                            break;
                        }
                    }
                    if out.len() >= max_rows || out.byte_len() >= BATCH_BYTES {
                        return Ok(Progress::More);
                    }
                }
                Stage::Reading(_) => {
                    if !out.is_empty() {
                        return Ok(Progress::More);
                    }
                    match self.read()? {
                        Progress::Done => self.stage = Stage::Sealing,
                        Progress::Waiting => return Ok(Progress::Waiting),
                        Progress::More => {
                            fuel -= 1;
                            if fuel == 0 {
                                return Ok(Progress::More);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Rows are in memory that was given back by now: what next?
    fn next_stage(&mut self) -> Result<Stage> {
        let Some(mut spilled) = self.spilled.pop() else { return Ok(Stage::Done) };
        self.partitions = Partitions::new(self.around.clone(), spilled.level)?;
        let ranges = std::mem::take(&mut spilled.blocks).into();
        let batch = RowBatch::new(self.shape());
        Ok(Stage::Reading(Box::new(Reading { spilled, ranges, reader: None, long: false, batch, taken: 0 })))
    }

    /// Reads spilled rows of one partition and aggregates them: a bounded number of them.
    fn read(&mut self) -> Result<Progress> {
        let Stage::Reading(mut reading) = std::mem::replace(&mut self.stage, Stage::Done) else { return Ok(Progress::Done) };
        let progress = self.read_batch(&mut reading);
        self.stage = Stage::Reading(reading);
        progress
    }

    fn read_batch(&mut self, reading: &mut Reading) -> Result<Progress> {
        let step = if reading.taken < reading.batch.len() || reading.long {
            Step::Row
        } else {
            // Buffers for the next blocks may take what the rows of earlier ones have.
            while !reading.open(&self.around)? {
                if self.partitions.is_frozen() {
                    return Err(self.partitions.too_large(reading.spilled.run.max_row()));
                }
                if self.partitions.make_room(reading.spilled.run.max_row())? == Progress::Waiting {
                    return Ok(Progress::Waiting);
                }
            }
            reading.fill()?
        };
        if !reading.batch.is_empty() {
            self.hash(&reading.batch);
            reading.taken = self.take_from(&reading.batch, reading.taken)?;
            if reading.taken < reading.batch.len() {
                return Ok(Progress::Waiting);
            }
            reading.batch.clear();
            reading.taken = 0;
        }
        if reading.long
            && let Some(reader) = &reading.reader
        {
            let row = reader.row();
            while !self.partitions.take_row(&self.aggregation, row)? {
                if self.partitions.make_room(row.len())? == Progress::Waiting {
                    return Ok(Progress::Waiting);
                }
            }
            reading.long = false;
        }
        Ok(match step {
            Step::Row => Progress::More,
            Step::Waiting => Progress::Waiting,
            Step::End => Progress::Done,
        })
    }

    /// Computes the re-mixed hashes of a batch.
    pub(super) fn hash(&mut self, batch: &RowBatch) {
        if batch.hashes().len() == batch.len() {
            mix(batch.hashes(), self.partitions.level(), &mut self.mixed);
        } else {
            self.hashes.clear();
            self.hashes.extend((0..batch.len()).map(|i| fluvial_memory::hash::hash_bytes(batch.key(i))));
            mix(&self.hashes, self.partitions.level(), &mut self.mixed);
        }
    }

    fn take(&mut self, batch: &RowBatch) -> Result<usize> {
        self.hash(batch);
        self.take_from(batch, 0)
    }

    /// Takes rows, spilling where memory is short. Stops before the end only if the disk must be waited for.
    fn take_from(&mut self, batch: &RowBatch, from: usize) -> Result<usize> {
        let mut taken = from;
        loop {
            if !self.partitions.is_evicting() {
                taken = self.partitions.take(&self.aggregation, batch, &self.mixed, taken)?;
                if taken == batch.len() {
                    return Ok(taken);
                }
            }
            if self.partitions.make_room(batch.row(taken).len())? == Progress::Waiting {
                return Ok(taken);
            }
        }
    }
}

impl Reading {
    /// Opens the next range of blocks if none is being read; false if there is not the memory.
    fn open(&mut self, around: &Surroundings) -> Result<bool> {
        if let (None, Some(blocks)) = (&self.reader, self.ranges.front()) {
            match self.spilled.run.reader(blocks.clone(), &around.reservation, around.waker.clone()) {
                Ok(reader) => self.reader = Some(reader),
                Err(Error::RecordTooLarge { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
            self.ranges.pop_front();
        }
        Ok(true)
    }

    /// Collects rows of the open range into the batch, up to a long one, which is left with the reader.
    fn fill(&mut self) -> Result<Step> {
        let Some(reader) = &mut self.reader else { return Ok(Step::End) };
        while self.batch.len() < READ_ROWS && self.batch.byte_len() < READ_BYTES {
            match reader.advance()? {
                Step::Row if reader.row().len() > READ_BYTES => {
                    self.long = true;
                    return Ok(Step::Row);
                }
                Step::Row => self.batch.push_row(reader.row()),
                Step::Waiting => return Ok(Step::Waiting),
                Step::End => {
                    self.reader = None;
                    return Ok(if self.ranges.is_empty() { Step::End } else { Step::Row });
                }
            }
        }
        Ok(Step::Row)
    }
}

impl<A> std::fmt::Debug for HashAggregate<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashAggregate").field("layout", &self.around.layout).finish_non_exhaustive()
    }
}
