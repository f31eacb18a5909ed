//! Drives an [`Operator`] outside of loops: brings it batches while its outputs have room, tells it of watermarks,
//! barriers and ends, and holds its capability at what has been announced.

use super::failure::guard;
use super::inlet::{Arrived, Inlet};
use super::instance::Instance;
use super::job::flatten;
use super::permit::Permit;
use super::time::Time;
use crate::{Batch, Operator, Output, Progress, Result};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use timely::progress::frontier::MutableAntichain;

/// An activation ends after this long, so that the worker's other operators have their turn.
const SLICE: Duration = Duration::from_millis(5);

pub(super) struct OperatorHarness {
    pub instance: Instance,
    pub operator: Option<Box<dyn Operator>>,
    inlets: Vec<Inlet>,
    /// The input that is looked at first.
    turn: usize,
    /// What the operator has not done with yet.
    pending: Option<Pending>,
    epoch: u64,
    watermark: i64,
    /// Batches of later epochs, by epoch.
    stash: BTreeMap<u64, VecDeque<Stashed>>,
    /// Batches of this epoch that come before those on the channels.
    ready: VecDeque<Stashed>,
    finished: bool,
}

struct Stashed {
    input: usize,
    time: Time,
    batch: Batch,
}

/// A call that the operator wants to go on with.
struct Pending {
    call: Call,
    /// Whether it waits for I/O rather than for its turn.
    waiting: bool,
    _permit: Permit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Batch,
    Watermark(i64),
    EndInput,
    Timer,
    Finish,
}

/// What the inputs' frontiers say.
struct View {
    ended: Vec<bool>,
    all_ended: bool,
    epoch: u64,
    watermark: i64,
}

impl View {
    fn of(frontiers: &[MutableAntichain<Time>]) -> Self {
        let times = || frontiers.iter().flat_map(|f| f.frontier().iter().copied().collect::<Vec<_>>());
        let ended: Vec<bool> = frontiers.iter().map(MutableAntichain::is_empty).collect();
        Self {
            all_ended: ended.iter().all(|e| *e),
            ended,
            epoch: times().map(|t| t.epoch).min().unwrap_or(u64::MAX),
            watermark: times().map(|t| t.watermark).min().unwrap_or(i64::MAX),
        }
    }
}

/// What one step of the harness did.
enum Step {
    Worked,
    Blocked,
    Idle,
}

impl Drop for OperatorHarness {
    /// A worker that dies in the middle of a job drops what it runs.
    fn drop(&mut self) {
        self.discard();
    }
}

impl OperatorHarness {
    pub(super) fn new(instance: Instance, operator: Option<Box<dyn Operator>>, inlets: Vec<Inlet>) -> Self {
        Self {
            instance,
            operator,
            inlets,
            turn: 0,
            pending: None,
            epoch: 0,
            watermark: i64::MIN,
            stash: BTreeMap::new(),
            ready: VecDeque::new(),
            finished: false,
        }
    }

    /// One activation. True while the instance must be kept.
    pub(super) fn activate(&mut self, frontiers: &[MutableAntichain<Time>]) -> bool {
        self.instance.begin();
        if self.instance.job.aborted() {
            self.discard();
            return false;
        }
        let start = Instant::now();
        if let Err(error) = self.run(start, frontiers) {
            self.instance.fail(error);
            self.discard();
            return false;
        }
        self.instance.end(start);
        !self.finished || !self.instance.committed()
    }

    fn run(&mut self, start: Instant, frontiers: &[MutableAntichain<Time>]) -> Result<()> {
        if self.finished {
            if self.instance.committed() {
                if let Some(mut operator) = self.operator.take() {
                    let epoch = self.epoch;
                    flatten(guard(|| operator.checkpoint_complete(epoch)))?;
                }
            }
            return Ok(());
        }
        let view = View::of(frontiers);
        let mut steps = 0u32;
        loop {
            match self.step(&view)? {
                Step::Blocked => return Ok(()),
                Step::Idle => return self.instance.outlets.flush(),
                Step::Worked => {}
            }
            steps += 1;
            if steps.is_multiple_of(8) && start.elapsed() > SLICE {
                self.instance.again();
                return Ok(());
            }
        }
    }

    fn step(&mut self, view: &View) -> Result<Step> {
        if self.finished {
            return Ok(Step::Idle);
        }
        if self.instance.blocked() {
            return Ok(Step::Blocked);
        }
        if let Some(pending) = &self.pending {
            let again = if pending.call == Call::Finish {
                self.call(|o, out| o.finish(out))?
            } else {
                self.call(|o, out| o.resume(out))?
            };
            return self.settle(again);
        }
        if let Some(now) = self.instance.due_timer() {
            let progress = self.call(|o, out| o.on_timer(now, out))?;
            return self.begin(Call::Timer, progress, Permit::None);
        }
        if let Some(step) = self.progress(view)? {
            return Ok(step);
        }
        if let Some(stashed) = self.ready.pop_front() {
            return self.deliver(stashed.input, stashed.batch, Permit::None);
        }
        for _ in 0..self.inlets.len() {
            let input = self.turn;
            self.turn = (self.turn + 1) % self.inlets.len();
            if let Some(Arrived { batch, permit, capability }) = self.inlets[input].next()? {
                let time = *capability.time();
                if time.epoch > self.epoch && self.instance.job.options.exactly_once {
                    self.stash.entry(time.epoch).or_default().push_back(Stashed { input, time, batch });
                    return Ok(Step::Worked);
                }
                return self.deliver(input, batch, permit);
            }
        }
        Ok(Step::Idle)
    }

    fn deliver(&mut self, input: usize, batch: Batch, permit: Permit) -> Result<Step> {
        self.instance.records_in += batch.len() as u64;
        self.instance.batches_in += 1;
        let progress = self.call(|o, out| o.process(input, batch, out))?;
        self.begin(Call::Batch, progress, permit)
    }

    /// Announces what the frontiers say, one thing at a time. `None`: there is nothing to announce.
    fn progress(&mut self, view: &View) -> Result<Option<Step>> {
        let held_back = self.ready.iter().chain(self.stash.values().flatten()).map(|s| s.time.watermark).min();
        let watermark = view.watermark.min(held_back.unwrap_or(i64::MAX));
        if watermark > self.watermark {
            let progress = self.call(|o, out| o.on_watermark(watermark, out))?;
            return self.begin(Call::Watermark(watermark), progress, Permit::None).map(Some);
        }
        let at_rest = |input: usize| !self.ready.iter().chain(self.stash.values().flatten()).any(|s| s.input == input);
        let ended = (0..self.inlets.len()).find(|i| view.ended[*i] && !self.inlets[*i].ended && at_rest(*i));
        if let Some(input) = ended {
            self.inlets[input].ended = true;
            let progress = self.call(|o, out| o.end_input(input, out))?;
            return self.begin(Call::EndInput, progress, Permit::None).map(Some);
        }
        if view.all_ended && self.ready.is_empty() && self.stash.is_empty() {
            let progress = self.call(|o, out| o.finish(out))?;
            return self.begin(Call::Finish, progress, Permit::None).map(Some);
        }
        Ok(None)
    }

    fn begin(&mut self, call: Call, progress: Progress, permit: Permit) -> Result<Step> {
        self.pending = Some(Pending { call, waiting: false, _permit: permit });
        self.settle(progress)
    }

    /// Takes what the operator said to the pending call.
    fn settle(&mut self, progress: Progress) -> Result<Step> {
        let Some(pending) = &mut self.pending else { return Ok(Step::Worked) };
        pending.waiting = progress == Progress::Waiting;
        match progress {
            Progress::More => return Ok(Step::Worked),
            Progress::Waiting => return Ok(Step::Blocked),
            Progress::Done => {}
        }
        let call = pending.call;
        self.pending = None;
        match call {
            Call::Batch | Call::EndInput | Call::Timer => {}
            Call::Watermark(watermark) => {
                self.watermark = watermark;
                if watermark < i64::MAX {
                    self.instance.advance(Time::new(self.epoch, 0, watermark))?;
                }
            }
            Call::Finish => {
                self.finished = true;
                self.instance.outlets.flush()?;
                self.instance.outlets.close();
                if !self.operator.as_deref().is_some_and(|o| o.commits()) {
                    let operator = self.operator.take();
                    flatten(guard(|| {
                        drop(operator);
                        Ok(())
                    }))?;
                }
                self.instance.finished();
            }
        }
        Ok(Step::Worked)
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<R>) -> Result<R> {
        let Self { operator, instance, .. } = self;
        let operator = operator.as_deref_mut().expect("an operator is there until it has finished");
        flatten(guard(|| f(operator, &mut instance.outlets)))
    }

    /// The job has failed: releases everything and throws away what still comes.
    fn discard(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            // The job has its error; another one of this operator would not be shown.
            let _ = guard(|| {
                operator.abort();
                drop(operator);
            });
        }
        self.finished = true;
        self.pending = None;
        self.stash.clear();
        self.ready.clear();
        self.instance.outlets.close();
        self.inlets.iter_mut().for_each(Inlet::discard);
    }
}
