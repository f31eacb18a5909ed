//! Files as bounded inputs and outputs: Parquet, CSV, JSON lines and text.
//!
//! A library of its own, without knowledge of dataflow. An input is opened once ([`TableInput::open`]: schema, sizes),
//! planned once ([`TableInput::plan`]: which columns, which rows) and then read in [`Split`]s, by any thread in any
//! order: a Parquet row group or a part of one, or a byte range of a text format that readers align to records. Outputs
//! are written under a temporary name and renamed when they are complete.
//!
//! Invariants. A record belongs to exactly one split. What a [`Scan`] yields satisfies all its predicates; nobody needs
//! to filter again. Whatever bytes a file holds, reading it ends in records or in an error that names the file, never in
//! a panic. A writer dropped before it finished leaves nothing behind.
//!
//! Trade-off: input files are read with `pread` into buffers that are charged to a reservation, never memory-mapped.
//! Mapped pages would save a copy, but they count as resident memory that no budget governs.

mod format;
mod input;
mod output;
mod parquet;
mod paths;
mod predicate;
pub(crate) mod print;
mod text;

pub use format::{CsvOptions, Format, JsonOptions, TextOptions};
pub use input::{BatchReader, Scan, ScanOptions, Split, TableInput, fingerprint};
pub use output::{Compression, TableWriter, WriteOptions, Written, create};
pub(crate) use output::{PendingFile, SealedFile, rename_new, sync_folder};
pub use parquet::{EncodedRowGroup, ParquetFile, RowGroupEncoder};
pub use paths::resolve;
pub(crate) use paths::skipped;
pub use predicate::{ColumnPredicate, PredicateOp};
pub(crate) use text::encode_csv;
pub(crate) use text::{BYTE_ORDER_MARK, newlines_before};
pub use text::{LineReader, Lines, RecordInput, RecordReader, TextEncoder, TextFile, lines};

use crate::Error;
use std::fmt::Display;
use std::path::Path;

/// An error about a file.
pub(crate) fn file_error(path: &Path, message: impl Display) -> Error {
    Error::File { path: path.to_owned(), message: message.to_string() }
}
