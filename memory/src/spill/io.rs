//! The I/O threads, what they are asked to do and how they answer.

use super::file::{AlignedBuffer, SpillFile};
use super::run::Block;
use super::{Compression, block};
use crate::{Error, Extent, Result, Waker};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

/// A block to move.
pub(super) struct Job {
    pub(super) file: Arc<SpillFile>,
    /// Number of the block in its run.
    pub(super) index: usize,
    /// Where the block lies; for a write only `bytes` and `rows` are known.
    pub(super) block: Block,
    pub(super) write: bool,
    pub(super) buffer: Extent,
    pub(super) answer: Arc<Mailbox>,
}

/// A block that was moved.
pub(super) struct Done {
    pub(super) index: usize,
    pub(super) block: Block,
    pub(super) buffer: Extent,
    pub(super) result: Result<()>,
}

/// Where a writer or reader finds the answers to its jobs.
pub(super) struct Mailbox {
    done: Mutex<Vec<Done>>,
    arrived: Condvar,
    waker: Option<Waker>,
}

impl Mailbox {
    pub(super) fn new(waker: Option<Waker>) -> Arc<Self> {
        Arc::new(Self { done: Mutex::default(), arrived: Condvar::new(), waker })
    }

    /// Whether the owner would rather be woken than wait.
    pub(super) fn wakes(&self) -> bool {
        self.waker.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits for an answer; the caller knows that a job is outstanding.
    pub(super) fn wait(&self) -> Vec<Done> {
        let mut done = self.lock();
        while done.is_empty() {
            done = self.arrived.wait(done).unwrap_or_else(|e| e.into_inner());
        }
        std::mem::take(&mut *done)
    }

    fn put(&self, done: Done) {
        self.lock().push(done);
        self.arrived.notify_one();
        if let Some(waker) = &self.waker {
            waker();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Done>> {
        self.done.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Files made, and bytes moved, as they lie on disk.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) files: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) read: AtomicU64,
}

/// The threads; joined when dropped, after all their jobs are done.
pub(super) struct IoThreads {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl IoThreads {
    pub(super) fn start(count: usize, compression: Compression) -> std::io::Result<Self> {
        let (jobs, queue) = unbounded();
        let mut threads = Vec::new();
        for i in 0..count.max(1) {
            let queue = queue.clone();
            let thread = thread::Builder::new().name(format!("spill-io-{i}"));
            threads.push(thread.spawn(move || serve(&queue, compression))?);
        }
        Ok(Self { jobs: Some(jobs), threads })
    }

    pub(super) fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && let Err(refused) = jobs.send(job)
        {
            // Every thread is gone, which takes a panic in one: answer, so that nobody waits for ever.
            let Job { file, index, block, buffer, answer, write } = refused.into_inner();
            let action = if write { "write" } else { "read" };
            let source = std::io::Error::other("the spill I/O threads have ended");
            let error = Error::Spill { path: file.path().to_owned(), offset: block.offset, action, source };
            answer.put(Done { index, block, buffer, result: Err(error) });
        }
    }
}

impl Drop for IoThreads {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // The last owner may be dropped by a waker, on one of these threads.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::warn!("a spill I/O thread panicked");
            }
        }
    }
}

fn serve(queue: &Receiver<Job>, compression: Compression) {
    let mut scratch = AlignedBuffer::default();
    for Job { file, index, mut block, write, mut buffer, answer } in queue {
        let result = if write {
            let written = block::write(&file, &mut buffer, block.bytes as usize, block.rows, compression, &mut scratch);
            written.map(|(offset, stored)| {
                (block.offset, block.stored, block.compressed) = (offset, stored, stored < block.bytes);
                file.written(u64::from(stored));
            })
        } else {
            file.was_read(u64::from(block.stored));
            block::read(&file, &block, &mut buffer, &mut scratch)
        };
        // The file is released before the answer: whoever has the last answer may count on the file being gone.
        drop(file);
        answer.put(Done { index, block, buffer, result });
    }
}
