use super::StoredSection;
use crate::codec::RecordCodec;
use crate::state::{KeyBlock, KeyRef, StateTable};
use crate::testing::{AMPLE, TINY, scope, with_backend};
use crate::{Result, Snapshot, StateBackend, StateSection};
use fluvial_memory::hash::KEY_GROUPS;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

type Model = BTreeMap<u64, Vec<u64>>;

/// Numbers that depend on nothing but the last one.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn table(codec: &RecordCodec<Vec<u64>>) -> StateTable<Vec<u64>> {
    StateTable::open(&scope(0..KEY_GROUPS), "lists", codec)
}

fn snapshot(table: &mut StateTable<Vec<u64>>, codec: &RecordCodec<Vec<u64>>) -> Result<Vec<StateSection>> {
    let deferred = table.snapshot("lists", codec, |_| true)?;
    Snapshot { sections: Vec::new(), deferred: vec![deferred] }.into_sections()
}

/// The runs that sections lie in.
fn runs(sections: &[StateSection]) -> HashSet<*const super::Run> {
    sections.iter().filter_map(|s| s.stored.as_ref()).map(|stored| Arc::as_ptr(&stored.run)).collect()
}

fn bytes(sections: &[StateSection]) -> u64 {
    sections.iter().map(StateSection::byte_len).sum()
}

/// Blocks of changes: what operators do.
fn work(table: &mut StateTable<Vec<u64>>, model: &mut Model, random: &mut Random, keys: u64, blocks: usize) {
    let mut block = KeyBlock::default();
    for _ in 0..blocks {
        let chosen: Vec<u64> = (0..64).map(|_| random.below(keys)).collect();
        block.encode(chosen.iter(), |key, out| out.extend(key.to_be_bytes()));
        block.prefetch(table).unwrap();
        for (i, number) in chosen.into_iter().enumerate() {
            let key = block.get(i);
            assert_eq!(table.get(key), model.get(&number), "key {number}");
            match random.below(8) {
                0 => assert_eq!(table.remove(key), model.remove(&number)),
                1 => {}
                2 => {
                    table.insert(key, vec![number]);
                    model.insert(number, vec![number]);
                }
                _ => {
                    let value = random.below(100);
                    table.get_or_insert_with(key, Vec::new).push(value);
                    model.entry(number).or_default().push(value);
                }
            }
        }
    }
    table.check().unwrap();
    assert_eq!(table.len(), model.len());
}

fn contents(table: &mut StateTable<Vec<u64>>) -> Model {
    let mut contents = Model::new();
    let each = table.each(|key, value| {
        assert_eq!(contents.insert(u64::from_be_bytes(key.try_into().unwrap()), value.clone()), None, "twice");
        Ok(())
    });
    each.unwrap();
    contents
}

fn restored(sections: &[StateSection], codec: &RecordCodec<Vec<u64>>) -> StateTable<Vec<u64>> {
    let mut table = table(codec);
    sections.iter().for_each(|section| table.restore(section, codec).unwrap());
    table.restored().unwrap();
    table
}

#[test]
fn equals_a_map_over_many_generations_rewrites_and_restarts() {
    for (backend, seed) in [(&TINY, 1), (&TINY, 2), (&StateBackend::Disk { memory: 1 << 20, folder: None }, 3)] {
        with_backend(backend, || {
            let codec = RecordCodec::new();
            let (mut table, mut model, mut random) = (table(&codec), Model::new(), Random(seed));
            let mut before: Option<(Model, Vec<StateSection>)> = None;
            for _ in 0..12 {
                work(&mut table, &mut model, &mut random, 5_000, 300);
                let sections = snapshot(&mut table, &codec).unwrap();
                // What was set aside does not change, whatever is rewritten meanwhile.
                if let Some((expected, sections)) = before.replace((model.clone(), sections)) {
                    assert_eq!(contents(&mut restored(&sections, &codec)), expected);
                }
                let StateTable::Disk(disk) = &table else { unreachable!("on disk") };
                let (used, live) = disk
                    .runs
                    .list
                    .iter()
                    .fold((0, 0), |(used, live), listed| (used + listed.run.bytes, live + disk.runs.live(listed)));
                assert!(used <= 4 * live + (2 << 20), "{used} bytes of runs for {live}");
                assert!(disk.runs.list.len() < 100, "{} runs", disk.runs.list.len());
            }
            assert_eq!(contents(&mut table), model);
            let (expected, sections) = before.unwrap();
            drop(table);
            let mut again = restored(&sections, &codec);
            let mut model = expected;
            assert_eq!(again.len(), model.len());
            // It begins with the very runs.
            assert_eq!(runs(&snapshot(&mut again, &codec).unwrap()), runs(&sections));
            work(&mut again, &mut model, &mut random, 5_000, 300);
            assert_eq!(contents(&mut again), model);
        });
    }
}

#[test]
fn a_snapshot_writes_what_has_changed() {
    with_backend(&AMPLE, || {
        let codec = RecordCodec::new();
        let mut table = table(&codec);
        let change = |table: &mut StateTable<Vec<u64>>, keys: u64| {
            (0..keys).for_each(|key| table.insert(KeyRef::new(&key.to_be_bytes()), vec![key; 4]));
        };
        change(&mut table, 20_000);
        let whole = snapshot(&mut table, &codec).unwrap();
        change(&mut table, 200);
        let next = snapshot(&mut table, &codec).unwrap();
        assert_eq!(runs(&next).difference(&runs(&whole)).count(), 1);
        assert!(bytes(&next) - bytes(&whole) < bytes(&whole) / 90, "{} after {}", bytes(&next), bytes(&whole));
        let same = snapshot(&mut table, &codec).unwrap();
        assert_eq!(runs(&same), runs(&next), "nothing has changed");
    });
}

#[test]
fn a_visit_comes_to_every_key() {
    for backend in [TINY, AMPLE, StateBackend::Memory] {
        with_backend(&backend, || {
            let codec = RecordCodec::new();
            let mut table = table(&codec);
            let (mut model, mut random) = (Model::new(), Random(7));
            work(&mut table, &mut model, &mut random, 3_000, 200);
            let mut visit = crate::state::Visit::default();
            let mut seen = Model::new();
            let mut more = true;
            while more {
                more = table
                    .visit(&mut visit, 100, |key, value| {
                        let key = u64::from_be_bytes(key.bytes.try_into().unwrap());
                        seen.entry(key).or_insert_with(|| value.clone());
                        match key % 3 {
                            0 => crate::state::Visited::Done,
                            1 => {
                                value.push(u64::MAX);
                                crate::state::Visited::Changed
                            }
                            _ => crate::state::Visited::Same,
                        }
                    })
                    .unwrap();
            }
            assert_eq!(seen, model);
            model.retain(|key, _| key % 3 > 0);
            model.iter_mut().filter(|(key, _)| *key % 3 == 1).for_each(|(_, value)| value.push(u64::MAX));
            let mut found = contents(&mut table);
            // One that has changed may be shown again.
            found.values_mut().for_each(|value| value.dedup_by(|a, b| *a == u64::MAX && a == b));
            assert_eq!(found, model);
            assert_eq!(table.len(), model.len());
        });
    }
}

#[test]
fn a_damaged_run_is_named() {
    with_backend(&TINY, || {
        let codec = RecordCodec::new();
        let mut table = table(&codec);
        (0..2_000u64).for_each(|key| table.insert(KeyRef::new(&key.to_be_bytes()), vec![key; 4]));
        let sections = snapshot(&mut table, &codec).unwrap();
        let StoredSection { run, place } = sections[3].stored.clone().unwrap();
        let path = run.file.path().to_owned();
        let mut altered = std::fs::read(&path).unwrap();
        altered[run.sections[place].offset as usize + 5] ^= 1;
        std::fs::write(&path, altered).unwrap();
        let mut again = self::table(&codec);
        sections.iter().for_each(|section| again.restore(section, &codec).unwrap());
        let error = again.restored().unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("have not the checksum"), "{error}");
        // A look-up that finds its entry gone says so.
        std::fs::write(&path, b"").unwrap();
        let mut block = KeyBlock::default();
        let failed = (0..2_000u64).collect::<Vec<_>>().chunks(64).find_map(|keys| {
            block.encode(keys.iter(), |key, out| out.extend(key.to_be_bytes()));
            block.prefetch(&mut table).err()
        });
        let error = failed.unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("cut off"), "{error}");
    });
}

#[test]
fn long_keys_and_values_are_read_whole() {
    with_backend(&TINY, || {
        let codec = RecordCodec::new();
        let mut table = table(&codec);
        let key = |n: usize| vec![n as u8; 1 + n * 37 % 9_000];
        (0..200).for_each(|n| table.insert(KeyRef::new(&key(n)), vec![n as u64; n * 61 % 5_000]));
        snapshot(&mut table, &codec).unwrap();
        let mut block = KeyBlock::default();
        for n in (0..200).rev() {
            block.encode([n].iter(), |n, out| out.extend(key(*n)));
            block.prefetch(&mut table).unwrap();
            assert_eq!(table.get(block.get(0)), Some(&vec![n as u64; n * 61 % 5_000]), "key {n}");
        }
    });
}
