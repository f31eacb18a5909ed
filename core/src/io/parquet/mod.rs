//! Parquet: inputs pruned by statistics and read page by page, outputs encoded by several workers at once.

mod budget;
mod chunks;
mod dictionary;
mod input;
mod plan;
mod reader;
mod stripes;
mod writer;

pub(super) use input::{ParquetInput, in_parallel};
pub(super) use reader::ParquetScan;
pub(super) use writer::ParquetTable;
pub use writer::{EncodedRowGroup, ParquetFile, RowGroupEncoder};

use super::file_error;
use crate::Result;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Runs a step of the parquet crate on a file's bytes. The crate checks most of what it reads, but not all: what a
/// malformed file makes it panic with is an error about the file like any other.
fn guarded<T>(path: &Path, place: impl Fn() -> String, step: impl FnOnce() -> ParquetResult<T>) -> Result<T> {
    let describe = |message: String| {
        let place = place();
        let separator = if place.is_empty() { "" } else { ": " };
        file_error(path, format!("{place}{separator}{message}"))
    };
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(done) => done.map_err(|e| describe(message(&e))),
        Err(panic) => Err(describe(format!("malformed Parquet: {}", panic_message(panic.as_ref())))),
    }
}

fn message(error: &ParquetError) -> String {
    match error {
        ParquetError::General(m) | ParquetError::EOF(m) | ParquetError::ArrowError(m) => {
            format!("malformed Parquet: {}", plain(m))
        }
        ParquetError::NYI(m) => format!("not supported: {m}"),
        ParquetError::External(error) if error.is::<io::Error>() => error.to_string(),
        ParquetError::External(error) => format!("malformed Parquet: {}", plain(&error.to_string())),
        other => other.to_string(),
    }
}

/// A message without the names of the error types that it went through.
fn plain(mut message: &str) -> &str {
    while let Some(rest) =
        ["External: ", "Parquet argument error: ", "Parquet error: "].iter().find_map(|prefix| message.strip_prefix(prefix))
    {
        message = rest;
    }
    message
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("an assertion of the decoder failed")
}
