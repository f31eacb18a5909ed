//! Tables and handles, on each state backend: the same files as modules of `in_memory` and `on_disk`.

#[expect(clippy::duplicate_mod, reason = "the same tests, once for each backend")]
mod in_memory;
mod on_disk;
mod stored;
mod sweep;

use super::{KeyRef, KeyedState};
use crate::codec::KeyType;
use crate::testing::{scope, split_restore, whole};
use crate::{Clock, Result, Snapshot, StateSection};
use fluvial_memory::hash::KEY_GROUPS;

/// The state of the only instance of an operator, which goes by a manual clock that stands at 1000.
fn state() -> (KeyedState, Clock) {
    let clock = Clock::manual(1000);
    (KeyedState::new(scope(0..KEY_GROUPS), clock.clone(), KeyType::of::<u64>()), clock)
}

/// Goes to a key.
fn at(state: &KeyedState, key: u64) {
    state.current().go(KeyRef::new(&key.to_be_bytes()));
}

fn taken(state: &KeyedState) -> Vec<StateSection> {
    let mut snapshot = Snapshot::default();
    state.snapshot(&mut snapshot).unwrap();
    snapshot.into_sections().unwrap()
}

/// The state as whole sections.
fn snapshot(state: &KeyedState) -> Vec<StateSection> {
    whole(taken(state)).unwrap()
}

fn restore(state: &KeyedState, sections: Vec<StateSection>) -> Result<()> {
    for section in split_restore(sections, 1).remove(0).sections {
        assert!(state.restore(&section)?);
    }
    state.restored()
}
