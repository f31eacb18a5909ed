use super::here;
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::state::heap::SweepCursor;
use crate::state::{KeyRef, StateTable};
use crate::testing::{backend, scope, whole};
use crate::{Snapshot, StateSection};
use fluvial_memory::hash::{KEY_GROUPS, owned_groups};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn encoded(deferred: DeferredState) -> Vec<StateSection> {
    Snapshot { sections: Vec::new(), deferred: vec![deferred] }.into_sections().unwrap()
}

#[derive(Clone, Debug)]
enum Change {
    Insert(u16, u32),
    Add(u16, u32),
    Mutate(u16, u32),
    Remove(u16),
    /// Removes odd values among so many entries.
    Sweep(usize),
    Snapshot,
}

fn change() -> impl Strategy<Value = Change> {
    let key = || 0u16..400;
    prop_oneof![
        6 => (key(), any::<u32>()).prop_map(|(k, v)| Change::Insert(k, v)),
        6 => (key(), any::<u32>()).prop_map(|(k, v)| Change::Add(k, v)),
        3 => (key(), any::<u32>()).prop_map(|(k, v)| Change::Mutate(k, v)),
        4 => key().prop_map(Change::Remove),
        1 => (0usize..300).prop_map(Change::Sweep),
        1 => Just(Change::Snapshot),
    ]
}

/// A key: some short, some too long to lie beside the value.
fn bytes(key: u16) -> Vec<u8> {
    let mut bytes = key.to_be_bytes().to_vec();
    bytes.resize(2 + usize::from(key % 40), b'x');
    bytes
}

fn table(codec: &RecordCodec<u32>) -> StateTable<u32> {
    StateTable::open(&scope(0..KEY_GROUPS), "table", codec)
}

fn contents(table: &mut StateTable<u32>) -> BTreeMap<Vec<u8>, u32> {
    let mut contents = BTreeMap::new();
    let each = table.each(|key, value| {
        assert_eq!(contents.insert(key.to_vec(), *value), None, "twice");
        Ok(())
    });
    each.unwrap();
    contents
}

/// A snapshot in new tables of `parts` instances.
fn restored(sections: &[StateSection], codec: &RecordCodec<u32>, parts: usize) -> BTreeMap<Vec<u8>, u32> {
    let mut all = BTreeMap::new();
    let sections = if backend().disk().is_none() { whole(sections.to_vec()).unwrap() } else { sections.to_vec() };
    for part in 0..parts {
        let groups = owned_groups(part, parts);
        let mut table = StateTable::open(&scope(groups.clone()), "table", codec);
        for section in sections.iter().filter(|s| groups.contains(&s.key_group.unwrap())) {
            table.restore(section, codec).unwrap();
        }
        table.restored().unwrap();
        assert_eq!(contents(&mut table).len(), table.len());
        all.extend(contents(&mut table));
    }
    all
}

proptest! {
    #[test]
    fn equals_a_map_and_snapshots_are_of_their_moment(changes in proptest::collection::vec(change(), 0..800)) {
        here(|| check(changes))?;
    }
}

fn check(changes: Vec<Change>) -> Result<(), TestCaseError> {
    let codec = RecordCodec::new();
    let mut table = table(&codec);
    let mut model: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut cursor = SweepCursor::default();
    let mut snapshots: Vec<(BTreeMap<Vec<u8>, u32>, DeferredState)> = Vec::new();
    for change in changes {
        match change {
            Change::Insert(key, value) => {
                table.insert(KeyRef::new(&bytes(key)), value);
                model.insert(bytes(key), value);
            }
            Change::Add(key, value) => {
                let sum = table.get_or_insert_with(KeyRef::new(&bytes(key)), || 0);
                *sum = sum.wrapping_add(value);
                let sum = model.entry(bytes(key)).or_insert(0);
                *sum = sum.wrapping_add(value);
            }
            Change::Mutate(key, value) => {
                let (key, expected) = (bytes(key), model.get_mut(&bytes(key)));
                let found = table.get_mut(KeyRef::new(&key));
                prop_assert_eq!(found.is_some(), expected.is_some());
                if let (Some(found), Some(expected)) = (found, expected) {
                    (*found, *expected) = (value, value);
                }
            }
            Change::Remove(key) => {
                prop_assert_eq!(table.remove(KeyRef::new(&bytes(key))), model.remove(&bytes(key)));
            }
            Change::Sweep(count) => {
                let before = table.len();
                table.sweep(&mut cursor, count, |value| value % 2 == 0);
                prop_assert!(before - table.len() <= count);
                let left = contents(&mut table);
                prop_assert!(model.iter().all(|(key, value)| left.contains_key(key) || value % 2 == 1));
                model = left;
            }
            Change::Snapshot => {
                let deferred = table.snapshot("table", &codec, |_| true).unwrap();
                // Some are encoded only at the end, others while more changes come.
                snapshots.push((model.clone(), deferred));
                if snapshots.len() == 3 {
                    let (expected, deferred) = snapshots.remove(1);
                    prop_assert_eq!(restored(&encoded(deferred), &codec, 1), expected);
                }
            }
        }
        prop_assert_eq!(table.len(), model.len());
        table.check().unwrap();
    }
    prop_assert_eq!(contents(&mut table), model.clone());
    for key in 0..400 {
        let key = bytes(key);
        table.fetch(KeyRef::new(&key));
        prop_assert_eq!(table.get(KeyRef::new(&key)), model.get(&key));
    }
    for (parts, (expected, deferred)) in (1..).zip(snapshots) {
        prop_assert_eq!(restored(&encoded(deferred), &codec, parts), expected);
    }
    Ok(())
}
