use crate::codec::RecordCodec;
use crate::exchange::row_shape;
use crate::stream::{Data, KeySelector};
use crate::table::table_batch;
use crate::{Batch, Result};
use fluvial_memory::{RowBatch, RowCodec, RowShape};

/// Batches of one stream as rows `[normalized key][payload]`, and back.
pub(crate) trait RowFormat: Send + 'static {
    /// The rows' shape.
    fn shape(&self) -> RowShape;
    /// Describes the rows in spill files.
    fn schema(&self) -> String;
    /// Appends a batch's rows to `out`.
    fn encode(&mut self, batch: Batch, out: &mut RowBatch) -> Result<()>;
    /// The batch that rows stand for.
    fn decode(&mut self, rows: &RowBatch) -> Result<Batch>;
    /// Whether the key of each row contains a null; nothing is appended where none can.
    fn null_keys(&self, rows: &RowBatch, nulls: &mut Vec<bool>) -> Result<()> {
        let _ = (rows, nulls);
        Ok(())
    }
}

/// A table's rows.
pub(crate) struct TableRows {
    pub(crate) codec: RowCodec,
    /// Whether rows whose key contains a null are of interest, and there can be some.
    pub(crate) nullable: bool,
}

impl TableRows {
    pub(crate) fn new(codec: RowCodec) -> Self {
        Self { codec, nullable: false }
    }
}

impl RowFormat for TableRows {
    fn shape(&self) -> RowShape {
        self.codec.shape()
    }
    fn schema(&self) -> String {
        self.codec.description()
    }
    fn encode(&mut self, batch: Batch, out: &mut RowBatch) -> Result<()> {
        Ok(self.codec.encode(&table_batch(batch)?, out)?)
    }
    fn decode(&mut self, rows: &RowBatch) -> Result<Batch> {
        Ok(Batch::table(self.codec.decode(rows)?))
    }
    fn null_keys(&self, rows: &RowBatch, nulls: &mut Vec<bool>) -> Result<()> {
        if let (true, Some(key)) = (self.nullable, self.codec.key()) {
            for i in 0..rows.len() {
                nulls.push(key.has_null(rows.key(i))?);
            }
        }
        Ok(())
    }
}

/// Rows of a key and a value of a Rust type.
pub(crate) struct TypedRows<T, S> {
    selector: S,
    codec: RecordCodec<T>,
    key: Vec<u8>,
}

impl<T: Data, S: KeySelector<T>> TypedRows<T, S> {
    pub(crate) fn new(selector: S) -> Self {
        Self { selector, codec: RecordCodec::new(), key: Vec::new() }
    }

    /// The value that a payload stands for.
    pub(crate) fn value(&self, payload: &[u8]) -> Result<T> {
        Ok(self.codec.decode(payload)?)
    }
}

impl<T: Data, S: KeySelector<T>> RowFormat for TypedRows<T, S> {
    fn shape(&self) -> RowShape {
        row_shape::<T, S>(&self.codec)
    }

    fn schema(&self) -> String {
        let value = self.codec.schema().map(ToString::to_string);
        format!("key {}, value {}", std::any::type_name::<S::Key>(), value.as_deref().unwrap_or("unknown"))
    }

    fn encode(&mut self, batch: Batch, out: &mut RowBatch) -> Result<()> {
        let records = batch.typed_records::<T>()?;
        for record in &records {
            self.key.clear();
            self.selector.encode(record, &mut self.key);
            out.push_unhashed(&self.key, |bytes| self.codec.encode(record, bytes))?;
        }
        Ok(())
    }

    fn decode(&mut self, rows: &RowBatch) -> Result<Batch> {
        let records = (0..rows.len()).map(|i| self.value(rows.payload(i)));
        Ok(Batch::typed(records.collect::<Result<Vec<T>>>()?))
    }
}
