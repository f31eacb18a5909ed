use super::{drive, main, stream};
use crate::testing::Emitted;
use crate::{
    CoProcessFunction, DataStream, KeyedCoProcessFunction, KeyedContext, ListState, OutputTag, ProcessContext, ProcessFunction,
    Result, Timer, ValueState,
};

/// Joins bids with the name of their auction; bids wait for it until a timer at their time + 10 gives them up.
pub(super) struct Join {
    name: ValueState<String>,
    bids: ListState<u64>,
    lost: OutputTag<u64>,
}

impl KeyedCoProcessFunction<u32, (u32, u64), (u32, String)> for Join {
    type Output = (u64, String);

    fn process_first(&mut self, (_, bid): (u32, u64), context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
        match self.name.get() {
            Some(name) => context.emit((bid, name)),
            None => {
                self.bids.add(bid);
                context.set_event_timer(context.time().unwrap_or(0) + 10);
            }
        }
        Ok(())
    }

    fn process_second(&mut self, (_, name): (u32, String), context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
        self.bids.take().into_iter().for_each(|bid| context.emit((bid, name.clone())));
        self.name.set(name);
        Ok(())
    }

    fn on_timer(&mut self, _timer: Timer, context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
        self.bids.take().into_iter().for_each(|bid| context.side(&self.lost, bid));
        Ok(())
    }
}

pub(super) fn join() -> DataStream<(u64, String)> {
    let bids = stream::<(u32, u64)>().key_by(|b| b.0);
    let joined = bids
        .connect(&stream::<(u32, String)>().key_by(|n| n.0))
        .process(|state| Ok(Join { name: state.value("name")?, bids: state.list("bids")?, lost: OutputTag::new("lost") }));
    let _lost = joined.side_output(&OutputTag::<u64>::new("lost"));
    joined
}

#[test]
fn records_of_both_streams_meet_at_the_state_of_their_key() {
    let mut driver = drive(&join());
    let named = |name: &str| name.to_owned();
    driver.push(0, vec![((1u32, 100u64), 1), ((2, 200), 2), ((1, 101), 3)]).unwrap();
    driver.push(1, vec![((1u32, named("one")), 5)]).unwrap();
    driver.push(0, vec![((1u32, 102u64), 6)]).unwrap();
    let one = named("one");
    assert_eq!(driver.drain(), [main((100u64, one.clone()), 5), main((101, one.clone()), 5), main((102, one), 6)]);
    driver.watermark(12).unwrap();
    driver.push(1, vec![((2u32, named("two")), 13)]).unwrap();
    driver.push(0, vec![((2u32, 201u64), 14)]).unwrap();
    assert_eq!(driver.side::<u64>(1), [(200, 12)]);
    assert_eq!(driver.drain(), [Emitted::Watermark(12), main((201u64, named("two")), 14)]);
}

#[test]
fn connected_streams_are_mapped_and_flat_mapped_each_by_its_function() {
    let (numbers, texts) = (stream::<u32>(), stream::<String>());
    let mut mapped = drive(&numbers.connect(&texts).map(|n| n.to_string(), |t| t + "!"));
    mapped.push(1, vec![("a".to_owned(), 3)]).unwrap();
    mapped.push_plain(0, vec![7u32]).unwrap();
    assert_eq!(mapped.drain(), [main("a!".to_owned(), 3), main("7".to_owned(), i64::MIN)]);
    let flat = numbers.key_by(|n| *n).connect(&texts.key_by(|t| t.len() as u32)).flat_map(|n| 0..n, |t| [t.len() as u32]);
    let mut flat = drive(&flat);
    flat.push(0, vec![(2u32, 5)]).unwrap();
    flat.push(1, vec![("four".to_owned(), 6)]).unwrap();
    assert_eq!(flat.drain(), [main(0u32, 5), main(1, 5), main(4, 6)]);
}

/// Numbers what it gets, and says at the end how much that was.
struct Count(u64);

impl CoProcessFunction<u32, u64> for Count {
    type Output = u64;
    fn process_first(&mut self, _: u32, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        self.0 += 1;
        context.emit_at(self.0, 77);
        Ok(())
    }
    fn process_second(&mut self, by: u64, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        self.0 += by;
        assert_eq!(context.watermark(), 4);
        Ok(())
    }
    fn finish(&mut self, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        context.emit(self.0 * 1000);
        Ok(())
    }
}

#[test]
fn a_function_without_keys_sees_times_and_the_end() {
    let mut driver = drive(&stream::<u32>().connect(&stream::<u64>()).process(|_| Ok(Count(0))));
    driver.push(0, vec![(0u32, 1), (0, 2)]).unwrap();
    driver.watermark(4).unwrap();
    driver.push(1, vec![(10u64, 5)]).unwrap();
    driver.push(0, vec![(0u32, 6)]).unwrap();
    driver.end(2).unwrap();
    let end = [Emitted::Watermark(i64::MAX), main(13_000, i64::MIN)];
    let expected = [vec![main(1u64, 77), main(2, 77), Emitted::Watermark(4), main(13, 77)], end.to_vec()].concat();
    assert_eq!(driver.drain(), expected);
}

struct Fails;

impl ProcessFunction<u32> for Fails {
    type Output = u32;
    fn process(&mut self, record: u32, context: &mut ProcessContext<'_, u32>) -> Result<()> {
        context.emit(record);
        if record == 2 { Err(crate::Error::User("no twos".to_owned())) } else { Ok(()) }
    }
}

#[test]
fn an_error_of_a_function_fails_its_operator() {
    let mut driver = drive(&stream::<u32>().process(|_| Ok(Fails)));
    driver.push(0, vec![(1u32, 1)]).unwrap();
    assert_eq!(driver.push(0, vec![(2u32, 1)]).unwrap_err().to_string(), "no twos");
}
