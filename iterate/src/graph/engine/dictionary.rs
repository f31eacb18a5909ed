//! Which vertex is which: user ids to dense numbers ("ranks") in the order of the ids, and back.
//!
//! Where integers are dense (a bit for each number up to the largest takes no more than a few bytes an edge) a bitmap with counts is the table: two reads
//! of memory that is mostly in cache. Other integers go through hash tables; texts are interned as they come, by a number each, and
//! these are put in the texts' order at the end of the input.
//!
//! Trade-off: ranks that keep the order of the ids make results sorted, ties well defined ("the smallest id") and the numbering the
//! same in every process, whatever came in which order; a numbering by degree would be kinder to the caches on some graphs.

use super::array::{Array32, Array64};
use super::block::too_small;
use super::raw::{Chunk, Totals};
use super::worker::Worker;
use fluvial_core::{Error, Result};
use fluvial_memory::{HeapCharge, Reservation, hash};
use hashbrown::HashTable;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};

/// Parts of a table, each behind a lock of its own while it is filled.
const SHARDS: usize = 64;

/// Keys that a worker collects for a shard before it takes its lock.
const BATCH: usize = 256;

/// Bytes of a bitmap that is taken in any case.
const SMALL: u64 = 1 << 20;

/// The vertices of a graph. Cheap to clone.
#[derive(Clone)]
pub struct Dictionary {
    /// How many there are.
    pub(crate) vertices: u32,
    ranks: Ranks,
    names: Names,
}

/// From what stands in chunks to ranks.
#[derive(Clone)]
enum Ranks {
    /// All numbers from 0 on are vertices.
    Same,
    /// For every 64 numbers: which are vertices, and how many are before.
    Bits(Arc<Array64>),
    Table(Arc<Table>),
    /// By the number that a text was given.
    Texts(Arc<Texts>),
}

/// From ranks to ids.
#[derive(Clone)]
enum Names {
    Same,
    Numbers(Arc<Array64>),
    Texts(Arc<Texts>),
}

type Shard = HashTable<(u64, AtomicU32)>;

/// Ids and their ranks.
struct Table {
    shards: Vec<Shard>,
    _heap: Vec<HeapCharge>,
}

/// Texts in order, and the rank of each by the number that it was given.
struct Texts {
    ranks: Array32,
    texts: Vec<Box<str>>,
    _heap: (Vec<HeapCharge>, HeapCharge),
}

/// Calls `$then` with a closure from ids to ranks, one for each kind of table, so that loops are compiled for each.
macro_rules! with_rank {
    ($dictionary:expr, |$rank:ident| $then:expr) => {{
        use $crate::graph::engine::dictionary::Lookup;
        match $dictionary.lookup() {
            Lookup::Same => {
                let $rank = |id: u64| id as u32;
                $then
            }
            Lookup::Bits(bits) => {
                let $rank = |id: u64| $crate::graph::engine::dictionary::rank_of_bit(bits, id);
                $then
            }
            Lookup::Table(dictionary) => {
                let $rank = |id: u64| dictionary.rank_in_table(id);
                $then
            }
            Lookup::Texts(ranks) => {
                let $rank = |id: u64| ranks[id as usize].load(std::sync::atomic::Ordering::Relaxed);
                $then
            }
        }
    }};
}
pub(crate) use with_rank;

/// What ranks are looked up in.
pub(crate) enum Lookup<'a> {
    Same,
    Bits(&'a [AtomicU64]),
    Table(&'a Dictionary),
    Texts(&'a [AtomicU32]),
}

/// The rank of a vertex in a bitmap with counts.
#[inline]
pub(crate) fn rank_of_bit(bits: &[AtomicU64], id: u64) -> u32 {
    let at = id as usize / 64 * 2;
    let below = bits[at].load(Relaxed) & ((1 << (id % 64)) - 1);
    bits[at + 1].load(Relaxed) as u32 + below.count_ones()
}

fn hash_of(id: u64) -> u64 {
    hash::remix(id, 0)
}

fn shard_of(hash: u64) -> usize {
    // The table inside takes its bits from both ends.
    (hash >> 24) as usize % SHARDS
}

impl Dictionary {
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        match &self.ranks {
            Ranks::Same => Lookup::Same,
            Ranks::Bits(bits) => Lookup::Bits(bits),
            Ranks::Table(_) => Lookup::Table(self),
            Ranks::Texts(texts) => Lookup::Texts(&texts.ranks),
        }
    }

    /// The rank of a vertex that is in a hash table.
    #[inline]
    pub(crate) fn rank_in_table(&self, id: u64) -> u32 {
        let Ranks::Table(table) = &self.ranks else { return 0 };
        let hash = hash_of(id);
        table.shards[shard_of(hash)].find(hash, |entry| entry.0 == id).map_or(0, |entry| entry.1.load(Relaxed))
    }

    /// The integer id of a rank.
    #[inline]
    pub(crate) fn number(&self, rank: u32) -> u64 {
        match &self.names {
            Names::Numbers(numbers) => numbers[rank as usize].load(Relaxed),
            Names::Same | Names::Texts(_) => rank.into(),
        }
    }

    /// The text of a rank.
    pub(crate) fn text(&self, rank: u32) -> &str {
        match &self.names {
            Names::Texts(texts) => &texts.texts[rank as usize],
            Names::Same | Names::Numbers(_) => "",
        }
    }

    /// The rank of an integer id, if it is a vertex.
    pub(crate) fn find_number(&self, id: u64) -> Option<u32> {
        match &self.names {
            Names::Same => u32::try_from(id).ok().filter(|rank| *rank < self.vertices),
            Names::Numbers(numbers) => {
                let at = numbers.partition_point(|number| number.load(Relaxed) < id);
                numbers.get(at).filter(|number| number.load(Relaxed) == id).map(|_| at as u32)
            }
            Names::Texts(_) => None,
        }
    }

    /// The rank of a text, if it is a vertex.
    pub(crate) fn find_text(&self, id: &str) -> Option<u32> {
        match &self.names {
            Names::Texts(texts) => texts.texts.binary_search_by(|text| (**text).cmp(id)).ok().map(|rank| rank as u32),
            Names::Same | Names::Numbers(_) => None,
        }
    }

    /// Of the integers in these chunks.
    ///
    /// # Errors
    /// More than 2^32 - 1 vertices, too little memory, or a chunk that cannot be read.
    pub(crate) async fn of_numbers(worker: &Worker, chunks: &[RwLock<Chunk>], totals: Totals, weighted: bool) -> Result<Self> {
        let bound = totals.bits.checked_add(1).and_then(u64::checked_next_power_of_two).unwrap_or(u64::MAX);
        if bound / 8 <= (totals.edges * 4).max(SMALL) {
            by_bits(worker, chunks, bound, weighted).await
        } else {
            by_table(worker, chunks, weighted).await
        }
    }
}

/// All workers mark the vertices in one bitmap.
async fn by_bits(worker: &Worker, chunks: &[RwLock<Chunk>], bound: u64, weighted: bool) -> Result<Dictionary> {
    let words = bound.div_ceil(64) as usize;
    let bits = worker.share(|| Ok(Array64::zeros(&worker.reservation, words * 2)?)).await?;
    let mut reader = worker.reader();
    while let Some(next) = worker.deal(chunks.len()) {
        let mark = |id: u64| {
            let (word, bit) = (&bits[id as usize / 64 * 2], 1 << (id % 64));
            if word.load(Relaxed) & bit == 0 {
                word.fetch_or(bit, Relaxed);
            }
        };
        read(&chunks[next]).for_each_vertex(weighted, &mut reader, mark)?;
        worker.breathe().await;
    }
    let counted = worker.share(|| Ok(AtomicU64::new(0))).await?;
    if worker.is_first() {
        let mut before = 0;
        for word in 0..words {
            bits[word * 2 + 1].store(before, Relaxed);
            before += u64::from(bits[word * 2].load(Relaxed).count_ones());
        }
        counted.store(before, Relaxed);
    }
    worker.barrier().await;
    let count = counted.load(Relaxed);
    let vertices = count_of(count)?;
    let last = |word: usize| bits[word * 2].load(Relaxed);
    let largest =
        (0..words).rev().find(|&word| last(word) != 0).map(|word| word as u64 * 64 + 63 - u64::from(last(word).leading_zeros()));
    if largest.is_none_or(|largest| largest + 1 == count) {
        return Ok(Dictionary { vertices, ranks: Ranks::Same, names: Names::Same });
    }
    let numbers = worker.share(|| Ok(Array64::zeros(&worker.reservation, count as usize)?)).await?;
    for word in worker.share_of(words) {
        let mut rank = bits[word * 2 + 1].load(Relaxed) as usize;
        let mut left = last(word);
        while left != 0 {
            numbers[rank].store(word as u64 * 64 + u64::from(left.trailing_zeros()), Relaxed);
            left &= left - 1;
            rank += 1;
        }
    }
    worker.barrier().await;
    Ok(Dictionary { vertices, ranks: Ranks::Bits(bits), names: Names::Numbers(numbers) })
}

/// All workers put the vertices into one hash table, shard by shard.
async fn by_table(worker: &Worker, chunks: &[RwLock<Chunk>], weighted: bool) -> Result<Dictionary> {
    struct Filling {
        shards: Vec<Mutex<Shard>>,
        heap: Heap,
    }
    let make = || Ok(Filling { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), heap: Heap::new(&worker.reservation) });
    let filling = worker.share(make).await?;
    let flush = |batch: &mut Vec<u64>, shard: usize| {
        let mut table = filling.shards[shard].lock().unwrap_or_else(|e| e.into_inner());
        let before = table.allocation_size();
        for id in batch.drain(..) {
            let hash = hash_of(id);
            table.entry(hash, |entry| entry.0 == id, |entry| hash_of(entry.0)).or_insert_with(|| (id, AtomicU32::new(0)));
        }
        filling.heap.grow(table.allocation_size() - before)
    };
    let mut batches: Vec<Vec<u64>> = (0..SHARDS).map(|_| Vec::with_capacity(BATCH)).collect();
    let mut reader = worker.reader();
    while let Some(next) = worker.deal(chunks.len()) {
        let mut done = Ok(());
        read(&chunks[next]).for_each_vertex(weighted, &mut reader, |id| {
            let shard = shard_of(hash_of(id));
            batches[shard].push(id);
            if batches[shard].len() == BATCH && done.is_ok() {
                done = flush(&mut batches[shard], shard);
            }
        })?;
        done?;
        worker.breathe().await;
    }
    for (shard, batch) in batches.iter_mut().enumerate() {
        flush(batch, shard)?;
    }
    worker.barrier().await;
    let make = || {
        let take = |shard: &Mutex<Shard>| std::mem::take(&mut *shard.lock().unwrap_or_else(|e| e.into_inner()));
        Ok(Table { shards: filling.shards.iter().map(take).collect(), _heap: filling.heap.take() })
    };
    let table = worker.share(make).await?;
    let count: usize = table.shards.iter().map(HashTable::len).sum();
    let vertices = count_of(count as u64)?;
    let numbers = worker.share(|| {
        let numbers = Array64::zeros(&worker.reservation, count)?;
        let charge = worker.reservation.charge_heap(count * 8);
        let _charge = charge.ok_or_else(|| too_small(&worker.reservation, count * 8))?;
        let mut sorted: Vec<u64> = table.shards.iter().flatten().map(|entry| entry.0).collect();
        sorted.sort_unstable();
        numbers.iter().zip(sorted).for_each(|(number, id)| number.store(id, Relaxed));
        Ok(numbers)
    });
    let numbers = numbers.await?;
    for rank in worker.share_of(count) {
        let id = numbers[rank].load(Relaxed);
        let hash = hash_of(id);
        if let Some(entry) = table.shards[shard_of(hash)].find(hash, |entry| entry.0 == id) {
            entry.1.store(rank as u32, Relaxed);
        }
    }
    worker.barrier().await;
    Ok(Dictionary { vertices, ranks: Ranks::Table(table), names: Names::Numbers(numbers) })
}

type TextShard = HashTable<(Box<str>, u32)>;

/// Gives every text a number, the first that comes the smallest.
pub struct Interner {
    shards: Vec<Mutex<TextShard>>,
    next: AtomicU32,
    heap: Heap,
}

impl Interner {
    pub(crate) fn new(reservation: &Reservation) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, next: AtomicU32::new(0), heap: Heap::new(reservation) }
    }

    /// The number of a text.
    ///
    /// # Errors
    /// The pool has no room for one more, or there are 2^32 - 1.
    pub(crate) fn number(&self, text: &str) -> Result<u32> {
        let hash = hash::hash_bytes(text.as_bytes());
        let mut shard = self.shards[shard_of(hash)].lock().unwrap_or_else(|e| e.into_inner());
        if let Some(entry) = shard.find(hash, |entry| *entry.0 == *text) {
            return Ok(entry.1);
        }
        let number = self.next.fetch_add(1, Relaxed);
        if number == u32::MAX {
            return Err(too_many(u64::from(u32::MAX)));
        }
        let before = shard.allocation_size();
        shard.insert_unique(hash, (text.into(), number), |entry| hash::hash_bytes(entry.0.as_bytes()));
        self.heap.grow(shard.allocation_size() - before + text.len().next_multiple_of(16))?;
        Ok(number)
    }

    /// The dictionary of what was interned; texts come in their order.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) async fn dictionary(&self, worker: &Worker) -> Result<Dictionary> {
        let made = worker.share(|| {
            let count = self.next.load(Relaxed) as usize;
            let charge = worker.reservation.charge_heap(count * (size_of::<Box<str>>() + size_of::<(Box<str>, u32)>()));
            let charge = charge.ok_or_else(|| too_small(&worker.reservation, count * 40))?;
            let ranks = Array32::zeros(&worker.reservation, count)?;
            let take = |shard: &Mutex<TextShard>| std::mem::take(&mut *shard.lock().unwrap_or_else(|e| e.into_inner()));
            let mut sorted: Vec<(Box<str>, u32)> = self.shards.iter().flat_map(take).collect();
            sorted.sort_unstable();
            let place = |(rank, (text, number)): (usize, (Box<str>, u32))| {
                ranks[number as usize].store(rank as u32, Relaxed);
                text
            };
            let texts = sorted.into_iter().enumerate().map(place).collect();
            Ok(Texts { ranks, texts, _heap: (self.heap.take(), charge) })
        });
        let texts = made.await?;
        Ok(Dictionary { vertices: texts.texts.len() as u32, ranks: Ranks::Texts(texts.clone()), names: Names::Texts(texts) })
    }
}

/// Heap memory that grows, charged to a reservation in steps.
struct Heap {
    reservation: Reservation,
    charged: Mutex<(usize, Vec<HeapCharge>)>,
}

impl Heap {
    const STEP: usize = 8 * fluvial_memory::SEGMENT_SIZE;

    fn new(reservation: &Reservation) -> Self {
        Self { reservation: reservation.clone(), charged: Mutex::default() }
    }

    fn grow(&self, bytes: usize) -> Result<()> {
        let mut charged = self.charged.lock().unwrap_or_else(|e| e.into_inner());
        charged.0 += bytes;
        while charged.0 > charged.1.iter().map(HeapCharge::bytes).sum() {
            let lacking = charged.0 - charged.1.iter().map(HeapCharge::bytes).sum::<usize>();
            let step = lacking.max(Self::STEP);
            charged.1.push(self.reservation.charge_heap(step).ok_or_else(|| too_small(&self.reservation, step))?);
        }
        Ok(())
    }

    fn take(&self) -> Vec<HeapCharge> {
        std::mem::take(&mut self.charged.lock().unwrap_or_else(|e| e.into_inner()).1)
    }
}

fn count_of(vertices: u64) -> Result<u32> {
    u32::try_from(vertices).ok().filter(|count| *count < u32::MAX).ok_or_else(|| too_many(vertices))
}

fn too_many(vertices: u64) -> Error {
    Error::Plan(format!("the graph has {vertices} vertices or more, a graph can have {}", u32::MAX - 1))
}

fn read(chunk: &RwLock<Chunk>) -> std::sync::RwLockReadGuard<'_, Chunk> {
    chunk.read().unwrap_or_else(|e| e.into_inner())
}
