//! What a combiner lets through.

use super::Aggregation;
use super::layout::Layout;
use fluvial_memory::{Result, RowBatch, RowShape};

/// Rows that go out as they are, but for neighbours of equal keys.
pub(super) struct Passed {
    pub(super) rows: RowBatch,
    pub(super) hashes: Vec<u64>,
    merged: Vec<u8>,
}

impl Passed {
    pub(super) fn new(shape: RowShape) -> Self {
        Self { rows: RowBatch::new(shape), hashes: Vec::new(), merged: Vec::new() }
    }

    /// Appends a row of this hash.
    pub(super) fn push(&mut self, row: &[u8], hash: u64) {
        self.rows.push_row(row);
        self.hashes.push(hash);
    }

    /// The state of the last row, if it has this key; for states of one width.
    #[inline]
    pub(super) fn last_state(&mut self, layout: Layout, key: &[u8], hash: u64) -> Option<&mut [u8]> {
        if self.hashes.last() != Some(&hash) || self.rows.key(self.rows.len() - 1) != key {
            return None;
        }
        let (bytes, offsets) = self.rows.parts_mut();
        let row = &mut bytes[offsets[offsets.len() - 2] as usize..];
        let end = layout.key_end(row);
        Some(&mut row[end..])
    }

    /// Merges a row into the last one, if they have the same key.
    #[inline]
    pub(super) fn merge_last<A: Aggregation>(&mut self, aggregation: &A, layout: Layout, row: &[u8], hash: u64) -> Result<bool> {
        let other = &row[layout.key_end(row)..];
        let key = layout.key(row);
        if aggregation.width().is_some() {
            return match self.last_state(layout, key, hash) {
                Some(state) => aggregation.merge(state, other).map(|()| true),
                None => Ok(false),
            };
        }
        if self.hashes.last() != Some(&hash) || self.rows.key(self.rows.len() - 1) != key {
            return Ok(false);
        }
        self.merged.clear();
        let (bytes, offsets) = self.rows.parts_mut();
        let state = offsets[offsets.len() - 2] as usize + layout.key_end(row);
        if aggregation.merge_into(&mut bytes[state..], other, &mut self.merged)? {
            offsets.pop();
            bytes.truncate(state);
            self.rows.push_row(&self.merged);
        }
        Ok(true)
    }
}
