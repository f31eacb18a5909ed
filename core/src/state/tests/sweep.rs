//! What tables in memory alone have.

use crate::codec::RecordCodec;
use crate::state::KeyRef;
use crate::state::heap::{HeapTable, SweepCursor};
use crate::{Snapshot, StateSection};
use fluvial_memory::hash::KEY_GROUPS;

fn table() -> HeapTable<u32> {
    HeapTable::new(0..KEY_GROUPS)
}

fn encoded(deferred: crate::DeferredState) -> Vec<StateSection> {
    Snapshot { sections: Vec::new(), deferred: vec![deferred] }.into_sections().unwrap()
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
    let error = HeapTable::<u32>::new(0..1).restore(sections.last().unwrap(), &codec).unwrap_err().to_string();
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
