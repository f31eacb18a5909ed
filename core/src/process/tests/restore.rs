//! Every operator with state: part of the input, snapshot, restore into other numbers of instances, the rest, equal output.

use super::timers::{Do, timers};
use super::{broadcast, check_restore, connected, stream};
use crate::testing::{Step, key_group, split_restore};
use crate::{
    AggregatingState, Aggregator, KeyedContext, KeyedProcessFunction, ListState, MapState, OperatorList, ProcessContext,
    ProcessFunction, ReducingState, Result, Timer, ValueState,
};

type Reading = (u32, u64);

/// Readings of ten keys.
fn readings(input: usize, from: u64) -> Step {
    let records = (from..from + 30).map(|n| (((n % 10) as u32, n), n as i64)).collect();
    Step::keyed(input, records, |r: &Reading| key_group(&r.0))
}

fn script() -> Vec<Step> {
    vec![readings(0, 0), Step::Watermark(20), readings(0, 30), readings(0, 60), Step::Watermark(70), readings(0, 90)]
}

#[derive(Clone)]
struct Mean;

impl Aggregator<u64> for Mean {
    type Accumulator = (u64, u64);
    type Output = u64;
    fn create(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, accumulator: &mut (u64, u64), number: u64) {
        accumulator.0 += number;
        accumulator.1 += 1;
    }
    fn merge(&self, into: &mut (u64, u64), other: (u64, u64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
    fn finish(&self, accumulator: (u64, u64)) -> u64 {
        accumulator.0 / accumulator.1
    }
}

/// Something in every kind of state, and timers of both kinds.
struct Everything {
    last: ValueState<String>,
    all: ListState<u64>,
    digits: MapState<u8, u64>,
    largest: ReducingState<u64>,
    mean: AggregatingState<u64, Mean>,
}

type State = (u32, Option<String>, Vec<u64>, Vec<(u8, u64)>, Option<u64>, Option<u64>);

impl KeyedProcessFunction<u32, Reading> for Everything {
    type Output = State;

    fn process(&mut self, (_, number): Reading, context: &mut KeyedContext<'_, u32, State>) -> Result<()> {
        self.last.set(number.to_string());
        self.all.add(number);
        self.digits.update_or((number % 7) as u8, || 0, |count| *count += 1);
        self.largest.add(number);
        self.mean.add(number);
        context.set_event_timer(number as i64 + 15);
        context.set_processing_timer(1000 + number as i64);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, u32, State>) -> Result<()> {
        let digits = self.digits.with(|map| map.iter().map(|(k, v)| (*k, *v)).collect());
        context.emit((context.key(), self.last.get(), self.all.get(), digits, self.largest.get(), self.mean.get()));
        if timer.time % 3 == 0 {
            context.clear_state();
        }
        Ok(())
    }
}

#[test]
fn every_kind_of_state_and_timers() {
    let stream = stream::<Reading>().key_by(|r| r.0).process(|state| {
        Ok(Everything {
            last: state.value("last")?,
            all: state.list("all")?,
            digits: state.map("digits")?,
            largest: state.reducing("largest", u64::max)?,
            mean: state.aggregating("mean", Mean)?,
        })
    });
    let mut script = script();
    script.insert(4, Step::Timer(1040));
    check_restore(&stream, &script);
}

#[test]
fn timers_alone() {
    let dos = |dos: Vec<(u32, Do)>| Step::keyed(0, dos.into_iter().map(|d| (d, 1)).collect(), |d: &(u32, Do)| key_group(&d.0));
    let set = dos((0..40).map(|key| (key, if key % 2 == 0 { Do::Set(100) } else { Do::SetProcessing(100) })).collect());
    let delete = dos((0..10).map(|key| (key, Do::Delete(200))).collect());
    check_restore(&timers(), &[set, Step::Watermark(100), delete, Step::Timer(150), Step::Watermark(220)]);
}

#[test]
fn rolling_operations() {
    let keyed = stream::<Reading>().key_by(|r| r.0);
    check_restore(&keyed.rolling_reduce(|a, b| (a.0, a.1 * 3 + b.1)), &script());
    check_restore(&keyed.rolling_fold(String::new(), |text, r| *text += &r.1.to_string()), &script());
    check_restore(&keyed.rolling_sum(|r| r.1), &script());
    check_restore(&keyed.rolling_min_by(|r| r.1 % 17), &script());
    check_restore(&keyed.rolling_max_by(|r| r.1 % 17), &script());
    check_restore(&keyed.rolling_count(), &script());
    check_restore(&keyed.map_with_state(|r, before: &mut Option<u64>| (before.replace(r.1), r)), &script());
    let toggled = |r: &Reading, odd: &mut Option<()>| match odd.take() {
        Some(()) => r.1.is_multiple_of(5),
        None => odd.replace(()).is_none(),
    };
    check_restore(&keyed.filter_with_state(toggled), &script());
    let pairs = |r: Reading, held: &mut Option<u64>| held.replace(r.1).map(|before| (before, r.1));
    check_restore(&keyed.flat_map_with_state(pairs), &script());
}

#[test]
fn connected_streams() {
    let names = |from: u32| {
        let records = (from..from + 4).map(|key| ((key, format!("name {key}")), 40)).collect();
        Step::keyed(1, records, |n: &(u32, String)| key_group(&n.0))
    };
    let script = vec![readings(0, 0), names(0), Step::Watermark(25), names(3), readings(0, 30), Step::Watermark(60), names(6)];
    check_restore(&connected::join(), &script);
}

#[test]
fn broadcast_state() {
    let rule = |rule: u64| Step::broadcast(1, vec![(rule, 5)]);
    check_restore(&broadcast::rules(), &[readings(0, 0), rule(3), rule(5), readings(0, 30), rule(2), readings(0, 60)]);
}

/// Holds everything until the end.
struct Hold {
    held: OperatorList<u64>,
}

impl ProcessFunction<Reading> for Hold {
    type Output = u64;
    fn process(&mut self, record: Reading, _: &mut ProcessContext<'_, u64>) -> Result<()> {
        self.held.add(record.1);
        Ok(())
    }
    fn finish(&mut self, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        self.held.take().into_iter().for_each(|number| context.emit(number));
        Ok(())
    }
}

#[test]
fn lists_of_instances() {
    check_restore(&stream::<Reading>().process(|state| Ok(Hold { held: state.list("held")? })), &script());
}

#[test]
fn state_that_the_program_no_longer_has_or_reads_otherwise_is_an_error_that_names_it() {
    let keyed = stream::<Reading>().key_by(|r| r.0);
    let counted = |name: &'static str| {
        keyed.process_with(move |state| {
            let count = state.value::<u64>(name)?;
            Ok(move |_: Reading, _: &mut KeyedContext<'_, u32, u64>| {
                count.update(|n| *n += 1);
                Ok(())
            })
        })
    };
    let mut driver = super::drive(&counted("count"));
    let empty = driver.snapshot().unwrap();
    driver.push(0, vec![((1u32, 2u64), 3)]).unwrap();
    let full = driver.snapshot().unwrap();
    let restore = |stream: &crate::DataStream<u64>, sections: &[crate::StateSection]| {
        super::drive(stream).restore(split_restore(sections.to_vec(), 1).remove(0)).map_err(|e| e.to_string())
    };
    assert_eq!(restore(&counted("count"), &full), Ok(()));
    assert_eq!(restore(&counted("other"), &empty), Ok(()));
    let error = restore(&counted("other"), &full).unwrap_err();
    assert!(error.contains("`count`") && error.contains("key group"), "{error}");
    let text = keyed.process_with(|state| {
        let count = state.value::<String>("count")?;
        Ok(move |_: Reading, _: &mut KeyedContext<'_, u32, u64>| {
            count.clear();
            Ok(())
        })
    });
    let error = restore(&text, &full).unwrap_err();
    assert!(error.contains("`count`") && error.contains("expects"), "{error}");
    // A name that is taken, or that timers have.
    assert!(crate::testing::OperatorDriver::of(&counted("event timers"), 0, 1).is_err());
    let twice = keyed.process_with(|state| {
        let (_a, _b) = (state.value::<u64>("n")?, state.list::<u64>("n")?);
        Ok(|_: Reading, _: &mut KeyedContext<'_, u32, u64>| Ok(()))
    });
    assert!(crate::testing::OperatorDriver::of(&twice, 0, 1).is_err());
}
