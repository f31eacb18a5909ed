use super::Table;
#[cfg(target_os = "linux")]
use crate::Error;
use crate::io::{BatchReader, Format, Scan, ScanOptions, TableInput, WriteOptions};
use crate::{Env, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use fluvial_memory::{Reservation, SpillManager};
use std::collections::VecDeque;
use std::fs::File;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// The rows of a table that a job has made, kept on disk and read once, in order: see [`Table::spool`].
pub struct Spool {
    env: Env,
    schema: SchemaRef,
    /// In the first process.
    stored: Option<Stored>,
}

struct Stored {
    scan: Scan,
    splits: VecDeque<crate::io::Split>,
    reader: Option<Box<dyn BatchReader>>,
    charge: Reservation,
    _file: Scratch,
}

/// A file in the folder of the spill files, gone when it is dropped. On Linux its name goes as soon as it is complete: then nothing
/// is left even of a process that is killed while it waits for whoever reads its output.
struct Scratch {
    path: PathBuf,
    open: Option<File>,
    /// Keeps the folder while the file is in it.
    spill: Option<SpillManager>,
}

impl Scratch {
    fn new(spill: SpillManager) -> Self {
        Self { path: spill.scratch("result"), open: None, spill: Some(spill) }
    }

    /// The file is complete: takes its name away where it can be opened without.
    fn complete(&mut self) -> Result<()> {
        #[cfg(target_os = "linux")]
        {
            let failed = |e: std::io::Error| Error::File { path: self.path.clone(), message: e.to_string() };
            let file = File::open(&self.path).map_err(failed)?;
            std::fs::remove_file(&self.path).map_err(failed)?;
            self.path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
            (self.open, self.spill) = (Some(file), None);
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.open.is_none()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "not removed");
        }
    }
}

impl Table {
    /// Runs the job that leads to this table and keeps its rows in a file beside the spill files, for results that may be
    /// larger than memory. The iterator gives them in order where the table has one, in the first process; in the others
    /// it is empty. The file goes when the iterator is dropped.
    ///
    /// ```
    /// # use arrow_array::{Int64Array, RecordBatch};
    /// # let env = fluvial_core::Env::default();
    /// # let column = Int64Array::from(vec![3, 1, 2]);
    /// # let batch = RecordBatch::try_from_iter([("n", std::sync::Arc::new(column) as arrow_array::ArrayRef)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// let mut rows = 0;
    /// for batch in table.sort("n")?.spool()? {
    ///     rows += batch?.num_rows();
    /// }
    /// assert_eq!(rows, 3);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first error of any operator; a full disk.
    pub fn spool(&self) -> Result<Spool> {
        let (spill, memory) = self.env.resources()?;
        let mut file = Scratch::new(spill);
        let mut node = self.write_node(&file.path, Format::Parquet, &WriteOptions::default());
        node.detail.clear();
        self.env.run("spool", &[self.env.add(node)])?;
        let stored = match self.env.config().process {
            0 => {
                file.complete()?;
                let input = TableInput::open(std::slice::from_ref(&file.path), &Format::Parquet)?;
                let scan = input.plan(&ScanOptions::default())?;
                let splits = scan.splits().into();
                Some(Stored { scan, splits, reader: None, charge: memory.reserve("spool", 0)?, _file: file })
            }
            _ => None,
        };
        Ok(Spool { env: self.env.clone(), schema: self.schema.clone(), stored })
    }
}

impl Spool {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        self.env.config().interrupt.check()?;
        let Some(Stored { scan, splits, reader, charge, .. }) = &mut self.stored else { return Ok(None) };
        loop {
            if let Some(batch) = reader.as_mut().map_or(Ok(None), |reader| reader.next())? {
                return Ok(Some(batch));
            }
            let Some(split) = splits.pop_front() else { return Ok(None) };
            *reader = Some(scan.open(&split, charge)?);
        }
    }
}

impl Iterator for Spool {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.stored = None;
        }
        next
    }
}
