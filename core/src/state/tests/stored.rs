//! What is stored says what it is: for the same state of a later program, and for programs that know neither.

use super::{at, restore, snapshot, state};
use crate::codec::KeyType;
use crate::state::section::entries;
use crate::state::{KeyedState, TimerQueue};
use crate::testing::OperatorDriver;
use crate::{Clock, Data, DataStream, Env, Result, StateSection, TimeBound, Tumbling, WatermarkStrategy};
use fluvial_memory::{KeySchema, NormalizedKey, Schema};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Visits {
    count: u64,
}

mod later {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Visits {
        #[serde(default)]
        pub last: Option<String>,
        pub count: u64,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Careless {
        pub count: u64,
        pub pages: u32,
    }
}

fn stored() -> Vec<StateSection> {
    let (mut keyed, _) = state();
    let visits = keyed.value::<Visits>("visits").unwrap();
    for key in 0..100 {
        at(&keyed, key);
        visits.set(Visits { count: key * 10 });
    }
    snapshot(&keyed)
}

#[test]
fn state_is_taken_back_by_a_type_with_more_fields() {
    let (mut keyed, _) = state();
    let visits = keyed.value::<later::Visits>("visits").unwrap();
    restore(&keyed, stored()).unwrap();
    for key in 0..100 {
        at(&keyed, key);
        assert_eq!(visits.get(), Some(later::Visits { last: None, count: key * 10 }));
    }
}

#[test]
fn a_changed_type_is_an_error_that_names_both() {
    let (mut keyed, _) = state();
    let _visits = keyed.value::<later::Careless>("visits").unwrap();
    let error = restore(&keyed, stored()).unwrap_err().to_string();
    assert_eq!(
        error,
        "state `visits` was stored as Stamped { stamp: i64, value: Visits { count: u64 } }, the program now expects Stamped { \
         stamp: i64, value: Careless { count: u64, pages: u32 } }: in `value`: field `pages` is not stored and has no default \
         (`#[serde(default)]`)"
    );
    let mut keyed = KeyedState::new(crate::testing::scope(0..128), Clock::manual(0), KeyType::of::<(String, u64)>());
    let _visits = keyed.value::<Visits>("visits").unwrap();
    let error = restore(&keyed, stored()).unwrap_err().to_string();
    assert_eq!(error, "state `visits` was stored under keys u64, the program now has keys (str, u64)");
}

#[test]
fn state_is_read_without_its_types() {
    let mut counts = Vec::new();
    for section in stored() {
        let keys = KeySchema::from_json(&section.keys).unwrap();
        let values = Schema::from_json(&section.schema).unwrap().reader().unwrap();
        for entry in entries(&section) {
            let (key, value) = entry.unwrap();
            let value: serde_json::Value = values.read(value).unwrap();
            counts.push((keys.to_value(key).unwrap().as_u64().unwrap(), value["value"]["count"].as_u64().unwrap()));
        }
        let cut = StateSection { bytes: section.bytes[..section.bytes.len() - 1].to_vec(), ..section };
        assert!(entries(&cut).last().unwrap().is_err());
    }
    counts.sort_unstable();
    assert_eq!(counts, (0..100).map(|key| (key, key * 10)).collect::<Vec<_>>());
}

#[test]
fn timers_grow_like_values() {
    let keys = KeyType::of::<u64>();
    let mut queue = TimerQueue::new("timers").keyed(&keys);
    queue.set(5, super::KeyRef::new(&7u64.to_be_bytes()), Visits { count: 1 }.count);
    let mut sections = Vec::new();
    queue.snapshot()(&mut |section| {
        sections.push(section);
        Ok(())
    })
    .unwrap();
    assert_eq!(sections[0].keys, u64::schema().to_json());
    let mut other = TimerQueue::<()>::new("timers").keyed(&keys);
    let error = other.restore(&sections[0]).unwrap_err().to_string();
    assert!(error.contains("stored as (i64, u64), the program now expects (i64, ())"), "{error}");
}

/// The sections that an operation stores after a few records, on each of its inputs.
fn sections<U: Data>(stream: &DataStream<U>, inputs: usize) -> Result<Vec<StateSection>> {
    let mut driver = OperatorDriver::of(stream, 0, 1)?;
    for input in 0..inputs {
        driver.push(input, (0..5u32).map(|n| (n, i64::from(n))).collect())?;
    }
    driver.snapshot()
}

#[test]
fn all_keyed_state_says_what_its_keys_are() -> Result<()> {
    let env = Env::default();
    let times = WatermarkStrategy::monotonous().with_timestamps(|n: &u32| i64::from(*n));
    let numbers = env.from_collection(0..5u32).assign_timestamps_and_watermarks(times);
    let keyed = numbers.key_by(|n| (n.to_string(), n % 2));
    let hour = Duration::from_secs(3600);
    let process = keyed.process_with(|state| {
        let sum = state.value::<u32>("sum")?;
        Ok(move |n: u32, context: &mut crate::KeyedContext<'_, (String, u32), u32>| {
            sum.set(n);
            context.set_event_timer(10);
            Ok(())
        })
    });
    let stored = [
        sections(&process, 1)?,
        sections(&keyed.rolling_reduce(|a, b| a + b), 1)?,
        sections(&keyed.window(Tumbling::of(hour)).reduce(|a, b| a + b), 1)?,
        sections(&keyed.interval_join(&keyed).between(TimeBound::same_time(), TimeBound::after(hour)).join(|a, b| a + b), 2)?,
    ];
    for sections in stored {
        assert!(sections.iter().any(|section| section.key_group.is_some() && !section.bytes.is_empty()));
        for section in sections.iter().filter(|section| section.key_group.is_some()) {
            assert_eq!(section.keys, <(String, u32)>::schema().to_json(), "`{}`", section.name);
            for entry in entries(section) {
                let (key, _) = entry?;
                assert!(<(String, u32)>::schema().to_value(key).unwrap().is_array());
            }
        }
    }
    Ok(())
}
