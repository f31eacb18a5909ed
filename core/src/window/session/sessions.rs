use crate::Aggregator;
use crate::window::time_window::Window;
use serde::{Deserialize, Serialize};

/// A session and what its records were added to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Open<W, A> {
    pub(super) window: W,
    pub(super) accumulator: A,
}

/// The sessions of a key that have not fired, in the order of time; no two overlap. Most keys have one, and most records belong
/// to the last, which lies in the entry itself.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sessions<W, A> {
    /// When the key is to be looked at: not after the end of its first session.
    pub(super) deadline: i64,
    /// There is always one between calls, until the key is forgotten.
    last: Option<Open<W, A>>,
    earlier: Vec<Open<W, A>>,
}

impl<W: Window, A> Sessions<W, A> {
    /// A key's first.
    pub(super) fn begin<T, G: Aggregator<T, Accumulator = A>>(window: W, record: T, aggregator: &G) -> Self {
        let deadline = window.max_timestamp();
        Self { deadline, last: Some(begin(window, record, aggregator)), earlier: Vec::new() }
    }

    /// Adds a record to the session that its window extends; all that it overlaps become one. Gives it back if it is too late
    /// to begin a session.
    #[inline]
    pub(super) fn add<T, G: Aggregator<T, Accumulator = A>>(
        &mut self,
        window: &W,
        record: T,
        aggregator: &G,
        watermark: i64,
    ) -> Option<T> {
        if let Some(last) = &mut self.last
            && last.window.overlaps(window)
            && !self.earlier.last().is_some_and(|session| session.window.overlaps(window))
        {
            last.window = last.window.cover(window);
            aggregator.add(&mut last.accumulator, record);
            return None;
        }
        self.insert(window, record, aggregator, watermark)
    }

    /// The same, wherever the window lies.
    fn insert<T, G: Aggregator<T, Accumulator = A>>(
        &mut self,
        window: &W,
        record: T,
        aggregator: &G,
        watermark: i64,
    ) -> Option<T> {
        let all = &mut self.earlier;
        all.extend(self.last.take());
        let overlapping = all.iter().filter(|session| session.window.overlaps(window)).count();
        let mut unused = None;
        if overlapping > 0 {
            let first = all.partition_point(|session| session.window < *window && !session.window.overlaps(window));
            let mut parts = all.drain(first..first + overlapping);
            if let Some(mut merged) = parts.next() {
                for part in parts {
                    merged.window = merged.window.cover(&part.window);
                    aggregator.merge(&mut merged.accumulator, part.accumulator);
                }
                merged.window = merged.window.cover(window);
                aggregator.add(&mut merged.accumulator, record);
                all.insert(first, merged);
            }
        } else if window.max_timestamp() <= watermark {
            unused = Some(record);
        } else {
            let place = all.partition_point(|session| session.window < *window);
            all.insert(place, begin(window.clone(), record, aggregator));
        }
        self.last = all.pop();
        unused
    }

    /// The end of the first session, if there is one.
    #[inline]
    pub(super) fn first_end(&self) -> Option<i64> {
        self.earlier.first().or(self.last.as_ref()).map(|session| session.window.max_timestamp())
    }

    /// Takes the sessions that have ended at `now`.
    pub(super) fn take_ended(&mut self, now: i64, mut each: impl FnMut(Open<W, A>)) {
        let ended = |session: &Open<W, A>| session.window.max_timestamp() <= now;
        let count = self.earlier.iter().take_while(|session| ended(session)).count();
        self.earlier.drain(..count).for_each(&mut each);
        if self.earlier.is_empty()
            && let Some(last) = self.last.take_if(|last| ended(last))
        {
            each(last);
        }
    }
}

fn begin<W, T, G: Aggregator<T>>(window: W, record: T, aggregator: &G) -> Open<W, G::Accumulator> {
    let mut accumulator = aggregator.create();
    aggregator.add(&mut accumulator, record);
    Open { window, accumulator }
}
