//! The rows that the queries give.
//!
//! All are `Copy` and ordered, so that two engines' answers can be sorted and compared; all have flat, named fields, so
//! that they are lines of CSV and objects of JSON as they are.

use super::event::{Event, State, words};
use super::name::Name;
use serde::{Deserialize, Serialize};

/// Row types: they derive the same.
macro_rules! rows {
    ($($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            pub struct $name {
                $($(#[$doc])* pub $field: $type),*
            }
        )*
    };
}

words! {
    /// Which kind of event a row of q0 is.
    Kind {
        /// A person.
        Person = "person",
        /// An auction.
        Auction = "auction",
        /// A bid.
        Bid = "bid",
    }
}

rows! {
    /// An event with the same columns for all kinds: q0 as a table.
    EventRow {
        /// The kind of event.
        kind: Kind,
        /// The number of the person or of the auction; the auction of a bid.
        id: u64,
        /// The seller of an auction, the bidder of a bid, 0 of a person.
        reference: u64,
        /// The category of an auction, the price of a bid, 0 of a person.
        value: u64,
        /// The name of a person or of what is sold, the channel of a bid.
        name: Name,
        /// The state of a person; empty otherwise.
        extra: Name,
        /// Event time, in milliseconds.
        time: i64,
    }

    /// q1: a bid in another currency.
    ConvertedBid {
        /// The auction.
        auction: u64,
        /// The person who bids.
        bidder: u64,
        /// The price, converted and rounded down.
        price: u64,
        /// Event time of the bid, in milliseconds.
        time: i64,
    }

    /// q2: a bid for a selected auction.
    AuctionPrice {
        /// The auction.
        auction: u64,
        /// The price.
        price: u64,
    }

    /// q3: an auction of a seller from nearby.
    LocalAuction {
        /// The seller's name.
        name: Name,
        /// The seller's state.
        state: State,
        /// The auction.
        auction: u64,
    }

    /// q4: what auctions of a category close at.
    CategoryAverage {
        /// The category.
        category: u32,
        /// How many auctions have closed with a price.
        auctions: u64,
        /// Their average closing price, rounded down.
        average: u64,
    }

    /// q5: the auction with the most bids of a window.
    HotAuction {
        /// Where the window ends, in milliseconds.
        window_end: i64,
        /// The auction.
        auction: u64,
        /// Its bids in the window.
        bids: u64,
    }

    /// q6: what a seller's latest auctions closed at.
    SellerAverage {
        /// The seller.
        seller: u64,
        /// How many auctions are averaged: ten, or as many as there are.
        auctions: u64,
        /// Their average closing price, rounded down.
        average: u64,
    }

    /// q7: the highest bid of a window.
    HighestBid {
        /// The auction.
        auction: u64,
        /// The person who bids.
        bidder: u64,
        /// The price.
        price: u64,
        /// Event time of the bid, in milliseconds.
        time: i64,
    }

    /// q8: a person who joined and sold at once.
    NewSeller {
        /// The person.
        person: u64,
        /// The auction.
        auction: u64,
        /// Event time at which the person joined, in milliseconds.
        time: i64,
    }

    /// q11: a session of bids.
    BidderSession {
        /// The person who bids.
        bidder: u64,
        /// Event time of the first bid, in milliseconds.
        start: i64,
        /// The gap after the event time of the last bid.
        end: i64,
        /// How many bids there are.
        bids: u64,
    }

    /// q12: the bids of a person that were processed within ten seconds.
    BidderWindow {
        /// The person who bids.
        bidder: u64,
        /// Where the window of processing time starts, in milliseconds.
        start: i64,
        /// Where it ends.
        end: i64,
        /// How many bids there are.
        bids: u64,
    }
}

impl From<&Event> for EventRow {
    fn from(event: &Event) -> Self {
        // Words are shorter than names may be.
        let word = |word: &str| word.parse().unwrap_or_default();
        match *event {
            Event::Person(person) => Self {
                kind: Kind::Person,
                id: person.id,
                reference: 0,
                value: 0,
                name: person.name,
                extra: word(person.state.as_str()),
                time: person.time,
            },
            Event::Auction(auction) => Self {
                kind: Kind::Auction,
                id: auction.id,
                reference: auction.seller,
                value: auction.category.into(),
                name: auction.item,
                extra: Name::default(),
                time: auction.time,
            },
            Event::Bid(bid) => Self {
                kind: Kind::Bid,
                id: bid.auction,
                reference: bid.bidder,
                value: bid.price,
                name: word(bid.channel.as_str()),
                extra: Name::default(),
                time: bid.time,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Generator;
    use super::*;

    #[test]
    fn rows_of_events_are_flat() {
        let rows: Vec<String> = [0, 1, 4]
            .iter()
            .map(|&number| serde_json::to_string(&EventRow::from(&Generator::new(5).event(number))).unwrap())
            .collect();
        assert_eq!(
            rows,
            [
                r#"{"kind":"person","id":0,"reference":0,"value":0,"name":"person-431","extra":"CA","time":0}"#,
                r#"{"kind":"auction","id":0,"reference":0,"value":11,"name":"item-441","extra":"","time":0}"#,
                r#"{"kind":"bid","id":0,"reference":0,"value":1784301,"name":"facebook","extra":"","time":0}"#,
            ]
        );
    }
}
