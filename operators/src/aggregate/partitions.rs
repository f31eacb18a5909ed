//! One level of a final aggregation: tables by radix of the hash, and the log they spill to.

use super::Aggregation;
use super::layout::{KeyKind, Layout, by_key_kind};
use super::table::{AHEAD, Found, Table};
use fluvial_memory::hash::{hash_bytes, remix};
use fluvial_memory::{
    Error, Extent, Progress, Reservation, Result, RowBatch, RowCursor, Run, RunWriter, SpillManager, Waker, same_key,
};
use std::ops::Range;

/// Fewest partitions of a level: eight pages and eight directories fit into the minimum and leave room to work.
const FEWEST: usize = 8;
/// Most partitions of a level.
const MOST: usize = 64;
/// Segments of the budget for each partition.
const BUDGET_A_PARTITION: usize = 64;
/// Segments a partition should have at least when memory is short; with less, the partitions are merged.
const FEW_SEGMENTS: usize = 3;
/// A spilled partition whose rows were merged into less than this share of them goes on merging in memory; others are
/// appended without look-up until they are read back.
const WORTH_MERGING: f64 = 0.7;

/// What all levels of one aggregation share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) reservation: Reservation,
    pub(super) spill: SpillManager,
    pub(super) schema: String,
    pub(super) waker: Option<Waker>,
    pub(super) layout: Layout,
    /// From this level on, keys are taken to be inseparable: see [`Partitions::make_room`].
    pub(super) last_level: u32,
    /// Number of partitions, if not chosen by the budget.
    pub(super) partitions: Option<usize>,
}

/// Partitions of the rows at one level of the recursion.
///
/// Every row goes to the partition that the top bits of its re-mixed hash name. When memory is refused, the partition
/// with the most memory is spilled whole, and is a spilled one from then on: what it collects later is spilled again
/// when all spilled partitions together hold an eighth of the memory, so the resident ones keep theirs. All of them
/// spill to one file, the log, each time to blocks of its own.
pub(super) struct Partitions {
    around: Surroundings,
    level: u32,
    /// log2 of the number of partitions.
    bits: u32,
    parts: Vec<Partition>,
    /// The log's first buffer, held from the start so that spilling never fails for lack of memory.
    buffer: Option<Extent>,
    log: Option<RunWriter>,
    /// Partitions on their way out; the last one first, from `cursor` on.
    leaving: Vec<usize>,
    cursor: RowCursor,
    /// Number of partitions to go on with when `leaving` is empty.
    fewer: Option<usize>,
    /// At the last level: memory is used up, new keys go to the log.
    frozen: bool,
    /// Other input is likely to come when these rows are out: directories stay.
    again: bool,
}

struct Partition {
    table: Table,
    spilled: bool,
    /// Rows are appended without look-up.
    blind: bool,
    /// Rows taken since it was last empty.
    taken: u64,
    /// Its blocks in the log.
    blocks: Vec<Range<usize>>,
}

/// Rows that were spilled at one level and are to be aggregated at another.
pub(super) struct Spilled {
    pub(super) run: Run,
    pub(super) blocks: Vec<Range<usize>>,
    pub(super) level: u32,
}

impl Partition {
    fn new(around: &Surroundings, level: u32) -> Self {
        let table = Table::new(around.layout, level, &around.reservation);
        Self { table, spilled: false, blind: false, taken: 0, blocks: Vec::new() }
    }
}

impl Partitions {
    pub(super) fn new(around: Surroundings, level: u32) -> Result<Self> {
        let Some(buffer) = Self::buffer(&around) else {
            let (held, limit) = (around.reservation.held(), around.reservation.limit());
            return Err(Error::BudgetTooSmall {
                operator: around.reservation.operator().to_owned(),
                needed: (held + 1) * fluvial_memory::SEGMENT_SIZE,
                available: held * fluvial_memory::SEGMENT_SIZE,
                budget: limit * fluvial_memory::SEGMENT_SIZE,
            });
        };
        let by_budget = || (around.reservation.limit() / BUDGET_A_PARTITION).clamp(FEWEST, MOST);
        let wanted = around.partitions.unwrap_or_else(by_budget).next_power_of_two().min(1 << 12);
        let number = if level >= around.last_level { 1 } else { wanted };
        Ok(Self {
            level,
            bits: number.ilog2(),
            parts: (0..number).map(|_| Partition::new(&around, level)).collect(),
            around,
            buffer: Some(buffer),
            log: None,
            leaving: Vec::new(),
            cursor: RowCursor::default(),
            fewer: None,
            frozen: false,
            again: false,
        })
    }

    fn buffer(around: &Surroundings) -> Option<Extent> {
        let segments = around.spill.block_segments(&around.reservation);
        around.reservation.alloc_extent(segments).or_else(|| around.reservation.alloc())
    }

    /// Makes ready for other input after all rows are out. False if some were spilled, or others would like memory.
    pub(super) fn begin_again(&mut self) -> bool {
        if self.level > 0 || self.around.reservation.pressure() > 0 || self.parts.iter().any(|part| part.spilled) {
            return false;
        }
        self.buffer = Self::buffer(&self.around);
        self.again = self.buffer.is_some();
        self.parts.iter_mut().for_each(|part| part.taken = 0);
        self.again
    }

    /// Takes rows `[key][state]` from number `from` on. Returns the number of the first row that found no memory, or the
    /// length of the batch.
    pub(super) fn take<A: Aggregation>(
        &mut self,
        aggregation: &A,
        batch: &RowBatch,
        mixed: &[u64],
        from: usize,
    ) -> Result<usize> {
        by_key_kind!(self.around.layout.key, K => self.take_kind::<K, A>(aggregation, batch, mixed, from))
    }

    #[inline]
    fn part_of(bits: u32, mixed: u64) -> usize {
        ((mixed >> 48) >> (16 - bits)) as usize
    }

    fn take_kind<K: KeyKind, A: Aggregation>(
        &mut self,
        aggregation: &A,
        batch: &RowBatch,
        mixed: &[u64],
        from: usize,
    ) -> Result<usize> {
        let n = batch.len();
        let bits = self.bits;
        for i in from..n {
            if let Some(&ahead) = mixed.get(i + 2 * AHEAD) {
                self.parts[Self::part_of(bits, ahead)].table.prefetch_slot(ahead);
            }
            if let Some(&ahead) = mixed.get(i + AHEAD) {
                self.parts[Self::part_of(bits, ahead)].table.prefetch_row(ahead);
            }
            let row = batch.row(i);
            let key = self.around.layout.key(row);
            if !self.take_keyed::<K, A>(aggregation, mixed[i], key, row)? {
                return Ok(i);
            }
        }
        Ok(n)
    }

    /// Finds or makes the groups of rows by their keys, and appends pointers to their states to `states`; fewer than
    /// there are rows if memory ends. The pointers are good until rows are taken or room is made. For states of one
    /// width, and not for frozen partitions.
    pub(super) fn locate<A: Aggregation>(
        &mut self,
        aggregation: &A,
        keys: &RowBatch,
        mixed: &[u64],
        rows: Range<usize>,
        states: &mut Vec<*mut u8>,
    ) {
        by_key_kind!(self.around.layout.key, K => self.locate_kind::<K, A>(aggregation, keys, mixed, rows, states));
    }

    fn locate_kind<K: KeyKind, A: Aggregation>(
        &mut self,
        aggregation: &A,
        keys: &RowBatch,
        mixed: &[u64],
        rows: Range<usize>,
        states: &mut Vec<*mut u8>,
    ) {
        let bits = self.bits;
        for i in rows.clone() {
            if let Some(&ahead) = mixed.get(i + 2 * AHEAD) {
                self.parts[Self::part_of(bits, ahead)].table.prefetch_slot(ahead);
            }
            if let Some(&ahead) = mixed.get(i + AHEAD) {
                self.parts[Self::part_of(bits, ahead)].table.prefetch_row(ahead);
            }
            let key = keys.key(i);
            let part = &mut self.parts[Self::part_of(bits, mixed[i])];
            part.taken += 1;
            if i > rows.start && mixed[i] == mixed[i - 1] && same_key(key, keys.key(i - 1)) {
                states.extend_from_within(states.len() - 1..);
                continue;
            }
            let address = if part.blind {
                part.table.append_initial(aggregation, key)
            } else {
                part.table.locate::<K, A>(aggregation, mixed[i], key)
            };
            let Ok(address) = address else { return };
            states.push(part.table.state_pointer(address, key));
        }
    }

    /// Whether new keys are turned away to the log.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Takes one row `[key][state]`; false if it found no memory.
    pub(super) fn take_row<A: Aggregation>(&mut self, aggregation: &A, row: &[u8]) -> Result<bool> {
        if self.is_evicting() {
            return Ok(false);
        }
        let key = self.around.layout.key(row);
        let mixed = remix(hash_bytes(key), self.level);
        by_key_kind!(self.around.layout.key, K => self.take_keyed::<K, A>(aggregation, mixed, key, row))
    }

    #[inline(always)]
    fn take_keyed<K: KeyKind, A: Aggregation>(&mut self, aggregation: &A, mixed: u64, key: &[u8], row: &[u8]) -> Result<bool> {
        let part = &mut self.parts[Self::part_of(self.bits, mixed)];
        part.taken += 1;
        let taken = if part.blind {
            part.table.append(row).map(|_| ())
        } else {
            part.table.merge::<K, A>(aggregation, mixed, key, row)?
        };
        Ok(taken.is_ok() || self.frozen && self.turn_away::<K>(mixed, key, row)?)
    }

    /// At the last level: a row of a key that is not in memory goes to the log, for another pass.
    #[cold]
    fn turn_away<K: KeyKind>(&mut self, mixed: u64, key: &[u8], row: &[u8]) -> Result<bool> {
        let table = &self.parts[0].table;
        if !table.is_indexed() {
            return Ok(false);
        }
        if matches!(table.find::<K>(mixed, key), Found::Row(..)) {
            return Err(self.too_large(row.len()));
        }
        self.log()?.push(row)?;
        Ok(true)
    }

    /// Spills until memory is free again, for a row of so many bytes. `Waiting` while the log cannot be written to.
    ///
    /// At the last level, which only keys of equal hashes reach in numbers, nothing would be gained by dividing on: what
    /// is in memory stays and is final, what else comes goes to the log for another pass.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`] if nothing is left that could be spilled.
    pub(super) fn make_room(&mut self, row: usize) -> Result<Progress> {
        if self.leaving.is_empty() {
            if self.level >= self.around.last_level && self.parts[0].table.is_indexed() && self.parts[0].table.rows() > 0 {
                self.frozen = true;
                // A key that was turned away once must not come in later.
                self.parts[0].table.set_limit(0);
                self.log()?;
                return Ok(Progress::Done);
            }
            self.choose();
            if self.leaving.is_empty() {
                return Err(self.too_large(row));
            }
        }
        self.evict()
    }

    /// Gives memory back if other operators ask for it.
    pub(super) fn relieve(&mut self) -> Result<Progress> {
        let reservation = &self.around.reservation;
        if self.leaving.is_empty() && (reservation.pressure() == 0 || reservation.used() <= reservation.minimum()) {
            return Ok(Progress::Done);
        }
        if self.leaving.is_empty() && !self.frozen {
            self.choose();
        }
        self.evict()
    }

    /// Whether a partition is on its way out, so that no rows can be taken.
    pub(super) fn is_evicting(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Chooses what to spill; nothing if there are no rows.
    fn choose(&mut self) {
        // A directory may be left of a row that found no room itself.
        self.parts.iter_mut().filter(|p| p.table.rows() == 0).for_each(|p| p.table.clear());
        let held = |part: &Partition| part.table.segments();
        let total: usize = self.parts.iter().map(held).sum();
        let staged: usize = self.parts.iter().filter(|p| p.spilled).map(held).sum();
        let occupied = |parts: &[Partition], of: &dyn Fn(&Partition) -> bool| -> Vec<usize> {
            (0..parts.len()).filter(|&i| parts[i].table.rows() > 0 && of(&parts[i])).collect()
        };
        if self.parts.len() > FEWEST && total < self.parts.len() * FEW_SEGMENTS {
            self.leaving = occupied(&self.parts, &|_| true);
            self.fewer = Some((total / FEW_SEGMENTS).next_power_of_two().clamp(FEWEST, self.parts.len() / 2));
            return;
        }
        self.leaving = occupied(&self.parts, &|p| !p.spilled && !p.table.is_indexed());
        if self.leaving.is_empty() && staged > 0 && staged * 8 >= total {
            self.leaving = occupied(&self.parts, &|p| p.spilled);
        }
        if self.leaving.is_empty() {
            let largest = |of: Vec<usize>| of.into_iter().max_by_key(|&i| held(&self.parts[i]));
            let resident = largest(occupied(&self.parts, &|p| !p.spilled));
            let chosen = resident.or_else(|| largest(occupied(&self.parts, &|_| true)));
            self.leaving.extend(chosen);
        }
    }

    /// Writes what was chosen to the log.
    fn evict(&mut self) -> Result<Progress> {
        while let Some(&leaving) = self.leaving.last() {
            self.log()?;
            let (Some(log), part) = (&mut self.log, &mut self.parts[leaving]) else {
                unreachable!("the log was just opened");
            };
            let waits = self.around.waker.is_some();
            loop {
                if waits && !log.ready() {
                    return Ok(Progress::Waiting);
                }
                if self.cursor.is_start() && part.table.rows() > 0 {
                    let first = if log.rows() == 0 { 0 } else { log.block() + 1 };
                    part.blocks.push(first..first);
                }
                let Some((key, state)) = part.table.advance(&mut self.cursor) else { break };
                log.push_parts(key, state)?;
            }
            if let Some(blocks) = part.blocks.last_mut()
                && !self.cursor.is_start()
            {
                blocks.end = log.block() + 1;
            }
            log.flush()?;
            part.blind = part.blind || part.table.rows() as f64 > WORTH_MERGING * part.taken as f64;
            part.spilled = true;
            part.taken = 0;
            part.table.clear();
            self.cursor = RowCursor::default();
            self.leaving.pop();
        }
        if let Some(number) = self.fewer.take() {
            self.merge_partitions(number);
        }
        Ok(Progress::Done)
    }

    /// Goes on with fewer partitions; all are empty.
    fn merge_partitions(&mut self, number: usize) {
        let each = self.parts.len() / number;
        let mut old = std::mem::take(&mut self.parts).into_iter();
        self.parts = (0..number)
            .map(|_| {
                let mut part = Partition::new(&self.around, self.level);
                part.blocks.extend(old.by_ref().take(each).flat_map(|p| p.blocks));
                part.spilled = !part.blocks.is_empty();
                part
            })
            .collect();
        self.bits = number.ilog2();
    }

    fn log(&mut self) -> Result<&mut RunWriter> {
        let log = match self.log.take() {
            Some(log) => log,
            None => {
                let Surroundings { reservation, spill, schema, waker, layout, .. } = &self.around;
                let (name, shape) = (reservation.operator(), layout.shape());
                match self.buffer.take() {
                    Some(buffer) => spill.writer_with(name, shape, schema, reservation, vec![buffer], waker.clone())?,
                    None => spill.writer(name, shape, schema, reservation, waker.clone())?,
                }
            }
        };
        Ok(self.log.insert(log))
    }

    pub(super) fn too_large(&self, record: usize) -> Error {
        let reservation = &self.around.reservation;
        let available = (reservation.held() - reservation.used().min(reservation.held())) * fluvial_memory::SEGMENT_SIZE;
        Error::RecordTooLarge { operator: reservation.operator().to_owned(), record, available }
    }

    /// No more rows come: spills what belongs to spilled partitions and waits for the log. `Done` when
    /// [`Partitions::spilled`] can be called.
    pub(super) fn seal(&mut self) -> Result<Progress> {
        if self.leaving.is_empty() && self.parts.iter().any(|p| p.spilled && p.table.segments() > 0) {
            self.leaving = (0..self.parts.len()).filter(|&i| self.parts[i].spilled).collect();
        }
        if self.evict()? == Progress::Waiting {
            return Ok(Progress::Waiting);
        }
        // The buffer is not needed any more, and what comes next may need it.
        self.buffer = None;
        match &mut self.log {
            Some(log) if self.around.waker.is_some() => log.flush(),
            _ => Ok(Progress::Done),
        }
    }

    /// Ends the log and says what is in it.
    pub(super) fn spilled(&mut self) -> Result<Vec<Spilled>> {
        let Some(log) = self.log.take() else { return Ok(Vec::new()) };
        let run = log.finish()?;
        let level = self.level + 1;
        if self.level >= self.around.last_level {
            let all = 0..run.blocks().len();
            return Ok(vec![Spilled { run, blocks: vec![all], level: self.level }]);
        }
        let spilled = self.parts.iter_mut().filter(|p| p.spilled && !p.blocks.is_empty());
        Ok(spilled.map(|p| Spilled { run: run.clone(), blocks: std::mem::take(&mut p.blocks), level }).collect())
    }

    /// The row at the cursor `(partition, row)` among those that stayed in memory; memory is given back behind it.
    #[inline]
    pub(super) fn advance(&mut self, (at, cursor): &mut (usize, RowCursor), take: impl FnOnce(&[u8], &[u8])) -> bool {
        while let Some(part) = self.parts.get_mut(*at) {
            if let Some((key, state)) = part.table.advance(cursor) {
                take(key, state);
                return true;
            }
            self.close(at, cursor);
        }
        false
    }

    /// As [`Partitions::advance`], of many rows at a time: those that lie next to each other, `max` at the most. Where rows have
    /// one width.
    pub(super) fn advance_run(&mut self, (at, cursor): &mut (usize, RowCursor), max: usize) -> Option<&[u8]> {
        while let Some(part) = self.parts.get(*at) {
            // The borrow of a row that is returned would last for the whole loop.
            let mut next = *cursor;
            if part.table.advance_run(&mut next, max).is_some() {
                return self.parts[*at].table.advance_run(cursor, max);
            }
            self.close(at, cursor);
        }
        None
    }

    /// All rows of a partition are out.
    fn close(&mut self, at: &mut usize, cursor: &mut RowCursor) {
        let table = &mut self.parts[*at].table;
        if self.again {
            table.clear_rows();
        } else {
            table.clear();
        }
        *at += 1;
        *cursor = RowCursor::default();
    }

    /// The level of the recursion.
    pub(super) fn level(&self) -> u32 {
        self.level
    }
}

/// Re-mixes the hashes of a batch for a level.
pub(super) fn mix(hashes: &[u64], level: u32, mixed: &mut Vec<u64>) {
    mixed.clear();
    mixed.extend(hashes.iter().map(|&hash| remix(hash, level)));
}
