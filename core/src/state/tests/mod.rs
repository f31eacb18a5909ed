mod handles;
mod stored;
mod table;
mod ttl;

use super::{KeyRef, KeyedState};
use crate::codec::KeyType;
use crate::testing::{context, split_restore};
use crate::{Clock, Result, Snapshot, StateSection};

/// The state of the only instance of an operator, which goes by a manual clock that stands at 1000.
fn state() -> (KeyedState, Clock) {
    let clock = Clock::manual(1000);
    (KeyedState::new(&context(0, 1), clock.clone(), KeyType::of::<u64>()), clock)
}

/// Goes to a key.
fn at(state: &KeyedState, key: u64) {
    state.current().go(KeyRef::new(&key.to_be_bytes()));
}

fn snapshot(state: &KeyedState) -> Vec<StateSection> {
    let mut snapshot = Snapshot::default();
    state.snapshot(&mut snapshot);
    snapshot.into_sections().unwrap()
}

fn restore(state: &KeyedState, sections: Vec<StateSection>) -> Result<()> {
    for section in split_restore(sections, 1).remove(0).sections {
        assert!(state.restore(&section)?);
    }
    Ok(())
}
