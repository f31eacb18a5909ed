use super::{drive, main, stream};
use crate::testing::Emitted;
use crate::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, DataStream, KeyedBroadcastContext, KeyedBroadcastProcessFunction,
    KeyedContext, ListState, MapState, ProcessContext, Result, Timer,
};

/// Multiplies numbers by the factor of their parity.
struct Scale {
    factors: BroadcastState<u64, u64>,
}

impl BroadcastProcessFunction<u64, (u64, u64)> for Scale {
    type Output = u64;
    fn process(&mut self, number: u64, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        if let Some(factor) = self.factors.get(&(number % 2)) {
            context.emit(number * factor);
        }
        Ok(())
    }
    fn process_broadcast(&mut self, (parity, factor): (u64, u64), context: &mut BroadcastContext<'_, u64>) -> Result<()> {
        match factor {
            0 => drop(context.write(&self.factors).remove(&parity)),
            _ => drop(context.write(&self.factors).insert(parity, factor)),
        }
        let sum = self.factors.with(|factors| factors.values().sum());
        context.emit(sum);
        Ok(())
    }
}

fn scale() -> DataStream<u64> {
    let scaled = stream::<u64>().connect_broadcast(&stream::<(u64, u64)>());
    scaled.process(|state| Ok(Scale { factors: state.broadcast("factors")? }))
}

#[test]
fn broadcast_records_change_what_becomes_of_the_others() {
    let mut driver = drive(&scale());
    driver.push(0, vec![(4u64, 1)]).unwrap();
    driver.push(1, vec![((0u64, 10u64), 2), ((1, 100), 3)]).unwrap();
    driver.push(0, vec![(4u64, 4), (5, 5)]).unwrap();
    driver.push(1, vec![((0u64, 0u64), 6)]).unwrap();
    driver.push(0, vec![(4u64, 7), (5, 8)]).unwrap();
    let given = [main(10u64, 2), main(110, 3), main(40, 4), main(500, 5), main(100, 6), main(500, 8)];
    assert_eq!(driver.drain(), given);
}

/// Counts each customer's events by rule, where rule n matches multiples of n; says when a count reaches 2. A new rule sees
/// what has come before it first. Every customer is forgotten at time 100.
pub(super) struct Rules {
    rules: BroadcastState<u64, ()>,
    history: ListState<u64>,
    counts: MapState<u64, u64>,
}

impl Rules {
    fn count(&self, event: u64, rule: u64, context: &mut KeyedContext<'_, u32, (u32, u64)>) {
        if event.is_multiple_of(rule) {
            let count = self.counts.update_or(
                rule,
                || 0,
                |count| {
                    *count += 1;
                    *count
                },
            );
            if count == 2 {
                context.emit((context.key(), rule));
            }
        }
    }
}

impl KeyedBroadcastProcessFunction<u32, (u32, u64), u64> for Rules {
    type Output = (u32, u64);

    fn process(&mut self, (_, event): (u32, u64), context: &mut KeyedContext<'_, u32, (u32, u64)>) -> Result<()> {
        self.history.add(event);
        context.set_event_timer(100);
        self.rules.with(|rules| rules.keys().for_each(|rule| self.count(event, *rule, context)));
        Ok(())
    }

    fn process_broadcast(&mut self, rule: u64, context: &mut KeyedBroadcastContext<'_, u32, (u32, u64)>) -> Result<()> {
        context.write(&self.rules).insert(rule, ());
        context.for_each_key(|key| {
            self.history.get().into_iter().for_each(|event| self.count(event, rule, key));
            Ok(())
        })
    }

    fn on_timer(&mut self, _timer: Timer, context: &mut KeyedContext<'_, u32, (u32, u64)>) -> Result<()> {
        context.clear_state();
        Ok(())
    }
}

pub(super) fn rules() -> DataStream<(u32, u64)> {
    stream::<(u32, u64)>().key_by(|e| e.0).connect_broadcast(&stream::<u64>()).process(|keyed, state| {
        Ok(Rules { rules: state.broadcast("rules")?, history: keyed.list("history")?, counts: keyed.map("counts")? })
    })
}

#[test]
fn a_new_rule_sees_the_history_of_every_key_once() {
    let mut driver = drive(&rules());
    driver.push(0, vec![((2u32, 6u64), 1), ((1, 12), 2), ((1, 6), 3)]).unwrap();
    driver.push(1, vec![(6u64, 10)]).unwrap();
    driver.push(0, vec![((2u32, 18u64), 11), ((2, 24), 12), ((3, 7), 13)]).unwrap();
    driver.push(1, vec![(7u64, 14)]).unwrap();
    driver.push(0, vec![((3u32, 14u64), 15)]).unwrap();
    assert_eq!(driver.drain(), [main((1u32, 6u64), 10), main((2, 6), 11), main((3, 7), 15)]);
    driver.watermark(100).unwrap();
    driver.push(1, vec![(1u64, 101)]).unwrap();
    driver.push(0, vec![((1u32, 6u64), 102), ((1, 6), 103)]).unwrap();
    assert_eq!(driver.drain(), [Emitted::Watermark(100), main((1u32, 1u64), 103), main((1, 6), 103)]);
}
