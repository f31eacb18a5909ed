//! Formats of lines: CSV, JSON lines and plain text.
//!
//! A file is cut into byte ranges of a few MiB; a record belongs to the range in which it starts. Readers align to
//! records by themselves, at newlines. In CSV a newline inside quotes is not the end of a record, and no reader that
//! starts in the middle of a file can know on which side of a quote it is: so the record starts of large CSV files are
//! found by a pass over the file when the read is planned (see `quotes`).

mod blocks;
mod csv;
mod decode;
mod input;
mod json;
mod lines;
mod parts;
mod quotes;
mod records;
mod writer;

pub(crate) use blocks::{BYTE_ORDER_MARK, newlines_before};
pub(super) use input::{TextInput, TextScan};
pub use lines::{LineReader, Lines, lines};
pub use parts::{TextEncoder, TextFile};
pub use records::{RecordInput, RecordReader};
pub(crate) use writer::encode_csv;
pub(super) use writer::{CsvTable, JsonTable, TextTable};
