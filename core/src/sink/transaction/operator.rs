use super::TransactionalSink;
use crate::codec::RecordCodec;
use crate::{Batch, Data, Error, Operator, Output, Progress, Restored, Result, Snapshot, StateSection};
use std::collections::VecDeque;
use std::marker::PhantomData;

/// The state: transactions that are pre-committed and not known to be committed, in order.
const PENDING: &str = "pending transactions";

/// Writes records to transactions.
pub(super) struct WriteTransactions<T, S: TransactionalSink<T>> {
    sink: S,
    worker: usize,
    workers: usize,
    /// The epoch that what is written now belongs to.
    epoch: u64,
    /// Pre-committed, by the epoch that they end; in order.
    pending: VecDeque<(u64, S::Pending)>,
    codec: RecordCodec<Vec<S::Pending>>,
    recovered: bool,
    finished: bool,
    record: PhantomData<fn(T)>,
}

impl<T, S: TransactionalSink<T>> WriteTransactions<T, S> {
    pub(super) fn new(sink: S, worker: usize, workers: usize) -> Self {
        Self {
            sink,
            worker,
            workers,
            epoch: 0,
            pending: VecDeque::new(),
            codec: RecordCodec::new(),
            recovered: false,
            finished: false,
            record: PhantomData,
        }
    }

    /// Before the first call that writes, if nothing was restored.
    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.recovered, true) { Ok(()) } else { self.sink.recover(&[]) }
    }

    fn pre_commit(&mut self) -> Result<()> {
        let pending = self.sink.pre_commit(self.epoch)?;
        self.pending.extend(pending.map(|pending| (self.epoch, pending)));
        self.epoch += 1;
        Ok(())
    }
}

impl<T: Data, S: TransactionalSink<T>> Operator for WriteTransactions<T, S> {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        self.begin()?;
        batch.typed_records::<T>()?.into_iter().try_for_each(|record| self.sink.write(record))?;
        Ok(Progress::Done)
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.begin()?;
        // Where nobody keeps snapshots, none follows.
        self.pre_commit()?;
        self.finished = true;
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        if !self.finished {
            self.begin()?;
            self.epoch = epoch;
            self.pre_commit()?;
        }
        let pending = self.pending.iter().map(|(_, pending)| pending.clone()).collect();
        Ok(Snapshot { sections: vec![self.codec.section(PENDING, &pending)?], deferred: Vec::new() })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        self.epoch = state.epoch + 1;
        if let Some(other) = state.sections.iter().find(|section| section.name != PENDING) {
            return Err(Error::Plan(format!("a transactional sink has no state `{}`", other.name)));
        }
        // One section a former instance. Whatever order they come in, all instances agree on this one.
        let mut sections: Vec<&StateSection> = state.sections.iter().collect();
        sections.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
        let former = sections.into_iter().map(|s| self.codec.from_section(s)).collect::<Result<Vec<_>>>()?;
        self.recovered = true;
        self.sink.recover(&former.concat())?;
        // Those of one former instance stay together, in their order.
        let mine = former.into_iter().skip(self.worker).step_by(self.workers);
        mine.flatten().try_for_each(|pending| self.sink.commit(pending))
    }

    fn commits(&self) -> bool {
        true
    }

    /// Of the epochs before this one too: whoever was not told of theirs has them still.
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        while self.pending.front().is_some_and(|(of, _)| *of <= epoch)
            && let Some((_, pending)) = self.pending.pop_front()
        {
            self.sink.commit(pending)?;
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.sink.abort();
    }
}
