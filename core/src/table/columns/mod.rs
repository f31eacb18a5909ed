//! From values to record batches: the columns are the fields of a serde type.
//!
//! The schema is known before the job runs: the type is asked for it (see [`trace`]). Each value is serialized straight
//! into the builders of its columns, a batch at a time; batches keep their place in an ordered stream.

mod builder;
mod schema;
mod serialize;

use super::rows::{ValueError, trace};
use super::{Table, table_port};
use crate::chain::{AnyCollector, BoxCollector, Collector, Context};
use crate::graph::{Body, TaskContext};
use crate::io::WriteOptions;
use crate::stream::{short_type_name, typed_head};
use crate::{Data, DataStream, Error, Position, Progress, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
pub(crate) use builder::Rows;
use std::fmt::Display;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

/// Most rows in a batch.
const BATCH_ROWS: usize = 8192;

impl<T: Data> DataStream<T> {
    /// The records as rows of a table.
    ///
    /// A struct's fields become columns of their names; a tuple's are called `column_1`, `column_2`; a single number or
    /// string is the column `value`. What is nested becomes a struct, list or map column, an enum without fields the name
    /// of its variant.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let words = env.from_collection(["to", "be", "or", "not", "to", "be"].map(String::from));
    /// let counts = words.key_by_ref(|w| w.as_str()).count().to_table()?;
    /// let rare = counts.select("column_1 as word, column_2 as n")?.sort("n, word desc")?;
    /// assert!(rare.to_text()?.contains("| or   | 1 |"));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Plan`] if the type does not say what its fields are: it contains itself, has enums with fields, or parses a
    /// text.
    pub fn to_table(&self) -> Result<Table> {
        let (schema, single) = type_columns::<T>()?;
        let name = short_type_name::<T>();
        let made = schema.clone();
        let make = move |_: &TaskContext, next: AnyCollector| {
            let rows = Rows::new(made.clone(), single)?;
            Ok(AnyCollector::new::<T>(ToColumns { rows, next: next.into::<RecordBatch>()?, takes: PhantomData }))
        };
        let body = Body::Link { make: Arc::new(make), head: typed_head::<T>(), port: table_port(schema.clone()) };
        let node = self.after("to_table", name, body);
        Ok(Table::new(&self.env, self.env.add(node), schema))
    }

    /// Adds a sink that writes the records to one file, whose format goes by its extension: `.parquet`, `.csv`, `.jsonl`, or
    /// `.txt` for strings. The columns are those of [`DataStream::to_table`]. The file appears under its name when it is
    /// complete; a job that fails leaves nothing. Where the stream is ordered (behind a sort) the file is too.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// # let folder = tempfile::tempdir().map_err(|e| fluvial_core::Error::User(e.to_string()))?;
    /// # let path = folder.path().join("squares.txt");
    /// env.sequence(1..=3).sort_by(|n| *n).map(|n| format!("{n} {}", n * n)).write(&path)?;
    /// env.execute("squares")?;
    /// # let written = std::fs::read_to_string(&path).map_err(|e| fluvial_core::Error::User(e.to_string()))?;
    /// assert_eq!(written, "1 1\n2 4\n3 9\n");
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Plan`] for an extension that is not known, and as [`DataStream::to_table`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_table()?.write(path)
    }

    /// Like [`DataStream::write`], with options.
    ///
    /// # Errors
    /// As [`DataStream::write`].
    pub fn write_with(&self, path: impl AsRef<Path>, options: &WriteOptions) -> Result<()> {
        self.to_table()?.write_with(path, options)
    }
}

/// The columns that hold values of a type, and whether a value is that of the only column rather than a row.
///
/// # Errors
/// As [`DataStream::to_table`].
pub(crate) fn type_columns<T: Data>() -> Result<(SchemaRef, bool)> {
    let unknown =
        |reason: &dyn Display| Error::Plan(format!("the columns of `{}` cannot be told: {reason}", short_type_name::<T>()));
    let (shape, error) = trace::<T>();
    match error {
        Some(error) => Err(unknown(&error)),
        None => schema::of(&shape).map_err(|e| unknown(&e)),
    }
}

/// Gathers records into record batches.
struct ToColumns<T> {
    rows: Rows,
    next: BoxCollector<RecordBatch>,
    takes: PhantomData<fn(T)>,
}

impl<T> ToColumns<T> {
    fn flush(&mut self, context: &mut Context<'_>) {
        if context.failed() || self.rows.len() == 0 {
            return;
        }
        match self.rows.finish() {
            Ok(batch) => self.next.push(batch, context),
            Err(error) => context.fail(error),
        }
    }
}

impl<T: Data> Collector<T> for ToColumns<T> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        if context.failed() {
            return;
        }
        if let Err(error) = self.rows.append(&record) {
            return context.fail(error);
        }
        if self.rows.len() == BATCH_ROWS {
            self.flush(context);
        }
    }

    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        self.flush(context);
        self.next.end_batch(position, context);
    }

    fn end_superstep(&mut self, context: &mut Context<'_>) -> Progress {
        self.flush(context);
        self.next.end_superstep(context)
    }

    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        self.flush(context);
        self.next.finish(context)
    }
}

#[cfg(test)]
mod tests;
