//! Reading row groups: batches of decoded columns, filtered; side by side if the memory allows it, else in stripes.

use super::super::predicate::ColumnPredicate;
use super::super::{BatchReader, Split, file_error};
use super::budget::Needs;
use super::chunks::FileChunks;
use super::plan::{FilePlan, GroupPlan, mask};
use super::stripes::Stripes;
use super::{guarded, input::OpenedFile};
use crate::{Error, Result};
use ::parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
    RowSelector,
};
use ::parquet::errors::ParquetError;
use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use fluvial_memory::{HeapCharge, Reservation, SEGMENT_SIZE};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a reader takes however small the pool is: documented as the least a worker needs.
const LEAST_SHARE: usize = 1 << 20;

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
            state: State::Planned,
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
    state: State,
    given: u64,
}

enum State {
    Planned,
    /// All columns side by side; where each column of the scan is in the decoder's batches.
    Streaming(ParquetRecordBatchReader, Vec<usize>),
    /// Column after column; the current stripe, and how many of its rows were given.
    Striped {
        stripes: Box<Stripes>,
        stripe: Option<RecordBatch>,
        at: usize,
        batch_rows: usize,
    },
    Done,
}

impl ParquetReader {
    fn start(&mut self) -> Result<State> {
        let scan = self.scan.clone();
        let (path, plan) = (&scan.files[self.split.file], &scan.plans[self.split.file]);
        let group = &plan.groups[self.group];
        let chunks = FileChunks::open(path).map_err(|e| file_error(path, e))?;
        let checked = group.open.iter().map(|p| scan.predicates[*p].column);
        let needs = Needs::of(&plan.file, group, scan.projection.iter().copied().chain(checked));
        let batch_rows = needs.batch_rows(scan.batch_rows);
        // An eighth of the pool for one reader: there is one a worker, and operators and writers want theirs.
        let share = (self.charge.limit() * SEGMENT_SIZE / 8).max(LEAST_SHARE);
        let streaming = needs.together + batch_rows * needs.row as usize;
        if streaming <= share {
            self.held = self.charge.charge_heap(streaming);
        }
        if self.held.is_some() || needs.together <= LEAST_SHARE || scan.projection.len() <= 1 {
            return self.stream(&scan, &plan.file, group, chunks, batch_rows);
        }
        // As much as the pool gives, down to a stripe of one batch.
        let least = needs.largest + batch_rows * needs.row as usize;
        let mut wanted = share.max(least);
        while self.held.is_none() && wanted > least {
            self.held = self.charge.charge_heap(wanted);
            wanted = (wanted / 2).max(least);
        }
        let held = self.held.as_ref().map_or(least, HeapCharge::bytes);
        let stripe = ((held - needs.largest.min(held)) as u64 / needs.row).max(batch_rows as u64);
        let stripes = Stripes {
            chunks,
            row_group: group.row_group,
            rows: group.rows,
            next: self.split.range.start,
            end: self.split.range.end,
            stripe,
            pages: group.selection.clone(),
        };
        Ok(State::Striped { stripes: Box::new(stripes), stripe: None, at: 0, batch_rows })
    }

    fn stream(
        &self,
        scan: &ScanShared,
        file: &OpenedFile,
        group: &GroupPlan,
        chunks: FileChunks,
        batch_rows: usize,
    ) -> Result<State> {
        let path = &scan.files[self.split.file];
        let wanted: Vec<usize> = scan.projection.iter().map(|c| file.columns[*c]).collect();
        let mut roots = wanted.clone();
        roots.sort_unstable();
        roots.dedup();
        let order = wanted.iter().filter_map(|root| roots.binary_search(root).ok()).collect();
        let reader = guarded(
            path,
            || format!("row group {}", group.row_group),
            || {
                let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, file.metadata.clone())
                    .with_row_groups(vec![group.row_group])
                    .with_projection(mask(file, scan.projection.iter().copied()))
                    .with_batch_size(batch_rows);
                if let Some(selection) = selection(group, &self.split) {
                    builder = builder.with_row_selection(selection);
                }
                if !group.open.is_empty() {
                    builder = builder.with_row_filter(filter(file, group, &scan.predicates));
                }
                builder.build()
            },
        )?;
        Ok(State::Streaming(reader, order))
    }
}

impl BatchReader for ParquetReader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if matches!(self.state, State::Planned) {
            self.state = self.start()?;
        }
        let (scan, file) = (&self.scan, self.split.file);
        let next = match &mut self.state {
            State::Planned | State::Done => None,
            State::Streaming(reader, order) => {
                let place = || format!("row group {}, after row {} of the split", self.split.row_group, self.given);
                let next = guarded(&scan.files[file], place, || reader.next().transpose().map_err(ParquetError::from))?;
                match next {
                    Some(batch) => {
                        let columns = order.iter().map(|at| batch.column(*at).clone()).collect();
                        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                        Some(RecordBatch::try_new_with_options(scan.schema.clone(), columns, &options)?)
                    }
                    None => None,
                }
            }
            State::Striped { stripes, stripe, at, batch_rows } => {
                if stripe.as_ref().is_none_or(|s| *at == s.num_rows()) {
                    // What was given of the last stripe must be gone before the next one is decoded.
                    *stripe = None;
                    let plan = &scan.plans[file];
                    let predicates: Vec<_> = plan.groups[self.group].open.iter().map(|p| &scan.predicates[*p]).collect();
                    *stripe = stripes.next(&scan.files[file], &plan.file, &predicates, &scan.projection, &scan.schema)?;
                    *at = 0;
                }
                stripe.as_ref().map(|stripe| {
                    let rows = (*batch_rows).min(stripe.num_rows() - *at);
                    let batch = stripe.slice(*at, rows);
                    *at += rows;
                    batch
                })
            }
        };
        match &next {
            Some(batch) => self.given += batch.num_rows() as u64,
            None => {
                self.state = State::Done;
                self.held = None;
            }
        }
        Ok(next)
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
