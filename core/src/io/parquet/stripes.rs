//! Reading a row group that is too wide to be decoded side by side: column after column, a stripe of rows at a time.
//!
//! A stripe is as many rows as fit the memory in decoded form. For each stripe each column is opened, skipped to the
//! stripe's first row (whole pages are skipped undecoded), decoded and closed again. What is held is the stripe and the
//! dictionary and page of one column; the price is that a dictionary is decoded once a stripe. Predicates are evaluated
//! first, and narrow the rows that the other columns decode.

use super::super::predicate::ColumnPredicate;
use super::chunks::FileChunks;
use super::guarded;
use super::input::OpenedFile;
use super::plan::mask;
use crate::Result;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat;
use std::path::Path;

/// A row group read in stripes.
pub(super) struct Stripes {
    pub(super) chunks: FileChunks,
    pub(super) row_group: usize,
    /// Rows of the row group.
    pub(super) rows: u64,
    /// Next row to read, and the end of the split.
    pub(super) next: u64,
    pub(super) end: u64,
    /// Rows of a stripe.
    pub(super) stripe: u64,
    /// Rows that the page index does not rule out.
    pub(super) pages: Option<RowSelection>,
}

impl Stripes {
    /// The next stripe that has rows.
    pub(super) fn next(
        &mut self,
        path: &Path,
        file: &OpenedFile,
        predicates: &[&ColumnPredicate],
        projection: &[usize],
        schema: &SchemaRef,
    ) -> Result<Option<RecordBatch>> {
        while self.next < self.end {
            let first = self.next;
            self.next = self.end.min(first + self.stripe);
            let mut selection = RowSelection::from(vec![
                RowSelector::skip(first as usize),
                RowSelector::select((self.next - first) as usize),
                RowSelector::skip((self.rows - self.next) as usize),
            ]);
            if let Some(pages) = &self.pages {
                selection = selection.intersection(pages);
            }
            for predicate in predicates {
                if !selection.selects_any() {
                    break;
                }
                let column = self.column(path, file, predicate.column, &selection)?;
                let matching = RowSelection::from_filters(&[predicate.evaluate(&column)?]);
                selection = selection.and_then(&matching);
            }
            if !selection.selects_any() {
                continue;
            }
            let columns =
                projection.iter().map(|column| self.column(path, file, *column, &selection)).collect::<Result<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(selection.row_count()));
            return Ok(Some(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?));
        }
        Ok(None)
    }

    fn column(&self, path: &Path, file: &OpenedFile, column: usize, selection: &RowSelection) -> Result<ArrayRef> {
        let field = file.metadata.schema().field(file.columns[column]);
        let place = || format!("row group {}, column `{}`, before row {}", self.row_group, field.name(), self.next);
        let parts = guarded(path, place, || {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), file.metadata.clone())
                .with_row_groups(vec![self.row_group])
                .with_projection(mask(file, std::iter::once(column)))
                .with_row_selection(selection.clone())
                .with_batch_size(selection.row_count())
                .build()?;
            reader.map(|batch| Ok(batch.map_err(ParquetError::from)?.column(0).clone())).collect::<ParquetResult<Vec<ArrayRef>>>()
        })?;
        Ok(match parts.as_slice() {
            [] => new_empty_array(field.data_type()),
            [one] => one.clone(),
            parts => concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        })
    }
}
