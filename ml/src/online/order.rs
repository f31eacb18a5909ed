//! Records dealt out to the workers alike in every run.

use super::learn::Place;
use fluvial_core::{Data, DataStream, Error, OperatorList, ProcessContext, ProcessFunction, Result};
use fluvial_memory::{NormalizedKey, hash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbered streams over several workers.
pub trait DealInOrder<R> {
    /// Deals the records 0, 1, 2, ... out to the workers in turn: of `W` workers, worker `w` gets `w`, `w + W`, `w + 2 W`, ..., in this
    /// order, whoever made them and whenever they come. So a restored job, too, deals them out as an undisturbed one does.
    ///
    /// Records that come before their turn wait in memory: it is for sources whose workers keep together, as
    /// [`Env::generator`](fluvial_core::Env::generator) does. A restore is with as many workers as before.
    ///
    /// ```
    /// use fluvial_ml::DealInOrder;
    /// let env = fluvial_core::Env::new(fluvial_core::Config { threads: 3, ..Default::default() });
    /// let numbers = env.generator(|n| n).count(1000).stream().rebalance();
    /// let dealt = numbers.deal_in_order(|n| *n).collect()?;
    /// assert!((0..3).all(|w| dealt.iter().filter(|n| **n % 3 == w).is_sorted()));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    fn deal_in_order(&self, number: impl Fn(&R) -> u64 + Clone + Send + Sync + 'static) -> DataStream<R>;
}

impl<R: Data> DealInOrder<R> for DataStream<R> {
    fn deal_in_order(&self, number: impl Fn(&R) -> u64 + Clone + Send + Sync + 'static) -> DataStream<R> {
        let config = self.env().config();
        let keys: Arc<[u64]> = keys(config.threads * config.hosts.len().max(1)).into();
        let target = number.clone();
        let dealt = self.partition_by_hash(move |record| keys[(target(record) % keys.len() as u64) as usize]);
        let ordered = dealt.process(move |state| {
            let (place, number) = (Place::of(state), number.clone());
            Ok(InOrder { place, number, held: state.union_list("held")?, settled: false })
        });
        ordered.name("in order")
    }
}

/// For each worker a key that belongs to it.
fn keys(workers: usize) -> Vec<u64> {
    let mut keys = vec![None; workers];
    // Of more workers than key groups some own none: their records come to one that does.
    for key in 0..u64::from(hash::KEY_GROUPS) * 64 {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let owner = hash::group_owner(hash::key_group(hash::hash_bytes(&bytes)), workers);
        keys[owner].get_or_insert(key);
    }
    keys.into_iter().map(Option::unwrap_or_default).collect()
}

/// What a worker of so many is about to give.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de>"))]
struct Held<R> {
    place: Place,
    next: u64,
    /// What has come before its turn.
    early: BTreeMap<u64, R>,
}

impl<R> Held<R> {
    /// Records that have come.
    fn come(&self) -> u64 {
        self.next / self.place.workers.max(1) as u64 + self.early.len() as u64
    }
}

struct InOrder<R, F> {
    place: Place,
    number: F,
    held: OperatorList<Held<R>>,
    /// Whether there is one element, whatever was restored.
    settled: bool,
}

impl<R: Data, F> InOrder<R, F> {
    #[cold]
    fn settle(&mut self) -> Result<()> {
        let (former, place) = (self.held.take(), self.place);
        if let Some(other) = former.iter().find(|held| held.place.workers != place.workers) {
            let (before, now) = (other.place.workers, place.workers);
            return Err(Error::Plan(format!("records dealt out to {before} workers in order: they cannot go on on {now}")));
        }
        // Between a restore and its first record a worker stores what it was given as it is: the latest is where most has come.
        let own = former.into_iter().filter(|held| held.place == place).max_by_key(Held::come);
        let first = Held { place, next: place.worker as u64, early: BTreeMap::new() };
        self.held.set(vec![own.unwrap_or(first)]);
        self.settled = true;
        Ok(())
    }
}

impl<R: Data, F: Fn(&R) -> u64 + 'static> ProcessFunction<R> for InOrder<R, F> {
    type Output = R;

    fn process(&mut self, record: R, context: &mut ProcessContext<'_, R>) -> Result<()> {
        if !self.settled {
            self.settle()?;
        }
        let (number, workers) = ((self.number)(&record), self.place.workers as u64);
        self.held.update(|held| {
            let Held { next, early, .. } = &mut held[0];
            if number < *next || early.contains_key(&number) {
                return Err(Error::User(format!("record {number} has come twice")));
            }
            if number != *next {
                early.insert(number, record);
                return Ok(());
            }
            context.emit(record);
            *next += workers;
            while let Some(record) = early.remove(next) {
                context.emit(record);
                *next += workers;
            }
            Ok(())
        })
    }

    fn finish(&mut self, _context: &mut ProcessContext<'_, R>) -> Result<()> {
        self.settle()?;
        self.held.with(|held| match held[0].early.keys().next() {
            Some(first) => Err(Error::User(format!("record {first} has come, but never record {}", held[0].next))),
            None => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_core::{Config, Env};

    #[test]
    fn every_worker_has_a_key() {
        for workers in 1..=64 {
            let mut keys = keys(workers);
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), workers);
        }
        assert_eq!(keys(300).len(), 300);
    }

    #[test]
    fn a_number_that_is_missing_or_comes_twice_is_an_error() {
        let env = Env::new(Config { threads: 2, ..Config::default() });
        let dealt = |numbers: Vec<u64>| env.from_collection(numbers).deal_in_order(|n| *n).count();
        assert_eq!(dealt(vec![3, 1, 2, 0, 4]).unwrap(), 5);
        let error = dealt(vec![0, 1, 2, 5]).unwrap_err().to_string();
        assert!(error.contains("record 5 has come, but never record 3"), "{error}");
        let error = dealt(vec![0, 1, 1]).unwrap_err().to_string();
        assert!(error.contains("record 1 has come twice"), "{error}");
    }
}
