use super::block::KeyBlock;
use super::cell::{AnyState, StateCell};
use super::disk::StateScope;
use super::handles::{AggregatingState, ListState, MapState, ReducingState, ValueState};
use super::key::{CurrentKey, KeyBytes};
use super::timers::{EVENT_TIMERS, PROCESSING_TIMERS};
use crate::codec::KeyType;
use crate::stream::Data;
use crate::time::Clock;
use crate::{Aggregator, Error, Result, Snapshot, StateSection};
use std::rc::Rc;

/// The keyed state of one operator: where a user's function gets its handles, by name.
///
/// A name stands for one state for the life of the job: it is found again by it after a restart.
pub struct KeyedState {
    current: Rc<CurrentKey>,
    scope: StateScope,
    clock: Clock,
    keys: KeyType,
    states: Vec<Rc<dyn AnyState>>,
}

impl KeyedState {
    pub(crate) fn new(scope: StateScope, clock: Clock, keys: KeyType) -> Self {
        Self { current: Rc::default(), scope, clock, keys, states: Vec::new() }
    }

    /// One value a key.
    ///
    /// # Errors
    /// The name is taken, as for all kinds.
    pub fn value<V: Data>(&mut self, name: &str) -> Result<ValueState<V>> {
        self.cell(name).map(ValueState::new)
    }

    /// A list of values a key.
    ///
    /// # Errors
    /// The name is taken.
    pub fn list<V: Data>(&mut self, name: &str) -> Result<ListState<V>> {
        self.cell(name).map(ListState::new)
    }

    /// A map a key.
    ///
    /// # Errors
    /// The name is taken.
    pub fn map<K: Data + Ord, V: Data>(&mut self, name: &str) -> Result<MapState<K, V>> {
        self.cell(name).map(MapState::new)
    }

    /// One value a key, to which others are reduced.
    ///
    /// # Errors
    /// The name is taken.
    pub fn reducing<V: Data>(&mut self, name: &str, reduce: impl Fn(V, V) -> V + 'static) -> Result<ReducingState<V>> {
        self.cell(name).map(|cell| ReducingState::new(cell, reduce))
    }

    /// One accumulator a key.
    ///
    /// # Errors
    /// The name is taken.
    pub fn aggregating<T, A: Aggregator<T>>(&mut self, name: &str, aggregator: A) -> Result<AggregatingState<T, A>> {
        self.cell(name).map(|cell| AggregatingState::new(cell, aggregator))
    }

    fn cell<V: Data>(&mut self, name: &str) -> Result<Rc<StateCell<V>>> {
        if [EVENT_TIMERS, PROCESSING_TIMERS].contains(&name) {
            return Err(Error::Plan(format!("state `{name}`: timers are stored under this name")));
        }
        if self.states.iter().any(|s| s.name() == name) {
            return Err(Error::Plan(format!("state `{name}` is asked for twice by the same operator")));
        }
        let (current, clock) = (self.current.clone(), self.clock.clone());
        let cell = Rc::new(StateCell::new(name, &self.scope, current, clock, &self.keys));
        self.states.push(cell.clone());
        Ok(cell)
    }

    /// The key that the handles look at.
    pub(crate) fn current(&self) -> &Rc<CurrentKey> {
        &self.current
    }

    /// Brings near what look-ups of these keys read.
    ///
    /// # Errors
    /// State on disk that cannot be read.
    #[inline]
    pub(crate) fn prefetch(&self, keys: &KeyBlock) -> Result<()> {
        self.states.iter().try_for_each(|s| s.prefetch(keys))
    }

    /// # Errors
    /// State on disk that could not be read or written since this was asked last.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.states.iter().try_for_each(|s| s.check())
    }

    /// The keys that have a value in any of the states, in order.
    pub(crate) fn keys(&self) -> Result<Vec<KeyBytes>> {
        let mut keys = Vec::new();
        self.states.iter().try_for_each(|s| s.keys(&mut keys))?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    pub(crate) fn snapshot(&self, into: &mut Snapshot) -> Result<()> {
        self.states.iter().try_for_each(|s| {
            into.deferred.push(s.snapshot()?);
            Ok(())
        })
    }

    /// All sections have been taken back.
    pub(crate) fn restored(&self) -> Result<()> {
        self.states.iter().try_for_each(|s| s.restored())
    }

    /// Takes back a section, if it is of one of these states.
    pub(crate) fn restore(&self, section: &StateSection) -> Result<bool> {
        match self.states.iter().find(|s| s.name() == section.name) {
            Some(state) => state.restore(section).map(|()| true),
            None => Ok(false),
        }
    }

    /// Entries, and bytes without what values point to.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.states.iter().map(|s| s.size()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    /// Removes everything of the current key.
    pub(crate) fn clear(&self) {
        self.states.iter().for_each(|s| s.clear());
    }
}
