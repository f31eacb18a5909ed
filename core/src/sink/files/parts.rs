//! The files of one worker, without knowledge of dataflow: which are open, which are complete, which have their names.

use super::Settings;
use super::bucket::check;
use super::part::{Part, PendingPart};
use crate::io::{PendingFile, SealedFile, file_error};
use crate::{Data, Result};
use fluvial_memory::Reservation;
use std::collections::HashMap;
use std::sync::Arc;

/// A worker's files. Dropped, those that have no name yet are removed.
///
/// A file goes from open to complete ([`PartFiles::roll`]) and from complete to visible. With
/// [`transactional`](super::FileSink::transactional) the latter is a commit of two phases: [`PartFiles::precommit`] names the
/// files that belong to a checkpoint, as its state; [`PartFiles::commit`] makes them visible when it is complete, and
/// [`PartFiles::recover`] does in the job that continues from it. All three may be repeated.
pub(super) struct PartFiles<T> {
    settings: Arc<Settings<T>>,
    worker: usize,
    memory: Reservation,
    /// The number that the next file is tried with.
    next: u64,
    open: Vec<Part<T>>,
    /// Where the file of a bucket is in `open`.
    places: HashMap<String, usize>,
    /// The file that the last record went to.
    current: Option<usize>,
    /// Counts changes of `current`.
    steps: u64,
    /// Complete files that are still hidden.
    sealed: Vec<Sealed>,
    /// The epoch that files completed now belong to.
    epoch: u64,
}

struct Sealed {
    id: PendingPart,
    file: SealedFile,
    epoch: u64,
    /// Whether a checkpoint that is not complete yet has it in its state.
    promised: bool,
}

impl<T: Data> PartFiles<T> {
    pub(super) fn new(settings: Arc<Settings<T>>, worker: usize, memory: Reservation) -> Result<Self> {
        std::fs::create_dir_all(&settings.folder).map_err(|e| file_error(&settings.folder, e))?;
        Ok(Self {
            settings,
            worker,
            memory,
            next: 0,
            open: Vec::new(),
            places: HashMap::new(),
            current: None,
            steps: 0,
            sealed: Vec::new(),
            epoch: 0,
        })
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Appends a record to the file of its bucket. A file that reaches its size is rolled.
    #[inline]
    pub(super) fn append(&mut self, bucket: &str, record: &T, now: i64) -> Result<()> {
        let at = match self.current {
            Some(at) if self.open[at].id.bucket == bucket => at,
            _ => self.turn_to(bucket, now)?,
        };
        if self.open[at].append(record)? >= self.settings.roll_bytes { self.roll_one(at) } else { Ok(()) }
    }

    /// Makes the bucket's file the current one; opens one if there is none, and closes the one longest not used if there are
    /// too many.
    fn turn_to(&mut self, bucket: &str, now: i64) -> Result<usize> {
        let at = match self.places.get(bucket) {
            Some(at) => *at,
            None => {
                if self.open.len() >= self.settings.open_buckets
                    && let Some(oldest) = (0..self.open.len()).min_by_key(|at| self.open[*at].last_used)
                {
                    self.roll_one(oldest)?;
                }
                let part = self.open_part(bucket, now)?;
                self.open.push(part);
                self.places.insert(bucket.to_owned(), self.open.len() - 1);
                self.open.len() - 1
            }
        };
        self.steps += 1;
        self.open[at].last_used = self.steps;
        self.current = Some(at);
        Ok(at)
    }

    fn open_part(&mut self, bucket: &str, now: i64) -> Result<Part<T>> {
        let settings = &*self.settings;
        check(bucket)?;
        let folder = settings.folder.join(bucket);
        std::fs::create_dir_all(&folder).map_err(|e| file_error(&folder, e))?;
        loop {
            let id = PendingPart::new(bucket, self.worker, self.next, settings.form.extension());
            self.next += 1;
            let target = id.target(&settings.folder);
            // Numbers of an earlier job are passed over: nothing is ever replaced.
            if let Some(file) = PendingFile::create_as(&target, &id.hidden, settings.sync)? {
                let mut part = Part::new(id, target, file, settings, &self.memory)?;
                part.deadline = settings.roll_after.map_or(i64::MAX, |after| now.saturating_add(after));
                return Ok(part);
            }
        }
    }

    fn roll_one(&mut self, at: usize) -> Result<()> {
        let part = self.open.swap_remove(at);
        self.current = None;
        self.places.remove(&part.id.bucket);
        if let Some(moved) = self.open.get(at) {
            self.places.insert(moved.id.bucket.clone(), at);
        }
        let (id, file) = part.seal()?;
        if self.settings.transactional {
            self.sealed.push(Sealed { id, file, epoch: self.epoch, promised: false });
            Ok(())
        } else {
            file.commit().map(drop)
        }
    }

    /// Completes all open files: what comes later begins new ones.
    pub(super) fn roll(&mut self) -> Result<()> {
        while !self.open.is_empty() {
            self.roll_one(self.open.len() - 1)?;
        }
        Ok(())
    }

    /// Completes the files that have been open for as long as they may.
    pub(super) fn roll_due(&mut self, now: i64) -> Result<()> {
        while let Some(at) = self.open.iter().position(|part| part.deadline <= now) {
            self.roll_one(at)?;
        }
        Ok(())
    }

    /// When the next file has been open for as long as it may.
    pub(super) fn deadline(&self) -> Option<i64> {
        self.open.iter().map(|part| part.deadline).min().filter(|at| *at < i64::MAX)
    }

    /// The first phase, at the barrier that ends `epoch`: completes what is open, and gives the state that makes it visible
    /// later. That is everything complete and not yet visible: also what a checkpoint before, that failed, had in its state.
    pub(super) fn precommit(&mut self, epoch: u64) -> Result<Vec<PendingPart>> {
        self.epoch = epoch;
        if self.settings.transactional {
            self.roll()?;
        }
        self.epoch += 1;
        self.sealed.iter_mut().for_each(|sealed| sealed.promised = true);
        Ok(self.sealed.iter().map(|sealed| sealed.id.clone()).collect())
    }

    /// The second phase, when the checkpoint of `epoch` is complete, or the job has ended well in it.
    pub(super) fn commit(&mut self, epoch: u64) -> Result<()> {
        for sealed in std::mem::take(&mut self.sealed) {
            if sealed.epoch <= epoch {
                sealed.file.commit()?;
            } else {
                self.sealed.push(sealed);
            }
        }
        Ok(())
    }

    /// In a job that continues from a checkpoint: makes the files of its state visible. All instances may do so with all
    /// files.
    pub(super) fn recover(&mut self, epoch: u64, pending: &[PendingPart], next: u64) -> Result<()> {
        self.epoch = epoch + 1;
        self.next = self.next.max(next);
        pending.iter().try_for_each(|part| part.recover(&self.settings.folder))
    }

    /// Removes what is not visible, apart from files that the state of a checkpoint names: whoever continues from it needs them.
    pub(super) fn abort(&mut self) {
        self.open.clear();
        self.places.clear();
        self.current = None;
        for sealed in self.sealed.drain(..).filter(|sealed| sealed.promised) {
            // The job has its error already.
            drop(sealed.file.keep());
        }
    }
}
