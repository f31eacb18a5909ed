use super::aggregates::ErasedAggregate;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A number for a loop of this process.
pub(super) fn next_id() -> u64 {
    NEXT.fetch_add(1, Relaxed)
}

thread_local!(static LOOPS: RefCell<Vec<(u64, Rc<LoopState>)>> = const { RefCell::new(Vec::new()) });

/// What the operations in a loop, on one worker, share with its head.
///
/// Handles that a user's functions capture go from thread to thread before the job runs; on the worker they find the state by
/// the loop's number. There are as many as loops that run on the worker, so the search is a look at one or two.
pub struct LoopState {
    superstep: Cell<u64>,
    /// The epoch that has been asked for, as the head knows.
    requested: Cell<u64>,
    /// By aggregator: this worker's part of the running superstep, and the value of the last one.
    aggregates: RefCell<Vec<AggregateState>>,
    /// What the loop's operators have in common, by type.
    shared: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
}

#[derive(Default)]
struct AggregateState {
    part: Option<Box<dyn Any>>,
    last: Option<Box<dyn Any>>,
}

impl LoopState {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            superstep: Cell::new(0),
            requested: Cell::new(0),
            aggregates: RefCell::default(),
            shared: RefCell::default(),
        })
    }

    /// The state of a loop on this worker.
    pub fn of(id: u64) -> Rc<Self> {
        LOOPS.with_borrow_mut(|loops| match loops.iter().find(|(loop_id, _)| *loop_id == id) {
            Some((_, state)) => state.clone(),
            None => {
                let state = Self::new();
                loops.push((id, state.clone()));
                state
            }
        })
    }

    /// A job begins on this worker: nothing is left of an earlier run of the loop.
    pub(super) fn anew(id: u64) -> Rc<Self> {
        Self::forget(id);
        Self::of(id)
    }

    /// The loop has ended on this worker.
    pub fn forget(id: u64) {
        // A worker whose thread ends has no loops any more.
        let _ = LOOPS.try_with(|loops| loops.borrow_mut().retain(|(loop_id, _)| *loop_id != id));
    }

    /// The superstep that runs on this worker, counted from 0 at the entry of the loop.
    pub fn superstep(&self) -> u64 {
        self.superstep.get()
    }

    pub(super) fn set_superstep(&self, superstep: u64) {
        self.superstep.set(superstep);
    }

    pub(super) fn requested(&self) -> u64 {
        self.requested.get()
    }

    pub(super) fn set_requested(&self, epoch: u64) {
        self.requested.set(epoch);
    }

    /// Changes this worker's part of an aggregator; `create` makes the first of a superstep.
    pub(super) fn update<P: 'static, R>(
        &self,
        index: usize,
        create: impl FnOnce() -> P,
        f: impl FnOnce(&mut P) -> R,
    ) -> Option<R> {
        let mut aggregates = self.aggregates.borrow_mut();
        if aggregates.len() <= index {
            aggregates.resize_with(index + 1, AggregateState::default);
        }
        let part = aggregates[index].part.get_or_insert_with(|| Box::new(create()));
        part.downcast_mut::<P>().map(f)
    }

    /// The value of an aggregator after the last superstep.
    pub(super) fn last<V: Clone + 'static>(&self, index: usize) -> Option<V> {
        self.aggregates.borrow().get(index)?.last.as_ref()?.downcast_ref::<V>().cloned()
    }

    /// This worker's parts of the superstep that has ended here, serialized.
    pub(super) fn take_parts(&self, aggregates: &[Box<dyn ErasedAggregate>]) -> crate::Result<Vec<Vec<u8>>> {
        let mut states = self.aggregates.borrow_mut();
        let take = |index: usize| states.get_mut(index).and_then(|state| state.part.take());
        let parts: Vec<_> = (0..aggregates.len()).map(take).collect();
        aggregates.iter().zip(parts).map(|(aggregate, part)| aggregate.encode(part)).collect()
    }

    /// Sets the values of the superstep that has ended everywhere.
    pub(super) fn set_last(&self, values: Vec<Box<dyn Any>>) {
        let mut aggregates = self.aggregates.borrow_mut();
        let count = values.len().max(aggregates.len());
        aggregates.resize_with(count, AggregateState::default);
        aggregates.iter_mut().zip(values).for_each(|(state, value)| state.last = Some(value));
    }

    /// The values of the last superstep as bytes; none before the first has ended.
    pub(super) fn stored_values(&self, aggregates: &[Box<dyn ErasedAggregate>]) -> crate::Result<Vec<Vec<u8>>> {
        let states = self.aggregates.borrow();
        let stored = aggregates.iter().enumerate().filter_map(|(i, aggregate)| {
            let value = states.get(i).and_then(|state| state.last.as_ref())?;
            Some(aggregate.store(value.as_ref()))
        });
        stored.collect()
    }

    /// What the operators of the loop on this worker have in common: made by the first that asks.
    pub fn shared<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        let found = self.shared.borrow().get(&TypeId::of::<T>()).cloned();
        let value = found.unwrap_or_else(|| {
            let made: Rc<dyn Any> = Rc::new(make());
            self.shared.borrow_mut().insert(TypeId::of::<T>(), made.clone());
            made
        });
        value.downcast().unwrap_or_else(|_| unreachable!("stored under its own type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_of_a_loop_finds_nothing_of_the_last_one() {
        let id = next_id();
        let state = LoopState::of(id);
        state.set_superstep(7);
        state.set_last(vec![Box::new(3u64)]);
        assert_eq!((LoopState::of(id).superstep(), LoopState::of(id).last::<u64>(0)), (7, Some(3)));
        assert_eq!(LoopState::of(id).last::<u32>(0), None);
        let state = LoopState::anew(id);
        assert_eq!((state.superstep(), state.last::<u64>(0)), (0, None));
        assert!(Rc::ptr_eq(&state.shared(|| Cell::new(1)), &LoopState::of(id).shared(|| Cell::new(2))));
        LoopState::forget(id);
    }
}
