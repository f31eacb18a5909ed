use super::Settings;
use super::bucket::Buckets;
use super::journal::{Lengths, Lineage};
use super::part::PendingPart;
use super::parts::PartFiles;
use crate::codec::RecordCodec;
use crate::{Batch, Data, Error, Operator, Output, Progress, Restored, Result, Snapshot};
use std::sync::Arc;

/// The state: complete files that have no name yet.
const PENDING: &str = "pending";
/// The state: the number of the next file.
const NEXT: &str = "next";
/// The state: which runs have files that a job which goes on from here may find left behind.
const LINEAGES: &str = "lineages";
/// The state: how long the journals of this run were.
const JOURNALS: &str = "journals";

/// Processing time, in milliseconds UTC.
type Now = Box<dyn Fn() -> i64>;

/// Writes records to files.
pub(super) struct WriteFiles<T> {
    settings: Arc<Settings<T>>,
    files: PartFiles<T>,
    buckets: Buckets<T>,
    now: Now,
    /// The timer that has been asked for.
    alarm: Option<i64>,
}

impl<T: Data> WriteFiles<T> {
    pub(super) fn new(settings: Arc<Settings<T>>, files: PartFiles<T>, now: Now) -> Self {
        let buckets = Buckets::new(settings.levels.clone());
        Self { settings, files, buckets, now, alarm: None }
    }

    /// Ends as a process does that is killed: nothing is flushed, nothing removed.
    #[cfg(test)]
    pub(super) fn kill(self) {
        self.files.kill();
    }

    /// Has the operator called when the next file is due. One timer at a time: a file opened later is due later.
    fn set_alarm(&mut self, out: &mut dyn Output) {
        if self.alarm.is_none()
            && let Some(deadline) = self.files.deadline()
        {
            out.set_timer(deadline);
            self.alarm = Some(deadline);
        }
    }
}

impl<T: Data> Operator for WriteFiles<T> {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times = batch.event_times.take();
        let records = batch.typed_records::<T>()?;
        let now = (self.now)();
        for (at, record) in records.iter().enumerate() {
            let time = times.as_ref().and_then(|t| t.get(at)).copied().unwrap_or(i64::MIN);
            let bucket = self.buckets.of(record, time)?;
            self.files.append(bucket, record, now)?;
        }
        self.set_alarm(out);
        Ok(Progress::Done)
    }

    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.files.roll_due(now)?;
            self.set_alarm(out);
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.files.finish()?;
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        let pending = self.files.precommit(epoch)?;
        let lineages: Vec<Lineage> = self.files.lineages().iter().copied().collect();
        let sections = vec![
            RecordCodec::new().section(PENDING, &pending)?,
            RecordCodec::new().section(NEXT, &self.files.next_number())?,
            RecordCodec::new().section(LINEAGES, &lineages)?,
            RecordCodec::new().section(JOURNALS, &self.files.lengths())?,
        ];
        Ok(Snapshot { sections, deferred: Vec::new() })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        let (mut pending, mut next, mut lineages, mut lengths) = (Vec::new(), 0, Vec::new(), Lengths::new());
        for section in &state.sections {
            match section.name.as_str() {
                PENDING => pending.extend(RecordCodec::<Vec<PendingPart>>::new().read_section(section)?),
                NEXT => next = next.max(RecordCodec::new().read_section(section)?),
                LINEAGES => lineages.extend(RecordCodec::<Vec<Lineage>>::new().read_section(section)?),
                JOURNALS => {
                    for (journal, lines) in RecordCodec::<Vec<(String, u64)>>::new().read_section(section)? {
                        // An instance may have seen the journal of another one before there was anything in it.
                        let known = lengths.entry(journal).or_default();
                        *known = lines.max(*known);
                    }
                }
                other => return Err(Error::Plan(format!("files have no state `{other}`"))),
            }
        }
        self.files.recover(state.epoch, &pending, next, lineages, &lengths)
    }

    fn commits(&self) -> bool {
        self.settings.transactional
    }

    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.files.commit(epoch)
    }

    fn abort(&mut self) {
        self.files.abort();
    }
}
