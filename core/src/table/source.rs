use super::{Table, table_port};
use crate::chain::{AnyCollector, BoxCollector, Context};
use crate::graph::{Body, Estimate, Node, NodeMetrics, TaskContext, Timing};
use crate::queue::PartCursor;
use crate::{Env, Output, Position, Progress, Restored, Result, Snapshot, Source};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use fluvial_memory::Reservation;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Record batches of one part of a bounded table.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>>>;

/// A bounded table that is read in parts, in parallel: see [`Env::table_of`].
pub trait TableParts: Send + Sync + 'static {
    /// Number of parts; they are read in this order, each by one worker.
    fn count(&self) -> usize;

    /// Opens a part. Buffers are charged to `memory`. A part that is opened again gives the same rows in the same order.
    ///
    /// # Errors
    /// What cannot be opened; the batches' own errors are of what cannot be read.
    fn open(&self, part: usize, memory: &Reservation) -> Result<Batches>;

    /// Bytes of the file that a part is, where it comes from a file.
    fn bytes(&self, part: usize) -> u64 {
        let _ = part;
        0
    }

    /// Tells these parts from others: the position of a source in them means nothing in others.
    fn fingerprint(&self) -> u64 {
        self.count() as u64
    }

    /// Bytes of all rows in memory, about, if that can be said.
    fn estimate(&self) -> Option<u64> {
        None
    }
}

impl Env {
    /// A table that a function makes part by part, in parallel and in order: `open(i)` gives the batches of part `i`. A job that
    /// goes on from a checkpoint makes parts again and skips the rows that were emitted: they must be the same ones.
    pub fn table_from_parts<I>(
        &self,
        schema: SchemaRef,
        parts: usize,
        open: impl Fn(usize) -> Result<I> + Send + Sync + 'static,
    ) -> Table
    where
        I: Iterator<Item = Result<RecordBatch>> + 'static,
    {
        struct Made<F>(usize, F);
        impl<I: Iterator<Item = Result<RecordBatch>> + 'static, F: Fn(usize) -> Result<I> + Send + Sync + 'static> TableParts
            for Made<F>
        {
            fn count(&self) -> usize {
                self.0
            }
            fn open(&self, part: usize, _memory: &Reservation) -> Result<Batches> {
                Ok(Box::new((self.1)(part)?))
            }
        }
        self.table_of("parts", format!("{parts} parts"), schema, Made(parts, open))
    }

    /// A table of these parts: a source of one's own. `kind` is a short name of it for messages, metrics and `explain`; `detail`
    /// is what there is to know beyond.
    ///
    /// ```
    /// use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
    /// use fluvial_core::{Batches, Env, Result, TableParts};
    /// use fluvial_memory::Reservation;
    /// use std::sync::Arc;
    ///
    /// /// The numbers below a thousand, a hundred a part.
    /// struct Hundreds;
    ///
    /// fn batch(numbers: std::ops::Range<u64>) -> Result<RecordBatch> {
    ///     let column: ArrayRef = Arc::new(UInt64Array::from_iter_values(numbers));
    ///     Ok(RecordBatch::try_from_iter([("n", column)])?)
    /// }
    ///
    /// impl TableParts for Hundreds {
    ///     fn count(&self) -> usize {
    ///         10
    ///     }
    ///     fn open(&self, part: usize, _memory: &Reservation) -> Result<Batches> {
    ///         let start = part as u64 * 100;
    ///         Ok(Box::new(std::iter::once(batch(start..start + 100))))
    ///     }
    /// }
    ///
    /// let env = Env::default();
    /// let schema = batch(0..0)?.schema();
    /// assert_eq!(env.table_of("hundreds", "", schema, Hundreds).count()?, 1000);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn table_of(&self, kind: &'static str, detail: impl Into<String>, schema: SchemaRef, parts: impl TableParts) -> Table {
        let estimate = parts.estimate().map(|bytes| Estimate { bytes: bytes as f64 });
        let node = source_node(kind, detail.into(), schema.clone(), estimate, Arc::new(parts));
        Table::new(self, self.add(node), schema)
    }

    /// A table of these batches.
    ///
    /// # Errors
    /// [`Error::Plan`](crate::Error::Plan) if a batch has another schema than the first.
    pub fn from_batches(&self, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Table> {
        if let Some(other) = batches.iter().position(|b| b.schema() != schema) {
            let found = batches[other].schema();
            return Err(crate::Error::Plan(format!("batch {other} has the schema {found}, expected {schema}")));
        }
        Ok(self.table_from_parts(schema, batches.len(), move |part| Ok(std::iter::once(Ok(batches[part].clone())))))
    }
}

pub(crate) fn source_node(
    kind: &'static str,
    detail: String,
    schema: SchemaRef,
    estimate: Option<Estimate>,
    parts: Arc<dyn TableParts>,
) -> Node {
    let make = move |context: &TaskContext, next: AnyCollector| -> Result<Box<dyn Source>> {
        let parts = parts.clone();
        let memory = context.reserve(0)?;
        let cursor = PartCursor::new(context, parts.count(), parts.fingerprint());
        let metrics = context.metrics.clone();
        metrics.parts.store(parts.count().div_ceil(context.processes) as u64, Relaxed);
        Ok(Box::new(PartsSource {
            parts,
            cursor,
            memory,
            metrics,
            next: next.into::<RecordBatch>()?,
            current: None,
            ended: false,
        }))
    };
    Node {
        kind,
        name: None,
        uid: None,
        detail,
        inputs: Vec::new(),
        build_input: None,
        body: Body::Source { make: Arc::new(make), port: table_port(schema) },
        memory: 0,
        outputs: 1,
        sides: Vec::new(),
        feedback: Vec::new(),
        aware: false,
        piecewise: crate::graph::Piecewise::Never,
        timing: Timing::AsTheyCome,
        bounded: true,
        estimate,
    }
}

struct PartsSource {
    parts: Arc<dyn TableParts>,
    cursor: PartCursor,
    memory: Reservation,
    metrics: Arc<NodeMetrics>,
    next: BoxCollector<RecordBatch>,
    current: Option<Current>,
    ended: bool,
}

/// The part being read: one batch is held back, so that the last one is known as such.
struct Current {
    batches: Unread,
    ahead: Option<RecordBatch>,
    position: Position,
}

/// The batches of a part without the rows that were emitted before the job was restored.
struct Unread {
    batches: Batches,
    skip: u64,
}

impl Unread {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.batches.next().transpose()? {
            let rows = batch.num_rows() as u64;
            if self.skip == 0 {
                return Ok(Some(batch));
            }
            let skipped = self.skip.min(rows);
            self.skip -= skipped;
            if skipped < rows {
                return Ok(Some(batch.slice(skipped as usize, (rows - skipped) as usize)));
            }
        }
        Ok(None)
    }
}

impl PartsSource {
    /// The next batch and its place in the table's order.
    fn next_batch(&mut self) -> Result<Option<(Option<RecordBatch>, Position)>> {
        if self.current.is_none() {
            let Some((part, skip)) = self.cursor.take() else { return Ok(None) };
            let mut batches = Unread { batches: self.parts.open(part, &self.memory)?, skip };
            let ahead = batches.next()?;
            self.current = Some(Current { batches, ahead, position: Position { range: part as u64, sequence: 0, last: false } });
        }
        let Some(current) = &mut self.current else { unreachable!("filled above") };
        let batch = current.ahead.take();
        current.ahead = current.batches.next()?;
        self.cursor.emitted(batch.as_ref().map_or(0, |batch| batch.num_rows() as u64));
        let mut position = current.position;
        current.position.sequence += 1;
        if current.ahead.is_none() {
            position.last = true;
            self.current = None;
            self.cursor.end();
            self.metrics.part_read(self.parts.bytes(position.range as usize));
        }
        Ok(Some((batch, position)))
    }
}

impl Source for PartsSource {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let mut progress = Progress::More;
        if self.ended {
            progress = self.next.finish(&mut context);
        } else if let Some((batch, position)) = self.next_batch()? {
            context.position = Some(position);
            if let Some(batch) = batch {
                self.metrics.rows_read.fetch_add(batch.num_rows() as u64, Relaxed);
                self.next.push(batch, &mut context);
            }
            self.next.end_batch(Some(position), &mut context);
        } else {
            self.ended = true;
        }
        context.check()?;
        Ok(progress)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        self.cursor.snapshot()
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        self.cursor.restore(&state)
    }

    fn stop(&mut self) {
        self.ended = true;
    }

    fn abort(&mut self) {
        self.current = None;
    }
}
