//! The event of a number.
//!
//! The fields are functions of a 64-bit hash of the event's number (the finalizer of SplitMix64; Steele, Lea and Flood
//! 2014), so events are made in any order, by anybody, in a few nanoseconds each.

use super::disorder::Disorder;
use super::event::{Auction, Bid, Channel, Event, Person, State};
use super::name::Name;
use super::wide::WideEvent;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Events of one millisecond of event time.
pub const EVENTS_PER_MILLISECOND: u64 = 10;

/// Events of one person, three auctions and 46 bids.
const EPOCH: u64 = 50;
const AUCTIONS_PER_EPOCH: u32 = 3;

/// Bids are for one of the last so many auctions, by one of the last so many persons.
const RECENT: u32 = 1000;

/// One auction in so many is hot: it takes half of the bids until the next one.
const HOT: u64 = 100;

/// A hash of a number: a bijection without a pattern.
#[inline]
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of events, reproducible from its few settings.
///
/// An event's *number* gives its fields and its event time, number / 10 milliseconds. Its *position* is its place in the
/// stream: the same without disorder. Positions may be shared among readers in any way; all events together, and how much
/// later than others each may come, stay the same.
///
/// ```
/// use fluvial::nexmark::{Event, Generator};
/// use std::time::Duration;
///
/// let generator = Generator::new(1000).with_seed(7).with_disorder(Duration::from_millis(20));
/// // Two readers, each with every other position.
/// let events: Vec<Event> = (0..2).flat_map(|first| generator.events(first, 2)).collect();
/// assert_eq!(events.len(), 1000);
/// assert_eq!(events.iter().filter(|event| event.bid().is_some()).count(), 920);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    events: u64,
    key: u64,
    disorder: Duration,
    order: Disorder,
}

impl Generator {
    /// So many events, in order, with seed 0. For a stream without end, `u64::MAX`.
    pub fn new(events: u64) -> Self {
        Self { events, key: 0, disorder: Duration::ZERO, order: Disorder::new(0, events, 0) }
    }

    /// Another stream of the same kind for each seed.
    pub fn with_seed(self, seed: u64) -> Self {
        // Seed 0 has no key: its events are those that others who measure generate.
        let key = if seed == 0 { 0 } else { mix(seed) };
        Self { key, ..self }.with_disorder(self.disorder)
    }

    /// Events come out of order: each at most `bound` (whole milliseconds) of event time behind the latest before it.
    pub fn with_disorder(self, bound: Duration) -> Self {
        let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Self { disorder: bound, order: Disorder::new(millis, self.events, self.key), ..self }
    }

    /// How many events there are.
    pub fn len(&self) -> u64 {
        self.events
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The bound of the disorder.
    pub fn disorder(&self) -> Duration {
        self.disorder
    }

    /// The number of the event at a position.
    #[inline]
    pub fn number_at(&self, position: u64) -> u64 {
        self.order.number_at(position)
    }

    /// The event at a position.
    #[inline]
    pub fn event(&self, position: u64) -> Event {
        numbered(self.number_at(position), self.key, |event| event)
    }

    /// The event at a position, at its full width.
    pub fn wide_event(&self, position: u64) -> WideEvent {
        let number = self.number_at(position);
        WideEvent::new(numbered(number, self.key, |event| event), mix(number ^ self.key))
    }

    /// The events at every `step`-th position from `first` on: what one of `step` readers takes.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn events(&self, first: u64, step: u64) -> impl Iterator<Item = Event> + use<> {
        let generator = *self;
        self.positions(first, step).map(move |position| generator.event(position))
    }

    /// Appends up to `count` events, at every `step`-th position from `first` on, and returns the position after them. The
    /// way to make a batch: events are written where they stay.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn fill(&self, first: u64, step: u64, count: usize, batch: &mut Vec<Event>) -> u64 {
        let count = self.count(first, step).min(count as u64);
        batch.reserve(count as usize);
        for index in 0..count {
            numbered(self.number_at(first + index * step), self.key, |event| batch.push(event));
        }
        first.saturating_add(count.saturating_mul(step))
    }

    /// As [`events`](Self::events), at their full width.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn wide_events(&self, first: u64, step: u64) -> impl Iterator<Item = WideEvent> + use<> {
        let generator = *self;
        self.positions(first, step).map(move |position| generator.wide_event(position))
    }

    fn positions(&self, first: u64, step: u64) -> impl Iterator<Item = u64> + use<> {
        (0..self.count(first, step)).map(move |index| first + index * step)
    }

    /// How many positions there are from `first` on.
    fn count(&self, first: u64, step: u64) -> u64 {
        assert!(step > 0, "a reader takes every step-th position: step must not be 0");
        self.events.saturating_sub(first).div_ceil(step)
    }
}

/// Makes the event of a number and hands it on. To hand it on in each case, rather than return what one of three cases
/// made, saves a copy by way of the stack.
#[inline(always)]
fn numbered<R>(number: u64, key: u64, then: impl FnOnce(Event) -> R) -> R {
    let (epoch, offset) = (number / EPOCH, (number % EPOCH) as u32);
    let time = (epoch * (EPOCH / EVENTS_PER_MILLISECOND)) as i64 + i64::from(offset / EVENTS_PER_MILLISECOND as u32);
    let hash = mix(number ^ key);
    // Parts of the hash that fit are divided as 32 bits: half the price.
    let recent = |last: u64, random: u64| last.saturating_sub(u64::from((random & 0xFFFF) as u32 % RECENT));
    if offset > AUCTIONS_PER_EPOCH {
        let last = epoch * u64::from(AUCTIONS_PER_EPOCH) + u64::from(AUCTIONS_PER_EPOCH) - 1;
        // Both, and then one of them: no branch can be right about a coin.
        let candidates = [last / HOT * HOT, recent(last, hash >> 1)];
        then(Event::Bid(Bid {
            auction: candidates[(hash & 1) as usize],
            bidder: recent(epoch, hash >> 20),
            price: 100 + u64::from((hash >> 40) as u32 % 10_000_000),
            channel: Channel::ALL[((hash >> 36) & 3) as usize],
            time,
        }))
    } else if offset > 0 {
        then(Event::Auction(Auction {
            id: epoch * u64::from(AUCTIONS_PER_EPOCH) + u64::from(offset) - 1,
            seller: recent(epoch, hash),
            category: 10 + ((hash >> 20) % 5) as u32,
            item: Name::numbered(b"item-", (hash >> 54) as u32),
            time,
        }))
    } else {
        let name = Name::numbered(b"person-", (hash & 1023) as u32);
        then(Event::Person(Person { id: epoch, name, state: State::ALL[((hash >> 20) % 6) as usize], time }))
    }
}

/// A bid of a stream of nothing else: the load of the window benchmarks, keyed by auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SimpleBid {
    /// The auction: below the number of keys.
    pub auction: u32,
    /// The person who bids.
    pub bidder: u32,
    /// The price.
    pub price: u64,
    /// Event time, in milliseconds.
    pub time: i64,
}

impl SimpleBid {
    /// The bid of a number: for one of `keys` auctions, `per_millisecond` bids a millisecond of event time.
    ///
    /// ```
    /// # use fluvial::nexmark::SimpleBid;
    /// assert_eq!(SimpleBid::numbered(2_500, 10_000, 100).time, 25);
    /// ```
    ///
    /// # Panics
    /// If `keys` or `per_millisecond` is 0.
    #[inline]
    pub fn numbered(number: u64, keys: u32, per_millisecond: u64) -> Self {
        let hash = mix(number);
        Self {
            auction: (hash % u64::from(keys)) as u32,
            bidder: (hash >> 50) as u32,
            price: (hash >> 40) % 10_000,
            time: (number / per_millisecond) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    #[test]
    fn of_fifty_events_one_is_a_person_and_three_are_auctions() {
        let events: Vec<Event> = Generator::new(5000).events(0, 1).collect();
        for epoch in events.chunks(50) {
            assert!(epoch[0].person().is_some());
            assert!(epoch[1..4].iter().all(|event| event.auction().is_some()));
            assert!(epoch[4..].iter().all(|event| event.bid().is_some()));
        }
        let ids: Vec<u64> = events.iter().filter_map(Event::auction).map(|auction| auction.id).collect();
        assert_eq!(ids, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn half_of_the_bids_are_for_hot_auctions() {
        let generator = Generator::new(u64::MAX);
        let events = (1_000_000..1_050_000).map(|number| generator.event(number));
        let hot = events.filter_map(|event| event.bid().copied()).filter(|bid| bid.auction % 100 == 0).count();
        // Half of 46,000, and one in a hundred of the others.
        assert!((22_700..23_800).contains(&hot), "{hot}");
    }

    /// Events and digest of a Java program with the same formulas.
    #[test]
    fn events_are_those_of_the_benchmark() {
        let at = |number| Generator::new(u64::MAX).event(number);
        assert_eq!(at(0), Event::Person(Person { id: 0, name: name("person-431"), state: State::California, time: 0 }));
        assert_eq!(at(1), Event::Auction(Auction { id: 0, seller: 0, category: 11, item: name("item-441"), time: 0 }));
        assert_eq!(at(4), Event::Bid(Bid { auction: 0, bidder: 0, price: 1_784_301, channel: Channel::Facebook, time: 0 }));
        let state = State::Washington;
        assert_eq!(
            at(1_000_000_000),
            Event::Person(Person { id: 20_000_000, name: name("person-966"), state, time: 100_000_000 })
        );
        let (id, seller, item) = (60_000_000, 19_999_838, name("item-131"));
        assert_eq!(at(1_000_000_001), Event::Auction(Auction { id, seller, category: 13, item, time: 100_000_000 }));
        let (auction, bidder, channel) = (59_999_856, 19_999_733, Channel::Google);
        assert_eq!(at(1_000_000_049), Event::Bid(Bid { auction, bidder, price: 7_386_512, channel, time: 100_000_004 }));

        let text = |text: &str| text.len() as u64 + 256 * u64::from(text.as_bytes()[text.len() - 1]);
        let digest = Generator::new(1_000_000).events(0, 1).fold(0, |digest, event| {
            let fields = match event {
                Event::Person(p) => [0, p.id, 0, 0, p.time as u64, text(p.name.as_str()), p.state.as_str().as_bytes()[0].into()],
                Event::Auction(a) => [1, a.id, a.seller, a.category.into(), a.time as u64, text(a.item.as_str()), 0],
                Event::Bid(b) => [2, b.auction, b.bidder, b.price, b.time as u64, text(b.channel.as_str()), 0],
            };
            fields.into_iter().fold(digest, |digest, field| mix(digest ^ field))
        });
        assert_eq!(digest, 14_123_003_086_202_157_559);
    }

    #[test]
    fn simple_bids_are_those_of_the_benchmark() {
        let digest = (0..1_000_000).map(|number| SimpleBid::numbered(number, 10_000, 100)).fold(0, |digest, bid| {
            let fields = [bid.auction.into(), bid.bidder.into(), bid.price, bid.time as u64];
            fields.into_iter().fold(digest, |digest, field| mix(digest ^ field))
        });
        assert_eq!(digest, 933_167_149_560_870_059);
    }

    #[test]
    fn a_bid_comes_after_its_auction_was_opened() {
        let mut opened = 0;
        for event in Generator::new(100_000).with_seed(3).events(0, 1) {
            match event {
                Event::Auction(auction) => opened = auction.id + 1,
                Event::Bid(bid) => assert!(bid.auction < opened),
                Event::Person(_) => {}
            }
        }
    }

    #[test]
    fn a_seed_gives_another_stream() {
        let stream = |seed| Generator::new(1000).with_seed(seed).events(0, 1).collect::<Vec<_>>();
        assert_eq!(stream(1), stream(1));
        let same = stream(1).iter().zip(&stream(2)).filter(|(a, b)| a == b).count();
        assert!(same < 10, "{same} of 1000 events are the same");
    }

    proptest! {
        #[test]
        fn readers_share_the_events(events in 0u64..3000, readers in 1u64..5, bound in 0u64..50, seed: u64) {
            let bound = Duration::from_millis(bound);
            let ordered = Generator::new(events).with_seed(seed);
            let generator = Generator::new(events).with_disorder(bound).with_seed(seed);
            let mut shared = Vec::new();
            for reader in 0..readers {
                let mut latest = 0;
                for event in generator.events(reader, readers) {
                    prop_assert!(latest <= event.time() + bound.as_millis() as i64);
                    latest = latest.max(event.time());
                    shared.push(event);
                }
                let (mut position, mut filled) = (reader, Vec::new());
                while position < events {
                    position = generator.fill(position, readers, 100, &mut filled);
                }
                prop_assert_eq!(filled, generator.events(reader, readers).collect::<Vec<_>>());
            }
            let key = |event: &Event| (event.time(), format!("{event:?}"));
            let mut expected: Vec<Event> = ordered.events(0, 1).collect();
            shared.sort_by_key(key);
            expected.sort_by_key(key);
            prop_assert_eq!(shared, expected);
        }
    }
}
