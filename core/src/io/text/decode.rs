//! Records decoded into columns by arrow's push decoders, block by block.

use super::super::{BatchReader, file_error};
use super::blocks::Blocks;
use super::input::Filter;
use crate::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use memchr::memchr_iter;

/// Bytes of input in a batch, about, where records are long.
const BATCH_BYTES: usize = 4 << 20;

/// What arrow's decoders answer.
pub(super) type Decoded<T> = std::result::Result<T, ArrowError>;

/// Turns bytes into rows.
pub(super) trait Decoder: Send {
    /// A decoder of batches of at most `rows` rows.
    fn restart(&mut self, rows: usize) -> Decoded<()>;

    /// Takes bytes until a batch is full; returns how many.
    fn decode(&mut self, bytes: &[u8]) -> Decoded<usize>;

    /// The rows of the bytes that were taken.
    fn flush(&mut self) -> Decoded<Option<RecordBatch>>;

    /// Looks for the record that cannot be decoded among those of the split after the first `given`, and says what is
    /// wrong with it and where.
    fn diagnose(&self, given: u64) -> Option<String>;
}

/// Reads the records of a split.
pub(super) struct RecordBatches<D> {
    decoder: D,
    blocks: Blocks,
    /// Bytes of the current block that were taken.
    at: usize,
    started: bool,
    ended: bool,
    batch_rows: usize,
    filter: Filter,
    decoded: u64,
    given: u64,
}

impl<D: Decoder> RecordBatches<D> {
    pub(super) fn new(decoder: D, blocks: Blocks, batch_rows: usize, filter: Filter) -> Self {
        Self { decoder, blocks, at: 0, started: false, ended: false, batch_rows, filter, decoded: 0, given: 0 }
    }

    fn failed(&self, error: &ArrowError) -> Error {
        let message = self.decoder.diagnose(self.decoded).unwrap_or_else(|| error.to_string());
        file_error(self.blocks.path(), message)
    }

    fn start(&mut self) -> Result<bool> {
        self.started = true;
        if !self.blocks.advance()? {
            return Ok(false);
        }
        // Rows of a batch by the length of the first lines, so that a few long records do not fill the memory.
        let block = self.blocks.block();
        let line = block.len() / memchr_iter(b'\n', block).count().max(1);
        let rows = self.batch_rows.min(BATCH_BYTES / line.max(1)).max(1);
        self.decoder.restart(rows).map_err(|e| self.failed(&e))?;
        Ok(true)
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>> {
        if !self.started && !self.start()? {
            self.ended = true;
        }
        while !self.ended {
            let rest = &self.blocks.block()[self.at..];
            let taken = self.decoder.decode(rest).map_err(|e| self.failed(&e))?;
            let full = taken < rest.len();
            self.at += taken;
            if full {
                return self.flush();
            }
            self.at = 0;
            if !self.blocks.advance()? {
                self.ended = true;
                // No bytes: the last record ends here, with or without a newline.
                self.decoder.decode(&[]).map_err(|e| self.failed(&e))?;
                return self.flush();
            }
        }
        Ok(None)
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>> {
        let batch = self.decoder.flush().map_err(|e| self.failed(&e))?;
        self.decoded += batch.as_ref().map_or(0, |b| b.num_rows() as u64);
        Ok(batch)
    }
}

impl<D: Decoder> BatchReader for RecordBatches<D> {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.decode()? {
            let batch = self.filter.apply(batch)?;
            if batch.num_rows() > 0 {
                self.given += batch.num_rows() as u64;
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn position(&self) -> u64 {
        self.given
    }
}
