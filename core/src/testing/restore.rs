use super::driver::{Emitted, OperatorDriver, timed};
use super::{TINY, backend, whole, with_backend};
use crate::{Batch, Data, Operator, OperatorContext, Restored, Result, StateBackend, StateSection};
use fluvial_memory::NormalizedKey;
use fluvial_memory::hash::{self, group_owner, hash_bytes};
use std::fmt::Debug;

/// The key group of a key.
pub(crate) fn key_group<K: NormalizedKey + ?Sized>(key: &K) -> u16 {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    hash::key_group(hash_bytes(&bytes))
}

/// Gives the sections of all former instances to `parts` new ones, as the runtime does: each the sections of its contiguous
/// range of key groups, and everyone those without a key group.
pub(crate) fn split_restore(sections: Vec<StateSection>, parts: usize) -> Vec<Restored> {
    let of = |part: usize| {
        let mine = |s: &&StateSection| s.key_group.is_none_or(|group| group_owner(group, parts) == part);
        Restored { epoch: 0, sections: sections.iter().filter(mine).cloned().collect() }
    };
    (0..parts).map(of).collect()
}

/// One thing that happens to all instances of an operator.
pub(crate) enum Step {
    /// Records come on an input: for each number of instances the batch of each.
    Records { input: usize, split: Box<dyn Fn(usize) -> Vec<Batch>> },
    /// Event time advances on all inputs.
    Watermark(i64),
    /// Processing time is this.
    Timer(i64),
}

impl Step {
    /// Records with their event times; each goes to the instance that owns its key group.
    pub(crate) fn keyed<T: Data>(input: usize, records: Vec<(T, i64)>, group: impl Fn(&T) -> u16 + 'static) -> Self {
        let split = move |instances: usize| {
            let mut parts: Vec<Vec<(T, i64)>> = vec![Vec::new(); instances];
            records.iter().for_each(|r| parts[group_owner(group(&r.0), instances)].push(r.clone()));
            parts.into_iter().map(timed).collect()
        };
        Self::Records { input, split: Box::new(split) }
    }

    /// Records with their event times that go to every instance.
    pub(crate) fn broadcast<T: Data>(input: usize, records: Vec<(T, i64)>) -> Self {
        Self::Records { input, split: Box::new(move |instances| (0..instances).map(|_| timed(records.clone())).collect()) }
    }
}

/// The generic test of stateful operators: plays `script` on one instance, and again with a snapshot after every step that is
/// restored into another number of instances with split key groups. After every step, and at the end, all instances
/// together must have given the same records of `U` with the same event times on the same ports, in any order. So it must be on
/// each state backend, and from one to the other.
///
/// After a restore the last watermark is announced again, as by sources that take back theirs.
///
/// # Panics
/// With the step and both outputs, if they differ.
pub(crate) fn check_restore<U: Data + Debug>(
    make: impl Fn(&OperatorContext) -> Result<Box<dyn Operator>>,
    script: &[Step],
) -> Result<()> {
    let input = |step: &Step| if let Step::Records { input, .. } = step { input + 1 } else { 0 };
    let inputs = script.iter().map(input).max().unwrap_or(0);
    let mut expected = Vec::new();
    let mut one = Instances::make(&make, 1)?;
    for step in script {
        expected.push(one.play::<U>(step)?);
    }
    expected.push(one.end::<U>(inputs)?);
    let memory = StateBackend::Memory;
    let ways: [(_, _, &[(usize, usize)]); 4] = [
        (&memory, &memory, &[(1, 2), (2, 1), (2, 3)]),
        (&TINY, &TINY, &[(1, 1), (2, 3)]),
        (&memory, &TINY, &[(1, 2)]),
        (&TINY, &memory, &[(2, 1)]),
    ];
    for (from, to, parts) in ways {
        for (cut, (before, after)) in (0..=script.len()).flat_map(|cut| parts.iter().map(move |parts| (cut, *parts))) {
            let instances = with_backend(from, || {
                let mut instances = Instances::make(&make, before)?;
                script[..cut].iter().try_for_each(|step| instances.play::<U>(step).map(drop))?;
                Ok::<_, crate::Error>(instances)
            })?;
            with_backend(to, || {
                let mut instances = instances.restored(&make, after)?;
                let what = |step: usize| {
                    format!(
                        "{before} instances on {from:?}, restored as {after} on {to:?} before step {cut}: output of step {step}"
                    )
                };
                for (number, step) in script.iter().enumerate().skip(cut) {
                    assert_eq!(instances.play::<U>(step)?, expected[number], "{}", what(number));
                }
                assert_eq!(instances.end::<U>(inputs)?, expected[script.len()], "{}", what(script.len()));
                Ok::<_, crate::Error>(())
            })?;
        }
    }
    Ok(())
}

/// The instances of one operator.
struct Instances {
    drivers: Vec<OperatorDriver>,
    watermark: i64,
}

impl Instances {
    fn make(make: &impl Fn(&OperatorContext) -> Result<Box<dyn Operator>>, count: usize) -> Result<Self> {
        let drivers: Result<_> = (0..count).map(|worker| OperatorDriver::make(worker, count, make)).collect();
        Ok(Self { drivers: drivers?, watermark: i64::MIN })
    }

    /// Their state in so many new ones.
    fn restored(mut self, make: &impl Fn(&OperatorContext) -> Result<Box<dyn Operator>>, count: usize) -> Result<Self> {
        let mut sections = Vec::new();
        for driver in &mut self.drivers {
            sections.extend(driver.snapshot()?);
        }
        let sections = if backend().disk().is_none() { whole(sections)? } else { sections };
        let mut new = Self::make(make, count)?;
        for (driver, state) in new.drivers.iter_mut().zip(split_restore(sections, count)) {
            driver.restore(state)?;
        }
        if self.watermark > i64::MIN {
            new.advance(self.watermark)?;
        }
        Ok(new)
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        self.watermark = watermark;
        self.drivers.iter_mut().try_for_each(|d| d.watermark(watermark))
    }

    /// What one step gives, in an order of its own.
    fn play<U: Data + Debug>(&mut self, step: &Step) -> Result<Vec<String>> {
        match step {
            Step::Watermark(watermark) => self.advance(*watermark)?,
            Step::Timer(now) => self.drivers.iter_mut().try_for_each(|d| d.timer(*now))?,
            Step::Records { input, split } => {
                let batches = split(self.drivers.len());
                for (driver, batch) in self.drivers.iter_mut().zip(batches) {
                    if !batch.is_empty() {
                        driver.offer(*input, batch)?;
                        driver.settle()?;
                    }
                }
            }
        }
        Ok(self.given::<U>())
    }

    fn end<U: Data + Debug>(&mut self, inputs: usize) -> Result<Vec<String>> {
        self.drivers.iter_mut().try_for_each(|d| d.end(inputs))?;
        Ok(self.given::<U>())
    }

    fn given<U: Data + Debug>(&mut self) -> Vec<String> {
        let of = |emitted| match emitted {
            Emitted::Record { port, record, time } => Some(format!("port {port}: {record:?} at {time}")),
            Emitted::Watermark(_) => None,
        };
        let mut all: Vec<String> = self.drivers.iter_mut().flat_map(|d| d.drain::<U>()).filter_map(of).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;
    use crate::{Env, Output, Progress, Snapshot};
    use std::collections::BTreeMap;

    /// Counts per key, which is also its time: gives the count when that has passed. Sets a timer with each new key, and forgets
    /// all when it fires.
    #[derive(Default)]
    struct Counts {
        counts: BTreeMap<u64, u64>,
        forgets_state: bool,
    }

    impl Operator for Counts {
        fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
            for key in batch.typed_records::<u64>()? {
                *self.counts.entry(key).or_insert_with(|| {
                    out.set_timer(key as i64 * 10);
                    0
                }) += 1;
            }
            Ok(Progress::Done)
        }
        fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
            let due: Vec<_> = self.counts.extract_if(.., |key, _| *key as i64 <= watermark).collect();
            if !due.is_empty() {
                out.send(0, timed(due.into_iter().map(|count| (count, watermark)).collect()))?;
            }
            Ok(Progress::Done)
        }
        fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
            self.counts.clear();
            out.send(1, Batch::typed(vec![format!("forgotten at {now}")]))?;
            Ok(Progress::Done)
        }
        fn snapshot(&mut self, _: u64) -> Result<Snapshot> {
            let section = |(key, count): (&u64, &u64)| StateSection {
                name: "counts".into(),
                key_group: Some(key_group(key)),
                bytes: [key.to_le_bytes(), count.to_le_bytes()].concat(),
                ..StateSection::default()
            };
            let sections = self.counts.iter().filter(|_| !self.forgets_state).map(section).collect();
            Ok(Snapshot { sections, ..Snapshot::default() })
        }
        fn restore(&mut self, state: Restored) -> Result<()> {
            for section in state.sections {
                let word = |at: usize| u64::from_le_bytes(section.bytes[at..at + 8].try_into().expect("8 bytes"));
                self.counts.insert(word(0), word(8));
            }
            Ok(())
        }
    }

    #[test]
    fn records_are_ordered_relative_to_watermarks() -> Result<()> {
        let mut driver = OperatorDriver::new(Box::new(Counts::default()));
        driver.push(0, vec![(1u64, 5), (2, 6)])?;
        driver.watermark(7)?;
        driver.push_plain(0, vec![8u64])?;
        driver.watermark(9)?;
        let record = |record, time| Emitted::Record { port: 0, record, time };
        let first = [record((1u64, 1u64), 7), record((2, 1), 7), Emitted::Watermark(7)];
        let second = [record((8, 1), 9), Emitted::Watermark(9)];
        assert_eq!(driver.drain(), [first.as_slice(), &second].concat());
        driver.timer(9)?;
        assert_eq!(driver.next_timer(), Some(10));
        driver.timer(25)?;
        assert_eq!(driver.next_timer(), Some(80));
        assert_eq!(driver.drain::<(u64, u64)>(), []);
        assert_eq!(driver.side::<String>(1), [("forgotten at 25".to_owned(), i64::MIN)]);
        driver.end(1)?;
        assert_eq!(driver.drain::<(u64, u64)>(), [Emitted::Watermark(i64::MAX)]);
        Ok(())
    }

    #[test]
    fn operations_of_streams_are_driven_too() -> Result<()> {
        let stream = Env::default().from_collection([0u64]).map(|n| n.to_string());
        let mut driver = OperatorDriver::of(&stream, 0, 1)?;
        driver.push(0, vec![(7u64, 3)])?;
        assert_eq!(driver.drain(), [Emitted::Record { port: 0, record: "7".to_owned(), time: 3 }]);
        Ok(())
    }

    fn script() -> Vec<Step> {
        let records = |from: u64| Step::keyed(0, (from..from + 20).map(|n| (n, n as i64)).collect(), key_group::<u64>);
        vec![records(0), Step::Watermark(3), records(9), records(18), Step::Watermark(30)]
    }

    #[test]
    fn state_by_key_group_is_restored_into_other_numbers_of_instances() -> Result<()> {
        check_restore::<(u64, u64)>(|_| Ok(Box::new(Counts::default())), &script())
    }

    #[test]
    #[should_panic(expected = "output of step")]
    fn state_that_is_lost_is_noticed() {
        let make = |_: &OperatorContext| -> Result<Box<dyn Operator>> {
            Ok(Box::new(Counts { forgets_state: true, ..Counts::default() }))
        };
        let _ = check_restore::<(u64, u64)>(make, &script());
    }

    #[test]
    fn sections_go_to_the_owners_of_their_key_groups() {
        let section = |key_group| StateSection { key_group, ..StateSection::default() };
        let sections = (0..hash::KEY_GROUPS).map(Some).chain([None]).map(section).collect::<Vec<_>>();
        for parts in [1, 2, 3, 128] {
            for (part, restored) in split_restore(sections.clone(), parts).into_iter().enumerate() {
                let groups: Vec<u16> = restored.sections.iter().filter_map(|s| s.key_group).collect();
                assert_eq!(groups, context(part, parts).key_groups().collect::<Vec<_>>());
                assert_eq!(restored.sections.len(), groups.len() + 1);
            }
        }
    }
}
