use super::store::{BatchStore, Seen, StoreCursor};
use crate::graph::{OperatorFactory, TaskContext};
use crate::runtime::{BatchCodec, Partitioner};
use crate::{Batch, Operator, Output, Progress, Records, Restored, Result, Shared, Snapshot};
use fluvial_memory::hash;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// An input of an operator in a loop.
#[derive(Clone)]
pub(crate) struct LoopInput {
    /// Whether it comes from outside the loop: the same in each superstep.
    pub(crate) constant: bool,
    /// Whether the others are of no use before it has ended.
    pub(crate) build: bool,
    /// Turns its batches into bytes.
    pub(crate) codec: Option<Arc<dyn BatchCodec>>,
    /// How it is spread over the workers.
    pub(crate) spread: Spread,
}

/// How the batches of an input are spread, for a job that is restored with other workers.
#[derive(Clone)]
pub(crate) enum Spread {
    /// Any worker may have any record.
    Anyhow,
    /// Every worker has all records.
    Everywhere,
    /// By key.
    ByKey(Arc<dyn Fn() -> Box<dyn Partitioner> + Send + Sync>),
}

/// What is to be done in a superstep, in turn.
enum Task {
    /// Give the operator what a constant input brought.
    Replay(usize),
    /// Give it a batch.
    Batch(usize, Batch),
    EndInput(usize),
    /// Event time is over, as far as one superstep is concerned.
    EndTime,
    Finish,
    /// The superstep is over.
    Renew,
}

/// What instances share ([`OperatorContext::shared`](crate::OperatorContext::shared)) is of one superstep. Workers are in the same one, or
/// one has gone on to the next.
#[derive(Default)]
struct SharedBySuperstep(Mutex<BTreeMap<u64, Arc<Shared>>>);

impl SharedBySuperstep {
    fn of(&self, superstep: u64) -> Arc<Shared> {
        let mut shared = self.0.lock().unwrap_or_else(|e| e.into_inner());
        shared.retain(|other, _| other + 1 >= superstep);
        shared.entry(superstep).or_default().clone()
    }
}

/// Runs an operation that gives its results at the end of its input once a superstep: each time on a new operator, which gets
/// what the superstep brings, and what comes from outside the loop, kept here, once more. The input that a join builds its table of
/// comes before the others where it is constant, so that these stream through.
///
/// An operator that can begin again by itself ([`Operator::begin_again`]) is not made anew, and need not be given again
/// what it has kept.
///
/// Invariant: memory is reserved once, for all supersteps: the operators of one superstep after the other share it.
pub(crate) struct EachSuperstep {
    make: OperatorFactory,
    context: TaskContext,
    inputs: Vec<LoopInput>,
    /// What constant inputs brought.
    stores: Vec<Option<BatchStore>>,
    cursor: StoreCursor,
    operator: Option<Box<dyn Operator>>,
    /// Whether the operator at hand has kept the constant inputs of the superstep before.
    kept: bool,
    /// Whether the superstep at hand has begun.
    begun: bool,
    tasks: VecDeque<Task>,
    /// What the operators of one superstep share on the workers of the process.
    shared: Arc<SharedBySuperstep>,
    superstep: u64,
    /// The operator said that it is not done with a call.
    busy: bool,
    /// Whether the stores are needed though the operator keeps what they have.
    checkpointed: bool,
}

impl EachSuperstep {
    /// `segments` are what the operation itself reserves.
    pub(crate) fn open(
        make: OperatorFactory,
        inputs: Vec<LoopInput>,
        segments: usize,
        checkpointed: bool,
        context: &TaskContext,
    ) -> Result<Self> {
        let reservation = context.reserve(segments)?;
        let store = |input: &LoopInput| input.constant.then(|| BatchStore::open(context, input.codec.clone())).transpose();
        let stores = inputs.iter().map(store).collect::<Result<_>>()?;
        Ok(Self {
            make,
            context: context.clone().with_own(reservation),
            inputs,
            stores,
            cursor: StoreCursor::default(),
            operator: None,
            kept: false,
            begun: false,
            tasks: VecDeque::new(),
            shared: context.shared(SharedBySuperstep::default),
            superstep: 0,
            busy: false,
            checkpointed,
        })
    }

    /// Whether constant inputs wait for what the superstep brings: that is what the table is built of.
    fn constants_last(&self) -> bool {
        self.inputs.iter().any(|input| input.build && !input.constant)
    }

    fn constants(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.inputs.len()).filter(|i| self.inputs[*i].constant)
    }

    /// The first thing of a superstep has come.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) && !self.constants_last() {
            self.tasks.extend(self.replays());
        }
    }

    /// Tasks that give the operator what constant inputs brought, and end these.
    fn replays(&self) -> Vec<Task> {
        let task = |input| {
            let replay = (!self.kept).then_some(Task::Replay(input));
            replay.into_iter().chain([Task::EndInput(input)])
        };
        self.constants().flat_map(task).collect()
    }

    /// Does what is to be done, as far as it can be done now.
    fn work(&mut self, out: &mut dyn Output) -> Result<Progress> {
        loop {
            if self.busy {
                let progress = self.operator.as_mut().map_or(Ok(Progress::Done), |o| o.resume(out))?;
                self.busy = progress != Progress::Done;
                if self.busy {
                    return Ok(progress);
                }
            }
            let Some(task) = self.tasks.pop_front() else { return Ok(Progress::Done) };
            let operator = match &mut self.operator {
                Some(operator) => operator,
                none => {
                    let context = self.context.clone().with_shared(self.shared.of(self.superstep));
                    let mut operator = (self.make)(&context)?;
                    operator.open(&context)?;
                    none.insert(operator)
                }
            };
            let progress = match task {
                Task::Batch(input, batch) => operator.process(input, batch, out)?,
                Task::EndInput(input) => operator.end_input(input, out)?,
                Task::EndTime => operator.on_watermark(i64::MAX, out)?,
                Task::Replay(input) => {
                    let Some(store) = &mut self.stores[input] else { continue };
                    if store.close()? != Progress::Done {
                        self.tasks.push_front(task);
                        return Ok(Progress::Waiting);
                    }
                    let progress = match store.see(&mut self.cursor)? {
                        Seen::Kept(batch) => operator.replay(input, batch, out)?,
                        Seen::Read(batch) => operator.process(input, batch, out)?,
                        Seen::Waiting => {
                            self.tasks.push_front(task);
                            return Ok(Progress::Waiting);
                        }
                        Seen::End => {
                            self.cursor = StoreCursor::default();
                            continue;
                        }
                    };
                    self.tasks.push_front(task);
                    progress
                }
                Task::Finish => match operator.finish(out)? {
                    Progress::Done => continue,
                    other => {
                        self.tasks.push_front(Task::Finish);
                        return Ok(other);
                    }
                },
                Task::Renew => {
                    self.renew()?;
                    continue;
                }
            };
            if progress != Progress::Done {
                self.busy = true;
                return Ok(progress);
            }
            if out.congested(0) && !self.tasks.is_empty() {
                return Ok(Progress::More);
            }
        }
    }

    fn renew(&mut self) -> Result<()> {
        self.begun = false;
        self.superstep += 1;
        let constant: Vec<bool> = self.inputs.iter().map(|input| input.constant).collect();
        self.kept = match &mut self.operator {
            Some(operator) => operator.begin_again(&constant)?,
            None => false,
        };
        if !self.kept {
            self.operator = None;
        } else if !self.checkpointed {
            self.stores.iter_mut().flatten().for_each(BatchStore::clear);
        }
        Ok(())
    }
}

impl Operator for EachSuperstep {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        if let Some(store) = &mut self.stores[input] {
            return store.push(batch);
        }
        self.begin();
        self.tasks.push_back(Task::Batch(input, batch));
        self.work(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        for store in self.stores.iter_mut().flatten() {
            if store.resume()? != Progress::Done {
                return Ok(Progress::Waiting);
            }
        }
        self.work(out)
    }

    fn end_superstep(&mut self, _superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        self.begin();
        let changing = (0..self.inputs.len()).filter(|i| !self.inputs[*i].constant);
        let (build, others): (Vec<_>, Vec<_>) = changing.partition(|i| self.inputs[*i].build);
        self.tasks.extend(build.into_iter().map(Task::EndInput));
        if self.constants_last() {
            self.tasks.extend(self.replays());
        }
        self.tasks.push_back(Task::EndTime);
        self.tasks.extend(others.into_iter().map(Task::EndInput));
        self.tasks.extend([Task::Finish, Task::Renew]);
        self.work(out)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        for (input, store) in self.stores.iter_mut().enumerate() {
            let name = format!("constant {input} {}", self.context.worker);
            snapshot.sections.extend(store.as_mut().map_or(Ok(Vec::new()), |store| store.snapshot(&name))?);
        }
        Ok(snapshot)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        let (worker, workers) = (self.context.worker, self.context.workers);
        for section in &state.sections {
            let place = section.name.strip_prefix("constant ").and_then(|name| name.split_once(' '));
            let Some((input, former)) = place.and_then(|(i, w)| Some((i.parse::<usize>().ok()?, w.parse::<usize>().ok()?)))
            else {
                continue;
            };
            let Some(store) = self.stores.get_mut(input).and_then(Option::as_mut) else { continue };
            match &self.inputs[input].spread {
                Spread::Anyhow if former % workers != worker => {}
                Spread::Everywhere if former != 0 => {}
                Spread::Anyhow | Spread::Everywhere => {
                    for batch in store.batches_of(section)? {
                        store.push(batch)?;
                    }
                }
                Spread::ByKey(make) => {
                    let mut partitioner = make();
                    for batch in store.batches_of(section)? {
                        let mut keep =
                            |target: usize, piece: Batch| if target == worker { store.push(piece).map(drop) } else { Ok(()) };
                        split(&mut *partitioner, batch, workers, &mut keep)?;
                    }
                    let mut keep =
                        |target: usize, piece: Batch| if target == worker { store.push(piece).map(drop) } else { Ok(()) };
                    partitioner.flush(workers, &mut keep)?;
                }
            }
        }
        Ok(())
    }

    fn abort(&mut self) {
        if let Some(operator) = &mut self.operator {
            operator.abort();
        }
    }
}

/// Splits a batch as its edge would have. Rows that a partitioner made of records go by the same hash of their keys.
fn split(
    partitioner: &mut dyn Partitioner,
    batch: Batch,
    workers: usize,
    emit: &mut dyn FnMut(usize, Batch) -> Result<()>,
) -> Result<()> {
    let Records::Rows(rows) = &batch.records else { return partitioner.split(batch, workers, emit) };
    let mut parts: Vec<_> = (0..workers).map(|_| fluvial_memory::RowBatch::new(rows.shape())).collect();
    for i in 0..rows.len() {
        parts[hash::target(hash::hash_bytes(rows.key(i)), workers)].push_row(rows.row(i));
    }
    let filled = parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty());
    filled.into_iter().try_for_each(|(target, part)| emit(target, Batch::rows(part)))
}
