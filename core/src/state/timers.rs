//! Timers of keys.

use super::key::{KeyBytes, KeyRef};
use super::section;
use crate::codec::{KeyType, RecordCodec};
use crate::operator::DeferredState;
use crate::stream::Data;
use crate::{Result, StateSection};
use fluvial_memory::hash::key_group;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The name under which an operator's event-time timers are stored.
pub(crate) const EVENT_TIMERS: &str = "event timers";
/// The name under which an operator's processing-time timers are stored.
pub(crate) const PROCESSING_TIMERS: &str = "processing timers";

/// Parts of a queue; each is copied on its own when it changes after a snapshot.
const SHARDS: usize = 16;

/// When a timer is due, of which key, and what it is for.
type Entry<N> = (i64, KeyBytes, N);

/// Timers of one kind (event time, processing time) in the order in which they are due. A timer is its time, key and
/// namespace: setting it twice is setting it once.
///
/// Invariant: `heads[i]` is the time of the first timer of `shards[i]`, `i64::MAX` if it has none (a timer at `i64::MAX` is
/// due at the end of time, which needs no order).
pub(crate) struct TimerQueue<N> {
    name: &'static str,
    shards: [Arc<BTreeSet<Entry<N>>>; SHARDS],
    heads: [i64; SHARDS],
    codec: RecordCodec<(i64, N)>,
}

impl<N: Data + Ord> TimerQueue<N> {
    /// An empty queue; `name` is that of its state.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, shards: Default::default(), heads: [i64::MAX; SHARDS], codec: RecordCodec::new() }
    }

    /// The same, of keys of this type.
    #[must_use]
    pub(crate) fn keyed(self, keys: &KeyType) -> Self {
        Self { codec: self.codec.keyed(keys), ..self }
    }

    #[inline]
    fn shard(hash: u64) -> usize {
        usize::from(key_group(hash)) % SHARDS
    }

    fn look(&mut self, shard: usize) {
        self.heads[shard] = self.shards[shard].first().map_or(i64::MAX, |entry| entry.0);
    }

    pub(crate) fn set(&mut self, at: i64, key: KeyRef<'_>, namespace: N) {
        let shard = Self::shard(key.hash);
        Arc::make_mut(&mut self.shards[shard]).insert((at, key.bytes.into(), namespace));
        self.heads[shard] = self.heads[shard].min(at);
    }

    pub(crate) fn delete(&mut self, at: i64, key: KeyRef<'_>, namespace: N) {
        let shard = Self::shard(key.hash);
        let entry = (at, key.bytes.into(), namespace);
        if self.shards[shard].contains(&entry) {
            Arc::make_mut(&mut self.shards[shard]).remove(&entry);
            self.look(shard);
        }
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<i64> {
        let first = *self.heads.iter().min()?;
        (first < i64::MAX || self.shards.iter().any(|s| !s.is_empty())).then_some(first)
    }

    /// Takes the next timer that is due at `now`.
    pub(crate) fn pop(&mut self, now: i64) -> Option<Entry<N>> {
        let (shard, at) = self.heads.iter().copied().enumerate().min_by_key(|(_, at)| *at)?;
        if at > now {
            return None;
        }
        let shard = if self.shards[shard].is_empty() { self.shards.iter().position(|s| !s.is_empty())? } else { shard };
        let entry = Arc::make_mut(&mut self.shards[shard]).pop_first();
        self.look(shard);
        entry
    }

    /// Bytes that it takes, roughly.
    pub(crate) fn byte_len(&self) -> usize {
        self.len() * size_of::<Entry<N>>()
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.len()).sum()
    }

    /// The timers as of now.
    pub(crate) fn snapshot(&self) -> DeferredState {
        let (name, codec, shards) = (self.name, self.codec.clone(), self.shards.clone());
        Box::new(move |sink| {
            let timers = || shards.iter().flat_map(|shard| shard.iter());
            let entries = timers().map(|(at, key, namespace)| (key.as_slice(), (*at, namespace.clone())));
            section::encode_groups(name, &codec, timers().map(|(_, key, _)| key.as_slice()), entries, sink)
        })
    }

    /// Takes back a section, if it is of this queue.
    pub(crate) fn restore(&mut self, section: &StateSection) -> Result<bool> {
        if section.name != self.name {
            return Ok(false);
        }
        let codec = self.codec.clone();
        section::decode(section, &codec, |key, (at, namespace)| {
            self.set(at, KeyRef::new(key), namespace);
            Ok(())
        })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;
    use proptest::prelude::*;

    fn encoded(deferred: DeferredState) -> Vec<StateSection> {
        Snapshot { sections: Vec::new(), deferred: vec![deferred] }.into_sections().unwrap()
    }

    proptest! {
        #[test]
        fn equals_a_sorted_set(steps in proptest::collection::vec((0u8..4, 0i64..40, 0u32..20), 0..400)) {
            let mut queue = TimerQueue::new("timers");
            let mut model: BTreeSet<(i64, u32)> = BTreeSet::new();
            for (what, at, key) in steps {
                let bytes = key.to_be_bytes();
                match what {
                    0 | 1 => {
                        queue.set(at, KeyRef::new(&bytes), ());
                        model.insert((at, key));
                    }
                    2 => {
                        queue.delete(at, KeyRef::new(&bytes), ());
                        model.remove(&(at, key));
                    }
                    _ => {
                        prop_assert_eq!(queue.next(), model.first().map(|t| t.0));
                        while let Some((due, key, ())) = queue.pop(at) {
                            prop_assert_eq!(Some(due), model.first().map(|t| t.0));
                            let key = u32::from_be_bytes(key.as_slice().try_into().unwrap());
                            prop_assert!(model.remove(&(due, key)));
                        }
                        prop_assert!(model.first().is_none_or(|t| t.0 > at));
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            for part in [0, 1] {
                let mut restored = TimerQueue::new("timers");
                for section in encoded(queue.snapshot()).iter().filter(|s| s.key_group.unwrap() % 2 == part) {
                    prop_assert!(restored.restore(section).unwrap());
                }
                while let Some((due, key, ())) = restored.pop(i64::MAX) {
                    let key = u32::from_be_bytes(key.as_slice().try_into().unwrap());
                    prop_assert!(model.remove(&(due, key)));
                }
            }
            prop_assert!(model.is_empty());
        }
    }

    #[test]
    fn a_timer_at_the_end_of_time_is_due_then() {
        let mut queue = TimerQueue::new("timers");
        queue.set(i64::MAX, KeyRef::new(b"key"), ());
        assert_eq!(queue.next(), Some(i64::MAX));
        assert!(queue.pop(i64::MAX - 1).is_none());
        assert_eq!(queue.pop(i64::MAX).map(|t| t.0), Some(i64::MAX));
        assert_eq!(queue.next(), None);
    }
}
