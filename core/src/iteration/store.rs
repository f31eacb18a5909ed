use crate::codec::RecordCodec;
use crate::graph::TaskContext;
use crate::runtime::{BatchCodec, decode_batch, encode_batch};
use crate::stream::{Data, typed_batch_codec};
use crate::{Batch, Progress, Records, Result, StateSection, Waker};
use fluvial_memory::{
    Extent, HeapCharge, KeyWidth, Reservation, RowShape, Run, RunReader, RunWriter, SEGMENT_SIZE, SpillManager, Step,
};
use std::sync::Arc;

/// Segments that a [`BatchStore`] reserves: two buffers for what is written or read.
pub const STORE_SEGMENTS: usize = 2;

/// Bytes that are charged at a time for batches kept as they are.
const CHARGE: usize = 8 * SEGMENT_SIZE;

/// Most bytes of a row of the spill file: a batch takes as many as it needs, so that no block is longer than a buffer.
const PIECE: usize = 24 << 10;

/// Of batches whose records point to more memory than they are, one of so many is measured.
const MEASURED: usize = 16;

/// Bytes of a section of a snapshot, about.
const SECTION: usize = 1 << 20;

/// Batches that wait for a superstep, or are given to an operator in each: as they are, while the pool has room for
/// them, else serialized in a spill file. They can be read any number of times.
///
/// Invariant: what is kept as it is has been charged to the pool. Records that own heap memory are charged what they measure
/// serialized, beside themselves.
pub struct BatchStore {
    codec: Option<Arc<dyn BatchCodec>>,
    spill: SpillManager,
    name: String,
    waker: Waker,
    /// For the buffers of the spill file.
    buffers: Reservation,
    /// For batches kept as they are.
    room: Reservation,
    charges: Vec<HeapCharge>,
    /// Bytes of the charges that are not taken.
    free: usize,
    kept: Vec<Batch>,
    /// Bytes that records point to, for each byte of themselves, as last measured; and batches until that is done again.
    weight: (f64, usize),
    writer: Option<RunWriter>,
    /// What was written and is closed.
    runs: Vec<Run>,
    bytes: Vec<u8>,
}

/// How far a store has been read.
#[derive(Default)]
pub struct StoreCursor {
    next: usize,
    run: usize,
    reader: Option<RunReader>,
    bytes: Vec<u8>,
    waits: bool,
}

impl StoreCursor {
    /// Waits for the disk, where others answer [`Stored::Waiting`].
    pub fn waiting() -> Self {
        Self { waits: true, ..Self::default() }
    }
}

/// What looking at the batches of a store comes to.
pub(crate) enum Seen<'a> {
    /// A batch that the store keeps.
    Kept(&'a Batch),
    /// A batch that was read from disk.
    Read(Batch),
    /// The disk is behind; the waker is called.
    Waiting,
    /// That was all.
    End,
}

/// What reading a store comes to.
pub enum Stored {
    /// A batch.
    Batch(Batch),
    /// The disk is behind; the waker is called.
    Waiting,
    /// That was all.
    End,
}

impl BatchStore {
    /// A store that reserves [`STORE_SEGMENTS`] in the operator's name.
    pub(crate) fn open(context: &TaskContext, codec: Option<Arc<dyn BatchCodec>>) -> Result<Self> {
        Self::with_buffers(context, codec, context.reserve(STORE_SEGMENTS)?)
    }

    fn with_buffers(context: &TaskContext, codec: Option<Arc<dyn BatchCodec>>, buffers: Reservation) -> Result<Self> {
        Ok(Self {
            codec,
            spill: context.spill().clone(),
            name: context.name.clone(),
            waker: context.waker.clone(),
            buffers,
            room: context.memory.reserve(&context.name, 0)?,
            charges: Vec::new(),
            free: 0,
            kept: Vec::new(),
            weight: (0.0, 0),
            writer: None,
            runs: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// A store of records of `T`, which reserves [`STORE_SEGMENTS`] in the operator's name.
    ///
    /// # Errors
    /// The pool has not so much.
    pub fn typed<T: Data>(context: &TaskContext) -> Result<Self> {
        Self::open(context, Some(typed_batch_codec::<T>()))
    }

    /// A store of records of `T` whose buffers are of a reservation that others use too: one at a time is written or read.
    ///
    /// # Errors
    /// None today.
    pub fn typed_within<T: Data>(context: &TaskContext, buffers: &Reservation) -> Result<Self> {
        Self::with_buffers(context, Some(typed_batch_codec::<T>()), buffers.clone())
    }

    /// Bytes that a batch takes as it is.
    fn weigh(&mut self, batch: &Batch) -> Result<usize> {
        let own = batch.byte_len() + 128;
        let flat = match (&batch.records, &self.codec) {
            (Records::Typed(_), Some(codec)) => codec.is_flat(),
            _ => true,
        };
        if flat {
            return Ok(own);
        }
        if self.weight.1 == 0 {
            self.bytes.clear();
            encode_batch(batch, self.codec.as_deref(), &mut self.bytes)?;
            self.weight = (self.bytes.len() as f64 / own as f64, MEASURED);
        }
        self.weight.1 -= 1;
        Ok(own + (own as f64 * self.weight.0) as usize)
    }

    /// Takes a batch. `Waiting`: [`BatchStore::resume`] before the next.
    ///
    /// # Errors
    /// Of the spill file, or of a record that cannot be serialized.
    pub fn push(&mut self, batch: Batch) -> Result<Progress> {
        if self.writer.is_none() && self.runs.is_empty() {
            let weight = self.weigh(&batch)?;
            if self.room.pressure() == 0 && self.charge(weight) {
                self.free -= weight;
                self.kept.push(batch);
                return Ok(Progress::Done);
            }
            // Others need what this one has taken.
            for batch in std::mem::take(&mut self.kept) {
                self.write(&batch)?;
            }
            self.charges.clear();
            self.free = 0;
        }
        self.write(&batch)?;
        self.resume()
    }

    /// Takes a batch to disk at once.
    ///
    /// # Errors
    /// Of the spill file, or of a record that cannot be serialized.
    pub fn push_out(&mut self, batch: Batch) -> Result<()> {
        self.write(&batch)
    }

    fn charge(&mut self, bytes: usize) -> bool {
        while self.free < bytes {
            let lacking = (bytes - self.free).max(CHARGE);
            let Some(charge) = self.room.charge_heap(lacking) else { return false };
            self.free += charge.bytes();
            self.charges.push(charge);
        }
        true
    }

    fn start_writing(&mut self) -> Result<RunWriter> {
        let buffers = self.take_buffers()?;
        let shape = RowShape { key: KeyWidth::Fixed(0), row: None };
        let waker = Some(self.waker.clone());
        Ok(self.spill.writer_with(&self.name, shape, "batches", &self.buffers, buffers, waker)?)
    }

    /// # Errors
    /// Others that use the same reservation have all of it.
    fn take_buffers(&self) -> Result<Vec<Extent>> {
        let buffers: Vec<Extent> = (0..STORE_SEGMENTS).map_while(|_| self.buffers.alloc()).collect();
        if !buffers.is_empty() {
            return Ok(buffers);
        }
        let budget = self.buffers.limit() * SEGMENT_SIZE;
        let operator = self.name.clone();
        Err(fluvial_memory::Error::BudgetTooSmall { operator, needed: SEGMENT_SIZE, available: 0, budget }.into())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.bytes.clear();
        encode_batch(batch, self.codec.as_deref(), &mut self.bytes)?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.start_writing()?,
        };
        // The first byte says whether more of the batch follows.
        let last = self.bytes.chunks(PIECE).len().saturating_sub(1);
        for (i, piece) in self.bytes.chunks(PIECE).enumerate() {
            writer.push_parts(&[u8::from(i < last)], piece)?;
        }
        self.writer = Some(writer);
        Ok(())
    }

    /// Goes on with what a push left undone.
    ///
    /// # Errors
    /// Of the spill file.
    pub fn resume(&mut self) -> Result<Progress> {
        let behind = self.writer.as_ref().is_some_and(|writer| !writer.ready());
        Ok(if behind { Progress::Waiting } else { Progress::Done })
    }

    /// No more batches come.
    ///
    /// # Errors
    /// Of the spill file.
    pub fn close(&mut self) -> Result<Progress> {
        if let Some(writer) = &mut self.writer
            && writer.flush()? != Progress::Done
        {
            return Ok(Progress::Waiting);
        }
        if let Some(writer) = self.writer.take() {
            self.runs.push(writer.finish()?);
        }
        Ok(Progress::Done)
    }

    /// As [`BatchStore::close`], and waits for the disk.
    ///
    /// # Errors
    /// Of the spill file.
    pub fn close_now(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.runs.push(writer.finish()?);
        }
        Ok(())
    }

    /// The next batch of a closed store; what is read stays.
    ///
    /// # Errors
    /// Of the spill file.
    pub fn next(&mut self, cursor: &mut StoreCursor) -> Result<Stored> {
        if let Some(batch) = self.kept.get(cursor.next) {
            cursor.next += 1;
            return Ok(Stored::Batch(batch.duplicate()));
        }
        self.next_written(cursor)
    }

    /// The next batch of a closed store, where it lies.
    ///
    /// # Errors
    /// Of the spill file.
    pub(crate) fn see(&mut self, cursor: &mut StoreCursor) -> Result<Seen<'_>> {
        if cursor.next < self.kept.len() {
            cursor.next += 1;
            return Ok(Seen::Kept(&self.kept[cursor.next - 1]));
        }
        Ok(match self.next_written(cursor)? {
            Stored::Batch(batch) => Seen::Read(batch),
            Stored::Waiting => Seen::Waiting,
            Stored::End => Seen::End,
        })
    }

    /// The next batch of a closed store that is read once.
    ///
    /// # Errors
    /// Of the spill file.
    pub fn take(&mut self, cursor: &mut StoreCursor) -> Result<Stored> {
        if let Some(batch) = self.kept.get_mut(cursor.next) {
            cursor.next += 1;
            return Ok(Stored::Batch(std::mem::replace(batch, Batch::typed(Vec::<()>::new()))));
        }
        self.next_written(cursor)
    }

    fn next_written(&mut self, cursor: &mut StoreCursor) -> Result<Stored> {
        while let Some(run) = self.runs.get(cursor.run) {
            if cursor.reader.is_none() {
                let buffers = self.take_buffers()?;
                let waker = (!cursor.waits).then(|| self.waker.clone());
                cursor.reader = Some(RunReader::with_buffers(run.clone(), 0..run.blocks().len(), buffers, waker));
            }
            let Some(reader) = &mut cursor.reader else { break };
            match reader.advance()? {
                Step::Waiting => return Ok(Stored::Waiting),
                Step::End => {
                    cursor.reader = None;
                    cursor.run += 1;
                }
                Step::Row => {
                    let Some((more, piece)) = reader.row().split_first() else { continue };
                    cursor.bytes.extend_from_slice(piece);
                    if *more == 0 {
                        let batch = decode_batch(&cursor.bytes, self.codec.as_deref())?;
                        cursor.bytes.clear();
                        return Ok(Stored::Batch(batch));
                    }
                }
            }
        }
        Ok(Stored::End)
    }

    /// Forgets all batches and gives their memory back.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.charges.clear();
        self.free = 0;
        self.writer = None;
        self.runs.clear();
    }

    /// All batches as sections of a snapshot. What is still being filled can be filled on.
    ///
    /// # Errors
    /// Of the spill file.
    pub fn snapshot(&mut self, name: &str) -> Result<Vec<StateSection>> {
        // A snapshot is taken between two calls, which is why it waits.
        self.close_now()?;
        let mut sections = vec![];
        let mut gathered = Vec::new();
        let mut cursor = StoreCursor::waiting();
        while let Stored::Batch(batch) = self.next(&mut cursor)? {
            let start = gathered.len();
            gathered.extend_from_slice(&[0; 8]);
            encode_batch(&batch, self.codec.as_deref(), &mut gathered)?;
            let length = (gathered.len() - start - 8) as u64;
            gathered[start..start + 8].copy_from_slice(&length.to_le_bytes());
            if gathered.len() >= SECTION {
                sections.push(section(name, &mut gathered));
            }
        }
        if !gathered.is_empty() {
            sections.push(section(name, &mut gathered));
        }
        Ok(sections)
    }

    /// The batches of a section.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) for bytes that are no batches.
    pub fn batches_of(&self, section: &StateSection) -> Result<Vec<Batch>> {
        let mut batches = Vec::new();
        let mut rest = section.bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            let Some((bytes, after)) = after.split_at_checked(length) else {
                let what = format!("section `{}` ends {} bytes before its last batch does", section.name, length - after.len());
                return Err(crate::Error::Checkpoint(what));
            };
            batches.push(decode_batch(bytes, self.codec.as_deref())?);
            rest = after;
        }
        Ok(batches)
    }
}

fn section(name: &str, bytes: &mut Vec<u8>) -> StateSection {
    StateSection { name: name.to_owned(), bytes: std::mem::take(bytes), ..StateSection::default() }
}

/// What records own beside themselves, as far as it can be told: the bytes that they are serialized, of one in so many.
pub struct Weigher<T> {
    codec: RecordCodec<T>,
    flat: bool,
    last: usize,
    until: usize,
    bytes: Vec<u8>,
}

impl<T: Data> Default for Weigher<T> {
    fn default() -> Self {
        let codec = RecordCodec::new();
        Self { flat: codec.width().is_some(), codec, last: 0, until: 0, bytes: Vec::new() }
    }
}

impl<T: Data> Weigher<T> {
    /// Bytes of heap memory that a record owns, about; none where its type has none.
    #[inline]
    pub fn heap_bytes(&mut self, record: &T) -> usize {
        if self.flat {
            return 0;
        }
        if self.until == 0 {
            self.until = MEASURED;
            self.bytes.clear();
            // A record that does not encode fails where it is stored or sent.
            let _ = self.codec.encode(record, &mut self.bytes);
            self.last = self.bytes.len();
        }
        self.until -= 1;
        self.last
    }
}
