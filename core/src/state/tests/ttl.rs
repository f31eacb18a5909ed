//! Time to live, by a clock that is driven by hand. It stands at 1000 first, and values live for 100.

use super::{at, here, restore, snapshot, state};
use crate::Ttl;
use std::time::Duration;

fn ttl() -> Ttl {
    Ttl::of(Duration::from_millis(100))
}

#[test]
fn a_value_lives_from_its_last_write() {
    here(|| {
        let (mut keyed, clock) = state();
        let value = keyed.value::<u32>("value").unwrap().ttl(ttl());
        at(&keyed, 1);
        value.set(5);
        clock.advance_to(1099);
        assert_eq!(value.get(), Some(5));
        value.update(|v| *v += 1);
        clock.advance_to(1198);
        assert_eq!(value.get(), Some(6), "written at 1099");
        clock.advance_to(1199);
        assert_eq!(value.get(), None);
        assert_eq!(keyed.size().0, 0, "a value that is found to be over is removed");
        value.update(|v| assert_eq!(*v, 0));
    });
}

#[test]
fn reads_renew_if_they_are_to() {
    here(|| {
        let (mut keyed, clock) = state();
        let renewed = keyed.value::<u32>("renewed").unwrap().ttl(ttl().renewed_by_reads());
        let written = keyed.value::<u32>("written").unwrap().ttl(ttl());
        at(&keyed, 1);
        renewed.set(1);
        written.set(1);
        clock.advance_to(1060);
        assert_eq!((renewed.get(), written.get()), (Some(1), Some(1)));
        clock.advance_to(1159);
        assert_eq!((renewed.get(), written.get()), (Some(1), None));
        clock.advance_to(1259);
        assert_eq!(renewed.get(), None);
    });
}

#[test]
fn a_value_may_be_seen_until_it_is_cleaned_up() {
    here(|| {
        let (mut keyed, clock) = state();
        let value = keyed.value::<u64>("value").unwrap().ttl(ttl().visible_until_cleaned());
        for key in 0..50 {
            at(&keyed, key);
            value.set(key);
        }
        clock.advance_to(5000);
        let seen = (0..50).filter(|key| {
            at(&keyed, *key);
            value.get().is_some()
        });
        let seen = seen.count();
        assert!(seen > 0 && seen < 50, "{seen} of 50 were still there: each read cleans up a few");
        assert!(snapshot(&keyed).iter().all(|section| section.bytes.is_empty()), "a snapshot leaves them out");
    });
}

#[test]
fn what_is_over_goes_while_other_keys_are_used() {
    here(|| {
        let (mut keyed, clock) = state();
        let lists = keyed.list::<u64>("lists").unwrap().ttl(ttl());
        for key in 0..1000 {
            at(&keyed, key);
            lists.add(key);
        }
        clock.advance_to(1100);
        at(&keyed, 5000);
        for n in 0..2_000 {
            lists.set(vec![n]);
        }
        assert_eq!(keyed.size().0, 1);
    });
}

#[test]
fn every_kind_of_state_expires() {
    here(|| {
        let (mut keyed, clock) = state();
        let map = keyed.map::<u8, u8>("map").unwrap().ttl(ttl());
        let largest = keyed.reducing("largest", u64::max).unwrap().ttl(ttl());
        let lists = keyed.list::<u8>("list").unwrap().ttl(ttl());
        at(&keyed, 1);
        map.insert(1, 1);
        largest.add(9);
        lists.add(1);
        clock.advance_to(1100);
        assert_eq!(map.remove(&1), None);
        largest.add(3);
        assert_eq!(largest.get(), Some(3));
        assert!(lists.take().is_empty());
    });
}

#[test]
fn snapshots_keep_the_time_of_the_last_write_and_leave_out_what_is_over() {
    here(|| {
        let (mut keyed, clock) = state();
        let value = keyed.value::<u32>("value").unwrap().ttl(ttl());
        at(&keyed, 1);
        value.set(1);
        clock.advance_to(1050);
        at(&keyed, 2);
        value.set(2);
        clock.advance_to(1120);
        let sections = snapshot(&keyed);
        let (mut again, clock) = state();
        let value = again.value::<u32>("value").unwrap().ttl(ttl());
        restore(&again, sections).unwrap();
        assert_eq!(again.size().0, 1);
        clock.advance_to(1149);
        at(&again, 2);
        assert_eq!(value.get(), Some(2));
        clock.advance_to(1150);
        assert_eq!(value.get(), None);
    });
}

#[test]
fn a_time_to_live_may_come_and_go_between_runs() {
    here(|| {
        let (mut keyed, _) = state();
        at(&keyed, 1);
        keyed.value::<u32>("value").unwrap().set(7);
        let sections = snapshot(&keyed);
        let (mut again, clock) = state();
        let value = again.value::<u32>("value").unwrap().ttl(ttl());
        restore(&again, sections).unwrap();
        clock.advance_to(1_000_000);
        at(&again, 1);
        assert_eq!(value.get(), Some(7), "written when nothing was said of time: it has for ever");
        value.set(8);
        clock.advance_to(1_000_100);
        assert_eq!(value.get(), None);
    });
}
