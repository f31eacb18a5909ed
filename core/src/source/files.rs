//! Reading a file of lines on a reader's thread.

use super::inbox::Feed;
use super::lines::LineCutter;
use super::text::Text;
use crate::io::file_error;
use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes read at once.
const CHUNK: usize = 128 << 10;

/// Blocks of lines on their way to the worker.
pub(super) const CAPACITY: usize = 8;

/// Why a reader stops reading.
pub(super) enum Halt {
    /// The worker takes no more.
    Closed,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Sends something, if the worker still takes it.
pub(super) fn send<E: Send>(feed: &Feed<Text<E>>, text: Text<E>) -> std::result::Result<(), Halt> {
    if feed.send_blocking(Ok(text)) { Ok(()) } else { Err(Halt::Closed) }
}

/// Sends the whole lines up to the file's present end.
pub(super) fn read_lines<E: Send>(
    file: &mut File,
    path: &Path,
    cutter: &mut LineCutter,
    feed: &Feed<Text<E>>,
) -> std::result::Result<(), Halt> {
    loop {
        cutter.buffer().reserve(CHUNK);
        let read = file.take(CHUNK as u64).read_to_end(cutter.buffer());
        let read = read.map_err(|e| file_error(path, format!("byte {}: {e}", cutter.read_to())))?;
        if read == 0 {
            return Ok(());
        }
        if let Some(block) = cutter.cut().map_err(|problem| file_error(path, problem))? {
            send(feed, Text::Block(block))?;
        }
    }
}

/// Sends the last line, if it has no newline: the file has ended.
pub(super) fn read_rest<E: Send>(path: &Path, cutter: &mut LineCutter, feed: &Feed<Text<E>>) -> std::result::Result<(), Halt> {
    match cutter.rest().map_err(|problem| file_error(path, problem))? {
        Some(block) => send(feed, Text::Block(block)),
        None => Ok(()),
    }
}

/// Reports what a reader failed with.
pub(super) fn report<E: Send>(feed: &Feed<Text<E>>, outcome: std::result::Result<(), Halt>) {
    if let Err(Halt::Failed(error)) = outcome {
        feed.send_blocking(Err(error));
    }
}

/// Gives the file an error's name.
pub(super) fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|e| file_error(path, e))
}
