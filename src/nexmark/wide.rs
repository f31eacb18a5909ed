//! Events at their full width: with the texts that the paper's events have.
//!
//! Text makes an event what it is in practice, some hundred bytes with memory of its own: about 200 bytes a person, 500 an
//! auction and 100 a bid, the averages that Apache Beam's NEXMark suite uses. The fields that queries read are those of the
//! narrow event, so that the answers are the same.

use super::event::Event;
use super::generator::mix;
use serde::{Deserialize, Serialize};

/// An event and the details that no query reads.
///
/// ```
/// use fluvial::nexmark::{Details, Event, Generator};
/// let generator = Generator::new(100);
/// let wide = generator.wide_event(1);
/// assert_eq!(wide.event, generator.event(1));
/// assert!(matches!(wide.details, Details::Auction { reserve, initial_bid, .. } if reserve > initial_bid));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WideEvent {
    /// The event.
    pub event: Event,
    /// The rest of it.
    pub details: Details,
}

/// What a wide event has beside a narrow one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Details {
    /// Of a person.
    Person {
        /// An e-mail address.
        email: String,
        /// A credit card's number: four groups of four digits.
        credit_card: String,
        /// Where the person lives.
        city: String,
        /// Text without a meaning.
        extra: String,
    },
    /// Of an auction.
    Auction {
        /// What is sold, in words.
        description: String,
        /// Where bids begin, in cents.
        initial_bid: u64,
        /// What the seller wants at least, in cents.
        reserve: u64,
        /// When it closes ([`Auction::expires`](super::Auction::expires)), in milliseconds of event time.
        expires: i64,
        /// Text without a meaning.
        extra: String,
    },
    /// Of a bid.
    Bid {
        /// The page on which it was made.
        url: String,
        /// Text without a meaning.
        extra: String,
    },
}

const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];

impl AsRef<Event> for WideEvent {
    fn as_ref(&self) -> &Event {
        &self.event
    }
}

impl WideEvent {
    pub(super) fn new(event: Event, hash: u64) -> Self {
        let mut random = Random(hash);
        let details = match &event {
            Event::Person(person) => Details::Person {
                email: format!("{}@{}.com", person.name, random.letters(4, 8)),
                credit_card: {
                    let [a, b, c, d] = std::array::from_fn(|_| random.below(10_000));
                    format!("{a:04} {b:04} {c:04} {d:04}")
                },
                city: CITIES[random.below(CITIES.len() as u64) as usize].to_owned(),
                extra: random.letters(70, 110),
            },
            Event::Auction(auction) => {
                let initial_bid = 100 + random.below(10_000_000);
                Details::Auction {
                    description: random.letters(60, 140),
                    initial_bid,
                    reserve: initial_bid + 1 + random.below(10_000_000),
                    expires: auction.expires(),
                    extra: random.letters(250, 350),
                }
            }
            Event::Bid(bid) => Details::Bid {
                url: format!("https://www.nexmark.com/{}/item.htm?id={}", bid.channel, bid.auction),
                extra: random.letters(0, 20),
            },
        };
        Self { event, details }
    }
}

/// Random numbers from a seed: the hashes of a sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Words of small letters: at least `least` bytes and fewer than `bound`.
    fn letters(&mut self, least: u64, bound: u64) -> String {
        let length = (least + self.below(bound - least)) as usize;
        let mut text = String::with_capacity(length);
        let mut bits = 0;
        for at in 0..length {
            // Twelve letters of five bits a random number; what is left of 26 letters are spaces.
            if at % 12 == 0 {
                bits = self.next();
            }
            let letter = (bits & 31) as u8;
            text.push(if letter < 26 { char::from(b'a' + letter) } else { ' ' });
            bits >>= 5;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::Generator;
    use super::*;
    use fluvial_memory::Codec;

    #[test]
    fn wide_events_are_as_wide_as_beams() {
        let mut sum = [(0, 0); 3];
        for event in Generator::new(10_000).wide_events(0, 1) {
            let kind = match event.event {
                Event::Person(_) => 0,
                Event::Auction(_) => 1,
                Event::Bid(_) => 2,
            };
            let (bytes, count) = &mut sum[kind];
            let mut row = Vec::new();
            Codec::<WideEvent>::new().unwrap().encode(&event, &mut row).unwrap();
            (*bytes, *count) = (*bytes + row.len(), *count + 1);
        }
        let [person, auction, bid] = sum.map(|(bytes, count)| bytes / count);
        assert!((180..220).contains(&person), "{person} bytes a person");
        assert!((450..550).contains(&auction), "{auction} bytes an auction");
        assert!((90..110).contains(&bid), "{bid} bytes a bid");
    }

    #[test]
    fn wide_events_repeat_themselves_and_travel_in_rows() {
        let generator = Generator::new(1000).with_seed(9);
        let codec = Codec::<WideEvent>::new().unwrap();
        for position in 0..1000 {
            let event = generator.wide_event(position);
            assert_eq!(event, generator.wide_event(position));
            assert_eq!(*event.as_ref(), generator.event(position));
            let mut bytes = Vec::new();
            codec.encode(&event, &mut bytes).unwrap();
            assert_eq!(codec.decode(&bytes).unwrap(), event);
        }
    }
}
