//! Opening Parquet files: metadata, and one schema over all of them.

use super::super::predicate::ColumnPredicate;
use super::super::{Split, file_error};
use super::chunks::FileChunks;
use super::guarded;
use super::plan::{FilePlan, plan_file, splits};
use super::reader::ParquetScan;
use crate::Result;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::file::metadata::PageIndexPolicy;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Opened Parquet files.
pub(in crate::io) struct ParquetInput {
    files: Arc<[PathBuf]>,
    opened: Vec<OpenedFile>,
    schema: SchemaRef,
}

/// A file's metadata and where the table's columns are in it.
#[derive(Clone)]
pub(super) struct OpenedFile {
    pub(super) metadata: ArrowReaderMetadata,
    /// Index in the file's schema of each column of the table.
    pub(super) columns: Arc<[usize]>,
}

impl ParquetInput {
    pub(in crate::io) fn open(files: Arc<[PathBuf]>) -> Result<Self> {
        let metadata = in_parallel(&files, |path| load(path))?;
        let mut schema = metadata[0].schema().clone();
        for (metadata, path) in metadata.iter().zip(files.iter()).skip(1) {
            schema = unify(&schema, &files[0], metadata.schema(), path)?;
        }
        let opened = metadata
            .into_iter()
            .map(|metadata| {
                let by_name: HashMap<&str, usize> =
                    metadata.schema().fields().iter().enumerate().map(|(i, f)| (f.name().as_str(), i)).collect();
                let same = by_name.len() < schema.fields().len() || metadata.schema().fields() == schema.fields();
                let columns =
                    schema.fields().iter().enumerate().map(|(i, f)| if same { i } else { by_name[f.name().as_str()] }).collect();
                OpenedFile { columns, metadata }
            })
            .collect();
        Ok(Self { files, opened, schema })
    }

    pub(in crate::io) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(in crate::io) fn rows(&self) -> u64 {
        self.opened.iter().map(|f| f.metadata.metadata().file_metadata().num_rows().max(0) as u64).sum()
    }

    pub(in crate::io) fn plan(
        &self,
        projection: Vec<usize>,
        schema: SchemaRef,
        predicates: Vec<ColumnPredicate>,
        batch_rows: usize,
    ) -> Result<(ParquetScan, Vec<Split>)> {
        let plan = |at: usize| plan_file(&self.files[at], &self.opened[at], &projection, &predicates);
        let indices: Vec<usize> = (0..self.files.len()).collect();
        let plans: Vec<FilePlan> = in_parallel(&indices, |at| plan(*at))?;
        let splits = plans.iter().enumerate().flat_map(|(file, plan)| splits(file, plan)).collect();
        Ok((ParquetScan::new(self.files.clone(), plans, projection, schema, predicates, batch_rows), splits))
    }
}

fn load(path: &Path) -> Result<ArrowReaderMetadata> {
    let chunks = FileChunks::open(path).map_err(|e| file_error(path, e))?;
    guarded(path, String::new, || {
        // The number of pages tells how much memory a row group takes to decode.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip).with_encoding_stats_as_mask(false);
        let loaded = ArrowReaderMetadata::load(&chunks, options)?;
        let plain: Vec<FieldRef> = loaded.schema().fields().iter().map(plain_field).collect();
        let plain = Arc::new(Schema::new(plain));
        if plain.fields() == loaded.schema().fields() {
            return Ok(loaded);
        }
        ArrowReaderMetadata::try_new(loaded.metadata().clone(), ArrowReaderOptions::new().with_schema(plain))
    })
}

/// The field without what its writer noted about its own layout: dictionaries, views, large offsets, field ids. The
/// engine reads and writes plain columns; batches are far too small to need 64-bit offsets.
fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// The schema of both: the same columns by name and type; nullable if either is.
fn unify(schema: &SchemaRef, first: &Path, other: &SchemaRef, path: &Path) -> Result<SchemaRef> {
    if schema.fields() == other.fields() {
        return Ok(schema.clone());
    }
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Ok(found) = other.field_with_name(field.name()) else {
            return Err(file_error(
                path,
                format!("column `{}` ({}) is missing; {} has it", field.name(), field.data_type(), first.display()),
            ));
        };
        if found.data_type() != field.data_type() {
            let (name, expected, found) = (field.name(), field.data_type(), found.data_type());
            return Err(file_error(
                path,
                format!("column `{name}`: expected {expected} as in {}, found {found}", first.display()),
            ));
        }
        fields.push(Arc::new(field.as_ref().clone().with_nullable(field.is_nullable() || found.is_nullable())));
    }
    if let Some(extra) = other.fields().iter().find(|f| schema.field_with_name(f.name()).is_err()) {
        return Err(file_error(path, format!("column `{}` is not in {}", extra.name(), first.display())));
    }
    if other.fields().len() != schema.fields().len() {
        let (expected, found) = (schema.fields().len(), other.fields().len());
        return Err(file_error(path, format!("expected {expected} columns as in {}, found {found}", first.display())));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Applies `work` to all items on as many threads as the machine has cores; the first error in item order wins.
pub(in crate::io) fn in_parallel<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> Result<T> + Sync) -> Result<Vec<T>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
        Arc::new(Schema::new(fields.iter().map(|(n, t, null)| Field::new(*n, t.clone(), *null)).collect::<Vec<_>>()))
    }

    #[test]
    fn schemas_unify_by_name() {
        let a = schema(&[("x", DataType::Int64, false), ("y", DataType::Utf8, false)]);
        let b = schema(&[("y", DataType::Utf8, true), ("x", DataType::Int64, false)]);
        let (first, second) = (Path::new("a"), Path::new("b"));
        let both = unify(&a, first, &b, second).unwrap();
        assert_eq!(both, schema(&[("x", DataType::Int64, false), ("y", DataType::Utf8, true)]));
        let c = schema(&[("x", DataType::Int32, false), ("y", DataType::Utf8, false)]);
        let message = unify(&a, first, &c, second).unwrap_err().to_string();
        assert_eq!(message, "b: column `x`: expected Int64 as in a, found Int32");
        let message = unify(&a, first, &schema(&[("x", DataType::Int64, false)]), second).unwrap_err().to_string();
        assert_eq!(message, "b: column `y` (Utf8) is missing; a has it");
    }

    #[test]
    fn parallel_work_keeps_its_order_and_its_first_error() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(in_parallel(&items, |i| Ok(i * 2)).unwrap(), (0..100).map(|i| i * 2).collect::<Vec<_>>());
        let failed = in_parallel(&items, |i| if *i == 7 { Err(crate::Error::Plan("seven".into())) } else { Ok(*i) });
        assert_eq!(failed.unwrap_err().to_string(), "seven");
    }
}
