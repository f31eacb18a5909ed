//! Spill files: rows that did not fit in memory, written and read back in blocks by a few I/O threads.
//!
//! A [`RunWriter`] appends rows and yields a [`Run`]; any number of [`RunReader`]s read ranges of its blocks. Blocks are
//! write-behind and read-ahead: the worker fills or empties one buffer while an I/O thread moves another. Buffers are
//! extents of the operator's [`Reservation`](crate::Reservation), so the budget covers them; when memory is tight they
//! shrink to one segment each and to one in all, and the worker waits instead of failing.
//!
//! **A file** is a header (what wrote it, the rows' shape and schema, [`SpillHeader`]) and blocks in any order:
//!
//! | bytes | block |
//! |---|---|
//! | 4 | stored length of the payload |
//! | 4 | length of the payload before compression |
//! | 4 | rows |
//! | 4 | compression: 0 none, 1 LZ4 |
//! | 8 | XXH3 of the stored payload, seeded with the fields above |
//! | 8 | zero |
//! | .. | payload: rows one after another, each after its length (`u32`) unless all have one width |
//! | .. | zeros to the next multiple of 4096, as files that bypass the page cache need |
//!
//! All integers are little endian. Rows never straddle blocks: a row longer than a block gets a block of its own. Where
//! each block lies is kept in the [`Run`] (40 bytes for each block, not counted against the budget: 1/6500 of the data
//! at 256 KiB), so blocks can be written as they are compressed, by any thread.
//!
//! **Nothing is left behind.** Files are unlinked as soon as they are open: the kernel frees them with the last
//! descriptor, also after `kill -9`. The folder they were created in belongs to one process, which holds a lock on a file
//! in it; folders that nobody locks are swept by whoever starts next.
//!
//! Trade-off: one file, hence one descriptor, a run; the soft limit on descriptors is raised to the hard one at start.
//! A scratch block for each I/O thread, for compression only, live outside the budget.

mod block;
mod file;
mod folder;
mod header;
mod io;
mod manager;
mod reader;
mod run;
mod writer;

#[cfg(test)]
mod tests;

pub use header::SpillHeader;
pub use manager::{Compression, SpillConfig, SpillManager, SpillStats};
pub use reader::{RunReader, Step};
pub use run::{Block, Run};
pub use writer::RunWriter;
