//! Inside a bulk or delta loop: which superstep an operator is in, the capabilities it holds for it, and what came early.
//!
//! A superstep is known by its epoch and number. It begins once no earlier one can bring records any more, and has ended
//! when the frontier no longer has an element at it or before. An operator holds capabilities towards the loop only for
//! supersteps that brought it records; so an empty workset is plain quiescence.

use super::instance::Instance;
use super::outlet::Place;
use super::time::Time;
use crate::Batch;
use std::collections::{BTreeMap, VecDeque};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::frontier::MutableAntichain;

/// Epoch and superstep.
type Step = (u64, u64);

fn step_of(time: &Time) -> Step {
    (time.epoch, time.superstep)
}

pub(super) struct Supersteps {
    /// For the head of the loop, its first feedback input: it lets records of a superstep in once the one before has ended.
    feedback: Option<usize>,
    current: Option<Step>,
    work: BTreeMap<Step, Work>,
}

#[derive(Default)]
struct Work {
    /// One an output edge; none for edges that leave the loop.
    capabilities: Vec<Option<Capability<Time>>>,
    batches: VecDeque<(usize, Batch)>,
    /// The smallest watermark that a batch came with.
    watermark: i64,
}

/// What there is to do.
pub(super) enum Due {
    /// A batch of the current superstep.
    Batch(usize, Batch),
    /// The current superstep has ended.
    End(u64),
    /// Nothing now.
    Nothing,
}

impl Supersteps {
    pub(super) fn new(feedback: Option<usize>) -> Self {
        Self { feedback, current: None, work: BTreeMap::new() }
    }

    /// Takes a batch off the channel. It comes back if it is of the current superstep.
    pub(super) fn arrive(
        &mut self,
        input: usize,
        batch: Batch,
        capability: &InputCapability<Time>,
        instance: &mut Instance,
    ) -> Option<Batch> {
        let step = step_of(capability.time());
        let watermark = capability.time().watermark;
        let fresh = !self.work.contains_key(&step);
        let work = self.work.entry(step).or_default();
        if fresh || watermark < work.watermark {
            work.watermark = watermark;
            let retain = |(port, edge): (usize, &mut super::outlet::OutEdge)| {
                (edge.place == Place::Borrowed).then(|| capability.retain(port))
            };
            work.capabilities = instance.outlets.edges().enumerate().map(retain).collect();
            if self.current == Some(step) {
                lend(work, instance);
            }
        }
        if self.current == Some(step) && work.batches.is_empty() {
            return Some(batch);
        }
        work.batches.push_back((input, batch));
        None
    }

    /// What to do next, by what the frontiers say.
    pub(super) fn due(&mut self, frontiers: &[MutableAntichain<Time>], instance: &mut Instance) -> Due {
        if self.current.is_none() {
            let Some((step, work)) = self.work.first_key_value() else { return Due::Nothing };
            if !begun(self.feedback, *step, frontiers) {
                return Due::Nothing;
            }
            self.current = Some(*step);
            lend(work, instance);
        }
        let Some(step) = self.current else { return Due::Nothing };
        let Some(work) = self.work.get_mut(&step) else { return Due::Nothing };
        match work.batches.pop_front() {
            Some((input, batch)) => Due::Batch(input, batch),
            None if ended(self.feedback, step, frontiers) => Due::End(step.1),
            None => Due::Nothing,
        }
    }

    /// The current superstep is over for this operator: gives up its capabilities. What partitioners hold has been sent.
    pub(super) fn close(&mut self, instance: &mut Instance) {
        if let Some(step) = self.current.take() {
            self.work.remove(&step);
        }
        instance.outlets.edges().filter(|edge| edge.place == Place::Borrowed).for_each(|edge| edge.capability = None);
    }

    pub(super) fn current(&self) -> Option<u64> {
        self.current.map(|step| step.1)
    }

    /// The smallest watermark of what is held back or worked on.
    pub(super) fn watermark(&self) -> Option<i64> {
        self.work.values().map(|work| work.watermark).min()
    }

    /// Whether something of `epoch` or before is left to do.
    pub(super) fn busy_in(&self, epoch: u64) -> bool {
        self.work.first_key_value().is_some_and(|(step, _)| step.0 <= epoch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    /// Whether a batch of this input waits.
    pub(super) fn holds(&self, input: usize) -> bool {
        self.work.values().any(|work| work.batches.iter().any(|b| b.0 == input))
    }

    pub(super) fn clear(&mut self) {
        self.current = None;
        self.work.clear();
    }
}

/// Has the edges towards the loop send at this superstep.
fn lend(work: &Work, instance: &mut Instance) {
    for (edge, capability) in instance.outlets.edges().zip(&work.capabilities).filter(|(edge, _)| edge.place == Place::Borrowed) {
        edge.capability.clone_from(capability);
    }
}

fn any(frontiers: &[MutableAntichain<Time>], mut which: impl FnMut(Step) -> bool) -> bool {
    frontiers.iter().any(|f| f.frontier().iter().any(|time| which(step_of(time))))
}

/// Whether no record of an earlier superstep will come.
fn begun(feedback: Option<usize>, step: Step, frontiers: &[MutableAntichain<Time>]) -> bool {
    match feedback {
        None => !any(frontiers, |f| f < step),
        // Records enter a loop at superstep 0, at once, unless it still iterates over an earlier epoch.
        Some(first) if step.1 == 0 => !any(&frontiers[first..], |f| f.0 < step.0),
        // Feedback of a superstep comes at the next one's time; all of it is here when none of that time can follow.
        Some(first) => !any(&frontiers[first..], |f| f <= step),
    }
}

/// Whether no record of this superstep or an earlier one will come.
fn ended(feedback: Option<usize>, step: Step, frontiers: &[MutableAntichain<Time>]) -> bool {
    match feedback {
        None => !any(frontiers, |f| f <= step),
        Some(first) if step.1 == 0 => !any(&frontiers[..first], |f| f <= step),
        Some(first) => !any(&frontiers[first..], |f| f <= step),
    }
}
