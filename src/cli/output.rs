//! What the command prints.

use fluvial_core::{Error, Result};
use std::fmt::Arguments;
use std::io::{self, Write};
use std::path::PathBuf;

/// Prints to standard output. A reader that has seen enough, as in `| head`, is not an error.
pub fn print(text: Arguments<'_>) -> Result<()> {
    written(io::stdout().lock().write_fmt(text).and_then(|()| io::stdout().flush())).map(drop)
}

/// Whether there is still a reader.
pub fn written(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::File { path: PathBuf::from("standard output"), message: error.to_string() }),
    }
}
