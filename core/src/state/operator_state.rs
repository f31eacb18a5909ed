//! State that belongs to an operator's instances, not to keys: lists that are dealt out anew when the number of workers
//! changes, and maps that every instance has whole.

use super::broadcast_state::{BroadcastCell, BroadcastState};
use super::section;
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::stream::Data;
use crate::{Error, OperatorContext, Result, Snapshot, StateSection};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The state of one operator that is not of keys: where a function or source gets its handles, by name.
///
/// A name stands for one state for the life of the job: it is found again by it after a restart.
///
/// ```
/// use fluvial_core::*;
///
/// /// Passes on every third record of its worker.
/// struct Third {
///     held: OperatorList<u64>,
/// }
/// impl ProcessFunction<u64> for Third {
///     type Output = u64;
///     fn process(&mut self, record: u64, context: &mut ProcessContext<'_, u64>) -> Result<()> {
///         self.held.add(record);
///         if self.held.len() == 3 {
///             self.held.clear();
///             context.emit(record);
///         }
///         Ok(())
///     }
/// }
///
/// let env = Env::new(Config { threads: 1, ..Config::default() });
/// let thirds = env.sequence(0..10).process(|state| Ok(Third { held: state.list("held")? }));
/// assert_eq!(thirds.collect()?, [2, 5, 8]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct OperatorState {
    instance: usize,
    instances: usize,
    states: Vec<Rc<dyn InstanceState>>,
}

/// One state of an instance, whatever its type.
pub(super) trait InstanceState {
    fn name(&self) -> &str;
    /// The state as of now.
    fn snapshot(&self) -> DeferredState;
    /// Takes what this instance of `instances` gets of the sections of all former ones, which are in an order that all
    /// instances see.
    fn restore(&self, sections: &[&StateSection], instance: usize, instances: usize) -> Result<()>;
    /// Bytes, without what values point to.
    fn byte_len(&self) -> usize;
}

impl OperatorState {
    pub(crate) fn new(context: &OperatorContext) -> Self {
        Self { instance: context.worker, instances: context.workers, states: Vec::new() }
    }

    /// A list of which each instance has a part. When state is restored, the elements of all former instances are dealt out
    /// in turn to the new ones, in no particular order.
    ///
    /// # Errors
    /// The name is taken, as for all kinds.
    pub fn list<V: Data>(&mut self, name: &str) -> Result<OperatorList<V>> {
        self.add_list(name, Redistribution::Split)
    }

    /// A list of which each instance has a part. When state is restored, every instance gets the elements of all former ones
    /// and keeps what it wants: what it does not [clear](OperatorList::set) is stored once an instance from then on.
    ///
    /// # Errors
    /// The name is taken.
    pub fn union_list<V: Data>(&mut self, name: &str) -> Result<OperatorList<V>> {
        self.add_list(name, Redistribution::Union)
    }

    /// A map that all instances have, because all of them see the records that change it. When state is restored, every
    /// instance gets what one former instance had. Only functions on a broadcast stream can write to it.
    ///
    /// # Errors
    /// The name is taken.
    pub fn broadcast<K: Data + Ord, V: Data>(&mut self, name: &str) -> Result<BroadcastState<K, V>> {
        let cell = Rc::new(BroadcastCell::new(name));
        self.add(cell.clone())?;
        Ok(BroadcastState::new(cell))
    }

    /// Which instance of the operator this is, from 0: the number of its worker.
    pub fn instance(&self) -> usize {
        self.instance
    }

    /// How many instances the operator has, one a worker.
    pub fn instances(&self) -> usize {
        self.instances
    }

    fn add_list<V: Data>(&mut self, name: &str, redistribution: Redistribution) -> Result<OperatorList<V>> {
        let cell =
            Rc::new(ListCell { name: name.to_owned(), values: RefCell::default(), codec: RecordCodec::new(), redistribution });
        self.add(cell.clone())?;
        Ok(OperatorList { cell })
    }

    fn add(&mut self, state: Rc<dyn InstanceState>) -> Result<()> {
        if self.states.iter().any(|s| s.name() == state.name()) {
            return Err(Error::Plan(format!("operator state `{}` is asked for twice by the same operator", state.name())));
        }
        self.states.push(state);
        Ok(())
    }

    pub(crate) fn snapshot(&self, into: &mut Snapshot) {
        into.deferred.extend(self.states.iter().map(|s| s.snapshot()));
    }

    /// Takes back the sections without a key group, of all former instances.
    ///
    /// # Errors
    /// A section that no state claims, unless it is empty; a schema that differs. Both name the state.
    pub(crate) fn restore(&self, sections: &[StateSection]) -> Result<()> {
        let mut mine: Vec<&StateSection> = sections.iter().filter(|s| s.key_group.is_none()).collect();
        for section in &mine {
            if !self.states.iter().any(|s| s.name() == section.name) {
                section::unclaimed(section)?;
            }
        }
        // Whatever order they come in, all instances agree on this one.
        mine.sort_unstable_by(|a, b| (&a.name, &a.bytes).cmp(&(&b.name, &b.bytes)));
        for state in &self.states {
            let of_state: Vec<&StateSection> = mine.iter().copied().filter(|s| s.name == state.name()).collect();
            state.restore(&of_state, self.instance, self.instances)?;
        }
        Ok(())
    }

    /// Bytes, without what values point to.
    pub(crate) fn byte_len(&self) -> usize {
        self.states.iter().map(|s| s.byte_len()).sum()
    }
}

/// How the elements of former instances come to new ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redistribution {
    Split,
    Union,
}

struct ListCell<V> {
    name: String,
    /// Shared with snapshots that are still to be encoded.
    values: RefCell<Arc<Vec<V>>>,
    codec: RecordCodec<V>,
    redistribution: Redistribution,
}

impl<V: Data> InstanceState for ListCell<V> {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> DeferredState {
        let (name, codec, values) = (self.name.clone(), self.codec.clone(), self.values.borrow().clone());
        Box::new(move |sink| {
            let entries = values.iter().map(|value| ([0u8; 0], value));
            sink(section::encode(&name, None, &codec, entries)?)
        })
    }

    fn restore(&self, sections: &[&StateSection], instance: usize, instances: usize) -> Result<()> {
        let mut values = Vec::new();
        let mut number = 0;
        for section in sections {
            section::decode(section, &self.codec, |_, value| {
                if self.redistribution == Redistribution::Union || number % instances == instance {
                    values.push(value);
                }
                number += 1;
                Ok(())
            })?;
        }
        *self.values.borrow_mut() = Arc::new(values);
        Ok(())
    }

    fn byte_len(&self) -> usize {
        self.values.borrow().capacity() * size_of::<V>()
    }
}

/// A list of values that an operator's instance keeps: see [`OperatorState::list`] and [`OperatorState::union_list`].
pub struct OperatorList<V> {
    cell: Rc<ListCell<V>>,
}

impl<V: Data> OperatorList<V> {
    /// Adds a value at the end.
    pub fn add(&self, value: V) {
        self.update(|values| values.push(value));
    }

    /// The values.
    pub fn get(&self) -> Vec<V> {
        self.with(<[V]>::to_vec)
    }

    /// Shows the values to a function, without a copy. It must not change this list.
    pub fn with<R>(&self, f: impl FnOnce(&[V]) -> R) -> R {
        f(&self.cell.values.borrow())
    }

    /// Gives a function the values to change. It must not use this list otherwise.
    pub fn update<R>(&self, f: impl FnOnce(&mut Vec<V>) -> R) -> R {
        f(Arc::make_mut(&mut self.cell.values.borrow_mut()))
    }

    /// Replaces the values.
    pub fn set(&self, values: Vec<V>) {
        *self.cell.values.borrow_mut() = Arc::new(values);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cell.values.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all values and gives them.
    pub fn take(&self) -> Vec<V> {
        self.update(std::mem::take)
    }

    /// Removes all values.
    pub fn clear(&self) {
        self.update(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;

    fn sections(states: &[&OperatorState]) -> Vec<StateSection> {
        let mut snapshot = Snapshot::default();
        states.iter().for_each(|s| s.snapshot(&mut snapshot));
        snapshot.into_sections().unwrap()
    }

    fn lists(instance: usize, instances: usize, union: bool) -> (OperatorState, OperatorList<u32>) {
        let mut state = OperatorState::new(&context(instance, instances));
        let list = if union { state.union_list("list") } else { state.list("list") }.unwrap();
        (state, list)
    }

    #[test]
    fn split_lists_are_dealt_out_and_union_lists_go_to_all() {
        for union in [false, true] {
            let former: Vec<_> = (0..2).map(|i| lists(i, 2, union)).collect();
            (0..7).for_each(|n| former[n as usize % 2].1.add(n));
            let stored = sections(&[&former[0].0, &former[1].0]);
            let mut reversed = stored.clone();
            reversed.reverse();
            let mut all = Vec::new();
            for instance in 0..3 {
                let (state, list) = lists(instance, 3, union);
                state.restore(if instance == 1 { &reversed } else { &stored }).unwrap();
                assert!(list.len() == if union { 7 } else { [3, 2, 2][instance] });
                all.extend(list.get());
            }
            all.sort_unstable();
            let expected: Vec<u32> = (0..7).flat_map(|n| vec![n; if union { 3 } else { 1 }]).collect();
            assert_eq!(all, expected);
        }
    }

    #[test]
    fn all_instances_take_the_broadcast_state_of_the_same_former_one() {
        let rules = |instance: usize| {
            let mut state = OperatorState::new(&context(instance, 2));
            let rules = state.broadcast::<String, u32>("rules").unwrap();
            (state, rules)
        };
        let former = [rules(0), rules(1)];
        for (n, (_, rules)) in former.iter().enumerate() {
            rules.writer().insert("a".to_owned(), 1);
            rules.writer().insert("b".to_owned(), n as u32);
            rules.writer().insert("c".to_owned(), 3);
            assert_eq!(rules.writer().remove(&"c".to_owned()), Some(3));
        }
        let mut snapshot = Snapshot::default();
        former.iter().for_each(|f| f.0.snapshot(&mut snapshot));
        former.iter().for_each(|f| f.1.writer().clear());
        assert!(former[0].1.is_empty());
        let mut stored = snapshot.into_sections().unwrap();
        let mut restored = || {
            stored.reverse();
            let (state, rules) = rules(0);
            state.restore(&stored).unwrap();
            rules.with(Clone::clone)
        };
        let first = restored();
        assert_eq!(first, restored());
        assert_eq!((first.len(), first["a"]), (2, 1));
    }

    #[test]
    fn a_snapshot_is_of_its_moment() {
        let (state, list) = lists(0, 1, false);
        list.set(vec![1, 2]);
        let mut snapshot = Snapshot::default();
        state.snapshot(&mut snapshot);
        list.add(3);
        assert_eq!(list.take(), [1, 2, 3]);
        let (restored, list) = lists(0, 1, false);
        restored.restore(&snapshot.into_sections().unwrap()).unwrap();
        assert_eq!(list.get(), [1, 2]);
    }

    #[test]
    fn what_nobody_claims_or_expects_is_an_error_that_names_it() {
        let (state, list) = lists(0, 1, false);
        let empty = sections(&[&state]);
        list.add(1);
        let full = sections(&[&state]);
        let mut other = OperatorState::new(&context(0, 1));
        other.restore(&empty).unwrap();
        let error = other.restore(&full).unwrap_err().to_string();
        assert!(error.contains("`list`"), "{error}");
        let _text = other.list::<String>("list").unwrap();
        let error = other.restore(&full).unwrap_err().to_string();
        assert!(error.contains("`list`") && error.contains("expects"), "{error}");
        assert!(other.list::<u32>("list").is_err());
    }
}
