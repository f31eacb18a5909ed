use super::control::{ControlRecord, LoopSettings};
use super::state::LoopState;
use super::store::{BatchStore, StoreCursor, Stored};
use super::{Decision, IterationHead, STORE_SEGMENTS, Superstep};
use crate::codec::RecordCodec;
use crate::graph::{SuperstepReport, TaskContext};
use crate::runtime::BatchCodec;
use crate::{Batch, Error, Output, Progress, Restored, Result, Snapshot};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Segments that a head reserves.
pub(super) const HEAD_SEGMENTS: usize = 2 * STORE_SEGMENTS;

/// Names of the sections of a snapshot: how far the loop is; batches of the next superstep, of the worker that follows.
const POSITION: &str = "loop";
const PARTIAL: &str = "partial ";

/// How far a loop is, between supersteps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Whether superstep 0 has run.
    begun: bool,
    /// The next superstep.
    superstep: u64,
    /// By aggregator: the value of the last superstep.
    values: Vec<Vec<u8>>,
}

/// The head of a bulk or delta loop: keeps what the next superstep begins with, and decides whether there is one.
pub(super) struct Head {
    settings: Arc<LoopSettings>,
    id: u64,
    state: Rc<LoopState>,
    context: TaskContext,
    /// What the superstep at hand is given, and what comes back of it.
    current: BatchStore,
    next: BatchStore,
    cursor: StoreCursor,
    controls: Vec<ControlRecord>,
    position: Position,
    /// The decision was taken before the job was restored.
    decided: bool,
    since: Instant,
}

impl Head {
    pub(super) fn open(
        settings: Arc<LoopSettings>,
        id: u64,
        codec: Option<Arc<dyn BatchCodec>>,
        context: &TaskContext,
    ) -> Result<Self> {
        Ok(Self {
            settings,
            id,
            state: LoopState::anew(id),
            current: BatchStore::open(context, codec.clone())?,
            next: BatchStore::open(context, codec)?,
            context: context.clone(),
            cursor: StoreCursor::default(),
            controls: Vec::new(),
            position: Position::default(),
            decided: false,
            since: Instant::now(),
        })
    }

    /// What came back is what goes into the next superstep.
    fn turn(&mut self) {
        self.current.clear();
        std::mem::swap(&mut self.current, &mut self.next);
        self.cursor = StoreCursor::default();
    }

    /// Sends what the store at hand has.
    fn send(&mut self, port: usize, out: &mut dyn Output) -> Result<Progress> {
        if self.current.close()? != Progress::Done {
            return Ok(Progress::Waiting);
        }
        loop {
            match self.current.take(&mut self.cursor)? {
                Stored::Batch(batch) => out.send(port, batch)?,
                Stored::Waiting => return Ok(Progress::Waiting),
                Stored::End => {
                    self.current.clear();
                    self.cursor = StoreCursor::default();
                    return Ok(Progress::Done);
                }
            }
            if out.congested(port) {
                return Ok(Progress::More);
            }
        }
    }

    fn report(&mut self, superstep: u64, records: u64, values: &[Box<dyn Any>]) {
        if self.context.worker != 0 {
            return;
        }
        let number = |(i, value): (usize, &Box<dyn Any>)| {
            let number = self.settings.aggregates[i].number(value.as_ref())?;
            Some((self.settings.names[i].clone(), number))
        };
        let now = Instant::now();
        self.context.metrics.superstep_ended(SuperstepReport {
            superstep,
            workset: records,
            values: values.iter().enumerate().filter_map(number).collect(),
            seconds: (now - self.since).as_secs_f64(),
        });
        self.since = now;
    }
}

impl IterationHead for Head {
    fn enter(&mut self, _input: usize, batch: Batch) -> Result<Progress> {
        self.current.push(batch)
    }

    fn feed_back(&mut self, input: usize, batch: Batch) -> Result<Progress> {
        if input == 0 {
            return self.next.push(batch);
        }
        self.controls.extend(batch.typed_records::<ControlRecord>()?);
        Ok(Progress::Done)
    }

    fn resume(&mut self) -> Result<Progress> {
        match self.current.resume()? {
            Progress::Done => self.next.resume(),
            other => Ok(other),
        }
    }

    fn decide(&mut self) -> Result<Decision> {
        if std::mem::take(&mut self.decided) {
            return Ok(Decision::Next { epoch: 0 });
        }
        if !std::mem::replace(&mut self.position.begun, true) {
            return Ok(if self.settings.max == 0 { Decision::Stop } else { Decision::Next { epoch: 0 } });
        }
        let controls = std::mem::take(&mut self.controls);
        if controls.len() != self.context.workers {
            let what = format!("superstep {} has ended with {} control records", self.position.superstep, controls.len());
            return Err(Error::Plan(format!("{what} of {} workers", self.context.workers)));
        }
        let merged = self.settings.merge(controls)?;
        let ended = Superstep {
            number: self.position.superstep,
            results: merged.counts[0],
            criteria: &merged.counts[1..],
            values: &merged.values,
        };
        let stops = (self.settings.stop)(&ended) || self.position.superstep + 1 >= self.settings.max;
        self.report(self.position.superstep, merged.counts[0], &merged.values);
        self.position.superstep += 1;
        self.state.set_last(merged.values);
        self.turn();
        Ok(if stops { Decision::Stop } else { Decision::Next { epoch: merged.requested } })
    }

    fn begin(&mut self) -> Result<()> {
        self.state.set_superstep(self.position.superstep);
        Ok(())
    }

    fn release(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.send(0, out)
    }

    fn deliver(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let progress = if self.settings.delivers { self.send(1, out)? } else { Progress::Done };
        if progress == Progress::Done {
            self.current.clear();
        }
        Ok(progress)
    }

    fn requested(&mut self, epoch: u64) {
        self.state.set_requested(epoch);
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let values = self.state.stored_values(&self.settings.aggregates)?;
        let position = Position { values, ..self.position.clone() };
        let mut sections = vec![RecordCodec::new().section(POSITION, &position)?];
        sections.extend(self.current.snapshot(&format!("{PARTIAL}{}", self.context.worker))?);
        Ok(Snapshot { sections, ..Snapshot::default() })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        let codec = RecordCodec::<Position>::new();
        for section in &state.sections {
            if section.name == POSITION {
                self.position = codec.read_section(section)?;
            }
            let of_worker = section.name.strip_prefix(PARTIAL).and_then(|worker| worker.parse::<usize>().ok());
            if of_worker.is_some_and(|worker| worker % self.context.workers == self.context.worker) {
                for batch in self.current.batches_of(section)? {
                    self.current.push(batch)?;
                }
            }
        }
        self.decided = self.position.begun;
        self.state.set_superstep(self.position.superstep);
        let values = self.settings.aggregates.iter().zip(&self.position.values);
        let values = values.map(|(aggregate, bytes)| aggregate.load(bytes)).collect::<Result<Vec<_>>>()?;
        self.state.set_last(values);
        Ok(())
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        LoopState::forget(self.id);
    }
}
