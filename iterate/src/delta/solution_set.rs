use super::options::Order;
use fluvial_core::{
    Batch, BatchStore, Data, Error, LoopState, Result, STORE_SEGMENTS, StateSection, StoreCursor, Stored, TaskContext, Waker,
    Weigher,
};
use fluvial_memory::hash::{hash_bytes, remix};
use fluvial_memory::{HeapCharge, NormalizedKey, Reservation};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

/// Partitions of a worker's solution set: what goes to disk, and comes back, at a time.
pub(super) const PARTITIONS: usize = 64;

/// Groups of neighbouring partitions: what waits for partitions is kept by these, since each costs buffers.
pub(super) const GROUPS: usize = 16;

/// Segments in which one partition can be at least, whatever others have taken: so a solution set of 64 times that goes through.
const RESIDENT_SEGMENTS: usize = 64;

/// The group of a partition.
pub(super) fn group_of(partition: usize) -> usize {
    partition / (PARTITIONS / GROUPS)
}

/// The partitions of a group.
pub(super) fn partitions_of(group: usize) -> std::ops::Range<usize> {
    group * (PARTITIONS / GROUPS)..(group + 1) * (PARTITIONS / GROUPS)
}

/// Records of a batch that is written, read or given out.
const BATCH: usize = 1024;

/// Bytes charged to the pool at a time.
const CHARGE: usize = 1 << 18;

/// The partition of a hash.
pub(super) fn partition_of(hash: u64) -> usize {
    (remix(hash, 0) >> 58) as usize
}

/// The solution set of one worker: records by key, one a key, changed in place.
///
/// Each partition is either in memory, as records and an index of their places, open addressing by the key's hash, or on disk. One
/// that is needed is brought back, at the cost of the largest other ones if need be; so whoever has much to ask does it
/// partition by partition.
///
/// Invariant: what is in memory has been charged to the pool, that owned by records as [`Weigher`] tells it.
pub(super) struct SolutionSet<S, K, F> {
    key: F,
    order: Order<S>,
    /// Whether the initial solution is there.
    complete: bool,
    /// Who is to be woken when it is.
    waiting: Vec<Waker>,
    /// How often partitions have been brought back for what asks for their records.
    visits: u64,
    partitions: Vec<Partition<S>>,
    room: Reservation,
    weigher: Weigher<S>,
    bytes: (Vec<u8>, Vec<u8>),
    keys: PhantomData<fn() -> K>,
}

struct Partition<S> {
    resident: Option<Resident<S>>,
    /// What the partition is on disk, if it is there.
    cold: BatchStore,
}

struct Resident<S> {
    records: Vec<S>,
    /// Places in `records`, counted from 1, below the upper half of their hashes; 0 is free. A power of two, at most three quarters
    /// full.
    slots: Vec<u64>,
    charges: Vec<HeapCharge>,
    /// Bytes of the charges, and of what they are for.
    charged: usize,
    /// Bytes that the records own.
    owned: usize,
}

/// What a look at a key comes to.
pub(super) enum Found<'a, S> {
    /// The record of the key, if there is one.
    Here(Option<&'a S>),
    /// Its partition is on disk.
    OnDisk,
}

/// The solution set that the operators of a loop on one worker have in common; the keeper makes it.
pub(super) type Shared<S, K, F> = Rc<RefCell<Option<SolutionSet<S, K, F>>>>;

/// That of this loop.
pub(super) fn shared<S: 'static, K: 'static, F: 'static>(loop_id: u64) -> Shared<S, K, F> {
    LoopState::of(loop_id).shared::<Shared<S, K, F>>(Shared::default).as_ref().clone()
}

/// A solution set is there before the first superstep, because the keeper is made with the job.
pub(super) fn missing() -> Error {
    Error::Plan("the solution set of a loop was asked for before it was there".into())
}

impl<S> Resident<S> {
    fn new() -> Self {
        Self { records: Vec::new(), slots: Vec::new(), charges: Vec::new(), charged: 0, owned: 0 }
    }

    fn bytes(&self) -> usize {
        self.records.capacity() * size_of::<S>() + self.slots.len() * 8 + self.owned
    }
}

fn slot_of(hash: u64, place: usize) -> u64 {
    hash & 0xffff_ffff_0000_0000 | (place as u64 + 1)
}

impl<S, K, F> SolutionSet<S, K, F>
where
    S: Data,
    K: NormalizedKey,
    F: Fn(&S) -> K,
{
    /// Segments that it reserves.
    pub(super) const SEGMENTS: usize = 2 * STORE_SEGMENTS + RESIDENT_SEGMENTS;

    pub(super) fn open(key: F, order: Order<S>, context: &TaskContext) -> Result<Self> {
        // While a partition is read another may have to be written.
        let buffers = context.reserve(2 * STORE_SEGMENTS)?;
        let cold = || BatchStore::typed_within::<S>(context, &buffers);
        let partition = |_| Ok(Partition { resident: Some(Resident::new()), cold: cold()? });
        Ok(Self {
            key,
            order,
            complete: false,
            waiting: Vec::new(),
            visits: 0,
            partitions: (0..PARTITIONS).map(partition).collect::<Result<_>>()?,
            room: context.reserve(RESIDENT_SEGMENTS)?,
            weigher: Weigher::default(),
            bytes: Default::default(),
            keys: PhantomData,
        })
    }

    /// The initial solution is there.
    pub(super) fn complete(&mut self) {
        self.complete = true;
        self.waiting.drain(..).for_each(|wake| wake());
    }

    /// Whether the initial solution is there.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Partitions are brought back for what asks for their records.
    pub(super) fn visited(&mut self) {
        self.visits += 1;
    }

    /// How often they have been.
    pub(super) fn visits(&self) -> u64 {
        self.visits
    }

    /// Has the waker called when the initial solution is there.
    pub(super) fn wake_when_complete(&mut self, waker: &Waker) {
        self.waiting.push(waker.clone());
    }

    /// The hash of a record's key.
    pub(super) fn hash(&mut self, record: &S) -> u64 {
        self.bytes.0.clear();
        (self.key)(record).encode(&mut self.bytes.0);
        hash_bytes(&self.bytes.0)
    }

    /// Whether all partitions of a group are in memory.
    pub(super) fn is_resident(&self, group: usize) -> bool {
        partitions_of(group).all(|partition| self.partitions[partition].resident.is_some())
    }

    /// Others would like memory back: gives up the largest partition.
    pub(super) fn relieve(&mut self) -> Result<()> {
        if self.room.pressure() > 0 {
            self.evict_largest_but(PARTITIONS)?;
        }
        Ok(())
    }

    /// The record of a key, whose normalized form and hash are given.
    #[inline]
    pub(super) fn get(&mut self, key: &[u8], hash: u64) -> Found<'_, S> {
        let Self { partitions, bytes, key: select, .. } = self;
        let Some(resident) = &partitions[partition_of(hash)].resident else { return Found::OnDisk };
        let place = find(resident, select, key, hash, &mut bytes.1);
        Found::Here(place.map(|place| &resident.records[place]))
    }

    /// Asks the processor to fetch what [`SolutionSet::get`] looks at first.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(resident) = &self.partitions[partition_of(hash)].resident
            && !resident.slots.is_empty()
        {
            let slot = remix(hash, 0) as usize & (resident.slots.len() - 1);
            fluvial_memory::prefetch(&resident.slots[slot]);
        }
    }

    /// Puts a record in the place of the one with its key, if it is better, or adds it. `Some`: its partition is on disk, or has gone there, and
    /// here it is again. With `stays` a partition that was brought back is not to go.
    pub(super) fn put(&mut self, record: S, stays: bool) -> Result<Option<S>> {
        let hash = self.hash(&record);
        let partition = partition_of(hash);
        if self.partitions[partition].resident.is_none() {
            return Ok(Some(record));
        }
        let owned = self.weigher.heap_bytes(&record);
        let Self { partitions, bytes, key, order, .. } = self;
        let Some(resident) = &mut partitions[partition].resident else { return Ok(Some(record)) };
        if let Some(place) = find(resident, key, &bytes.0, hash, &mut bytes.1) {
            if order.replaces(&record, &resident.records[place]) {
                resident.records[place] = record;
            }
            return Ok(None);
        }
        resident.owned += owned;
        let full = resident.records.len() == resident.records.capacity()
            || (resident.records.len() + 1) * 4 > resident.slots.len() * 3
            || resident.bytes() > resident.charged;
        if full && !self.grow(partition)? {
            if stays {
                return Err(self.too_small(partition));
            }
            self.evict(partition)?;
            return Ok(Some(record));
        }
        let Some(resident) = &mut self.partitions[partition].resident else { return Ok(Some(record)) };
        insert(&mut resident.slots, hash, resident.records.len());
        resident.records.push(record);
        Ok(None)
    }

    /// Makes room for at least one more record, at the cost of other partitions if need be. False: there is none.
    fn grow(&mut self, partition: usize) -> Result<bool> {
        let Some(resident) = &self.partitions[partition].resident else { return Ok(false) };
        let records = resident.records.len();
        let capacity =
            if records == resident.records.capacity() { (records * 3 / 2).max(64) } else { resident.records.capacity() };
        let slots = ((capacity + 1) * 4 / 3 + 1).next_power_of_two().max(resident.slots.len());
        // While they are copied the old ones are there too.
        let old = if capacity > resident.records.capacity() { records * size_of::<S>() } else { 0 };
        let needed = capacity * size_of::<S>() + slots * 8 + resident.owned + old;
        if !self.charge(partition, needed)? {
            return Ok(false);
        }
        let Self { partitions, bytes, key, .. } = self;
        let Some(resident) = &mut partitions[partition].resident else { return Ok(false) };
        resident.records.reserve_exact(capacity - records);
        if slots > resident.slots.len() {
            resident.slots = vec![0; slots];
            for (place, record) in resident.records.iter().enumerate() {
                bytes.0.clear();
                key(record).encode(&mut bytes.0);
                insert(&mut resident.slots, hash_bytes(&bytes.0), place);
            }
        }
        Ok(true)
    }

    fn charge(&mut self, partition: usize, needed: usize) -> Result<bool> {
        loop {
            let Some(resident) = &mut self.partitions[partition].resident else { return Ok(false) };
            let Some(lacking) = needed.checked_sub(resident.charged).filter(|lacking| *lacking > 0) else { return Ok(true) };
            if let Some(charge) = self.room.charge_heap(lacking.max(CHARGE)).or_else(|| self.room.charge_heap(lacking)) {
                resident.charged += charge.bytes();
                resident.charges.push(charge);
            } else if !self.evict_largest_but(partition)? {
                return Ok(false);
            }
        }
    }

    /// Writes the largest partition but this one to disk. False: there is none that would free anything.
    fn evict_largest_but(&mut self, keep: usize) -> Result<bool> {
        let charged = |p: usize| self.partitions[p].resident.as_ref().map_or(0, |resident| resident.charged);
        let largest = (0..PARTITIONS).filter(|p| *p != keep).max_by_key(|p| charged(*p)).filter(|p| charged(*p) > 0);
        largest.map_or(Ok(false), |partition| self.evict(partition).map(|()| true))
    }

    fn evict(&mut self, partition: usize) -> Result<()> {
        let Partition { resident, cold } = &mut self.partitions[partition];
        if let Some(resident) = resident.take() {
            let mut records = resident.records.into_iter();
            loop {
                let batch: Vec<S> = records.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                cold.push_out(Batch::typed(batch))?;
            }
            cold.close_now()?;
        }
        Ok(())
    }

    /// Brings a partition back from disk, at the cost of others if need be.
    ///
    /// # Errors
    /// The pool has not room for even this one.
    pub(super) fn make_resident(&mut self, partition: usize) -> Result<()> {
        if self.partitions[partition].resident.is_some() {
            return Ok(());
        }
        self.partitions[partition].resident = Some(Resident::new());
        let mut cursor = StoreCursor::waiting();
        while let Stored::Batch(batch) = self.partitions[partition].cold.take(&mut cursor)? {
            for record in batch.typed_records::<S>()? {
                let hash = self.hash(&record);
                let owned = self.weigher.heap_bytes(&record);
                let Some(resident) = &mut self.partitions[partition].resident else { return Err(missing()) };
                resident.owned += owned;
                let full = resident.records.len() == resident.records.capacity()
                    || (resident.records.len() + 1) * 4 > resident.slots.len() * 3
                    || resident.bytes() > resident.charged;
                if full && !self.grow(partition)? {
                    return Err(self.too_small(partition));
                }
                let Some(resident) = &mut self.partitions[partition].resident else { return Err(missing()) };
                insert(&mut resident.slots, hash, resident.records.len());
                resident.records.push(record);
            }
        }
        self.partitions[partition].cold.clear();
        Ok(())
    }

    fn too_small(&self, partition: usize) -> Error {
        let held = self.partitions[partition].resident.as_ref().map_or(0, |resident| resident.charged);
        let budget = self.room.limit() * fluvial_memory::SEGMENT_SIZE;
        let operator = self.room.operator().to_owned();
        fluvial_memory::Error::BudgetTooSmall { operator, needed: 2 * held, available: held, budget }.into()
    }

    /// The next batch of all records, in no particular order; none of them is in memory any more.
    pub(super) fn take_batch(&mut self, cursor: &mut SolutionCursor) -> Result<Option<Vec<S>>> {
        while let Some(partition) = self.partitions.get_mut(cursor.partition) {
            if let Some(resident) = &mut partition.resident {
                let left = resident.records.len();
                if left > 0 {
                    return Ok(Some(resident.records.split_off(left.saturating_sub(BATCH))));
                }
                partition.resident = None;
            }
            match partition.cold.take(&mut cursor.cold)? {
                Stored::Batch(batch) => return batch.typed_records().map(Some),
                Stored::Waiting | Stored::End => {
                    cursor.partition += 1;
                    cursor.cold = StoreCursor::waiting();
                }
            }
        }
        Ok(None)
    }

    /// All records as sections of a snapshot.
    pub(super) fn snapshot(&mut self, name: &str, scratch: &mut BatchStore) -> Result<Vec<StateSection>> {
        let mut sections = Vec::new();
        for partition in &mut self.partitions {
            if let Some(resident) = &partition.resident {
                for batch in resident.records.chunks(64 * BATCH) {
                    scratch.push(Batch::typed(batch.to_vec()))?;
                    sections.extend(scratch.snapshot(name)?);
                    scratch.clear();
                }
            } else {
                sections.extend(partition.cold.snapshot(name)?);
            }
        }
        Ok(sections)
    }
}

/// How far a solution set has been read.
pub(super) struct SolutionCursor {
    partition: usize,
    cold: StoreCursor,
}

impl Default for SolutionCursor {
    fn default() -> Self {
        Self { partition: 0, cold: StoreCursor::waiting() }
    }
}

#[inline]
fn find<S, K: NormalizedKey>(
    resident: &Resident<S>,
    select: &impl Fn(&S) -> K,
    key: &[u8],
    hash: u64,
    scratch: &mut Vec<u8>,
) -> Option<usize> {
    let mask = resident.slots.len().checked_sub(1)?;
    let mut at = remix(hash, 0) as usize & mask;
    loop {
        let slot = resident.slots[at];
        if slot == 0 {
            return None;
        }
        if slot >> 32 == hash >> 32 {
            let place = (slot as u32 - 1) as usize;
            scratch.clear();
            select(&resident.records[place]).encode(scratch);
            if scratch == key {
                return Some(place);
            }
        }
        at = (at + 1) & mask;
    }
}

/// Notes the place of a key that is not there yet; some slot is free.
fn insert(slots: &mut [u64], hash: u64, place: usize) {
    let mask = slots.len() - 1;
    let mut at = remix(hash, 0) as usize & mask;
    while slots[at] != 0 {
        at = (at + 1) & mask;
    }
    slots[at] = slot_of(hash, place);
}
