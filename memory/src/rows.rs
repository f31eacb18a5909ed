//! Serialized records in flight: the one form in which records enter and leave the operators and cross workers.
//!
//! A row is its normalized key bytes followed by its payload bytes. Where the key has no fixed width, the row starts
//! with the key's length as `u32` little endian. The operators compare, hash and move these bytes and never look into
//! the payload.

use crate::Result;
use crate::hash::{hash_bytes, hash_word};

/// How many bytes at the front of a row are its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWidth {
    /// Every key has this many bytes; they start the row.
    Fixed(usize),
    /// The row starts with the key's length (`u32`, little endian), then the key.
    Variable,
}

/// What an operator must know of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    /// The key's width.
    pub key: KeyWidth,
    /// The whole row's width, if all rows have the same.
    pub row: Option<usize>,
}

impl RowShape {
    /// Rows without a key, or with a key that is not known to have a fixed width.
    pub const VARIABLE: Self = Self { key: KeyWidth::Variable, row: None };

    /// Rows of fixed-width keys and fixed-width payloads.
    pub fn fixed(key: usize, payload: usize) -> Self {
        Self { key: KeyWidth::Fixed(key), row: Some(key + payload) }
    }

    /// The key of a row.
    #[inline]
    pub fn key<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        &row[self.key_range(row)]
    }

    /// The payload of a row.
    #[inline]
    pub fn payload<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        &row[self.key_range(row).end..]
    }

    /// Where the key lies in a row.
    #[inline]
    pub fn key_range(&self, row: &[u8]) -> std::ops::Range<usize> {
        match self.key {
            KeyWidth::Fixed(n) => 0..n,
            KeyWidth::Variable => 4..4 + u32::from_le_bytes([row[0], row[1], row[2], row[3]]) as usize,
        }
    }
}

/// A batch of rows, one after another in one buffer, with an offset a row and optionally a hash a row.
///
/// ```
/// use fluvial_memory::{RowBatch, RowShape};
/// let mut batch = RowBatch::new(RowShape::fixed(2, 1));
/// batch.push(b"k1", b"a");
/// batch.push(b"k2", b"b");
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.row(1), b"k2b");
/// assert_eq!(batch.shape().payload(batch.row(1)), b"b");
/// ```
#[derive(Clone, Debug)]
pub struct RowBatch {
    shape: RowShape,
    bytes: Vec<u8>,
    /// `len + 1` offsets into `bytes`.
    offsets: Vec<u32>,
    /// Empty, or one a row.
    hashes: Vec<u64>,
}

impl RowBatch {
    /// An empty batch.
    pub fn new(shape: RowShape) -> Self {
        Self { shape, bytes: Vec::new(), offsets: vec![0], hashes: Vec::new() }
    }

    /// The rows' shape.
    pub fn shape(&self) -> RowShape {
        self.shape
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all rows.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// A row's bytes, key and payload.
    #[inline]
    pub fn row(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// A row's key.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        self.shape.key(self.row(index))
    }

    /// A row's payload.
    #[inline]
    pub fn payload(&self, index: usize) -> &[u8] {
        self.shape.payload(self.row(index))
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.offsets.windows(2).map(|w| &self.bytes[w[0] as usize..w[1] as usize])
    }

    /// Appends a row of this key and payload.
    pub fn push(&mut self, key: &[u8], payload: &[u8]) {
        match self.shape.key {
            KeyWidth::Fixed(n) => debug_assert_eq!(n, key.len()),
            KeyWidth::Variable => self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes()),
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(payload);
        self.close_row();
    }

    /// Appends rows of these keys and no payload.
    pub fn push_keys<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) {
        keys.for_each(|key| self.push(key, &[]));
    }

    /// Appends a whole row, as [`RowBatch::row`] gives it.
    #[inline]
    pub fn push_row(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.close_row();
    }

    /// Appends a whole row whose key has this hash. Use it for all rows of a batch or for none.
    #[inline]
    pub fn push_hashed(&mut self, row: &[u8], hash: u64) {
        self.push_row(row);
        self.hashes.push(hash);
    }

    /// Appends a row of this key, its hash, and the payload that `write` appends to the buffer.
    ///
    /// # Errors
    /// What `write` returns; the batch is then as before.
    pub fn push_keyed(&mut self, key: &[u8], hash: u64, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        self.push_unhashed(key, write)?;
        self.hashes.push(hash);
        Ok(())
    }

    /// Like [`RowBatch::push_keyed`], for batches whose hashes nobody needs.
    ///
    /// # Errors
    /// What `write` returns; the batch is then as before.
    pub fn push_unhashed(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let variable = self.shape.key == KeyWidth::Variable;
        self.push_with(|out| {
            if variable {
                out.extend_from_slice(&(key.len() as u32).to_le_bytes());
            }
            out.extend_from_slice(key);
            write(out)
        })
    }

    /// Appends rows of one width, which is that of the batch's rows if it has one: a loop over all of them at once, without
    /// a call for each in the common widths.
    ///
    /// # Panics
    /// If a row has another width.
    pub fn extend_fixed<'a>(&mut self, width: usize, rows: impl ExactSizeIterator<Item = &'a [u8]>) {
        match width {
            8 => self.extend_const::<8>(rows),
            12 => self.extend_const::<12>(rows),
            16 => self.extend_const::<16>(rows),
            24 => self.extend_const::<24>(rows),
            32 => self.extend_const::<32>(rows),
            40 => self.extend_const::<40>(rows),
            48 => self.extend_const::<48>(rows),
            _ => {
                let room = self.room(width, rows.len());
                // Where rows have no width there is nothing to copy, and chunks cannot be that short.
                room.chunks_exact_mut(width.max(1)).zip(rows).for_each(|(room, row)| room.copy_from_slice(row));
            }
        }
    }

    fn extend_const<'a, const WIDTH: usize>(&mut self, rows: impl ExactSizeIterator<Item = &'a [u8]>) {
        let room = self.room(WIDTH, rows.len());
        for (room, row) in room.as_chunks_mut::<WIDTH>().0.iter_mut().zip(rows) {
            assert_eq!(row.len(), WIDTH);
            let (row, _) = row.split_first_chunk::<WIDTH>().expect("the length was just checked");
            *room = *row;
        }
    }

    /// Appends rows of one width that lie next to each other.
    pub fn extend_adjacent(&mut self, width: usize, rows: &[u8]) {
        debug_assert!(rows.len().is_multiple_of(width), "whole rows");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(rows);
        assert!(u32::try_from(self.bytes.len()).is_ok(), "a batch of rows stays below 4 GiB");
        self.offsets.extend((1..=rows.len() / width).map(|i| (start + i * width) as u32));
    }

    /// Appends rows of one width, as [`RowBatch::extend_fixed`], whose keys have these hashes. Use it, or
    /// [`RowBatch::push_hashed`], for all rows of a batch or for none.
    ///
    /// # Panics
    /// If a row has another width.
    pub fn extend_hashed<'a>(
        &mut self,
        width: usize,
        rows: impl ExactSizeIterator<Item = &'a [u8]>,
        hashes: impl Iterator<Item = u64>,
    ) {
        self.extend_fixed(width, rows);
        self.hashes.extend(hashes);
        debug_assert_eq!(self.hashes.len(), self.len());
    }

    /// Room for `count` more rows of `width` bytes, to be filled.
    fn room(&mut self, width: usize, count: usize) -> &mut [u8] {
        let start = self.bytes.len();
        let end = start + width * count;
        assert!(u32::try_from(end).is_ok(), "a batch of rows stays below 4 GiB");
        self.bytes.resize(end, 0);
        self.offsets.extend((1..=count).map(|i| (start + i * width) as u32));
        &mut self.bytes[start..]
    }

    /// Appends a row that `write` appends to the buffer: the key (after its length, where keys vary) and the payload.
    ///
    /// # Errors
    /// What `write` returns; the batch is then as before.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let before = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(before);
            return Err(error);
        }
        self.close_row();
        Ok(())
    }

    #[inline]
    fn close_row(&mut self) {
        debug_assert!(self.shape.row.is_none_or(|n| self.bytes.len() - self.offsets[self.offsets.len() - 1] as usize == n));
        self.offsets.push(u32::try_from(self.bytes.len()).expect("a batch of rows stays below 4 GiB"));
    }

    /// The hashes of all keys, computed by [`RowBatch::compute_hashes`] or given by [`RowBatch::set_hashes`]; empty before.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Computes the fixed hash of every key, unless that was done.
    pub fn compute_hashes(&mut self) -> &[u64] {
        if self.hashes.len() != self.len() {
            self.hashes.clear();
            self.hashes.reserve(self.len());
            match self.shape {
                RowShape { key: KeyWidth::Fixed(8), row: Some(width) } => {
                    let word = |row: &[u8]| row.first_chunk().map(|word| hash_word(*word));
                    self.hashes.extend(self.bytes.chunks_exact(width).filter_map(word));
                }
                _ => self.hashes.extend(self.offsets.windows(2).map(|w| {
                    let row = &self.bytes[w[0] as usize..w[1] as usize];
                    hash_bytes(self.shape.key(row))
                })),
            }
        }
        &self.hashes
    }

    /// Gives the hashes of all keys, where the caller has computed them.
    pub fn set_hashes(&mut self, hashes: Vec<u64>) {
        debug_assert_eq!(hashes.len(), self.len());
        self.hashes = hashes;
    }

    /// Removes all rows and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.truncate(1);
        self.hashes.clear();
    }

    /// The buffers, for encoders that write whole columns at a time: bytes and offsets (`len + 1` of them, first 0).
    pub fn parts_mut(&mut self) -> (&mut Vec<u8>, &mut Vec<u32>) {
        self.hashes.clear();
        (&mut self.bytes, &mut self.offsets)
    }

    /// All rows' bytes, and the offsets of the rows in them.
    pub fn parts(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.offsets)
    }
}
