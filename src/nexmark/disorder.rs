//! Bounded disorder with random access: the numbers are permuted inside blocks.
//!
//! A block holds the events of `bound + 1` milliseconds, so that its last event is `bound` later than its first, and
//! every event of a later block is later still: no event comes more than `bound` behind the latest that came before it,
//! whoever reads which positions. Each block has a permutation of its own, a keyed bijection of the block's positions, so
//! the number at any position is known without state.

use super::generator::{EVENTS_PER_MILLISECOND, mix};

/// The order in which events come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disorder {
    /// Events in a block; 0 if they come in order.
    block: u64,
    /// How many events there are: the last block may be shorter.
    events: u64,
    key: u64,
}

impl Disorder {
    /// Events that come at most `bound` milliseconds behind a later one.
    pub(super) fn new(bound: u64, events: u64, key: u64) -> Self {
        let block = if bound == 0 { 0 } else { bound.saturating_add(1).saturating_mul(EVENTS_PER_MILLISECOND) };
        Self { block, events, key }
    }

    /// The number of the event that comes at a position. Positions from `events` on are their own.
    #[inline]
    pub(super) fn number_at(&self, position: u64) -> u64 {
        if self.block == 0 || position >= self.events {
            return position;
        }
        let block = position / self.block;
        let start = block * self.block;
        start + permuted(position - start, self.block.min(self.events - start), mix(self.key ^ mix(block)))
    }
}

/// A keyed bijection of `0..length`: a mixer of as many bits as `length - 1` has, repeated until it comes out below
/// `length` ("cycle walking", Black and Rogaway 2002), fewer than two rounds on average. Every step of the mixer is a
/// bijection of the numbers of so many bits.
#[inline]
fn permuted(mut x: u64, length: u64, key: u64) -> u64 {
    let bits = u64::BITS - (length - 1).leading_zeros();
    let mask = u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0);
    let shift = bits / 2 + 1;
    loop {
        x = (x ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15) & mask;
        x ^= x >> shift;
        x = x.wrapping_add(key >> 32).wrapping_mul(0xBF58_476D_1CE4_E5B9) & mask;
        x ^= x >> shift;
        if x < length {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_comes_once_and_no_later_than_the_bound(bound in 0u64..300, events in 0u64..5000, key: u64) {
            let disorder = Disorder::new(bound, events, key);
            let mut seen = vec![false; events as usize];
            let mut latest = 0;
            for position in 0..events {
                let number = disorder.number_at(position);
                prop_assert!(!std::mem::replace(&mut seen[number as usize], true));
                let time = number / EVENTS_PER_MILLISECOND;
                prop_assert!(latest <= time + bound, "{time} after {latest}");
                latest = latest.max(time);
            }
        }

        #[test]
        fn any_bound_and_length_are_numbers_within_the_block(bound: u64, events in 1u64.., at: u64, key: u64) {
            let position = at % events;
            let number = Disorder::new(bound, events, key).number_at(position);
            prop_assert!(number < events);
            prop_assert!(number.abs_diff(position) / EVENTS_PER_MILLISECOND <= bound);
        }
    }

    #[test]
    fn the_bound_is_used() {
        for key in 0..10 {
            let disorder = Disorder::new(100, 100_000, key);
            let (mut latest, mut lag, mut ordered) = (0, 0, 0);
            for position in 0..100_000 {
                let time = disorder.number_at(position) / EVENTS_PER_MILLISECOND;
                ordered += u64::from(time >= latest);
                latest = latest.max(time);
                lag = lag.max(latest - time);
            }
            assert!(lag >= 99, "{lag}");
            // As a random order: in a block of n, the records of maxima are about ln n, times the ten of equal time.
            assert!(ordered < 10_000, "{ordered} events in order");
        }
    }

    #[test]
    fn without_disorder_numbers_come_in_order() {
        let disorder = Disorder::new(0, 1000, 5);
        assert!((0..2000).all(|position| disorder.number_at(position) == position));
    }
}
