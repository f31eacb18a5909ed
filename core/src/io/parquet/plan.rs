//! What of a Parquet file a scan must read: row groups, and rows of them, that its predicates do not rule out.

use super::super::predicate::{ColumnPredicate, PredicateOp, Statistics};
use super::super::{Split, file_error};
use super::chunks::FileChunks;
use super::guarded;
use super::input::OpenedFile;
use crate::Result;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use ::parquet::basic::Type;
use ::parquet::bloom_filter::Sbbf;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ColumnChunkMask, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, UInt64Array};
use arrow_cast::cast;
use arrow_schema::DataType;
use std::path::Path;
use std::sync::Arc;

/// Compressed bytes of a split, about; larger row groups are cut into several.
const SPLIT_BYTES: u64 = 32 << 20;

/// What to read of a file.
pub(super) struct FilePlan {
    pub(super) file: OpenedFile,
    /// Row groups that may hold matches, with what is left to check of them.
    pub(super) groups: Vec<GroupPlan>,
}

/// What to read of a row group.
pub(super) struct GroupPlan {
    pub(super) row_group: usize,
    pub(super) rows: u64,
    /// Compressed bytes of the columns that are read.
    pub(super) bytes: u64,
    /// Predicates that the statistics leave open, by index.
    pub(super) open: Vec<usize>,
    /// Rows on pages that may hold matches; all if `None`.
    pub(super) selection: Option<RowSelection>,
}

/// Prunes one file.
pub(super) fn plan_file(
    path: &Path,
    file: &OpenedFile,
    projection: &[usize],
    predicates: &[ColumnPredicate],
) -> Result<FilePlan> {
    let metadata = file.metadata.metadata();
    let count = metadata.num_row_groups();
    let mut keep = vec![true; count];
    let mut open: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, predicate) in predicates.iter().enumerate() {
        let (may, all) = guarded(path, String::new, || row_groups(file, predicate).map_err(|e| external(&e)))?;
        for group in 0..count {
            keep[group] &= may[group];
            if !all[group] {
                open[group].push(at);
            }
        }
    }
    if predicates.iter().any(|p| matches!(p.op, PredicateOp::Eq | PredicateOp::In)) {
        bloom_filters(path, file, predicates, &mut keep)?;
    }
    let mut file = file.clone();
    if (0..count).any(|group| keep[group] && !open[group].is_empty()) {
        file.metadata = with_page_index(path, &file, projection, predicates, &keep)?;
    }
    let mut groups = Vec::new();
    for (group, open) in open.into_iter().enumerate().filter(|(group, _)| keep[*group]) {
        let selection = guarded(
            path,
            || format!("page index of row group {group}"),
            || pages(&file, group, &open, predicates).map_err(|e| external(&e)),
        )?;
        let nothing = selection.as_ref().is_some_and(|s| !s.selects_any());
        let meta = metadata.row_group(group);
        let rows = meta.num_rows().max(0) as u64;
        if nothing || rows == 0 {
            continue;
        }
        let mask = mask(&file, projection.iter().copied().chain(open.iter().map(|p| predicates[*p].column)));
        let leaves = (0..meta.num_columns()).filter(|leaf| mask.leaf_included(*leaf));
        let bytes = leaves.map(|leaf| meta.column(leaf).compressed_size().max(0) as u64).sum();
        groups.push(GroupPlan { row_group: group, rows, bytes, open, selection });
    }
    Ok(FilePlan { file, groups })
}

/// Cuts a file's row groups into splits.
pub(super) fn splits(file: usize, plan: &FilePlan) -> Vec<Split> {
    let mut splits = Vec::new();
    for group in &plan.groups {
        let parts = (group.bytes / SPLIT_BYTES + 1).min(group.rows);
        for part in 0..parts {
            let range = group.rows * part / parts..group.rows * (part + 1) / parts;
            splits.push(Split { file, row_group: group.row_group, range, bytes: group.bytes / parts, skip: 0 });
        }
    }
    splits
}

/// The columns of the table, by index, as a projection of the file.
pub(super) fn mask(file: &OpenedFile, columns: impl Iterator<Item = usize>) -> ProjectionMask {
    ProjectionMask::roots(file.metadata.parquet_schema(), columns.map(|c| file.columns[c]))
}

fn external(error: &crate::Error) -> ParquetError {
    ParquetError::General(error.to_string())
}

/// The leaf that holds a column of the table, if it is not nested.
fn leaf(file: &OpenedFile, column: usize) -> Option<usize> {
    let root = file.columns[column];
    if file.metadata.schema().field(root).data_type().is_nested() {
        return None;
    }
    let schema = file.metadata.parquet_schema();
    (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == root)
}

/// For every row group: whether it may hold matches of `predicate`, and whether it holds nothing else.
fn row_groups(file: &OpenedFile, predicate: &ColumnPredicate) -> Result<(Vec<bool>, Vec<bool>)> {
    let metadata = file.metadata.metadata();
    let groups = metadata.row_groups();
    let unknown = || (vec![true; groups.len()], vec![false; groups.len()]);
    let Some(leaf) = leaf(file, predicate.column) else { return Ok(unknown()) };
    let Some(converter) = converter(file, predicate, leaf)? else { return Ok(unknown()) };
    let trusted = groups.iter().all(|g| g.column(leaf).statistics().is_none_or(|s| !s.is_min_max_deprecated()));
    if !trusted && predicate.op != PredicateOp::IsNull && predicate.op != PredicateOp::IsNotNull {
        return Ok(unknown());
    }
    let rows = groups.iter().map(|g| Some(g.num_rows().max(0) as u64)).collect();
    let known = Statistics {
        minima: converter.row_group_mins(groups).map_err(arrow_error)?,
        maxima: converter.row_group_maxes(groups).map_err(arrow_error)?,
        nulls: nulls(converter.row_group_null_counts(groups).map_err(arrow_error)?, file, leaf),
        nan: converter.arrow_field().data_type().is_floating(),
        rows,
    };
    Ok((predicate.may_match(&known)?, predicate.all_match(&known)?))
}

/// A column that cannot hold nulls holds none, whatever was counted.
fn nulls(counted: UInt64Array, file: &OpenedFile, leaf: usize) -> UInt64Array {
    match file.metadata.parquet_schema().column(leaf).max_def_level() {
        0 => UInt64Array::from(vec![0; counted.len()]),
        _ => counted,
    }
}

fn arrow_error(error: ParquetError) -> crate::Error {
    crate::Error::Arrow(error.into())
}

/// Reads statistics of the predicate's column, unless its physical form has no usable order.
fn converter<'a>(file: &'a OpenedFile, predicate: &ColumnPredicate, leaf: usize) -> Result<Option<StatisticsConverter<'a>>> {
    let schema = file.metadata.parquet_schema();
    if schema.column(leaf).physical_type() == Type::INT96 {
        return Ok(None);
    }
    let field = file.metadata.schema().field(file.columns[predicate.column]);
    let converter = StatisticsConverter::from_column_index(leaf, field, schema).map_err(arrow_error)?;
    let orders = file.metadata.metadata().file_metadata().column_orders();
    Ok(Some(converter.with_missing_null_counts_as_zero(false).with_column_orders(orders.map(Vec::as_slice))))
}

/// Loads the page index: of the predicates' columns what their pages hold, of all columns that are read where their
/// pages are, both for the row groups that are left.
fn with_page_index(
    path: &Path,
    file: &OpenedFile,
    projection: &[usize],
    predicates: &[ColumnPredicate],
    keep: &[bool],
) -> Result<ArrowReaderMetadata> {
    let chunks = FileChunks::open(path).map_err(|e| file_error(path, e))?;
    let schema = file.metadata.parquet_schema();
    let groups: Vec<usize> = (0..keep.len()).filter(|g| keep[*g]).collect();
    let leaves = |mask: ProjectionMask| (0..schema.num_columns()).filter(move |leaf| mask.leaf_included(*leaf));
    let checked = predicates.iter().map(|p| p.column);
    let read = projection.iter().copied().chain(checked.clone());
    let column_mask = ColumnChunkMask::row_groups_and_columns(groups.iter().copied(), leaves(mask(file, checked)));
    let offset_mask = ColumnChunkMask::row_groups_and_columns(groups.iter().copied(), leaves(mask(file, read)));
    let metadata: ParquetMetaData = file.metadata.metadata().as_ref().clone();
    let loaded = guarded(
        path,
        || "page index".into(),
        || {
            let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_column_index_mask(column_mask)
                .with_offset_index_mask(offset_mask);
            reader.read_page_indexes(&chunks)?;
            let options = ArrowReaderOptions::new().with_schema(file.metadata.schema().clone());
            ArrowReaderMetadata::try_new(Arc::new(reader.finish()?), options)
        },
    );
    // An index is there to save work. A file whose index is broken and whose data is not can still be read.
    Ok(loaded.unwrap_or_else(|error| {
        tracing::warn!(%error, "reading without the page index");
        file.metadata.clone()
    }))
}

/// Rows on pages that may match the open predicates, by the page index.
fn pages(file: &OpenedFile, group: usize, open: &[usize], predicates: &[ColumnPredicate]) -> Result<Option<RowSelection>> {
    let metadata = file.metadata.metadata();
    let Some(index) = metadata.page_index() else { return Ok(None) };
    let mut selection: Option<RowSelection> = None;
    for predicate in open.iter().map(|p| &predicates[*p]) {
        let Some(leaf) = leaf(file, predicate.column) else { continue };
        if index.column_index(group, leaf).is_none() || index.offset_index(group, leaf).is_none() {
            continue;
        }
        let Some(converter) = converter(file, predicate, leaf)? else { continue };
        let one = [group];
        let Some(rows) = converter.data_page_row_counts(index.as_ref(), metadata.row_groups(), &one).map_err(arrow_error)? else {
            continue;
        };
        let known = Statistics {
            minima: converter.data_page_mins(index.as_ref(), &one).map_err(arrow_error)?,
            maxima: converter.data_page_maxes(index.as_ref(), &one).map_err(arrow_error)?,
            nulls: nulls(converter.data_page_null_counts(index.as_ref(), &one).map_err(arrow_error)?, file, leaf),
            nan: converter.arrow_field().data_type().is_floating(),
            rows,
        };
        let pages = known.rows.len();
        let consistent = [known.minima.len(), known.maxima.len(), known.nulls.len()].iter().all(|n| *n == pages);
        let total: u64 = known.rows.iter().flatten().sum();
        if !consistent || total != metadata.row_group(group).num_rows().max(0) as u64 {
            continue;
        }
        let selectors: Vec<RowSelector> = predicate
            .may_match(&known)?
            .into_iter()
            .zip(known.rows.values())
            .map(|(may, rows)| if may { RowSelector::select(*rows as usize) } else { RowSelector::skip(*rows as usize) })
            .collect();
        if selectors.iter().all(|s| !s.skip) {
            continue;
        }
        let pruned = RowSelection::from(selectors);
        selection = Some(match selection {
            Some(before) => before.intersection(&pruned),
            None => pruned,
        });
    }
    Ok(selection)
}

/// Rules out row groups whose Bloom filter holds none of the values that a predicate asks for.
fn bloom_filters(path: &Path, file: &OpenedFile, predicates: &[ColumnPredicate], keep: &mut [bool]) -> Result<()> {
    let metadata = file.metadata.metadata();
    let mut builder: Option<ParquetRecordBatchReaderBuilder<FileChunks>> = None;
    for predicate in predicates.iter().filter(|p| matches!(p.op, PredicateOp::Eq | PredicateOp::In)) {
        let Some(leaf) = leaf(file, predicate.column) else { continue };
        let Some(values) = stored(file, leaf, predicate) else { continue };
        for group in (0..keep.len()).filter(|g| metadata.row_group(*g).column(leaf).bloom_filter_offset().is_some()) {
            if !keep[group] {
                continue;
            }
            let builder = match &mut builder {
                Some(builder) => builder,
                none => {
                    let chunks = FileChunks::open(path).map_err(|e| file_error(path, e))?;
                    none.insert(ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, file.metadata.clone()))
                }
            };
            let place = || format!("Bloom filter of row group {group}");
            match guarded(path, place, || builder.get_row_group_column_bloom_filter(group, leaf)) {
                Ok(Some(filter)) => keep[group] = values.iter().any(|v| v.is_in(&filter)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "reading without the Bloom filter"),
            }
        }
    }
    Ok(())
}

/// A value as Parquet stores and hashes it.
enum Stored {
    Int32(i32),
    Int64(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
}

impl Stored {
    fn is_in(&self, filter: &Sbbf) -> bool {
        match self {
            Self::Int32(v) => filter.check(v),
            Self::Int64(v) => filter.check(v),
            // Zeros and NaNs have several forms, and only one of each was hashed.
            Self::Float(v) => *v == 0.0 || v.is_nan() || filter.check(v),
            Self::Double(v) => *v == 0.0 || v.is_nan() || filter.check(v),
            Self::Bytes(v) => filter.check(v.as_slice()),
        }
    }
}

/// The predicate's values in the column's physical type, where that is plain.
fn stored(file: &OpenedFile, leaf: usize, predicate: &ColumnPredicate) -> Option<Vec<Stored>> {
    let column = file.metadata.parquet_schema().column(leaf);
    let values = &predicate.values;
    let plain = values.data_type().is_integer() || values.data_type().is_temporal();
    let present = || (0..values.len()).filter(|i| values.is_valid(*i));
    Some(match column.physical_type() {
        Type::INT32 | Type::INT64 if plain && !matches!(values.data_type(), DataType::UInt32 | DataType::UInt64) => {
            let wide = match values.data_type() {
                DataType::Date32 | DataType::Time32(_) => cast(&cast(values, &DataType::Int32).ok()?, &DataType::Int64).ok()?,
                _ => cast(values, &DataType::Int64).ok()?,
            };
            let wide = wide.as_primitive::<Int64Type>();
            match column.physical_type() {
                Type::INT32 => present().map(|i| i32::try_from(wide.value(i)).ok().map(Stored::Int32)).collect::<Option<_>>()?,
                _ => present().map(|i| Stored::Int64(wide.value(i))).collect(),
            }
        }
        Type::FLOAT => {
            let values = values.as_primitive_opt::<Float32Type>()?;
            present().map(|i| Stored::Float(values.value(i))).collect()
        }
        Type::DOUBLE => {
            let values = values.as_primitive_opt::<Float64Type>()?;
            present().map(|i| Stored::Double(values.value(i))).collect()
        }
        Type::BYTE_ARRAY => match values.data_type() {
            DataType::Utf8 => present().map(|i| Stored::Bytes(values.as_string::<i32>().value(i).into())).collect(),
            DataType::Binary => present().map(|i| Stored::Bytes(values.as_binary::<i32>().value(i).into())).collect(),
            _ => return None,
        },
        _ => return None,
    })
}
