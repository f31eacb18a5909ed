//! Formats of lines: CSV, JSON lines and plain text.

mod writer;

pub(super) use writer::{CsvTable, JsonTable, TextTable};
