//! Column batches into [`HashAggregate`] and [`Combine`].

use super::columns::Groups;
use super::layout::Layout;
use super::{Aggregation, ColumnAggregates, Combine, HashAggregate};
use arrow_array::ArrayRef;
use fluvial_memory::hash::{hash_bytes, remix};
use fluvial_memory::{Progress, Result, RowBatch, same_key};
use std::ops::Range;

/// Rows whose groups are found before their columns are aggregated: their slots, rows and values stay in the cache.
const CHUNK: usize = 1024;

impl HashAggregate<ColumnAggregates> {
    /// Takes a batch of rows, given by their keys and columns; payloads that come with the keys are ignored. Otherwise as
    /// [`HashAggregate::push`].
    ///
    /// # Errors
    /// As [`HashAggregate::push`]; a column of another type or length than planned; an overflow.
    pub fn update_batch(&mut self, keys: &RowBatch, columns: &[ArrayRef]) -> Result<Progress> {
        let columns = self.aggregation.columns(columns, keys.len())?;
        let pending = self.rest_taken < self.rest.len() || self.partitions.is_evicting() || self.partitions.is_frozen();
        let Some(width) = self.aggregation.width().filter(|_| !pending) else {
            let rows = self.partials(keys, &columns, 0)?;
            return self.push(&rows);
        };
        self.hash(keys);
        let mut states = Vec::with_capacity(CHUNK);
        let mut taken = 0;
        loop {
            while taken < keys.len() {
                let rows = taken..(taken + CHUNK).min(keys.len());
                states.clear();
                self.partitions.locate(&self.aggregation, keys, &self.mixed, rows.clone(), &mut states);
                // SAFETY: `locate` gave pointers to states of this width, good until rows are taken or room is made.
                let mut groups = unsafe { Groups::new(&states, width) };
                self.aggregation.update(&mut groups, &columns, taken)?;
                taken += states.len();
                if taken < rows.end {
                    break;
                }
            }
            if taken == keys.len() {
                return self.partitions.relieve();
            }
            let waiting = self.partitions.make_room(keys.row(taken).len() + width)? == Progress::Waiting;
            if waiting || self.partitions.is_frozen() {
                let rows = self.partials(keys, &columns, taken)?;
                return self.push(&rows);
            }
        }
    }

    /// The rows from `from` on as partial states.
    fn partials(&self, keys: &RowBatch, columns: &[Option<ArrayRef>], from: usize) -> Result<RowBatch> {
        let mut rows = RowBatch::new(self.shape());
        let layout = self.around.layout;
        append_partials(&self.aggregation, layout, keys, &[], columns, from..keys.len(), &mut rows, &mut Vec::new())?;
        Ok(rows)
    }
}

impl Combine<ColumnAggregates> {
    /// Takes a batch of rows, given by their keys and columns; payloads that come with the keys are ignored. Otherwise as
    /// [`Combine::push`].
    ///
    /// # Errors
    /// A column of another type or length than planned; an overflow.
    pub fn update_batch(&mut self, keys: &RowBatch, columns: &[ArrayRef]) -> Result<Progress> {
        let columns = self.aggregation.columns(columns, keys.len())?;
        let computed: Vec<u64>;
        let hashes = if keys.hashes().len() == keys.len() {
            keys.hashes()
        } else {
            computed = (0..keys.len()).map(|i| hash_bytes(keys.key(i))).collect();
            &computed
        };
        let Some(width) = self.aggregation.width() else {
            let mut rows = RowBatch::new(self.shape());
            let all = 0..keys.len();
            append_partials(&self.aggregation, self.layout, keys, &[], &columns, all, &mut rows, &mut Vec::new())?;
            rows.set_hashes(hashes.to_vec());
            return self.push(&rows);
        };
        let mut taken = 0;
        if self.merges() {
            let mixed: Vec<u64> = hashes.iter().map(|&hash| remix(hash, 0)).collect();
            let mut states = Vec::with_capacity(CHUNK);
            while taken < keys.len() {
                let rows = taken..(taken + CHUNK).min(keys.len());
                states.clear();
                self.locate(keys, &mixed, rows.clone(), &mut states);
                // SAFETY: `locate` gave pointers to states of this width, good until the next call.
                let mut groups = unsafe { Groups::new(&states, width) };
                self.aggregation.update(&mut groups, &columns, taken)?;
                taken += states.len();
                if taken < rows.end {
                    break;
                }
            }
        }
        if taken < keys.len() {
            let rest = taken..keys.len();
            self.count_passed(rest.len() as u64);
            let passed = &mut self.passed;
            let (rows, out) = (&mut passed.rows, &mut passed.hashes);
            append_partials(&self.aggregation, self.layout, keys, hashes, &columns, rest, rows, out)?;
        }
        Ok(self.progress())
    }
}

/// Appends rows as partial states to `out`, and their hashes, if given, to `out_hashes`. Neighbours of equal keys become
/// one row, where states have one width and hashes are given.
#[expect(clippy::too_many_arguments, reason = "one step of two operators, in their terms")]
fn append_partials(
    aggregates: &ColumnAggregates,
    layout: Layout,
    keys: &RowBatch,
    hashes: &[u64],
    columns: &[Option<ArrayRef>],
    rows: Range<usize>,
    out: &mut RowBatch,
    out_hashes: &mut Vec<u64>,
) -> Result<()> {
    let width = aggregates.width();
    let byte_columns = aggregates.byte_columns(columns);
    let initial = {
        let mut state = vec![0; width.unwrap_or(0)];
        if width.is_some() {
            aggregates.init(&mut state);
        }
        state
    };
    let mut offsets = Vec::with_capacity(rows.len());
    for i in rows.clone() {
        let key = keys.key(i);
        if width.is_some() && !hashes.is_empty() && i > rows.start && hashes[i] == hashes[i - 1] && same_key(key, keys.key(i - 1))
        {
            offsets.extend_from_within(offsets.len() - 1..);
            continue;
        }
        let bytes = out.parts_mut().0;
        layout.put_key(key, bytes);
        offsets.push(bytes.len());
        match width {
            Some(_) => bytes.extend_from_slice(&initial),
            None => aggregates.put_row(&byte_columns, i, bytes),
        }
        out.push_row(&[]);
        out_hashes.extend(hashes.get(i));
    }
    let base = out.parts_mut().0.as_mut_ptr();
    let states: Vec<*mut u8> = offsets.into_iter().map(|offset| base.wrapping_add(offset)).collect();
    // SAFETY: each offset is where a state begins in the buffer, which is not touched until the loops are done.
    let mut groups = unsafe { Groups::new(&states, aggregates.fixed_width()) };
    aggregates.update(&mut groups, columns, rows.start)
}
