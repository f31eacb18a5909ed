use super::rows::{Emit, TargetRows};
use crate::runtime::Partitioner;
use crate::table::table_batch;
use crate::{Batch, Result};
use arrow_array::ArrayRef;
use fluvial_memory::{KeyEncoder, Keys, RowCodec, hash};

/// Serializes record batches into rows, split by the hash of their key.
pub(crate) struct TableToRows {
    codec: RowCodec,
    key: KeyEncoder,
    /// The key's columns in the batch.
    columns: Vec<usize>,
    targets: TargetRows,
    keys: Keys,
    hashes: Vec<u64>,
    chosen: Vec<u32>,
}

impl TableToRows {
    pub(crate) fn new(codec: RowCodec, key: KeyEncoder, columns: Vec<usize>) -> Self {
        let (targets, keys) = (TargetRows::new(codec.shape()), Keys::default());
        Self { codec, key, columns, targets, keys, hashes: Vec::new(), chosen: Vec::new() }
    }
}

impl Partitioner for TableToRows {
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        let batch = table_batch(batch)?;
        let outs = self.targets.batches(targets);
        if targets == 1 {
            self.codec.encode(&batch, &mut outs[0])?;
        } else {
            let columns: Vec<ArrayRef> = self.columns.iter().map(|&c| batch.column(c).clone()).collect();
            self.key.encode(&columns, 0..batch.num_rows(), &mut self.keys)?;
            self.keys.hashes(&mut self.hashes);
            self.chosen.clear();
            self.chosen.extend(self.hashes.iter().map(|&h| hash::target(h, targets) as u32));
            self.codec.encode_partitioned(&batch, &self.chosen, outs)?;
        }
        self.targets.send_full(emit)
    }

    fn flush(&mut self, _targets: usize, emit: Emit<'_>) -> Result<()> {
        self.targets.flush(emit)
    }
}
