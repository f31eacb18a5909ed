use super::Aggregation;
use super::direct::{Direct, DirectCursor};
use super::layout::{KeyKind, Layout, by_key_kind};
use super::passed::Passed;
use super::staged::{Staged, StagedCursor};
use super::table::{AHEAD, NoMemory, Table};
use fluvial_memory::hash::{hash_bytes, hash_word, remix};
use fluvial_memory::{KeyWidth, Progress, Reservation, Result, RowBatch, RowCursor, RowShape, SEGMENT_SIZE, same_key};
use std::ops::Range;

/// Rows passed through after which the caller should pull.
const PASSED_ROWS: usize = 4096;
/// Bytes of such rows.
const PASSED_BYTES: usize = 256 * 1024;
/// Rows that pass by, for each that was looked up in vain, before the table is tried again; doubled each time.
const PAUSE: u64 = 8;
/// Most of them.
const LONGEST_PAUSE: u64 = 1024;
/// A larger table is worth having if it leaves less than this share of what the small one left.
const WORTH_GROWING: f64 = 0.9;
/// Times that the table stays small after that was not so.
const STAY_SMALL: u32 = 16;

/// How a [`Combine`] works; the default is right unless measured otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CombineOptions {
    /// Bytes of the table at first: what stays in the second-level cache. Default: 1 MiB.
    pub small_bytes: usize,
    /// Most bytes of the table. Default: an eighth of the budget, at most 64 MiB.
    pub large_bytes: Option<usize>,
    /// Groups for each row above which the table is not worth its look-ups, and rows pass through. Default: 0.75.
    pub pass_ratio: f64,
    /// Whether records are offered to [`Combine::stage`] when [`Combine::is_staging`] says so. Default: no.
    pub stages: bool,
}

impl Default for CombineOptions {
    fn default() -> Self {
        Self { small_bytes: 1 << 20, large_bytes: None, pass_ratio: 0.75, stages: false }
    }
}

/// Pre-aggregation: merges the rows of equal keys that come near each other, and passes on partial states.
///
/// A table that starts small and grows while that helps is filled and then emptied into the output. If it turns out
/// that it hardly merges anything, rows pass through for a while without look-up, and only neighbours of equal keys are
/// merged. It never spills and never fails for lack of memory: then it passes rows through.
///
/// [`Combine::push`] takes everything it is given. When it answers [`Progress::More`], pull until `Done`, then go on.
///
/// ```
/// use fluvial_memory::{KeyWidth, MemoryManager, Progress, RowBatch};
/// use fluvial_operators::aggregate::{Combine, CombineOptions, Distinct};
/// let memory = MemoryManager::new(4 << 20)?;
/// let reservation = memory.reserve("distinct", Combine::<Distinct>::MINIMUM_SEGMENTS)?;
/// let mut combine = Combine::new(reservation, KeyWidth::Variable, Distinct, CombineOptions::default());
/// let mut words = RowBatch::new(combine.shape());
/// for word in ["to", "be", "or", "not", "to", "be"] {
///     words.push(word.as_bytes(), &[]);
/// }
/// combine.push(&words)?;
/// combine.end();
/// let mut out = RowBatch::new(combine.shape());
/// assert_eq!(combine.pull(&mut out, 1024), Progress::Done);
/// assert_eq!((out.len(), out.hashes().len()), (4, 4));
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct Combine<A> {
    pub(super) aggregation: A,
    pub(super) layout: Layout,
    table: Table,
    small: usize,
    large: usize,
    pass_ratio: f64,
    mode: Mode,
    /// Segments that the table may have now.
    limit: usize,
    /// Rows looked up since the table was last empty, but for those that repeat the key before them: they would be merged
    /// without the table too.
    looked_up: u64,
    /// Groups for each row when the table had its small size.
    small_ratio: f64,
    /// Times that the table is still to be emptied at its small size, since a larger one merged no more.
    stay_small: u32,
    /// How often in a row the table was of no use, and the rows to pass through for it.
    failures: u32,
    pause: u64,
    pub(super) passed: Passed,
    cursor: RowCursor,
    /// Whether rows can be staged, once the small table is full; and where they are then.
    stages: bool,
    staged: Option<Staged>,
    staged_cursor: StagedCursor,
    /// The same where keys are numbers near each other; whether that is tried.
    direct: Option<Direct>,
    direct_cursor: DirectCursor,
    tries_direct: bool,
    hashes: Vec<u64>,
    mixed: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Rows are looked up.
    Merging,
    /// Rows are gathered by partition and looked up in the cache.
    Staging,
    /// Keys are numbers that say where their states are.
    Direct,
    /// The table is being emptied; rows pass through.
    Draining,
    /// So many more rows pass through.
    Passing(u64),
}

impl<A: Aggregation> Combine<A> {
    /// Segments with which the table is of some use. It works with none.
    pub const MINIMUM_SEGMENTS: usize = 8;

    /// A combiner of rows whose keys have this width.
    pub fn new(reservation: Reservation, key: KeyWidth, aggregation: A, options: CombineOptions) -> Self {
        let layout = Layout { key, state: aggregation.width() };
        let large = options.large_bytes.unwrap_or_else(|| (reservation.limit() * SEGMENT_SIZE / 8).min(64 << 20));
        let small = options.small_bytes.min(large);
        let segments = |bytes: usize| (bytes / SEGMENT_SIZE).max(2);
        let stages = options.stages && Staged::suits(layout, &reservation);
        let mut table = Table::new(layout, 0, &reservation);
        table.set_limit(segments(small));
        Self {
            table,
            aggregation,
            layout,
            small: segments(small),
            large: segments(large),
            pass_ratio: options.pass_ratio,
            mode: Mode::Merging,
            limit: segments(small),
            looked_up: 0,
            small_ratio: 1.0,
            stay_small: 0,
            failures: 0,
            pause: 0,
            passed: Passed::new(layout.shape()),
            cursor: RowCursor::default(),
            stages,
            staged: None,
            staged_cursor: StagedCursor::default(),
            direct: None,
            direct_cursor: DirectCursor::default(),
            tries_direct: stages,
            hashes: Vec::new(),
            mixed: Vec::new(),
        }
    }

    /// The shape of the rows, in and out.
    pub fn shape(&self) -> RowShape {
        self.layout.shape()
    }

    /// The aggregation.
    pub fn aggregation(&self) -> &A {
        &self.aggregation
    }

    /// Takes a batch of partial states, with hashes or without. `More`: pull until `Done` before the next push.
    ///
    /// # Errors
    /// What the aggregation returns.
    pub fn push(&mut self, batch: &RowBatch) -> Result<Progress> {
        if batch.hashes().len() == batch.len() {
            self.take(batch, batch.hashes())?;
        } else {
            let mut hashes = std::mem::take(&mut self.hashes);
            hashes.clear();
            hashes.extend((0..batch.len()).map(|i| hash_bytes(batch.key(i))));
            let outcome = self.take(batch, &hashes);
            self.hashes = hashes;
            outcome?;
        }
        Ok(self.progress())
    }

    /// Merges one record into the state of its key: `update` gets the key's state, [`Aggregation::init`]'s if there is
    /// none yet. For states of one width. `hash` is [`hash_bytes`] of the key. `More`: as for [`Combine::push`].
    ///
    /// Where records are at hand before they are added, [`Combine::prefetch_slot`] some records ahead (16, say) and
    /// [`Combine::prefetch_row`] half as many ahead hide the memory's latency, which is most of the time taken once the
    /// groups outgrow the cache.
    #[inline]
    pub fn add(&mut self, key: &[u8], hash: u64, update: impl FnOnce(&mut [u8])) -> Progress {
        while self.mode == Mode::Merging {
            let mixed = remix(hash, 0);
            match by_key_kind!(self.layout.key, K => self.table.locate::<K, A>(&self.aggregation, mixed, key)) {
                Ok(address) => {
                    update(self.table.state_mut(address));
                    self.looked_up += 1;
                    return Progress::Done;
                }
                Err(NoMemory) => self.filled(),
            }
        }
        self.add_passing(key, hash, update)
    }

    /// Asks the processor to fetch what [`Combine::add`] will look at first for this hash.
    #[inline]
    pub fn prefetch_slot(&self, hash: u64) {
        self.table.prefetch_slot(remix(hash, 0));
    }

    /// Asks the processor to fetch what [`Combine::add`] will look at next for this hash.
    #[inline]
    pub fn prefetch_row(&self, hash: u64) {
        self.table.prefetch_row(remix(hash, 0));
    }

    /// Whether records are to be given to [`Combine::stage`] at present.
    #[inline]
    pub fn is_staging(&self) -> bool {
        matches!(self.mode, Mode::Staging | Mode::Direct)
    }

    /// While [`Combine::is_staging`], a state under this key, to which the record at hand is to be added: a quick way beside
    /// [`Combine::add`]. Where groups are more than the second-level cache holds, records are gathered by partition and merged
    /// later, one partition at a time; where keys are numbers near each other, they say where their states are. `None`:
    /// [`Combine::make_room`], then try again, then [`Combine::add`].
    #[inline]
    pub fn stage(&mut self, key: &[u8; 8]) -> Option<&mut [u8]> {
        match self.mode {
            Mode::Direct => self.direct.as_mut()?.place(*key),
            Mode::Staging if *key != [0xFF; 8] => {
                let row = self.staged.as_mut()?.place(remix(hash_word(*key), 0))?;
                let (front, state) = row.split_at_mut(8);
                front.copy_from_slice(key);
                self.aggregation.init(state);
                Some(state)
            }
            _ => None,
        }
    }

    /// Asks the processor to fetch what [`Combine::stage`] will look at for this key. Whether that is worth doing, some records
    /// ahead (64, say): where it is not, records may as well be staged at once.
    #[inline]
    pub fn prefetch_staged(&self, key: &[u8; 8]) -> bool {
        match &self.direct {
            Some(direct) if self.mode == Mode::Direct => {
                direct.prefetch(*key);
                true
            }
            _ => false,
        }
    }

    /// Merges some of what is staged, so that a record of this key can be. `More`: as for [`Combine::push`].
    ///
    /// # Errors
    /// What the aggregation returns.
    pub fn make_room(&mut self, key: &[u8; 8]) -> Result<Progress> {
        let Self { aggregation, passed, .. } = self;
        match (self.mode, &mut self.direct, &mut self.staged) {
            (Mode::Direct, Some(direct), _) => {
                direct.make_room(aggregation, *key);
                if direct.is_useless() {
                    self.tries_direct = false;
                    self.mode = Mode::Draining;
                }
            }
            (Mode::Staging, _, Some(staged)) => {
                if *key != [0xFF; 8] {
                    staged.make_room(aggregation, remix(hash_word(*key), 0), passed)?;
                }
                if staged.is_useless() {
                    staged.absorb_all(aggregation, passed)?;
                    let rows = staged.merged();
                    self.fail(rows);
                    self.mode = Mode::Draining;
                }
            }
            _ => {}
        }
        Ok(self.progress())
    }

    /// Merges what was staged: before [`Combine::end`].
    ///
    /// # Errors
    /// What the aggregation returns.
    pub fn settle(&mut self) -> Result<()> {
        self.staged.as_mut().map_or(Ok(()), |staged| staged.absorb_all(&self.aggregation, &mut self.passed))
    }

    #[inline(never)]
    fn add_passing(&mut self, key: &[u8], hash: u64, update: impl FnOnce(&mut [u8])) -> Progress {
        let width = self.aggregation.width().unwrap_or(0);
        let state = match self.passed.last_state(self.layout, key, hash) {
            Some(state) => state,
            None => {
                let bytes = self.passed.rows.parts_mut().0;
                self.layout.put_key(key, bytes);
                let end = bytes.len();
                bytes.resize(end + width, 0);
                self.aggregation.init(&mut bytes[end..]);
                self.passed.rows.push_row(&[]);
                self.passed.hashes.push(hash);
                let bytes = self.passed.rows.parts_mut().0;
                &mut bytes[end..]
            }
        };
        update(state);
        self.count_passed(1);
        self.progress()
    }

    /// All rows were pushed: everything is to be pulled.
    pub fn end(&mut self) {
        self.mode = Mode::Draining;
    }

    /// Replaces what is in `out` by partial states `[key][state]` and their hashes: up to `max_rows` of them, or a batch
    /// that passed through. `Done`: these were the last for now.
    pub fn pull(&mut self, out: &mut RowBatch, max_rows: usize) -> Progress {
        out.clear();
        if !self.passed.rows.is_empty() {
            std::mem::swap(out, &mut self.passed.rows);
            out.set_hashes(std::mem::take(&mut self.passed.hashes));
            return self.progress();
        }
        if self.mode != Mode::Draining {
            return Progress::Done;
        }
        if let Some(direct) = self.direct.as_mut().filter(|_| self.table.rows() == 0) {
            if direct.empty_into(&self.aggregation, &mut self.direct_cursor, out, max_rows) {
                self.emptied();
            }
            out.compute_hashes();
            return self.progress();
        }
        if let Some(staged) = self.staged.as_mut().filter(|_| self.table.rows() == 0) {
            if staged.empty_into(&mut self.staged_cursor, out, max_rows) {
                self.emptied();
            }
            out.compute_hashes();
            return self.progress();
        }
        if let Some(width) = self.layout.row_width() {
            while out.len() < max_rows && out.byte_len() < PASSED_BYTES {
                let room = (max_rows - out.len()).min((PASSED_BYTES - out.byte_len()).div_ceil(width));
                match self.table.advance_run(&mut self.cursor, room) {
                    Some(rows) => out.extend_adjacent(width, rows),
                    None => {
                        self.emptied();
                        break;
                    }
                }
            }
            out.compute_hashes();
            return self.progress();
        }
        let mut hashes = Vec::with_capacity(max_rows.min(1 << 16));
        while out.len() < max_rows && out.byte_len() < PASSED_BYTES {
            let Some((key, state)) = self.table.advance(&mut self.cursor) else {
                self.emptied();
                break;
            };
            hashes.push(hash_bytes(self.layout.key(key)));
            out.parts_mut().0.extend_from_slice(key);
            out.push_row(state);
        }
        out.set_hashes(hashes);
        self.progress()
    }

    /// Whether rows are looked up at present.
    pub(super) fn merges(&self) -> bool {
        self.mode == Mode::Merging
    }

    pub(super) fn progress(&self) -> Progress {
        let passed = &self.passed.rows;
        let much = passed.len() >= PASSED_ROWS || passed.byte_len() >= PASSED_BYTES;
        if much || self.mode == Mode::Draining { Progress::More } else { Progress::Done }
    }

    fn take(&mut self, batch: &RowBatch, hashes: &[u64]) -> Result<()> {
        let mut mixed = std::mem::take(&mut self.mixed);
        let mut taken = 0;
        while taken < batch.len() {
            if self.mode != Mode::Merging {
                self.pass(batch, hashes, taken)?;
                break;
            }
            if mixed.len() < batch.len() {
                mixed.extend(hashes.iter().map(|&hash| remix(hash, 0)));
            }
            taken = by_key_kind!(self.layout.key, K => self.merge::<K>(batch, &mixed, taken))?;
            if taken < batch.len() {
                self.filled();
            }
        }
        mixed.clear();
        self.mixed = mixed;
        Ok(())
    }

    /// Finds or makes the groups of rows by their keys, and appends pointers to their states to `states`, good until the
    /// next call. Fewer than there are rows if the rest is to pass through. For states of one width.
    pub(super) fn locate(&mut self, keys: &RowBatch, mixed: &[u64], rows: Range<usize>, states: &mut Vec<*mut u8>) {
        while self.mode == Mode::Merging {
            let from = rows.start + states.len();
            by_key_kind!(self.layout.key, K => self.locate_kind::<K>(keys, mixed, from..rows.end, states));
            if rows.start + states.len() == rows.end {
                return;
            }
            self.filled();
        }
    }

    fn locate_kind<K: KeyKind>(&mut self, keys: &RowBatch, mixed: &[u64], rows: Range<usize>, states: &mut Vec<*mut u8>) {
        for i in rows.clone() {
            if let Some(&ahead) = mixed.get(i + 2 * AHEAD) {
                self.table.prefetch_slot(ahead);
            }
            if let Some(&ahead) = mixed.get(i + AHEAD) {
                self.table.prefetch_row(ahead);
            }
            let key = keys.key(i);
            if i > rows.start && mixed[i] == mixed[i - 1] && same_key(key, keys.key(i - 1)) {
                states.extend_from_within(states.len() - 1..);
                continue;
            }
            self.looked_up += 1;
            let Ok(address) = self.table.locate::<K, A>(&self.aggregation, mixed[i], key) else { return };
            states.push(self.table.state_pointer(address, key));
        }
    }

    fn merge<K: KeyKind>(&mut self, batch: &RowBatch, mixed: &[u64], from: usize) -> Result<usize> {
        for i in from..batch.len() {
            if let Some(&ahead) = mixed.get(i + 2 * AHEAD) {
                self.table.prefetch_slot(ahead);
            }
            if let Some(&ahead) = mixed.get(i + AHEAD) {
                self.table.prefetch_row(ahead);
            }
            self.looked_up += u64::from(i == 0 || mixed[i] != mixed[i - 1]);
            let row = batch.row(i);
            if self.table.merge::<K, A>(&self.aggregation, mixed[i], self.layout.key(row), row)?.is_err() {
                return Ok(i);
            }
        }
        Ok(batch.len())
    }

    fn pass(&mut self, batch: &RowBatch, hashes: &[u64], from: usize) -> Result<()> {
        for (i, &hash) in hashes.iter().enumerate().skip(from) {
            let row = batch.row(i);
            if !self.passed.merge_last(&self.aggregation, self.layout, row, hash)? {
                self.passed.rows.push_row(row);
                self.passed.hashes.push(hash);
            }
        }
        self.count_passed((batch.len() - from) as u64);
        Ok(())
    }

    pub(super) fn count_passed(&mut self, rows: u64) {
        if let Mode::Passing(left) = &mut self.mode {
            *left = left.saturating_sub(rows);
            if *left == 0 {
                self.mode = Mode::Merging;
            }
        }
    }

    /// The table has no room for another key: shall it grow, or be emptied, and what then?
    #[cold]
    fn filled(&mut self) {
        let ratio = self.table.rows() as f64 / self.looked_up.max(1) as f64;
        let refused = !self.table.is_limited();
        if self.limit == self.small {
            self.small_ratio = ratio;
        }
        if !refused && self.stages && self.failures == 0 {
            self.direct = self.tries_direct.then(|| self.lay_out()).flatten();
            if self.direct.is_none() {
                self.staged = Some(Staged::new(self.layout, self.table.reservation(), self.large));
            }
            self.mode = Mode::Draining;
            return;
        }
        if !refused && self.limit < self.large && self.stay_small == 0 {
            self.limit = (self.limit * 2).min(self.large);
            self.table.set_limit(self.limit);
            return;
        }
        self.stay_small = self.stay_small.saturating_sub(1);
        if ratio > self.pass_ratio {
            self.fail(self.looked_up);
        } else {
            self.failures = 0;
            if self.limit > self.small && ratio > self.small_ratio * WORTH_GROWING {
                self.stay_small = STAY_SMALL;
            }
        }
        self.mode = Mode::Draining;
    }

    /// Slots for keys like those in the table, if they are numbers near each other.
    fn lay_out(&self) -> Option<Direct> {
        let (width, mut cursor) = (self.layout.row_width()?, RowCursor::default());
        let runs = std::iter::from_fn(|| self.table.advance_run(&mut cursor, usize::MAX));
        Direct::lay_out(self.layout, self.table.reservation(), runs.flat_map(|run| run.chunks_exact(width)), self.large)
    }

    /// So many rows were looked up in vain.
    fn fail(&mut self, rows: u64) {
        self.pause = rows * (PAUSE << self.failures).min(LONGEST_PAUSE);
        self.failures = (self.failures + 1).min(16);
    }

    /// The table was emptied.
    fn emptied(&mut self) {
        self.cursor = RowCursor::default();
        self.looked_up = 0;
        if let Some(direct) = self.direct.take() {
            self.direct_cursor = 0;
            if self.tries_direct && self.failures == 0 && !direct.is_oversized() {
                self.direct = Some(direct);
                self.table.clear();
                self.mode = Mode::Direct;
                return;
            }
        }
        if let Some(mut staged) = self.staged.take() {
            self.staged_cursor = StagedCursor::default();
            if self.failures == 0 && !staged.is_oversized() {
                staged.begin_again();
                self.staged = Some(staged);
                self.table.clear();
                self.mode = Mode::Staging;
                return;
            }
        }
        self.mode = if self.failures == 0 { Mode::Merging } else { Mode::Passing(self.pause) };
        if self.failures > 0 || self.stay_small > 0 {
            self.limit = self.small;
            self.table.set_limit(self.limit);
            self.table.clear();
        } else {
            self.table.clear_rows();
        }
    }
}

impl<A> std::fmt::Debug for Combine<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Combine").field("layout", &self.layout).field("mode", &self.mode).finish_non_exhaustive()
    }
}
