//! Barriers while a job runs: one that reaches one source much later than another changes no result.

use crate::state::{KeyedState, ValueState};
use crate::testing::{FAST, SLOW, check_late_barriers as check};
use crate::{DataStream, KeyedContext, KeyedProcessFunction, Result, Timer, WatermarkStrategy};

#[test]
fn rolling_state_of_two_united_streams() {
    check(SLOW + FAST, |slow, fast| slow.union(fast).key_by(|n| n % 7).rolling_count());
}

#[test]
fn connected_streams() {
    check(SLOW + FAST, |slow, fast| slow.clone().rebalance().connect(&fast.clone().rebalance()).map(|n| n * 2, |n| n * 2 + 1));
}

#[test]
fn requests_under_way() {
    check(SLOW + FAST, |slow, fast| {
        slow.union(fast).rebalance().async_map_infallible(|n| async move { n + 1 }).ordered().stream()
    });
}

/// Counts, and says the count when event time has come to its end.
struct Count(ValueState<u64>);

impl KeyedProcessFunction<u64, u64> for Count {
    type Output = (u64, u64);

    fn process(&mut self, _: u64, context: &mut KeyedContext<'_, u64, Self::Output>) -> Result<()> {
        self.0.set(self.0.get().unwrap_or(0) + 1);
        context.set_event_timer(1_000_000);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, context: &mut KeyedContext<'_, u64, Self::Output>) -> Result<()> {
        context.emit((context.key(), self.0.get().unwrap_or(0)));
        Ok(())
    }
}

#[test]
fn state_and_timers_of_keys() {
    check(11, |slow, fast| {
        let timed = |stream: &DataStream<u64>| {
            stream.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64))
        };
        let both = timed(slow).union(&timed(fast));
        both.key_by(|n| n % 11).process(|state: &mut KeyedState| Ok(Count(state.value("count")?)))
    });
}
