//! From record batches to values: each row is one value of a serde type.
//!
//! Once, before the job runs, the type is asked what it consists of ([`trace`]), so that a missing column is found at
//! once and only the columns that fields are named after are read. A batch is downcast once into typed columns; then
//! each row is deserialized from them: a struct as a sequence in the order of its fields, so that no name is compared
//! and nothing is allocated but what the value owns.
//!
//! One value is made of zeros before the job runs, so that a column of a type that its field cannot take is found at once
//! too.
//!
//! Numbers become any number type that holds them. Dates and times become days or counts of the column's unit for
//! integer fields, ISO 8601 for strings; decimals become `f64` or strings with all digits, and integers if they have no
//! fraction. Nulls need an `Option`.

mod cell;
mod column;
mod error;
mod reader;
mod shape;

pub(super) use error::ValueError;
pub(super) use shape::{Shape, trace};

use super::{Table, table_head};
use crate::chain::{AnyCollector, BoxCollector, Context, Link, TryLink};
use crate::graph::{Body, TaskContext};
use crate::io::Format;
use crate::stream::{short_type_name, typed_port};
use crate::{Data, DataStream, Env, Error, Result};
use arrow_array::RecordBatch;
use reader::RowReader;
use std::sync::Arc;

impl Table {
    /// The rows as values of a type.
    ///
    /// Columns go to the fields of a struct by name, to those of a tuple by position; a single number or string takes the
    /// only column. Where the table is a read, only the columns that have a field are read.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// use serde::{Deserialize, Serialize};
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Reading {
    ///     sensor: String,
    ///     celsius: f64,
    /// }
    ///
    /// let readings = env.from_collection([("attic", 31.5), ("cellar", 12.0)].map(|(s, c)| (s.to_string(), c, true)));
    /// let table = readings.to_table()?.select("column_2 as celsius, column_1 as sensor")?;
    /// let warm = table.rows::<Reading>()?.filter(|r| r.celsius > 20.0);
    /// assert_eq!(warm.collect()?[0].sensor, "attic");
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Plan`], or [`Error::File`] where the table is a read, if a field has no column, or one of a type that it cannot
    /// take; names the field or the column, the types and the columns there are. While the job runs: a value that does not become its field (a null, a number
    /// that is too large); names the file and the row where the table is a read, the column, what was expected and what was
    /// found.
    pub fn rows<T: Data>(&self) -> Result<DataStream<T>> {
        let reader = RowReader::new::<T>(&self.schema).map_err(|error| match &self.read {
            Some(read) => read.of_file(error),
            None => error,
        })?;
        let columns: Vec<_> = reader.columns.iter().map(String::as_str).collect();
        let table = self.narrow(&columns)?;
        let read = table.read.clone();
        let make = move |_: &TaskContext, next: AnyCollector| {
            let (reader, read) = (reader.clone(), read.clone());
            // The part of the read in hand, and how many of its rows came before.
            let (mut part, mut before) = (None, 0);
            let step = TryLink(move |batch: RecordBatch, next: &mut BoxCollector<T>, context: &mut Context<'_>| {
                let range = context.position.map(|p| p.range);
                if part != range {
                    (part, before) = (range, 0);
                }
                let failed = |row: usize, message: String| match (&read, part) {
                    (Some(read), Some(part)) => read.failed(part, before + row as u64, &message),
                    _ => Error::User(format!("row {row} of the batch: {message}")),
                };
                reader.read(&batch, failed, |value| next.push(value, context))?;
                before += batch.num_rows() as u64;
                Ok(())
            });
            Ok(AnyCollector::new::<RecordBatch>(Link::new(step, next.into::<T>()?)))
        };
        let body = Body::Link { make: Arc::new(make), head: table_head(), port: typed_port::<T>() };
        let node = table.after("rows", short_type_name::<T>(), body);
        Ok(DataStream::new(&table.env, table.env.add(node)))
    }
}

impl Env {
    /// The rows of Parquet files as values of a type; columns go to fields of the same name, and only these are read.
    /// Files, folders or globs.
    ///
    /// # Errors
    /// [`Error::File`] for what is not there or cannot be read, and as [`Table::rows`].
    pub fn read_parquet<T: Data>(&self, inputs: &[impl AsRef<str>]) -> Result<DataStream<T>> {
        self.read_as(inputs, &Format::Parquet)?.rows()
    }
}

#[cfg(test)]
mod tests;
