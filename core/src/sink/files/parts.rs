//! The files of one worker, without knowledge of dataflow: which are open, which are complete, which have their names.

use super::Settings;
use super::bucket::check;
use super::journal::{Journal, Lengths, Lineage, sweep, sweep_at_end};
use super::part::{Part, PendingPart};
use crate::io::{PendingFile, SealedFile, file_error, sync_folder};
use crate::{Data, Result};
use fluvial_memory::Reservation;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A worker's files. Dropped, those that have no name yet are removed.
///
/// A file goes from open to complete ([`PartFiles::roll`]) and from complete to visible. With
/// [`transactional`](super::FileSink::transactional) the latter is a commit of two phases: [`PartFiles::precommit`] names the
/// files that belong to a checkpoint, as its state; [`PartFiles::commit`] makes them visible when it is complete, and
/// [`PartFiles::recover`] does in the job that continues from it. All three may be repeated. Without, a file is visible as
/// soon as it is complete, and a checkpoint completes what is open: what it covers is not lost, though what comes after it
/// is written again.
///
/// A process that is killed leaves files; at each point of a file's life: open or complete but named by no complete checkpoint,
/// it is removed by [`PartFiles::recover`]; named by one, it is given its name there; visible, it stays. What was on its way from
/// one to the next is found on either side.
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
    /// Complete files that are still hidden, in the order in which they became complete.
    sealed: VecDeque<Sealed>,
    /// The epoch that files completed now belong to.
    epoch: u64,
    /// Folders that got files since the last barrier.
    touched: BTreeSet<PathBuf>,
    /// Those of the runs whose state this one goes on from, and its own.
    lineages: BTreeSet<Lineage>,
    /// Notes the files of this run; begun with the first one.
    journal: Option<Journal>,
    /// Whether a checkpoint may count on files of this run.
    counted_on: bool,
    /// Journals of runs that this one goes on from, with their lines as of the checkpoint that it began with: needed as long as
    /// one may go back to a checkpoint before it.
    former: Lengths,
    /// Checkpoints completed since then.
    completed: usize,
    /// Whether the job has failed, or goes on elsewhere.
    aborted: bool,
}

/// After so many checkpoints nobody goes back to one from before them.
const KEPT: usize = 32;

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
        let lineages = [settings.lineage].into();
        Ok(Self {
            settings,
            worker,
            memory,
            next: 0,
            open: Vec::new(),
            places: HashMap::new(),
            current: None,
            steps: 0,
            sealed: VecDeque::new(),
            epoch: 0,
            touched: BTreeSet::new(),
            lineages,
            journal: None,
            counted_on: false,
            former: Lengths::new(),
            completed: 0,
            aborted: false,
        })
    }

    #[cfg(test)]
    pub(super) fn kill(mut self) {
        // The lock ends with the process.
        drop(self.journal.take());
        std::mem::forget(self);
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    pub(super) fn lineages(&self) -> &BTreeSet<Lineage> {
        &self.lineages
    }

    /// The lines of the journals: of this run's, and of those that it goes on from. Only where what was shown can be taken back.
    pub(super) fn lengths(&self) -> Vec<(String, u64)> {
        let own = self.journal.iter().filter(|_| self.settings.transactional).map(Journal::length);
        own.chain(self.former.iter().map(|(name, lines)| (name.clone(), *lines))).collect()
    }

    /// The journal. Before the first file, what a run of this program has left that failed before its first checkpoint is
    /// removed.
    fn journal(&mut self) -> Result<&mut Journal> {
        match &mut self.journal {
            Some(journal) => Ok(journal),
            none => {
                let folder = &self.settings.folder;
                if self.former.is_empty() {
                    sweep(folder, &self.lineages, &[], None)?;
                }
                // All instances agree on the smallest, wherever they run.
                let own = self.lineages.first().copied().unwrap_or(self.settings.lineage);
                Ok(none.insert(Journal::begin(folder, own)?))
            }
        }
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
        check(bucket)?;
        self.journal()?;
        let settings = &*self.settings;
        let folder = settings.folder.join(bucket);
        std::fs::create_dir_all(&folder).map_err(|e| file_error(&folder, e))?;
        loop {
            let id = PendingPart::new(bucket, self.worker, self.next, settings.form.extension());
            self.next += 1;
            if let Some(journal) = &mut self.journal {
                journal.intend(&id)?;
            }
            let target = id.target(&settings.folder);
            // Numbers of an earlier job are passed over: nothing is ever replaced.
            if let Some(file) = PendingFile::create_as(&target, &id.hidden, settings.sync)? {
                if let Some(journal) = &mut self.journal {
                    journal.note(&id, file.file())?;
                }
                self.touched.insert(folder);
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
            self.sealed.push_back(Sealed { id, file, epoch: self.epoch, promised: false });
            return Ok(());
        }
        file.commit_new(false)?;
        if self.settings.sync { sync_folder(&self.settings.folder.join(&id.bucket)) } else { Ok(()) }
    }

    /// Completes all open files: what comes later begins new ones.
    pub(super) fn roll(&mut self) -> Result<()> {
        while !self.open.is_empty() {
            self.roll_one(self.open.len() - 1)?;
        }
        Ok(())
    }

    /// No more records come: completes all files.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.roll()?;
        self.journal.as_mut().filter(|_| self.settings.transactional).map_or(Ok(()), Journal::end)
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
        self.roll()?;
        let touched = std::mem::take(&mut self.touched);
        if self.settings.sync {
            self.sync(&touched)?;
        }
        self.epoch += 1;
        self.counted_on |= self.settings.transactional;
        self.sealed.iter_mut().for_each(|sealed| sealed.promised = true);
        Ok(self.sealed.iter().map(|sealed| sealed.id.clone()).collect())
    }

    /// Waits until the names of new files, and of new folders on the way to them, are on the disk.
    fn sync(&self, touched: &BTreeSet<PathBuf>) -> Result<()> {
        let root = self.settings.folder.as_path();
        let within = |folder: &Path| folder.starts_with(root) || root.parent() == Some(folder);
        let folders = touched.iter().flat_map(|folder| folder.ancestors().take_while(|folder| within(folder)));
        folders.collect::<BTreeSet<&Path>>().into_iter().try_for_each(sync_folder)
    }

    /// The second phase, when the checkpoint of `epoch` is complete, or the job has ended well in it.
    pub(super) fn commit(&mut self, epoch: u64) -> Result<()> {
        let mut folders = BTreeSet::new();
        while self.sealed.front().is_some_and(|sealed| sealed.epoch <= epoch)
            && let Some(Sealed { id, file, promised, .. }) = self.sealed.pop_front()
        {
            folders.insert(self.settings.folder.join(&id.bucket));
            file.commit_new(promised)?;
        }
        self.completed += 1;
        if self.completed == KEPT {
            for (name, _) in std::mem::take(&mut self.former) {
                // Several instances have them: one of them removes it.
                let _ = std::fs::remove_file(self.settings.folder.join(name));
            }
        }
        if self.settings.sync { folders.iter().try_for_each(|folder| sync_folder(folder)) } else { Ok(()) }
    }

    /// In a job that continues from a checkpoint: makes the files of its state visible, and removes what else the runs have
    /// left that it goes on from. All instances may do so with all files.
    pub(super) fn recover(
        &mut self,
        epoch: u64,
        pending: &[PendingPart],
        next: u64,
        lineages: impl IntoIterator<Item = Lineage>,
        lengths: &Lengths,
    ) -> Result<()> {
        self.epoch = epoch + 1;
        self.next = self.next.max(next);
        let folder = &self.settings.folder;
        pending.iter().try_for_each(|part| part.recover(folder))?;
        // Those that had their names too: it may have been just before the end.
        let folders: BTreeSet<PathBuf> = pending.iter().map(|part| folder.join(&part.bucket)).collect();
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        let lineages: BTreeSet<Lineage> = lineages.into_iter().collect();
        if !lineages.is_empty() {
            self.lineages = lineages;
        }
        let lengths = self.settings.transactional.then_some(lengths);
        let kept = sweep(folder, &self.lineages, pending, lengths)?;
        // Also of those that are not dead yet.
        self.former = lengths.cloned().unwrap_or_default();
        for name in kept {
            self.former.entry(name).or_insert(0);
        }
        Ok(())
    }

    /// Removes what is not visible, apart from files that the state of a checkpoint names: whoever continues from it needs them.
    pub(super) fn abort(&mut self) {
        self.aborted = true;
        self.open.clear();
        self.places.clear();
        self.current = None;
        for sealed in self.sealed.drain(..).filter(|sealed| sealed.promised) {
            // The job has its error already.
            drop(sealed.file.keep());
        }
        if self.counted_on {
            // Whoever goes on, from the last checkpoint or from one before it, finds in the journal what is left here.
            self.journal = None;
        }
    }
}

impl<T> Drop for PartFiles<T> {
    /// What is hidden is removed with it; what is visible needs no journal.
    fn drop(&mut self) {
        if let Some(journal) = self.journal.take() {
            journal.remove();
        }
        if !self.aborted {
            // Nobody goes on from before the end of a job that has ended. What cannot be removed is hidden.
            let _ = sweep_at_end(&self.settings.folder, &self.lineages, &self.former);
        }
    }
}
