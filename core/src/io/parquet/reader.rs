//! Reading row groups: batches of decoded columns, filtered.

use super::super::predicate::ColumnPredicate;
use super::super::{BatchReader, Split, file_error};
use super::chunks::FileChunks;
use super::plan::{FilePlan, GroupPlan, mask};
use super::{guarded, input::OpenedFile};
use crate::{Error, Result};
use ::parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
    RowSelector,
};
use ::parquet::errors::ParquetError;
use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use fluvial_memory::{HeapCharge, Reservation};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A planned read of Parquet files.
pub(in crate::io) struct ParquetScan {
    shared: Arc<ScanShared>,
}

struct ScanShared {
    files: Arc<[PathBuf]>,
    plans: Vec<FilePlan>,
    projection: Vec<usize>,
    schema: SchemaRef,
    predicates: Vec<ColumnPredicate>,
    batch_rows: usize,
}

impl ParquetScan {
    pub(super) fn new(
        files: Arc<[PathBuf]>,
        plans: Vec<FilePlan>,
        projection: Vec<usize>,
        schema: SchemaRef,
        predicates: Vec<ColumnPredicate>,
        batch_rows: usize,
    ) -> Self {
        Self { shared: Arc::new(ScanShared { files, plans, projection, schema, predicates, batch_rows }) }
    }

    pub(in crate::io) fn open(&self, split: &Split, charge: &Reservation) -> Result<Box<dyn BatchReader>> {
        let plan = self.shared.plans.get(split.file);
        let group = plan.and_then(|p| p.groups.iter().position(|g| g.row_group == split.row_group));
        let Some(group) = group else {
            return Err(Error::Plan(format!(
                "a split of file {}, row group {} is not of this scan",
                split.file, split.row_group
            )));
        };
        Ok(Box::new(ParquetReader {
            scan: self.shared.clone(),
            split: split.clone(),
            group,
            charge: charge.clone(),
            held: None,
            reader: None,
            order: Vec::new(),
            given: 0,
        }))
    }
}

/// Reads rows of a row group.
struct ParquetReader {
    scan: Arc<ScanShared>,
    split: Split,
    group: usize,
    charge: Reservation,
    held: Option<HeapCharge>,
    reader: Option<ParquetRecordBatchReader>,
    /// Where each column of the scan is in the decoder's batches.
    order: Vec<usize>,
    given: u64,
}

impl ParquetReader {
    fn start(&mut self) -> Result<ParquetRecordBatchReader> {
        let scan = self.scan.clone();
        let (path, plan) = (&scan.files[self.split.file], &scan.plans[self.split.file]);
        let group = &plan.groups[self.group];
        let chunks = FileChunks::open(path).map_err(|e| file_error(path, e))?;
        self.held = self.charge.charge_heap(working_set(&plan.file, group, &scan.projection));
        let mask = mask(&plan.file, scan.projection.iter().copied());
        let mut roots: Vec<usize> = scan.projection.iter().map(|c| plan.file.columns[*c]).collect();
        let wanted = roots.clone();
        roots.sort_unstable();
        roots.dedup();
        self.order = wanted.iter().filter_map(|root| roots.binary_search(root).ok()).collect();
        guarded(
            path,
            || format!("row group {}", group.row_group),
            || {
                let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, plan.file.metadata.clone())
                    .with_row_groups(vec![group.row_group])
                    .with_projection(mask)
                    .with_batch_size(scan.batch_rows);
                if let Some(selection) = selection(group, &self.split) {
                    builder = builder.with_row_selection(selection);
                }
                if !group.open.is_empty() {
                    builder = builder.with_row_filter(filter(&plan.file, group, &scan.predicates));
                }
                builder.build()
            },
        )
    }
}

impl BatchReader for ParquetReader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.reader.is_none() {
            self.reader = Some(self.start()?);
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let path = &self.scan.files[self.split.file];
        let place = || format!("row group {}, after row {} of the split", self.split.row_group, self.given);
        let next = guarded(path, place, || reader.next().transpose().map_err(ParquetError::from))?;
        let Some(batch) = next else {
            self.held = None;
            return Ok(None);
        };
        self.given += batch.num_rows() as u64;
        let columns = self.order.iter().map(|at| batch.column(*at).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(self.scan.schema.clone(), columns, &options)?))
    }

    fn position(&self) -> u64 {
        self.given
    }
}

/// The rows of the split that pages do not rule out; `None` for the whole row group.
fn selection(group: &GroupPlan, split: &Split) -> Option<RowSelection> {
    let part = (split.range != (0..group.rows)).then(|| {
        RowSelection::from(vec![
            RowSelector::skip(split.range.start as usize),
            RowSelector::select((split.range.end - split.range.start) as usize),
            RowSelector::skip((group.rows - split.range.end) as usize),
        ])
    });
    match (part, &group.selection) {
        (Some(part), Some(pages)) => Some(part.intersection(pages)),
        (Some(part), None) => Some(part),
        (None, pages) => pages.clone(),
    }
}

/// The open predicates, those on the smallest columns first.
fn filter(file: &OpenedFile, group: &GroupPlan, predicates: &[ColumnPredicate]) -> RowFilter {
    let mut by_column: BTreeMap<usize, Vec<ColumnPredicate>> = BTreeMap::new();
    for predicate in group.open.iter().map(|p| &predicates[*p]) {
        by_column.entry(predicate.column).or_default().push(predicate.clone());
    }
    let meta = file.metadata.metadata().row_group(group.row_group);
    let mut steps: Vec<(i64, Box<dyn ArrowPredicate>)> = by_column
        .into_iter()
        .map(|(column, predicates)| {
            let mask = mask(file, std::iter::once(column));
            let leaves = (0..meta.num_columns()).filter(|leaf| mask.leaf_included(*leaf));
            let bytes = leaves.map(|leaf| meta.column(leaf).compressed_size()).sum();
            let check = move |batch: RecordBatch| {
                let mut all: Option<BooleanArray> = None;
                for predicate in &predicates {
                    let one =
                        predicate.evaluate(batch.column(0)).map_err(|e| arrow_schema::ArrowError::ComputeError(e.to_string()))?;
                    all = Some(match all {
                        Some(all) => BooleanArray::new(all.values() & one.values(), None),
                        None => one,
                    });
                }
                Ok(all.unwrap_or_else(|| BooleanArray::new(arrow_buffer::BooleanBuffer::new_set(batch.num_rows()), None)))
            };
            (bytes, Box::new(ArrowPredicateFn::new(mask, check)) as Box<dyn ArrowPredicate>)
        })
        .collect();
    steps.sort_by_key(|(bytes, _)| *bytes);
    RowFilter::new(steps.into_iter().map(|(_, step)| step).collect())
}

/// About how many bytes the decoder holds at once: of every column its dictionary and one page, compressed and not.
fn working_set(file: &OpenedFile, group: &GroupPlan, projection: &[usize]) -> usize {
    const PAGE: i64 = 1 << 20;
    let meta = file.metadata.metadata().row_group(group.row_group);
    let mask = mask(file, projection.iter().copied());
    let leaves = (0..meta.num_columns()).filter(|leaf| mask.leaf_included(*leaf));
    leaves.map(|leaf| meta.column(leaf).uncompressed_size().clamp(0, 2 * PAGE) as usize).sum()
}
