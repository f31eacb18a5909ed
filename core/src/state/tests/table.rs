use super::super::table::SweepCursor;
use super::super::{KeyRef, StateTable};
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
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

fn table() -> StateTable<u32> {
    StateTable::new(0..KEY_GROUPS)
}

fn contents(table: &StateTable<u32>) -> BTreeMap<Vec<u8>, u32> {
    table.iter().map(|entry| (entry.key.as_slice().to_vec(), entry.value)).collect()
}

/// A snapshot in new tables of `parts` instances.
fn restored(sections: &[StateSection], codec: &RecordCodec<u32>, parts: usize) -> BTreeMap<Vec<u8>, u32> {
    let mut all = BTreeMap::new();
    for part in 0..parts {
        let groups = owned_groups(part, parts);
        let mut table = StateTable::new(groups.clone());
        for section in sections.iter().filter(|s| groups.contains(&s.key_group.unwrap())) {
            table.restore(section, codec).unwrap();
        }
        assert_eq!(contents(&table).len(), table.len());
        all.extend(contents(&table));
    }
    all
}

proptest! {
    #[test]
    fn equals_a_map_and_snapshots_are_of_their_moment(changes in proptest::collection::vec(change(), 0..800)) {
        let codec = RecordCodec::new();
        let mut table = table();
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
                    let left = contents(&table);
                    prop_assert!(model.iter().all(|(key, value)| left.contains_key(key) || value % 2 == 1));
                    model = left;
                }
                Change::Snapshot => {
                    let deferred = table.snapshot("table", &codec, |_| true);
                    // Some are encoded only at the end, others while more changes come.
                    snapshots.push((model.clone(), deferred));
                    if snapshots.len() == 3 {
                        let (expected, deferred) = snapshots.remove(1);
                        prop_assert_eq!(restored(&encoded(deferred), &codec, 1), expected);
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
        prop_assert_eq!(contents(&table), model.clone());
        for key in 0..400 {
            let key = bytes(key);
            prop_assert_eq!(table.get(KeyRef::new(&key)), model.get(&key));
        }
        for (parts, (expected, deferred)) in (1..).zip(snapshots) {
            prop_assert_eq!(restored(&encoded(deferred), &codec, parts), expected);
        }
    }
}

#[test]
fn a_sweep_goes_around_the_whole_table() {
    let mut table = table();
    (0..1000u16).for_each(|key| table.insert(KeyRef::new(&key.to_be_bytes()), u32::from(key)));
    let mut cursor = SweepCursor::default();
    let calls = (0..).take_while(|_| {
        table.sweep(&mut cursor, 4, |value| value % 2 == 0);
        table.len() > 500
    });
    // Each look is at an entry or at the end of a group.
    assert!(calls.count() <= (1000 + usize::from(KEY_GROUPS)) / 4);
}

#[test]
fn sections_of_others_are_refused() {
    let codec = RecordCodec::new();
    let mut table = table();
    (0..100u16).for_each(|key| table.insert(KeyRef::new(&key.to_be_bytes()), 1));
    let sections = encoded(table.snapshot("counts", &codec, |_| true));
    let error = StateTable::<u32>::new(0..1).restore(sections.last().unwrap(), &codec).unwrap_err().to_string();
    assert!(error.contains("`counts`") && error.contains("0..1"), "{error}");
    let error = self::table().restore(&StateSection { schema: "other".into(), ..sections[0].clone() }, &codec).unwrap_err();
    assert!(error.to_string().contains("`counts` was stored as `other`, which is no schema"), "{error}");
    for len in 0..sections[0].bytes.len() {
        let cut = StateSection { bytes: sections[0].bytes[..len].to_vec(), ..sections[0].clone() };
        let _no_panic = self::table().restore(&cut, &codec);
    }
    let cut = StateSection { bytes: sections[0].bytes[..5].to_vec(), ..sections[0].clone() };
    let error = self::table().restore(&cut, &codec).unwrap_err().to_string();
    assert!(error.contains("`counts`") && error.contains("byte 0"), "{error}");
}
