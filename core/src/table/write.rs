use super::write_text::WriteText;
use super::{Table, table_batch};
use crate::graph::{Body, Distribution, Node, OperatorFactory, TaskContext, Timing};
use crate::io::{Format, ParquetFile, RowGroupEncoder, WriteOptions, Written};
use crate::{Batch, Error, Operator, Output, Position, Progress, Result};
use arrow_schema::SchemaRef;
use std::path::Path;
use std::sync::{Arc, Mutex};

impl Table {
    /// Adds a sink that writes this table to one file, whose format goes by its extension. The file appears under its name
    /// when it is complete; a job that fails leaves nothing. Where the table is ordered (behind a sort) the file is too.
    ///
    /// Not for streaming jobs with checkpoints: a job that goes on from one would leave out what was written before. There a
    /// [`FileSink`](crate::FileSink) gives files with each checkpoint.
    ///
    /// # Errors
    /// [`Error::Plan`] for an extension that is not known.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_with(path, &WriteOptions::default())
    }

    /// Like [`Table::write`], with options.
    ///
    /// # Errors
    /// As [`Table::write`].
    pub fn write_with(&self, path: impl AsRef<Path>, options: &WriteOptions) -> Result<()> {
        let path = path.as_ref().to_owned();
        let format = Format::of(&path).ok_or_else(|| {
            Error::Plan(format!("{}: expected a name that ends in .parquet, .csv, .jsonl or .txt", path.display()))
        })?;
        let node = self.write_node(&path, format, options);
        self.env.add_sink(node);
        Ok(())
    }

    /// The sink that writes this table to one file.
    pub(super) fn write_node(&self, path: &Path, format: Format, options: &WriteOptions) -> Node {
        let (schema, options, to) = (self.schema.clone(), options.clone(), path.to_owned());
        let make: OperatorFactory = match format {
            Format::Parquet => Arc::new(move |context| Ok(Box::new(WriteParquet::open(&to, &schema, &options, context)?))),
            other => Arc::new(move |context| Ok(Box::new(WriteText::open(&to, &other, &schema, &options, context)?))),
        };
        // The file is the first process's; the others' instances receive nothing.
        let in_first: OperatorFactory =
            Arc::new(move |context| if context.process == 0 { make(context) } else { Ok(Box::new(Idle)) });
        let mut node = self.after("write", path.display().to_string(), Body::Operator(in_first)).timing(Timing::Whole);
        node.outputs = 0;
        node.inputs[0].distribution = self.to_one_place();
        node
    }

    /// Files and the standard output are written by the workers of the first process.
    pub(super) fn to_one_place(&self) -> Distribution {
        Distribution::to_first_process(self.env.config())
    }
}

/// The instance of a sink in a process that does not write.
pub(crate) struct Idle;

impl Operator for Idle {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        Err(Error::Plan(format!("{} records came to a process that does not write", batch.len())))
    }
}

/// Completes something once all instances of a process have finished.
pub(super) struct Countdown {
    left: Mutex<usize>,
}

impl Countdown {
    pub(super) fn new(instances: usize) -> Self {
        Self { left: Mutex::new(instances) }
    }

    /// Whether this was the last instance.
    pub(super) fn arrive(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(|e| e.into_inner());
        *left -= 1;
        *left == 0
    }
}

/// One Parquet file, written by all workers: each encodes row groups, which are appended as they come and listed in order.
struct WriteParquet {
    file: ParquetFile,
    encoder: RowGroupEncoder,
    /// Where the row group in the making stands.
    position: Option<Position>,
    countdown: Arc<Countdown>,
}

impl WriteParquet {
    fn open(path: &Path, schema: &SchemaRef, options: &WriteOptions, context: &TaskContext) -> Result<Self> {
        struct Opened(Mutex<Option<ParquetFile>>);
        let opened = context.shared(|| Opened(Mutex::new(None)));
        let mut slot = opened.0.lock().unwrap_or_else(|e| e.into_inner());
        let file = match slot.as_ref() {
            Some(file) => file.clone(),
            None => slot.insert(ParquetFile::create(path, schema.clone(), options)?).clone(),
        };
        let encoder = file.encoder(&context.reserve(0)?);
        let countdown = context.shared(|| Countdown::new(context.local_workers));
        Ok(Self { file, encoder, position: None, countdown })
    }

    fn close(&mut self) -> Result<()> {
        let position = self.position.take();
        let Some(group) = self.encoder.close()? else { return Ok(()) };
        match position {
            Some(position) => self.file.append_at(position, group),
            None => self.file.append(0, group),
        }
    }
}

impl Operator for WriteParquet {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        let position = batch.position;
        let batch = table_batch(batch)?;
        self.position = self.position.or(position);
        self.encoder.write(&batch)?;
        if self.encoder.is_full() || position.is_some_and(|p| p.last) {
            self.close()?;
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.close()?;
        Ok(Progress::Done)
    }

    fn commits(&self) -> bool {
        true
    }

    fn checkpoint_complete(&mut self, _epoch: u64) -> Result<()> {
        if self.countdown.arrive() {
            let Written { rows, bytes, path } = self.file.finish()?;
            tracing::info!(rows, bytes, path = %path.display(), "written");
        }
        Ok(())
    }
}
