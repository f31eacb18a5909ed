use super::{drive, main, stream};
use crate::{DeadLetter, DeadLetters, Error, KeyedContext, OutputTag, ProcessContext, ProcessFunction, Result, Timer};
use crate::{KeyedProcessFunction, ValueState};

fn letter(record: &str, error: &str, time: i64) -> (DeadLetter<String>, i64) {
    let time_of = (time != i64::MIN).then_some(time);
    (DeadLetter { record: record.to_owned(), error: error.to_owned(), time: time_of }, time)
}

fn texts() -> Vec<(String, i64)> {
    ["1", "x", "30"].into_iter().zip([5, 6, 7]).map(|(text, time)| (text.to_owned(), time)).collect()
}

const INVALID: &str = "invalid digit found in string";

#[test]
fn what_a_step_cannot_handle_goes_aside_with_its_error_and_time() {
    let dead = DeadLetters::new("dead");
    let numbers = stream::<String>().try_map_or(&dead, |t| t.parse::<u64>());
    let _letters = numbers.side_output(&dead);
    let mut driver = drive(&numbers);
    driver.push(0, texts()).unwrap();
    driver.push_plain(0, vec!["?".to_owned()]).unwrap();
    assert_eq!(driver.side(1), [letter("x", INVALID, 6), letter("?", INVALID, i64::MIN)]);
    assert_eq!(driver.drain(), [main(1u64, 5), main(30, 7)]);

    let below = stream::<String>().try_flat_map_or(&dead, |t| t.parse::<u64>().map(|n| (0..n).take(2)));
    let mut driver = drive(&below);
    driver.push(0, texts()).unwrap();
    assert_eq!(driver.drain(), [main(0u64, 5), main(0, 7), main(1, 7)]);

    let large = stream::<String>().try_filter_or(&dead, |t| t.parse::<u64>().map(|n| n > 9));
    let _letters = large.side_output(&dead);
    let mut driver = drive(&large);
    driver.push(0, texts()).unwrap();
    assert_eq!(driver.side(1), [letter("x", INVALID, 6)]);
    assert_eq!(driver.drain(), [main("30".to_owned(), 7)]);
}

#[test]
fn steps_without_a_side_output_fail() {
    let mut driver = drive(&stream::<String>().try_flat_map(|t| t.parse::<u64>().map(|n| 0..n)));
    assert!(driver.push(0, texts()).unwrap_err().to_string().contains(INVALID));
    let mut driver = drive(&stream::<String>().try_filter(|t| t.parse::<u64>().map(|n| n > 9)));
    assert!(driver.push(0, texts()).unwrap_err().to_string().contains(INVALID));
}

struct Parse;

impl ProcessFunction<String> for Parse {
    type Output = u64;
    fn process(&mut self, text: String, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        context.emit(text.parse().map_err(|e| Error::User(format!("`{text}`: {e}")))?);
        Ok(())
    }
}

/// Sums a key's numbers and fails at its timer if the sum is 100.
struct Sum {
    sum: ValueState<u64>,
}

impl KeyedProcessFunction<u8, String> for Sum {
    type Output = u64;
    fn process(&mut self, text: String, context: &mut KeyedContext<'_, u8, u64>) -> Result<()> {
        let number: u64 = text.parse().map_err(|e| Error::User(format!("{e}")))?;
        context.emit(self.sum.update(|sum| {
            *sum += number;
            *sum
        }));
        context.set_event_timer(50);
        Ok(())
    }
    fn on_timer(&mut self, _: Timer, _: &mut KeyedContext<'_, u8, u64>) -> Result<()> {
        if self.sum.get() == Some(100) { Err(Error::User("100".to_owned())) } else { Ok(()) }
    }
}

#[test]
fn functions_that_fail_give_dead_letters_too() {
    let dead = DeadLetters::new("dead");
    let numbers = stream::<String>().process_or(&dead, |_| Ok(Parse));
    let _letters = numbers.side_output(&dead);
    let mut driver = drive(&numbers);
    driver.push(0, texts()).unwrap();
    assert_eq!(driver.side(1), [letter("x", &format!("`x`: {INVALID}"), 6)]);
    assert_eq!(driver.drain(), [main(1u64, 5), main(30, 7)]);

    let sums = stream::<String>().key_by(|_| 0u8).process_or(&dead, |state| Ok(Sum { sum: state.value("sum")? }));
    let _letters = sums.side_output(&dead);
    let mut driver = drive(&sums);
    driver.push(0, texts()).unwrap();
    driver.push(0, vec![("69".to_owned(), 8)]).unwrap();
    assert_eq!(driver.side(1), [letter("x", INVALID, 6)]);
    assert_eq!(driver.drain(), [main(1u64, 5), main(31, 7), main(100, 8)]);
    assert_eq!(driver.watermark(50).unwrap_err().to_string(), "100");
}

#[test]
fn a_side_output_is_of_its_tags_name_and_type() {
    let aside = |record: u64| {
        let sides = stream::<u64>().process(move |_| Ok(Aside));
        let _texts = sides.side_output(&OutputTag::<String>::new("texts"));
        let mut driver = drive(&sides);
        let pushed = driver.push(0, vec![(record, 4)]);
        (pushed, driver)
    };
    let (pushed, mut driver) = aside(1);
    pushed.unwrap();
    assert_eq!(driver.side(1), [("1".to_owned(), 4)]);
    let error = aside(2).0.unwrap_err().to_string();
    assert!(error.contains("`texts`") && error.contains("u64"), "{error}");
    assert!(aside(3).0.is_ok());
}

/// Gives texts under a tag, numbers under the same name, or something under a tag that nobody reads.
struct Aside;

impl ProcessFunction<u64> for Aside {
    type Output = u64;
    fn process(&mut self, record: u64, context: &mut ProcessContext<'_, u64>) -> Result<()> {
        match record {
            1 => context.side(&OutputTag::new("texts"), record.to_string()),
            2 => context.side(&OutputTag::new("texts"), record),
            _ => context.side(&OutputTag::new("others"), record),
        }
        Ok(())
    }
}

#[test]
fn split_sends_each_record_to_the_stream_that_is_chosen() {
    let [even, _odd] = stream::<u64>().split(|n| (*n % 4) as usize);
    let mut driver = drive(&even);
    driver.push(0, vec![(4u64, 1), (5, 2), (8, 3)]).unwrap();
    assert_eq!(driver.side::<u64>(0), [(4, 1), (8, 3)]);
    assert_eq!(driver.side::<u64>(1), [(5, 2)]);
    let error = driver.push(0, vec![(7u64, 4)]).unwrap_err().to_string();
    assert!(error.contains("stream 3") && error.contains("one of 2"), "{error}");
}
