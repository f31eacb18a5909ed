use crate::state::{KeyBytes, KeyRef};
use std::collections::BTreeMap;

/// Into how many parts of time the first deadline's distance is cut.
const PARTS: i64 = 16;

/// Keys by the time at which they are to be looked at, in spans of time: the order inside a span is of no use before it is
/// due, so that adding a key costs a look at a small map and no more.
#[derive(Default)]
pub(super) struct Deadlines {
    /// Spans have 2^shift milliseconds; chosen with the first deadline.
    shift: Option<u32>,
    spans: BTreeMap<i64, Vec<(i64, KeyBytes)>>,
}

/// Keys whose deadlines are over, in no order, and the time up to which they are all there.
pub(super) struct Due {
    pub(super) until: i64,
    pub(super) keys: Vec<(i64, KeyBytes)>,
}

impl Deadlines {
    /// `ahead`: how far deadlines are ahead, roughly.
    #[inline]
    pub(super) fn push(&mut self, at: i64, ahead: i64, key: KeyRef<'_>) {
        let shift = *self.shift.get_or_insert_with(|| (ahead / PARTS).max(1).ilog2());
        self.spans.entry(at >> shift).or_default().push((at, key.bytes.into()));
    }

    /// Takes the first keys whose deadlines are at `now` or before it.
    pub(super) fn take(&mut self, now: i64) -> Option<Due> {
        let shift = self.shift?;
        let mut span = self.spans.first_entry()?;
        let number = *span.key();
        if number > now >> shift {
            return None;
        }
        let until = now.min((number << shift) | ((1 << shift) - 1));
        let keys = if until == now && span.get().iter().any(|(at, _)| *at > now) {
            span.get_mut().extract_if(.., |(at, _)| *at <= now).collect()
        } else {
            span.remove()
        };
        (!keys.is_empty()).then_some(Due { until, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_given_once_and_in_time(
            ahead in 0i64..500, steps in proptest::collection::vec((any::<bool>(), -1000i64..1000), 0..200),
        ) {
            let mut deadlines = Deadlines::default();
            let mut model: Vec<i64> = Vec::new();
            for (adds, time) in steps {
                if adds {
                    deadlines.push(time, ahead, KeyRef::new(&time.to_be_bytes()));
                    model.push(time);
                    continue;
                }
                let mut last = i64::MIN;
                while let Some(due) = deadlines.take(time) {
                    prop_assert!(due.until <= time && due.until > last);
                    last = due.until;
                    for (at, key) in due.keys {
                        prop_assert!(at <= due.until);
                        prop_assert_eq!(key.as_slice(), at.to_be_bytes());
                        model.swap_remove(model.iter().position(|t| *t == at).unwrap());
                    }
                    prop_assert!(model.iter().all(|at| *at > last));
                }
                prop_assert!(model.iter().all(|at| *at > time));
            }
            while let Some(due) = deadlines.take(i64::MAX) {
                for (at, _) in due.keys {
                    model.swap_remove(model.iter().position(|t| *t == at).unwrap());
                }
            }
            prop_assert!(model.is_empty());
        }
    }

    #[test]
    fn the_end_of_time_is_a_deadline_too() {
        let mut deadlines = Deadlines::default();
        deadlines.push(i64::MAX, i64::MAX, KeyRef::new(b"key"));
        assert!(deadlines.take(i64::MAX - 1).is_none());
        assert_eq!(deadlines.take(i64::MAX).unwrap().until, i64::MAX);
        assert!(deadlines.take(i64::MAX).is_none());
    }
}
