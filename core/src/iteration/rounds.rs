use super::each::LoopInput;
use super::store::{BatchStore, StoreCursor, Stored};
use crate::graph::TaskContext;
use crate::{Batch, Operator, OperatorContext, Output, Progress, Result, Snapshot, Waker};

/// Runs an operator that works superstep by superstep in a loop that has none: what has come by the time that its worker turns to it
/// again is a round, which ends as a superstep would. Rounds of different operators and workers have nothing to do with each other.
///
/// The step must be monotone: then it does not matter how its records are divided into rounds. The first round ends when all has come
/// that comes from outside the loop; what comes earlier from inside waits, on disk if it is much.
///
/// Invariant: while it has something that it has not made results of, it says that it has background work: the loop is not taken
/// for empty.
///
/// Trade-off: a round is no longer than one activation of the operator, so little is combined; but nobody waits for anybody.
pub(crate) struct LocalRounds {
    operator: Box<dyn Operator>,
    constant: Vec<bool>,
    /// Inputs from outside that have not ended.
    open: usize,
    /// By input: what came before these had.
    early: Vec<Option<BatchStore>>,
    cursor: StoreCursor,
    waker: Waker,
    round: u64,
    /// Whether something has come that no round has ended with.
    gathered: bool,
    state: State,
    /// The operator said that it is not done with a call.
    busy: bool,
}

enum State {
    Gathering,
    /// Giving the operator what came early, from this input on.
    Admitting(usize),
    Ending,
}

impl LocalRounds {
    /// How many stores it needs for what comes early.
    pub(crate) fn early(inputs: &[LoopInput]) -> usize {
        let constant = inputs.iter().filter(|input| input.constant).count();
        if constant > 0 { inputs.len() - constant } else { 0 }
    }

    /// With `holds`, the operator is given nothing from inside the loop before all from outside has come.
    pub(crate) fn open(operator: Box<dyn Operator>, inputs: &[LoopInput], holds: bool, context: &TaskContext) -> Result<Self> {
        let open = inputs.iter().filter(|input| input.constant).count();
        let early = |input: &LoopInput| {
            (holds && open > 0 && !input.constant).then(|| BatchStore::open(context, input.codec.clone())).transpose()
        };
        Ok(Self {
            operator,
            constant: inputs.iter().map(|input| input.constant).collect(),
            open,
            early: inputs.iter().map(early).collect::<Result<_>>()?,
            cursor: StoreCursor::default(),
            waker: context.waker.clone(),
            round: 0,
            gathered: false,
            state: State::Gathering,
            busy: false,
        })
    }

    /// Whether there is something to end a round with.
    fn due(&self) -> bool {
        self.open == 0 && (self.gathered || self.operator.has_background_work())
    }

    /// Notes what a call of the operator came to.
    fn settle(&mut self, progress: Progress) -> Progress {
        self.busy = progress != Progress::Done;
        progress
    }

    /// Gives the operator the next batch that came early; `None`: there is none left.
    fn admit(&mut self, input: usize, out: &mut dyn Output) -> Result<Option<Progress>> {
        let Some(store) = &mut self.early[input] else { return Ok(None) };
        if store.close()? != Progress::Done {
            return Ok(Some(Progress::Waiting));
        }
        match store.take(&mut self.cursor)? {
            Stored::Batch(batch) => {
                let progress = self.operator.process(input, batch, out)?;
                Ok(Some(self.settle(progress)))
            }
            Stored::Waiting => Ok(Some(Progress::Waiting)),
            Stored::End => {
                // Nothing comes early any more.
                self.early[input] = None;
                self.cursor = StoreCursor::default();
                Ok(None)
            }
        }
    }
}

impl Operator for LocalRounds {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.operator.open(context)
    }

    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        if !self.constant[input] {
            if !std::mem::replace(&mut self.gathered, true) {
                (self.waker)();
            }
            if self.open > 0
                && let Some(store) = &mut self.early[input]
            {
                return store.push(batch);
            }
        }
        let progress = self.operator.process(input, batch, out)?;
        Ok(self.settle(progress))
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        for store in self.early.iter_mut().flatten() {
            if store.resume()? != Progress::Done {
                return Ok(Progress::Waiting);
            }
        }
        loop {
            if self.busy {
                let progress = self.operator.resume(out)?;
                if self.settle(progress) != Progress::Done {
                    return Ok(progress);
                }
            }
            match self.state {
                State::Gathering if self.due() => {
                    self.gathered = false;
                    self.state = State::Admitting(0);
                }
                State::Gathering => return Ok(Progress::Done),
                State::Admitting(input) if input < self.early.len() => match self.admit(input, out)? {
                    None => self.state = State::Admitting(input + 1),
                    Some(Progress::Done) if out.congested(0) => return Ok(Progress::More),
                    Some(Progress::Done) => {}
                    Some(progress) => return Ok(progress),
                },
                State::Admitting(_) => {
                    self.state = State::Ending;
                    self.round += 1;
                    let progress = self.operator.end_superstep(self.round - 1, out)?;
                    if self.settle(progress) != Progress::Done {
                        return Ok(progress);
                    }
                }
                State::Ending => {
                    self.state = State::Gathering;
                    return Ok(Progress::Done);
                }
            }
        }
    }

    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        if self.constant[input] {
            self.open -= 1;
            if self.open == 0 {
                (self.waker)();
            }
        }
        let progress = self.operator.end_input(input, out)?;
        Ok(self.settle(progress))
    }

    fn has_background_work(&self) -> bool {
        self.gathered || self.operator.has_background_work()
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.operator.on_watermark(watermark, out)?;
        Ok(self.settle(progress))
    }

    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.operator.on_timer(now, out)?;
        Ok(self.settle(progress))
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.operator.finish(out)
    }

    /// Jobs with such loops take no checkpoints.
    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        Ok(Snapshot::default())
    }

    fn abort(&mut self) {
        self.operator.abort();
    }
}
