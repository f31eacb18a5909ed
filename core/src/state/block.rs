use super::key::KeyRef;
use super::table::StateTable;
use crate::Result;
use crate::stream::Data;
use fluvial_memory::hash;

/// Records whose state is looked up together: as many cache misses as the processor can have under way, and not much more.
pub(crate) const BLOCK: usize = 64;

/// The keys of a block of records. Where the state is larger than the caches a look-up is a chain of misses; taking a block's
/// look-ups side by side, step by step, lets the misses overlap.
#[derive(Default)]
pub(crate) struct KeyBlock {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    hashes: Vec<u64>,
}

impl KeyBlock {
    /// Takes the keys of these records, each appended by `encode`.
    #[inline]
    pub(crate) fn encode<'a, T: 'a>(&mut self, records: impl Iterator<Item = &'a T>, mut encode: impl FnMut(&T, &mut Vec<u8>)) {
        self.bytes.clear();
        self.ends.clear();
        self.hashes.clear();
        let mut start = 0;
        for record in records {
            encode(record, &mut self.bytes);
            self.hashes.push(hash::hash_bytes(&self.bytes[start..]));
            start = self.bytes.len();
            self.ends.push(start as u32);
        }
    }

    /// Brings near what look-ups of these keys read.
    ///
    /// # Errors
    /// State on disk that cannot be read.
    #[inline]
    pub(crate) fn prefetch<V: Data>(&self, table: &mut StateTable<V>) -> Result<()> {
        table.fetch_block(self)
    }

    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    #[inline]
    pub(crate) fn get(&self, i: usize) -> KeyRef<'_> {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        KeyRef { hash: self.hashes[i], bytes: &self.bytes[start..self.ends[i] as usize] }
    }
}
