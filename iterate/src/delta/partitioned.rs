use super::solution_set::{GROUPS, group_of};
use fluvial_core::{Batch, BatchStore, Data, Progress, Result, STORE_SEGMENTS, StateSection, StoreCursor, Stored, TaskContext};

/// Records of a partition that are gathered before they are stored.
const GATHERED: usize = 1024;

/// Records that wait, by group of partitions of the solution set: in memory, and beyond it on disk.
pub(super) struct Partitioned<T> {
    gathered: Vec<Vec<T>>,
    stores: Vec<BatchStore>,
    counts: Vec<u64>,
}

impl<T: Data> Partitioned<T> {
    /// Segments that it reserves.
    pub(super) const SEGMENTS: usize = GROUPS * STORE_SEGMENTS;

    pub(super) fn open(context: &TaskContext) -> Result<Self> {
        let stores = (0..GROUPS).map(|_| BatchStore::typed::<T>(context)).collect::<Result<_>>()?;
        Ok(Self { gathered: (0..GROUPS).map(|_| Vec::new()).collect(), stores, counts: vec![0; GROUPS] })
    }

    /// Takes a record of a partition.
    pub(super) fn push(&mut self, partition: usize, record: T) -> Result<()> {
        let group = group_of(partition);
        let gathered = &mut self.gathered[group];
        if gathered.capacity() == 0 {
            gathered.reserve_exact(GATHERED);
        }
        gathered.push(record);
        self.counts[group] += 1;
        if gathered.len() == GATHERED {
            let batch = Batch::typed(std::mem::take(gathered));
            self.stores[group].push(batch)?;
        }
        Ok(())
    }

    /// Whether a record can be pushed without waiting for the disk.
    pub(super) fn resume(&mut self) -> Result<Progress> {
        for store in &mut self.stores {
            if store.resume()? != Progress::Done {
                return Ok(Progress::Waiting);
            }
        }
        Ok(Progress::Done)
    }

    /// How many records there are.
    pub(super) fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The next group with records behind this one, round and round.
    pub(super) fn next_after(&self, group: usize) -> Option<usize> {
        (1..=GROUPS).map(|ahead| (group + ahead) % GROUPS).find(|group| self.counts[*group] > 0)
    }

    pub(super) fn is_empty(&self, group: usize) -> bool {
        self.counts[group] == 0
    }

    /// Hands all records of a group to `each`, batch by batch, in the order in which they came, and forgets them.
    pub(super) fn drain(&mut self, group: usize, mut each: impl FnMut(Vec<T>) -> Result<()>) -> Result<()> {
        let store = &mut self.stores[group];
        store.close_now()?;
        let mut cursor = StoreCursor::waiting();
        while let Stored::Batch(batch) = store.take(&mut cursor)? {
            each(batch.typed_records()?)?;
        }
        let gathered = std::mem::take(&mut self.gathered[group]);
        if !gathered.is_empty() {
            each(gathered)?;
        }
        self.clear(group);
        Ok(())
    }

    /// As [`Partitioned::drain`], but they stay.
    pub(super) fn visit(&mut self, group: usize, mut each: impl FnMut(Vec<T>) -> Result<()>) -> Result<()> {
        let store = &mut self.stores[group];
        let gathered = std::mem::take(&mut self.gathered[group]);
        if !gathered.is_empty() {
            store.push(Batch::typed(gathered))?;
        }
        store.close_now()?;
        let mut cursor = StoreCursor::waiting();
        while let Stored::Batch(batch) = store.next(&mut cursor)? {
            each(batch.typed_records()?)?;
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, group: usize) {
        self.stores[group].clear();
        self.gathered[group] = Vec::new();
        self.counts[group] = 0;
    }

    /// All records as sections of a snapshot.
    pub(super) fn snapshot(&mut self, name: &str) -> Result<Vec<StateSection>> {
        let mut sections = Vec::new();
        for (store, gathered) in self.stores.iter_mut().zip(&mut self.gathered) {
            if !gathered.is_empty() {
                store.push(Batch::typed(std::mem::take(gathered)))?;
            }
            sections.extend(store.snapshot(name)?);
        }
        Ok(sections)
    }
}
