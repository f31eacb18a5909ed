//! How much memory decoding a row group takes.
//!
//! The decoder streams: of each column it holds the dictionary and one page, whatever the size of the row group. With
//! hundreds of columns even that is hundreds of MiB, so it is estimated before a row group is opened, from what the
//! file's footer says of its pages.

use super::input::OpenedFile;
use super::plan::{GroupPlan, mask};
use ::parquet::basic::PageType;
use ::parquet::file::metadata::ColumnChunkMetaData;
use arrow_schema::DataType;

/// What readers of files that do not say how many pages they have are assumed to hold at most.
const PAGE: u64 = 8 << 20;

/// Bytes of a batch, about; wide tables get fewer rows.
const BATCH_BYTES: u64 = 4 << 20;

/// Fewest rows of a batch, however wide.
const LEAST_ROWS: u64 = 64;

/// What decoding the columns of a split needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Dictionaries and pages, if all columns are decoded side by side.
    pub(super) together: usize,
    /// Those of the neediest column.
    pub(super) largest: usize,
    /// Of a decoded row.
    pub(super) row: u64,
}

impl Needs {
    pub(super) fn of(file: &OpenedFile, group: &GroupPlan, columns: impl Iterator<Item = usize>) -> Self {
        let meta = file.metadata.metadata().row_group(group.row_group);
        let mask = mask(file, columns);
        let (mut together, mut largest, mut row) = (0, 0, 0);
        for leaf in (0..meta.num_columns()).filter(|leaf| mask.leaf_included(*leaf)) {
            let chunk = meta.column(leaf);
            let resident = resident(chunk) as usize;
            together += resident;
            largest = largest.max(resident);
            let root = file.metadata.parquet_schema().get_column_root_idx(leaf);
            row += width(file.metadata.schema().field(root).data_type(), chunk, group.rows);
        }
        Self { together, largest, row: row.max(1) }
    }

    /// Rows of a batch.
    pub(super) fn batch_rows(&self, most: usize) -> usize {
        most.min((BATCH_BYTES / self.row).max(LEAST_ROWS) as usize).max(1)
    }
}

/// Bytes of a column chunk's dictionary and of one of its pages.
fn resident(chunk: &ColumnChunkMetaData) -> u64 {
    let whole = chunk.uncompressed_size().max(0) as u64;
    let ratio = whole as f64 / chunk.compressed_size().max(1) as f64;
    let dictionary = match chunk.dictionary_page_offset() {
        Some(offset) => ((chunk.data_page_offset() - offset).max(0) as f64 * ratio) as u64,
        None => 0,
    };
    let dictionary = dictionary.min(whole);
    let data = whole - dictionary;
    let counted: i64 = chunk.page_encoding_stats().map_or(0, |stats| {
        let data = stats.iter().filter(|s| matches!(s.page_type, PageType::DATA_PAGE | PageType::DATA_PAGE_V2));
        data.map(|s| i64::from(s.count)).sum()
    });
    // Pages differ; half as much again.
    let page = if counted > 0 { data / counted as u64 * 3 / 2 } else { data.min(PAGE) };
    dictionary + page.min(data)
}

/// Bytes of a value in arrow's form.
fn width(data_type: &DataType, chunk: &ColumnChunkMetaData, rows: u64) -> u64 {
    let stored = chunk.uncompressed_size().max(0) as u64 / rows.max(1);
    let unencoded = chunk.unencoded_byte_array_data_bytes().map_or(stored, |b| b.max(0) as u64 / rows.max(1));
    match data_type.primitive_width() {
        Some(width) => width as u64,
        None => 4 + unencoded.max(stored),
    }
}
