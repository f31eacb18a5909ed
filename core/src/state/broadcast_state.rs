//! State that every instance has whole, because every instance sees the records that change it.

use super::operator_state::InstanceState;
use super::section;
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::stream::Data;
use crate::{Result, StateSection};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub(super) struct BroadcastCell<K, V> {
    name: String,
    /// Shared with snapshots that are still to be encoded.
    map: RefCell<Arc<BTreeMap<K, V>>>,
    codec: RecordCodec<(K, V)>,
}

impl<K: Data + Ord, V: Data> BroadcastCell<K, V> {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), map: RefCell::default(), codec: RecordCodec::new() }
    }
}

impl<K: Data + Ord, V: Data> InstanceState for BroadcastCell<K, V> {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> DeferredState {
        let (name, codec, map) = (self.name.clone(), self.codec.clone(), self.map.borrow().clone());
        Box::new(move |sink| {
            let entries = map.iter().map(|(key, value)| ([0u8; 0], (key.clone(), value.clone())));
            sink(section::encode(&name, None, &codec, entries)?)
        })
    }

    /// All former instances had the same, unless the broadcast stream has no order among its parts; then all new ones take
    /// the same one of them.
    fn restore(&self, sections: &[&StateSection], _instance: usize, _instances: usize) -> Result<()> {
        let mut map = BTreeMap::new();
        if let Some(section) = sections.last() {
            section::decode(section, &self.codec, |_, (key, value)| {
                map.insert(key, value);
                Ok(())
            })?;
        }
        *self.map.borrow_mut() = Arc::new(map);
        Ok(())
    }

    fn byte_len(&self) -> usize {
        self.map.borrow().len() * size_of::<(K, V)>()
    }
}

/// A map that all instances of an operator have, to be read with every record and written with the records of the broadcast
/// stream alone: its methods read; those that write are behind the context that only broadcast records come with
/// ([`BroadcastContext::write`](crate::BroadcastContext::write)).
///
/// Made by [`OperatorState::broadcast`](crate::OperatorState::broadcast).
///
/// ```compile_fail
/// # use fluvial_core::*;
/// # struct F { rules: BroadcastState<u32, String> }
/// impl ProcessFunction<u32> for F {
///     type Output = u32;
///     fn process(&mut self, record: u32, context: &mut ProcessContext<'_, u32>) -> Result<()> {
///         context.write(&self.rules).insert(record, String::new()); // A record of the main stream: no such method.
///         Ok(())
///     }
/// }
/// ```
pub struct BroadcastState<K, V> {
    cell: Rc<BroadcastCell<K, V>>,
}

impl<K: Data + Ord, V: Data> BroadcastState<K, V> {
    pub(super) fn new(cell: Rc<BroadcastCell<K, V>>) -> Self {
        Self { cell }
    }

    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        self.cell.map.borrow().get(key).cloned()
    }

    /// Whether there is a value under `key`.
    pub fn contains(&self, key: &K) -> bool {
        self.cell.map.borrow().contains_key(key)
    }

    /// Shows the whole map to a function, without a copy.
    pub fn with<R>(&self, f: impl FnOnce(&BTreeMap<K, V>) -> R) -> R {
        f(&self.cell.map.borrow())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.cell.map.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn writer(&self) -> BroadcastWriter<'_, K, V> {
        BroadcastWriter { cell: &self.cell }
    }
}

/// Changes a [`BroadcastState`]. Every instance must make the same changes: they may depend on the broadcast records alone.
pub struct BroadcastWriter<'a, K, V> {
    cell: &'a BroadcastCell<K, V>,
}

impl<K: Data + Ord, V: Data> BroadcastWriter<'_, K, V> {
    /// Puts a value under `key` and gives the one that was there.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.update(|map| map.insert(key, value))
    }

    /// Removes the value under `key`.
    pub fn remove(&self, key: &K) -> Option<V> {
        self.update(|map| map.remove(key))
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.update(BTreeMap::clear);
    }

    /// Gives a function the whole map to change. It must not use this state otherwise.
    pub fn update<R>(&self, f: impl FnOnce(&mut BTreeMap<K, V>) -> R) -> R {
        f(Arc::make_mut(&mut self.cell.map.borrow_mut()))
    }
}
