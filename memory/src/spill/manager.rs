use super::block;
use super::file::SpillFile;
use super::folder::ProcessFolder;
use super::header::SpillHeader;
use super::io::{Counters, IoThreads};
use super::writer::RunWriter;
use crate::{Error, Extent, Reservation, Result, RowShape, SEGMENT_SIZE, Waker};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Segments of the smallest block for which bypassing the page cache pays: the disk is asked once for each.
const DIRECT: usize = 4;

/// Whether blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Blocks are written as they are: best where the disk, or the page cache, is faster than LZ4.
    #[default]
    None,
    /// LZ4, block by block; blocks that gain less than an eighth are stored as they are.
    Lz4,
}

/// Where and how to spill.
#[derive(Clone, Debug)]
pub struct SpillConfig {
    /// Where the folder of this process is made. Default: the system's folder for temporary files.
    pub directory: PathBuf,
    /// Default: none.
    pub compression: Compression,
    /// Threads that read and write. Default: 4; they wait for the disk most of the time.
    pub io_threads: usize,
    /// Upper bound of a block in bytes, except for blocks of one longer row. Default: 256 KiB. A writer takes less where
    /// the budget is small: at most 1/256 of it, at least a segment.
    pub block_bytes: usize,
    /// Whether blocks of 128 KiB and more bypass the page cache (`O_DIRECT`) where the file system can do that. Default:
    /// true. Spilled data is written and read once, so a cache only costs: the copy, the pages, and what they displace.
    pub direct: bool,
}

impl Default for SpillConfig {
    fn default() -> Self {
        Self {
            directory: std::env::temp_dir(),
            compression: Compression::None,
            io_threads: 4,
            block_bytes: 256 * 1024,
            direct: true,
        }
    }
}

/// What was spilled so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillStats {
    /// Bytes of payload written, after compression.
    pub bytes_written: u64,
    /// Bytes of payload read, before decompression.
    pub bytes_read: u64,
    /// Files created.
    pub files: u64,
    /// Files that still exist, of all views.
    pub open_files: usize,
}

/// Makes spill files; one a process, cheap to clone.
///
/// ```
/// use fluvial_memory::{MemoryManager, RowShape, SpillConfig, SpillManager, Step};
/// let reservation = MemoryManager::new(4 << 20)?.reserve("sort", 4)?;
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let mut writer = spill.writer("sort", RowShape::VARIABLE, "word: Utf8", &reservation, None)?;
/// writer.push(b"a row")?;
/// let run = writer.finish()?;
/// let mut reader = run.reader(0..run.blocks().len(), &reservation, None)?;
/// assert_eq!(reader.advance()?, Step::Row);
/// assert_eq!(reader.row(), b"a row");
/// assert_eq!(reader.advance()?, Step::End);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone)]
pub struct SpillManager {
    shared: Arc<ManagerShared>,
    /// Of a view that counts apart.
    own: Option<Arc<Counters>>,
}

pub(super) struct ManagerShared {
    pub(super) io: IoThreads,
    folder: ProcessFolder,
    counters: Arc<Counters>,
    open: Arc<AtomicUsize>,
    block_bytes: usize,
    direct: bool,
}

impl SpillManager {
    /// Makes the folder, sweeps those of dead processes, starts the I/O threads.
    ///
    /// # Errors
    /// [`Error::SpillFolder`] if the folder cannot be made, [`Error::Spill`] if a thread can not be started.
    pub fn new(config: SpillConfig) -> Result<Self> {
        raise_descriptor_limit();
        let folder = ProcessFolder::create(&config.directory)?;
        let io = IoThreads::start(config.io_threads, config.compression).map_err(|source| Error::Spill {
            path: config.directory,
            offset: 0,
            action: "starting an I/O thread",
            source,
        })?;
        let block_bytes = config.block_bytes.max(SEGMENT_SIZE);
        let shared =
            ManagerShared { io, folder, counters: Arc::default(), open: Arc::default(), block_bytes, direct: config.direct };
        Ok(Self { shared: Arc::new(shared), own: None })
    }

    /// The same manager, whose [`SpillManager::stats`] count only what is spilled through this view and its clones.
    pub fn counted(&self) -> Self {
        Self { shared: self.shared.clone(), own: Some(Arc::default()) }
    }

    /// What was spilled so far.
    pub fn stats(&self) -> SpillStats {
        let counters = self.own.as_ref().unwrap_or(&self.shared.counters);
        SpillStats {
            bytes_written: counters.written.load(Relaxed),
            bytes_read: counters.read.load(Relaxed),
            files: counters.files.load(Relaxed),
            open_files: self.shared.open.load(Relaxed),
        }
    }

    /// A path for a file of other kinds that is not to outlive this process: it goes with the folder of the spill files.
    /// The file is not created.
    pub fn scratch(&self, operator: &str) -> PathBuf {
        self.shared.folder.next(operator)
    }

    /// Starts a run of rows of `shape`; `schema` describes them as their codec does, for the file's header.
    ///
    /// The writer takes one block buffer of the reservation now and up to two more while blocks are being written, of
    /// [`SpillManager::block_segments`] segments each or fewer if that is all there is: it works with one segment. Take
    /// the writer before the pool is exhausted, or give something back first.
    ///
    /// # Errors
    /// [`Error::Spill`] if the file cannot be created, [`Error::BudgetTooSmall`] if there is not one segment.
    pub fn writer(
        &self,
        operator: &str,
        shape: RowShape,
        schema: &str,
        reservation: &Reservation,
        waker: Option<Waker>,
    ) -> Result<RunWriter> {
        let mut segments = self.block_segments(reservation);
        let buffer = loop {
            match reservation.alloc_extent(segments) {
                Some(buffer) => break buffer,
                None if segments > 1 => segments /= 2,
                None => {
                    return Err(Error::BudgetTooSmall {
                        operator: operator.to_owned(),
                        needed: SEGMENT_SIZE,
                        available: 0,
                        budget: reservation.limit() * SEGMENT_SIZE,
                    });
                }
            }
        };
        self.writer_with(operator, shape, schema, reservation, vec![buffer], waker)
    }

    /// As [`SpillManager::writer`], with buffers that the caller already holds, all of one length, which is the block's.
    /// [`RunWriter::finish_with_buffers`] gives them back. Two or three let the worker fill one while others are written
    /// when the pool has nothing left.
    ///
    /// # Errors
    /// [`Error::Spill`] if the file cannot be created.
    ///
    /// # Panics
    /// If there is no buffer.
    pub fn writer_with(
        &self,
        operator: &str,
        shape: RowShape,
        schema: &str,
        reservation: &Reservation,
        buffers: Vec<Extent>,
        waker: Option<Waker>,
    ) -> Result<RunWriter> {
        let direct = self.shared.direct && buffers.iter().all(|b| b.segments() >= DIRECT);
        let counters = [&self.shared.counters].into_iter().chain(&self.own).cloned().collect();
        let file = SpillFile::create(self.shared.folder.next(operator), direct, &self.shared.open, counters)?;
        let header = SpillHeader { operator: operator.to_owned(), schema: schema.to_owned(), shape };
        block::write_header(&file, &header.encode())?;
        Ok(RunWriter::new(self.shared.clone(), file, shape, reservation, buffers, waker))
    }

    /// Segments of a block buffer under this reservation's budget: [`SpillConfig::block_bytes`], at most 1/256 of the
    /// budget, at least one.
    pub fn block_segments(&self, reservation: &Reservation) -> usize {
        (reservation.limit() / 256).clamp(1, self.shared.block_bytes / SEGMENT_SIZE)
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<ManagerShared> {
        &self.shared
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> PathBuf {
        self.shared.folder.path().to_owned()
    }
}

impl fmt::Debug for SpillManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillManager").field("folder", &self.shared.folder.path()).field("stats", &self.stats()).finish()
    }
}

/// A run is a file: many runs need many descriptors, and the soft limit is often 1024.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the struct they are given.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        tracing::debug!("the limit on open files could not be raised");
    }
}
