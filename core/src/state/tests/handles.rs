use super::{at, here, restore, snapshot, state};
use crate::Aggregator;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn a_handle_shows_the_current_keys_value() {
    here(|| {
        let (mut keyed, _) = state();
        let value = keyed.value::<String>("value").unwrap();
        at(&keyed, 1);
        assert_eq!(value.get(), None);
        value.set("one".into());
        at(&keyed, 2);
        assert_eq!(value.get(), None);
        assert_eq!(value.update(|text| std::mem::replace(text, "two".into())), "");
        assert_eq!(value.update_or(String::new, |text| text.len()), 3);
        at(&keyed, 1);
        assert_eq!(value.with(|text| text.cloned()), Some("one".into()));
        assert_eq!(value.take(), Some("one".into()));
        assert_eq!(value.get(), None);
        at(&keyed, 2);
        assert_eq!(keyed.size().0, 1);
        value.clear();
        assert_eq!(keyed.size().0, 0);
    });
}

#[test]
fn lists_keep_their_order() {
    here(|| {
        let (mut keyed, _) = state();
        let list = keyed.list::<u32>("list").unwrap();
        at(&keyed, 1);
        assert!(list.is_empty());
        list.update(|_| unreachable!("there is no list"));
        list.add(3);
        list.extend([1, 2]);
        list.update(|values| values.reverse());
        assert_eq!((list.get(), list.len()), (vec![2, 1, 3], 3));
        at(&keyed, 2);
        list.set(vec![9]);
        assert_eq!(list.take(), [9]);
        at(&keyed, 1);
        assert_eq!(list.with(<[u32]>::to_vec), [2, 1, 3]);
        list.clear();
        assert_eq!(keyed.size().0, 0);
    });
}

#[derive(Clone)]
struct Longest;

impl Aggregator<String> for Longest {
    type Accumulator = usize;
    type Output = u64;
    fn create(&self) -> usize {
        0
    }
    fn add(&self, longest: &mut usize, text: String) {
        *longest = text.len().max(*longest);
    }
    fn merge(&self, longest: &mut usize, other: usize) {
        *longest = other.max(*longest);
    }
    fn finish(&self, longest: usize) -> u64 {
        longest as u64
    }
}

#[test]
fn reducing_and_aggregating_state_keep_one_value() {
    here(|| {
        let (mut keyed, _) = state();
        let product = keyed.reducing("product", |a: u64, b| a * b).unwrap();
        let longest = keyed.aggregating("longest", Longest).unwrap();
        at(&keyed, 1);
        assert_eq!((product.get(), longest.get()), (None, None));
        [2, 5, 7].into_iter().for_each(|n| product.add(n));
        ["aa", "b"].into_iter().for_each(|text| longest.add(text.into()));
        assert_eq!((product.get(), longest.get()), (Some(70), Some(2)));
        keyed.clear();
        assert_eq!((product.get(), longest.get()), (None, None));
        product.add(3);
        product.clear();
        assert_eq!(keyed.size().0, 0);
    });
}

#[test]
fn keys_with_any_state_are_found_once_and_in_order() {
    here(|| {
        let (mut keyed, _) = state();
        let value = keyed.value::<u64>("value").unwrap();
        let list = keyed.list::<u64>("list").unwrap();
        for key in [7, 3, 9, 3] {
            at(&keyed, key);
            value.set(key);
            list.add(key);
        }
        value.clear();
        at(&keyed, 200);
        list.add(1);
        let keys: Vec<u64> = keyed.keys().unwrap().iter().map(|k| u64::from_be_bytes(k.as_slice().try_into().unwrap())).collect();
        assert_eq!(keys, [3, 7, 9, 200]);
    });
}

proptest! {
    #[test]
    fn maps_equal_maps(steps in proptest::collection::vec((0u8..6, 0u64..5, 0u8..20), 0..300)) {
        let (mut keyed, _) = here(state);
        let map = keyed.map::<u8, u64>("map").unwrap();
        let mut model: BTreeMap<u64, BTreeMap<u8, u64>> = BTreeMap::new();
        for (number, (what, key, inner)) in (0u64..).zip(steps) {
            at(&keyed, key);
            let of_key = model.entry(key).or_default();
            match what {
                0 | 1 => {
                    map.insert(inner, number);
                    of_key.insert(inner, number);
                }
                2 => prop_assert_eq!(map.remove(&inner), of_key.remove(&inner)),
                3 => {
                    map.update_or(inner, || 100, |value| *value += 1);
                    *of_key.entry(inner).or_insert(100) += 1;
                }
                4 => prop_assert_eq!(map.get(&inner), of_key.get(&inner).copied()),
                _ if inner == 0 => {
                    map.clear();
                    of_key.clear();
                }
                _ => prop_assert_eq!(map.contains(&inner), of_key.contains_key(&inner)),
            }
            prop_assert_eq!(&map.with(Clone::clone), &*of_key);
            prop_assert_eq!((map.len(), map.is_empty()), (of_key.len(), of_key.is_empty()));
            if of_key.is_empty() {
                model.remove(&key);
            }
            prop_assert_eq!(keyed.size().0, model.len(), "an empty map takes no room");
        }
        let (mut again, _) = state();
        let map = again.map::<u8, u64>("map").unwrap();
        restore(&again, snapshot(&keyed)).unwrap();
        for (key, of_key) in model {
            at(&again, key);
            prop_assert_eq!(map.with(Clone::clone), of_key);
        }
    }
}
