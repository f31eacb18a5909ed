use super::source::{Batches, TableParts, source_node};
use super::{Table, find_column};
use crate::graph::Estimate;
use crate::io::{ColumnPredicate, Format, PredicateOp, Scan, ScanOptions, Split, TableInput, fingerprint, resolve};
use crate::{Env, Error, Result};
use arrow_array::ArrayRef;
use fluvial_memory::Reservation;
use std::sync::Arc;

/// A read that can still be narrowed: fewer columns, fewer rows.
#[derive(Clone)]
pub(crate) struct Read {
    input: Arc<TableInput>,
    options: ScanOptions,
    /// What is read, in the order of the files.
    splits: Vec<Split>,
}

impl Env {
    /// Reads files, folders or globs of one format, which goes by extension: `.parquet`, `.csv`, `.jsonl`, `.txt`.
    /// Nothing but the metadata is read before the job runs; only the columns and rows that the job needs are read then.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) for what is not there or cannot be read; it names the file, and where schemas
    /// differ the column and both types.
    pub fn read<P: AsRef<str>>(&self, inputs: &[P]) -> Result<Table> {
        let inputs: Vec<String> = inputs.iter().map(|p| p.as_ref().to_owned()).collect();
        let files = resolve(&inputs)?;
        let format = Format::detect(&files)?;
        self.read_as(&inputs, &format)
    }

    /// Like [`Env::read`], with the format and its options said.
    ///
    /// # Errors
    /// As [`Env::read`].
    pub fn read_as<P: AsRef<str>>(&self, inputs: &[P], format: &Format) -> Result<Table> {
        let inputs: Vec<String> = inputs.iter().map(|p| p.as_ref().to_owned()).collect();
        let input = Arc::new(TableInput::open(&resolve(&inputs)?, format)?);
        Read::new(input, ScanOptions::default()).table(self)
    }
}

impl Read {
    fn new(input: Arc<TableInput>, options: ScanOptions) -> Self {
        Self { input, options, splits: Vec::new() }
    }

    /// The same error, of what could not be planned, with the file that says what columns there are.
    pub(super) fn of_file(&self, error: Error) -> Error {
        match (error, self.input.files().first()) {
            (Error::Plan(message), Some(path)) => Error::File { path: path.clone(), message },
            (other, _) => other,
        }
    }

    /// An error about a row: the `row`-th, from 0, of those that part `part` of the read gave.
    pub(super) fn failed(&self, part: u64, row: u64, message: &str) -> Error {
        let split = usize::try_from(part).ok().and_then(|part| self.splits.get(part));
        let Some((split, path)) = split.and_then(|s| Some((s, self.input.files().get(s.file)?))) else {
            return Error::User(message.to_owned());
        };
        let place = match self.input.rows() {
            // Of Parquet it is known where the part begins, and without predicates all its rows are given.
            Some(_) if self.options.predicates.is_empty() => {
                format!("row group {}, row {}: ", split.row_group, split.range.start + row)
            }
            Some(_) => format!("row group {}: ", split.row_group),
            None => format!("record {} after byte {}: ", row + 1, split.range.start),
        };
        Error::File { path: path.clone(), message: format!("{place}{message}") }
    }

    fn table(mut self, env: &Env) -> Result<Table> {
        let scan = self.input.plan(&self.options)?;
        let schema = scan.schema().clone();
        let all = self.input.schema().fields().len();
        let splits = scan.splits();
        self.splits.clone_from(&splits);
        let bytes: u64 = splits.iter().map(|s| s.bytes).sum();
        let rows = self.input.rows().map_or(bytes as f64 / 64.0, |r| r as f64 * bytes as f64 / self.input.bytes().max(1) as f64);
        // Of a Parquet file only the wanted columns are read; a rough share of the whole.
        let estimate = Estimate { bytes: rows * row_bytes(&schema) };
        let files = self.input.files();
        let first = files.first().map(|f| f.display().to_string()).unwrap_or_default();
        let mut detail = if files.len() == 1 { first } else { format!("{first} and {} more", files.len() - 1) };
        detail.push_str(&format!(", {} of {all} columns, {} splits", schema.fields().len(), splits.len()));
        if !self.options.predicates.is_empty() {
            detail.push_str(&format!(", {} predicates pushed down", self.options.predicates.len()));
        }
        let node = source_node(
            "read",
            detail,
            schema.clone(),
            Some(estimate),
            Arc::new(Splits { scan, input: fingerprint(files, &splits)?, splits }),
        );
        let mut table = Table::new(env, env.add(node), schema);
        table.read = Some(Arc::new(self));
        Ok(table)
    }
}

/// Bytes of a row in memory, by the types of its columns.
pub(crate) fn row_bytes(schema: &arrow_schema::Schema) -> f64 {
    schema.fields().iter().map(|f| f.data_type().primitive_width().unwrap_or(16) as f64).sum()
}

impl Table {
    /// This table with only the named columns, in this order; a read then reads only these.
    pub(crate) fn narrow(&self, columns: &[&str]) -> Result<Table> {
        let indices = columns.iter().map(|c| find_column(&self.schema, c)).collect::<Result<Vec<_>>>()?;
        if indices.iter().copied().eq(0..self.schema.fields().len()) {
            return Ok(self.clone());
        }
        match &self.read {
            Some(read) => {
                let before = read.options.projection.clone();
                let projection = indices.iter().map(|&i| before.as_ref().map_or(i, |p| p[i])).collect();
                let options = ScanOptions { projection: Some(projection), ..read.options.clone() };
                Read::new(read.input.clone(), options).table(&self.env)
            }
            None => self.project(indices, columns.iter().map(|c| (*c).to_owned()).collect()),
        }
    }
}

impl Table {
    /// The rows in which a column compares to a value: `filter_by("l_quantity", PredicateOp::Lt, value)`. `value` holds one value,
    /// any number of them for [`PredicateOp::In`], none for the tests for null; it is brought to the column's type. A null
    /// matches nothing but `IsNull`.
    ///
    /// A read evaluates it while it reads: files, row groups and pages in which nothing can match are skipped.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use std::sync::Arc;
    /// use fluvial_core::io::PredicateOp;
    /// # let env = fluvial_core::Env::default();
    /// # let column: ArrayRef = Arc::new(Int64Array::from(vec![3, 1, 2]));
    /// # let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    /// # let table = env.from_batches(batch.schema(), vec![batch])?;
    /// let few = table.filter_by("n", PredicateOp::Lt, Arc::new(Int64Array::from(vec![3])))?;
    /// assert_eq!(few.count()?, 2);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// A column that is not there, a value that is not exact in its type.
    pub fn filter_by(&self, column: &str, op: PredicateOp, value: ArrayRef) -> Result<Table> {
        let at = self.column(column)?;
        let predicate = ColumnPredicate::new(at, op, value).bind(&self.schema)?;
        match &self.read {
            Some(read) => {
                let at = read.options.projection.as_ref().map_or(at, |p| p[at]);
                let mut options = read.options.clone();
                options.predicates.push(ColumnPredicate { column: at, ..predicate });
                Read::new(read.input.clone(), options).table(&self.env)
            }
            None => Ok(self.filter(move |batch| predicate.evaluate(batch.column(at)))),
        }
    }
}

struct Splits {
    scan: Scan,
    /// Tells this read from others.
    input: u64,
    splits: Vec<Split>,
}

impl TableParts for Splits {
    fn count(&self) -> usize {
        self.splits.len()
    }

    fn bytes(&self, part: usize) -> u64 {
        self.splits[part].bytes
    }

    fn fingerprint(&self) -> u64 {
        self.input
    }

    fn open(&self, part: usize, memory: &Reservation) -> Result<Batches> {
        let mut reader = self.scan.open(&self.splits[part], memory)?;
        Ok(Box::new(std::iter::from_fn(move || reader.next().transpose())))
    }
}
