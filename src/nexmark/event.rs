//! The events: persons, auctions and bids, in 48 bytes each.
//!
//! Everything is in place and `Copy`, so that a batch of events is one block of memory: generating, filtering and handing
//! on an event costs no allocation and no destructor. What is one of few words (a state, a channel) is an enum that shows
//! and serializes as the word.

use super::generator::mix;
use super::name::Name;
use serde::{Deserialize, Serialize};

/// An enum of words: shown and serialized as the word.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant),*
        }

        impl $name {
            /// All of them, in the order in which the generator numbers them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(super) use words;

/// One event of the auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// Somebody joins.
    Person(Person),
    /// Somebody offers something.
    Auction(Auction),
    /// Somebody bids for it.
    Bid(Bid),
}

/// A person who joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Person {
    /// The person's number.
    pub id: u64,
    /// A name; several have the same.
    pub name: Name,
    /// Where the person lives.
    pub state: State,
    /// Event time, in milliseconds.
    pub time: i64,
}

/// An auction that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Auction {
    /// The auction's number.
    pub id: u64,
    /// The person who sells.
    pub seller: u64,
    /// The kind of thing: 10 to 14.
    pub category: u32,
    /// What is sold.
    pub item: Name,
    /// Event time, in milliseconds.
    pub time: i64,
}

/// A bid for an auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bid {
    /// The auction.
    pub auction: u64,
    /// The person who bids.
    pub bidder: u64,
    /// The price, in cents.
    pub price: u64,
    /// Where the bid comes from.
    pub channel: Channel,
    /// Event time, in milliseconds.
    pub time: i64,
}

impl Event {
    /// Event time, in milliseconds.
    #[inline]
    pub fn time(&self) -> i64 {
        match self {
            Self::Person(person) => person.time,
            Self::Auction(auction) => auction.time,
            Self::Bid(bid) => bid.time,
        }
    }

    /// The person, if it is one.
    #[inline]
    pub fn person(&self) -> Option<&Person> {
        if let Self::Person(person) = self { Some(person) } else { None }
    }

    /// The auction, if it is one.
    #[inline]
    pub fn auction(&self) -> Option<&Auction> {
        if let Self::Auction(auction) = self { Some(auction) } else { None }
    }

    /// The bid, if it is one.
    #[inline]
    pub fn bid(&self) -> Option<&Bid> {
        if let Self::Bid(bid) = self { Some(bid) } else { None }
    }
}

impl AsRef<Event> for Event {
    fn as_ref(&self) -> &Event {
        self
    }
}

impl Auction {
    /// Event time at which the auction closes: 500 to 1999 ms after it was opened. Bids at that time still count.
    ///
    /// A function of the auction's number. Bids come for about 1.7 s after an auction is opened, and longer for hot ones,
    /// so that some are too late.
    #[inline]
    pub fn expires(&self) -> i64 {
        self.time + 500 + ((mix(self.id) >> 32) % 1500) as i64
    }
}

words! {
    /// Where a person lives: a state of the USA.
    State {
        /// Arizona.
        Arizona = "AZ",
        /// California.
        California = "CA",
        /// Idaho.
        Idaho = "ID",
        /// Oregon.
        Oregon = "OR",
        /// Washington.
        Washington = "WA",
        /// Wyoming.
        Wyoming = "WY",
    }
}

words! {
    /// Where a bid comes from.
    Channel {
        /// Apple.
        Apple = "apple",
        /// Google.
        Google = "google",
        /// Facebook.
        Facebook = "facebook",
        /// Baidu.
        Baidu = "baidu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::Codec;

    #[test]
    fn an_event_is_48_bytes() {
        assert_eq!(size_of::<Event>(), 48);
        assert_eq!([size_of::<Person>(), size_of::<Auction>(), size_of::<Bid>()], [32, 40, 40]);
    }

    #[test]
    fn events_travel_in_rows_and_in_json() {
        let person = Person { id: 7, name: "person-7".parse().unwrap(), state: State::Oregon, time: 35 };
        let auction = Auction { id: 21, seller: 7, category: 10, item: "item-1".parse().unwrap(), time: 36 };
        let bid = Bid { auction: 21, bidder: 7, price: 100, channel: Channel::Baidu, time: 37 };
        let codec = Codec::<Event>::new().unwrap();
        for event in [Event::Person(person), Event::Auction(auction), Event::Bid(bid)] {
            let mut bytes = Vec::new();
            codec.encode(&event, &mut bytes).unwrap();
            assert_eq!(codec.decode(&bytes).unwrap(), event);
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
        let text = serde_json::to_string(&Event::Person(person)).unwrap();
        assert_eq!(text, r#"{"Person":{"id":7,"name":"person-7","state":"OR","time":35}}"#);
    }

    #[test]
    fn auctions_are_open_for_half_a_second_to_two() {
        let open = |id| {
            let auction = Auction { id, seller: 0, category: 10, item: Name::default(), time: 1000 };
            auction.expires() - auction.time
        };
        let times: Vec<i64> = (0..10_000).map(open).collect();
        assert_eq!((times.iter().min(), times.iter().max()), (Some(&500), Some(&1999)));
    }
}
