//! Alarms and all-clears of sensors.

use crate::fire_detection::{Message, Reading, SMALL, messages, small};
use crate::in_all_ways;
use std::time::Duration;

/// Sensor, degrees, seconds; all in one room.
fn said(readings: &[(u32, f64, i64)]) -> Vec<Message> {
    let readings = readings.iter().map(|&(sensor, celsius, seconds)| Reading {
        room: "hall".into(),
        sensor,
        celsius,
        time: seconds * 1_000,
    });
    let readings: Vec<_> = readings.collect();
    in_all_ways(|env| messages(&env.from_collection(readings.clone())).collect())
}

fn fire(at: i64, sensors: &[u32]) -> Message {
    Message::Fire { room: "hall".into(), at: at * 1_000, sensors: sensors.to_vec() }
}

fn clear(at: i64, burnt: u64) -> Message {
    Message::Clear { room: "hall".into(), at: at * 1_000, burnt: Duration::from_secs(burnt) }
}

#[test]
fn two_sensors_within_half_a_minute_are_a_fire() {
    assert_eq!(said(&[(1, 60.0, 10), (2, 90.0, 40)]), [fire(40, &[1, 2]), clear(100, 60)]);
    assert_eq!(said(&[(1, 60.0, 10), (2, 90.0, 41)]), []);
}

#[test]
fn one_sensor_may_be_broken() {
    let readings: Vec<_> = (0..50).map(|n| (7, 400.0, n)).collect();
    assert_eq!(said(&readings), []);
    assert_eq!(said(&[(1, 59.9, 0), (2, 59.9, 0), (3, 80.0, 0)]), []);
}

#[test]
fn a_fire_lasts_until_a_minute_after_the_last_hot_reading() {
    let readings = [(1, 80.0, 0), (2, 80.0, 0), (1, 80.0, 59), (2, 20.0, 70), (1, 80.0, 100)];
    assert_eq!(said(&readings), [fire(0, &[1, 2]), clear(160, 160)]);
}

#[test]
fn a_room_may_burn_again() {
    let readings = [(1, 80.0, 0), (2, 80.0, 1), (1, 80.0, 200), (3, 80.0, 201)];
    assert_eq!(said(&readings), [fire(1, &[1, 2]), fire(201, &[1, 3]), clear(61, 60), clear(261, 60)]);
}

#[test]
fn readings_may_come_in_any_order() {
    let mut readings = vec![(1, 80.0, 20), (2, 80.0, 25), (1, 80.0, 27), (3, 80.0, 22), (2, 80.0, 85)];
    let in_order = said(&readings);
    assert_eq!(in_order, [fire(22, &[1, 3]), clear(145, 123)]);
    // Within the ten seconds that the job waits.
    readings.swap(0, 3);
    readings.swap(1, 2);
    assert_eq!(said(&readings), in_order);
}

#[test]
fn the_generated_kitchen_burns_once() {
    let said = in_all_ways(|env| messages(&env.generate(SMALL, small)).collect());
    let [Message::Fire { room, at, sensors }, Message::Clear { at: cleared, .. }] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((room.as_str(), *at, sensors.as_slice()), ("kitchen", 180_300, [0, 1].as_slice()));
    assert_eq!(*cleared, 295_600 + 60_000);
}
