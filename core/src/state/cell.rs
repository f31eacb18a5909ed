//! One named state of an operator: what all kinds of handles stand on.

use super::block::KeyBlock;
use super::disk::StateScope;
use super::heap::SweepCursor;
use super::key::{CurrentKey, KeyBytes, KeyRef};
use super::table::StateTable;
use super::ttl::Ttl;
use crate::codec::{KeyType, RecordCodec};
use crate::operator::DeferredState;
use crate::stream::Data;
use crate::time::Clock;
use crate::{Result, StateSection};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Entries that are looked at, to find some that are over, with each access to a state that has a [`Ttl`].
const SWEPT: usize = 4;

/// A value and when it was last written (or read): milliseconds UTC, `i64::MAX` where it lives for ever.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stamped<V> {
    stamp: i64,
    value: V,
}

/// The values of one state, looked up by the operator's current key.
pub(crate) struct StateCell<V> {
    name: String,
    table: RefCell<StateTable<Stamped<V>>>,
    codec: RecordCodec<Stamped<V>>,
    current: Rc<CurrentKey>,
    clock: Clock,
    ttl: Cell<Option<Ttl>>,
    cursor: RefCell<SweepCursor>,
}

impl<V: Data> StateCell<V> {
    pub(crate) fn new(name: &str, scope: &StateScope, current: Rc<CurrentKey>, clock: Clock, keys: &KeyType) -> Self {
        let codec = RecordCodec::new().keyed(keys);
        Self {
            name: name.to_owned(),
            table: RefCell::new(StateTable::open(scope, name, &codec)),
            codec,
            current,
            clock,
            ttl: Cell::new(None),
            cursor: RefCell::default(),
        }
    }

    pub(crate) fn set_ttl(&self, ttl: Ttl) {
        self.ttl.set(Some(ttl));
    }

    /// The stamp of a value that is written now.
    #[inline]
    fn stamp(&self) -> i64 {
        if self.ttl.get().is_some() { self.clock.now() } else { i64::MAX }
    }

    /// Removes what is over: the current key's value, and a few others on the way around the table.
    #[inline]
    fn expire(&self, key: KeyRef<'_>) {
        if let Some(ttl) = self.ttl.get() {
            self.sweep(key, ttl);
        }
    }

    fn sweep(&self, key: KeyRef<'_>, ttl: Ttl) {
        let now = self.clock.now();
        let mut table = self.table.borrow_mut();
        table.fetch(key);
        if !ttl.until_cleaned && table.get(key).is_some_and(|v| ttl.over(v.stamp, now)) {
            table.remove(key);
        }
        table.sweep(&mut self.cursor.borrow_mut(), SWEPT, |v| !ttl.over(v.stamp, now));
    }

    /// Shows the current key's value to a function.
    #[inline]
    pub(crate) fn read<R>(&self, f: impl FnOnce(Option<&V>) -> R) -> R {
        self.current.with(|key| {
            self.expire(key);
            if self.ttl.get().is_some_and(|ttl| ttl.reads_renew)
                && let Some(stamped) = self.table.borrow_mut().get_mut(key)
            {
                stamped.stamp = self.clock.now();
            }
            // Only here, since a function that is shown the value may read it again.
            if !self.table.borrow().is_resident(key) {
                self.table.borrow_mut().fetch(key);
            }
            f(self.table.borrow().get(key).map(|v| &v.value))
        })
    }

    /// Gives a function the current key's value to change, made by `make` if there is none.
    #[inline]
    pub(crate) fn change<R>(&self, make: impl FnOnce() -> V, f: impl FnOnce(&mut V) -> R) -> R {
        self.current.with(|key| {
            self.expire(key);
            let stamp = self.stamp();
            let mut table = self.table.borrow_mut();
            let stamped = table.get_or_insert_with(key, || Stamped { stamp, value: make() });
            stamped.stamp = stamp;
            f(&mut stamped.value)
        })
    }

    /// As [`StateCell::change`], if there is a value.
    #[inline]
    pub(crate) fn change_existing<R>(&self, f: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.current.with(|key| {
            self.expire(key);
            let stamp = self.stamp();
            let mut table = self.table.borrow_mut();
            let stamped = table.get_mut(key)?;
            stamped.stamp = stamp;
            Some(f(&mut stamped.value))
        })
    }

    #[inline]
    pub(crate) fn set(&self, value: V) {
        self.current.with(|key| {
            self.expire(key);
            self.table.borrow_mut().insert(key, Stamped { stamp: self.stamp(), value });
        });
    }

    pub(crate) fn take(&self) -> Option<V> {
        self.current.with(|key| {
            self.expire(key);
            self.table.borrow_mut().remove(key).map(|v| v.value)
        })
    }
}

/// A state, whatever its type: what the operator's harness needs of it.
pub(crate) trait AnyState {
    fn name(&self) -> &str;
    fn snapshot(&self) -> Result<DeferredState>;
    /// Takes back a section of this state; [`AnyState::restored`] follows the last one.
    fn restore(&self, section: &StateSection) -> Result<()>;
    fn restored(&self) -> Result<()>;
    /// Brings near what look-ups of these keys read.
    fn prefetch(&self, keys: &KeyBlock) -> Result<()>;
    /// Whether all went well since this was asked last.
    fn check(&self) -> Result<()>;
    /// Appends the keys that have a value.
    fn keys(&self, into: &mut Vec<KeyBytes>) -> Result<()>;
    /// Entries, and bytes without what values point to.
    fn size(&self) -> (usize, usize);
    /// Removes the current key's value.
    fn clear(&self);
}

impl<V: Data> AnyState for StateCell<V> {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> Result<DeferredState> {
        let ttl = self.ttl.get();
        let now = self.clock.now();
        let keep = move |v: &Stamped<V>| ttl.is_none_or(|ttl| !ttl.over(v.stamp, now));
        self.table.borrow_mut().snapshot(&self.name, &self.codec, keep)
    }

    fn restore(&self, section: &StateSection) -> Result<()> {
        self.table.borrow_mut().restore(section, &self.codec)
    }

    fn restored(&self) -> Result<()> {
        self.table.borrow_mut().restored()
    }

    fn prefetch(&self, keys: &KeyBlock) -> Result<()> {
        keys.prefetch(&mut self.table.borrow_mut())
    }

    fn check(&self) -> Result<()> {
        self.table.borrow_mut().check()
    }

    fn keys(&self, into: &mut Vec<KeyBytes>) -> Result<()> {
        self.table.borrow_mut().each(|key, _| {
            into.push(key.into());
            Ok(())
        })
    }

    fn size(&self) -> (usize, usize) {
        let table = self.table.borrow();
        (table.len(), table.byte_len())
    }

    fn clear(&self) {
        self.current.with(|key| self.table.borrow_mut().remove(key));
    }
}
