use super::control::{ControlRecord, LoopSettings};
use super::state::LoopState;
use crate::{Batch, Operator, OperatorContext, Output, Progress, Result};
use std::rc::Rc;
use std::sync::Arc;

/// The end of a step: sends its result back to the head of the loop on port 0, and on port 1, once a superstep, what it was like.
pub(super) struct Tail {
    settings: Arc<LoopSettings>,
    state: Rc<LoopState>,
    worker: u64,
    /// Records of the running superstep by input: the result, then the criteria.
    counts: Vec<u64>,
}

impl Tail {
    pub(super) fn new(settings: Arc<LoopSettings>, id: u64, inputs: usize, context: &OperatorContext) -> Self {
        Self { settings, state: LoopState::of(id), worker: context.worker as u64, counts: vec![0; inputs] }
    }
}

impl Operator for Tail {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.counts[input] += batch.len() as u64;
        if input == 0 {
            out.send(0, batch)?;
        }
        Ok(Progress::Done)
    }

    fn end_superstep(&mut self, _superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        let inputs = self.counts.len();
        let record = ControlRecord {
            worker: self.worker,
            requested: self.state.requested(),
            counts: std::mem::replace(&mut self.counts, vec![0; inputs]),
            parts: self.state.take_parts(&self.settings.aggregates)?,
        };
        out.send(1, Batch::typed(vec![record]))?;
        Ok(Progress::Done)
    }
}
