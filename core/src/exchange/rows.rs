use crate::runtime::Partitioner;
use crate::{Batch, Error, Records, Result};
use fluvial_memory::{RowBatch, RowShape, hash};

/// Bytes of rows that are gathered for a target before they are sent.
const SEND_BYTES: usize = 128 << 10;

/// Receives the batches of a split.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(usize, Batch) -> Result<()>;

/// Rows gathered for each target.
pub(crate) struct TargetRows {
    shape: RowShape,
    batches: Vec<RowBatch>,
}

impl TargetRows {
    pub(crate) fn new(shape: RowShape) -> Self {
        Self { shape, batches: Vec::new() }
    }

    /// The batches to append to, one a target. Follow with [`TargetRows::send_full`].
    pub(crate) fn batches(&mut self, targets: usize) -> &mut [RowBatch] {
        while self.batches.len() < targets {
            self.batches.push(RowBatch::new(self.shape));
        }
        &mut self.batches
    }

    /// Sends what is large enough.
    pub(crate) fn send_full(&mut self, emit: Emit<'_>) -> Result<()> {
        self.send(SEND_BYTES, emit)
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, emit: Emit<'_>) -> Result<()> {
        self.send(1, emit)
    }

    fn send(&mut self, least: usize, emit: Emit<'_>) -> Result<()> {
        for (target, rows) in self.batches.iter_mut().enumerate() {
            // Rows of no bytes (a grouping by nothing of nothing) count too.
            if rows.byte_len() >= least || (rows.byte_len() == 0 && rows.len() >= least) {
                emit(target, Batch::rows(std::mem::replace(rows, RowBatch::new(self.shape))))?;
            }
        }
        Ok(())
    }
}

/// Splits serialized rows by the hash of their keys.
pub(crate) struct RowsByHash {
    targets: TargetRows,
    /// The places of the rows of each target.
    chosen: Vec<Vec<u32>>,
}

impl RowsByHash {
    pub(crate) fn new(shape: RowShape) -> Self {
        Self { targets: TargetRows::new(shape), chosen: Vec::new() }
    }
}

impl Partitioner for RowsByHash {
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        let Records::Rows(mut rows) = batch.records else {
            return Err(Error::Plan(format!("expected serialized rows, got {:?}", batch.records)));
        };
        rows.compute_hashes();
        if targets == 1 {
            return emit(0, Batch::rows(rows));
        }
        let batches = self.targets.batches(targets);
        if let Some(width) = rows.shape().row {
            self.chosen.resize_with(targets, Vec::new);
            for (row, &hash) in rows.hashes().iter().enumerate() {
                self.chosen[hash::target(hash, targets)].push(row as u32);
            }
            for (batch, chosen) in batches.iter_mut().zip(&mut self.chosen) {
                let hashes = chosen.iter().map(|&row| rows.hashes()[row as usize]);
                batch.extend_hashed(width, chosen.iter().map(|&row| rows.row(row as usize)), hashes);
                chosen.clear();
            }
            return self.targets.send_full(emit);
        }
        for (row, &hash) in rows.iter().zip(rows.hashes()) {
            batches[hash::target(hash, targets)].push_hashed(row, hash);
        }
        self.targets.send_full(emit)
    }

    fn flush(&mut self, _targets: usize, emit: Emit<'_>) -> Result<()> {
        self.targets.flush(emit)
    }
}
