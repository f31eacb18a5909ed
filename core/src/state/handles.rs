//! What a user's function holds: handles on state, each bound to the key that the operator works on.
//!
//! Where a handle shows its value to a function, that function must not change the same state by its handle: it panics.

use super::cell::StateCell;
use super::ttl::Ttl;
use crate::Aggregator;
use crate::stream::Data;
use std::rc::Rc;

/// One value a key.
///
/// ```
/// # use fluvial_core::Env;
/// # let env = Env::default();
/// // Numbers that differ from the one before them with the same last digit.
/// let changes = env.from_collection([10u64, 10, 21, 30, 30]).key_by(|n| n % 10).process_with(|state| {
///     let last = state.value::<u64>("last")?;
///     Ok(move |number: u64, context: &mut fluvial_core::KeyedContext<'_, u64, u64>| {
///         if last.get() != Some(number) {
///             last.set(number);
///             context.emit(number);
///         }
///         Ok(())
///     })
/// });
/// let mut changes = changes.collect()?;
/// changes.sort();
/// assert_eq!(changes, [10, 21, 30]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct ValueState<V> {
    cell: Rc<StateCell<V>>,
}

impl<V: Data> ValueState<V> {
    pub(crate) fn new(cell: Rc<StateCell<V>>) -> Self {
        Self { cell }
    }

    /// Values live for a limited time.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        self.cell.set_ttl(ttl);
        self
    }

    /// The key's value.
    pub fn get(&self) -> Option<V> {
        self.cell.read(|value| value.cloned())
    }

    /// Shows the key's value to a function, without a copy.
    pub fn with<R>(&self, f: impl FnOnce(Option<&V>) -> R) -> R {
        self.cell.read(f)
    }

    /// Sets the key's value.
    pub fn set(&self, value: V) {
        self.cell.set(value);
    }

    /// Gives a function the key's value to change, made by `make` if there is none.
    pub fn update_or<R>(&self, make: impl FnOnce() -> V, f: impl FnOnce(&mut V) -> R) -> R {
        self.cell.change(make, f)
    }

    /// Removes the key's value and gives it.
    pub fn take(&self) -> Option<V> {
        self.cell.take()
    }

    /// Removes the key's value.
    pub fn clear(&self) {
        self.cell.take();
    }
}

impl<V: Data + Default> ValueState<V> {
    /// Gives a function the key's value to change, the default if there is none.
    pub fn update<R>(&self, f: impl FnOnce(&mut V) -> R) -> R {
        self.cell.change(V::default, f)
    }
}

/// A list of values a key, in the order in which they were added.
pub struct ListState<V> {
    cell: Rc<StateCell<Vec<V>>>,
}

impl<V: Data> ListState<V> {
    pub(crate) fn new(cell: Rc<StateCell<Vec<V>>>) -> Self {
        Self { cell }
    }

    /// Lists live for a limited time after the last addition.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        self.cell.set_ttl(ttl);
        self
    }

    /// Adds a value at the end.
    pub fn add(&self, value: V) {
        self.cell.change(Vec::new, |list| list.push(value));
    }

    /// Adds values at the end.
    pub fn extend(&self, values: impl IntoIterator<Item = V>) {
        self.cell.change(Vec::new, |list| list.extend(values));
    }

    /// The key's values.
    pub fn get(&self) -> Vec<V> {
        self.with(<[V]>::to_vec)
    }

    /// Shows the key's values to a function, without a copy.
    pub fn with<R>(&self, f: impl FnOnce(&[V]) -> R) -> R {
        self.cell.read(|list| f(list.map_or(&[], Vec::as_slice)))
    }

    /// Gives a function the key's values to change, if there are any.
    pub fn update(&self, f: impl FnOnce(&mut Vec<V>)) {
        self.cell.change_existing(f);
    }

    /// Replaces the key's values.
    pub fn set(&self, values: Vec<V>) {
        self.cell.set(values);
    }

    /// How many values the key has.
    pub fn len(&self) -> usize {
        self.with(<[V]>::len)
    }

    /// Whether the key has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the key's values and gives them.
    pub fn take(&self) -> Vec<V> {
        self.cell.take().unwrap_or_default()
    }

    /// Removes the key's values.
    pub fn clear(&self) {
        self.cell.take();
    }
}

/// A map a key, in the order of its own keys.
pub struct MapState<K, V> {
    cell: Rc<StateCell<std::collections::BTreeMap<K, V>>>,
}

impl<K: Data + Ord, V: Data> MapState<K, V> {
    pub(crate) fn new(cell: Rc<StateCell<std::collections::BTreeMap<K, V>>>) -> Self {
        Self { cell }
    }

    /// Maps live for a limited time after their last change.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        self.cell.set_ttl(ttl);
        self
    }

    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        self.cell.read(|map| map.and_then(|map| map.get(key).cloned()))
    }

    /// Whether there is a value under `key`.
    pub fn contains(&self, key: &K) -> bool {
        self.cell.read(|map| map.is_some_and(|map| map.contains_key(key)))
    }

    /// Puts a value under `key`.
    pub fn insert(&self, key: K, value: V) {
        self.cell.change(Default::default, |map| map.insert(key, value));
    }

    /// Gives a function the value under `key` to change, made by `make` if there is none.
    pub fn update_or<R>(&self, key: K, make: impl FnOnce() -> V, f: impl FnOnce(&mut V) -> R) -> R {
        self.cell.change(Default::default, |map| f(map.entry(key).or_insert_with(make)))
    }

    /// Removes the value under `key`.
    pub fn remove(&self, key: &K) -> Option<V> {
        let (removed, empty) = self.cell.change_existing(|map| (map.remove(key), map.is_empty()))?;
        if empty {
            self.cell.take();
        }
        removed
    }

    /// Shows the whole map to a function, without a copy.
    pub fn with<R>(&self, f: impl FnOnce(&std::collections::BTreeMap<K, V>) -> R) -> R {
        self.cell.read(|map| match map {
            Some(map) => f(map),
            None => f(&Default::default()),
        })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.with(std::collections::BTreeMap::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes everything of the key.
    pub fn clear(&self) {
        self.cell.take();
    }
}

/// One value a key, to which others are reduced as they come.
pub struct ReducingState<V> {
    /// The value is `None` only while it is being reduced.
    cell: Rc<StateCell<Option<V>>>,
    reduce: Box<dyn Fn(V, V) -> V>,
}

impl<V: Data> ReducingState<V> {
    pub(crate) fn new(cell: Rc<StateCell<Option<V>>>, reduce: impl Fn(V, V) -> V + 'static) -> Self {
        Self { cell, reduce: Box::new(reduce) }
    }

    /// Values live for a limited time.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        self.cell.set_ttl(ttl);
        self
    }

    /// Reduces a value into the key's.
    pub fn add(&self, value: V) {
        self.cell.change(
            || None,
            |slot| {
                *slot = Some(match slot.take() {
                    Some(before) => (self.reduce)(before, value),
                    None => value,
                });
            },
        );
    }

    /// What the key's values have been reduced to.
    pub fn get(&self) -> Option<V> {
        self.cell.read(|value| value.cloned().flatten())
    }

    /// Removes the key's value.
    pub fn clear(&self) {
        self.cell.take();
    }
}

/// One accumulator a key, to which records are added as they come.
pub struct AggregatingState<T, A: Aggregator<T>> {
    cell: Rc<StateCell<A::Accumulator>>,
    aggregator: A,
}

impl<T, A: Aggregator<T>> AggregatingState<T, A> {
    pub(crate) fn new(cell: Rc<StateCell<A::Accumulator>>, aggregator: A) -> Self {
        Self { cell, aggregator }
    }

    /// Accumulators live for a limited time.
    #[must_use]
    pub fn ttl(self, ttl: Ttl) -> Self {
        self.cell.set_ttl(ttl);
        self
    }

    /// Adds a record.
    pub fn add(&self, record: T) {
        self.cell.change(|| self.aggregator.create(), |accumulator| self.aggregator.add(accumulator, record));
    }

    /// The result as of now.
    pub fn get(&self) -> Option<A::Output> {
        self.cell.read(|accumulator| accumulator.cloned()).map(|accumulator| self.aggregator.finish(accumulator))
    }

    /// Removes the key's accumulator.
    pub fn clear(&self) {
        self.cell.take();
    }
}
