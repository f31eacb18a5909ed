//! The queries as typed jobs: each takes the stream of events and gives its rows, in no particular order.
//!
//! Event times must have been assigned ([`watermarks`]) for all but q0 to q3. The same program gives the same rows in batch
//! and in streaming mode; of q4 and q6 that holds for the last row of each key.

mod closing;
mod joins;
mod windows;

pub use closing::{q4, q6};
pub use joins::{q3, q8};
pub use windows::{q5, q7, q11, q12};

use super::{Auction, AuctionPrice, Bid, ConvertedBid, Event, Person};
use fluvial_core::{DataStream, WatermarkStrategy};
use std::time::Duration;

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Event times of the events, of which none comes later than `disorder` behind the latest.
pub fn watermarks(disorder: Duration) -> WatermarkStrategy<Event> {
    WatermarkStrategy::bounded_out_of_orderness(disorder).with_timestamps(Event::time)
}

/// The events as they are.
pub fn q0(events: &DataStream<Event>) -> DataStream<Event> {
    events.clone()
}

/// Every bid, in another currency.
pub fn q1(events: &DataStream<Event>) -> DataStream<ConvertedBid> {
    bids(events).map(|bid| ConvertedBid {
        auction: bid.auction,
        bidder: bid.bidder,
        price: bid.price * 908 / 1000,
        time: bid.time,
    })
}

/// Bids for selected auctions.
pub fn q2(events: &DataStream<Event>) -> DataStream<AuctionPrice> {
    let selected = bids(events).filter(|bid| bid.auction % 123 == 0);
    selected.map(|bid| AuctionPrice { auction: bid.auction, price: bid.price })
}

fn persons(events: &DataStream<Event>) -> DataStream<Person> {
    events.flat_map(|event| event.person().copied())
}

fn auctions(events: &DataStream<Event>) -> DataStream<Auction> {
    events.flat_map(|event| event.auction().copied())
}

fn bids(events: &DataStream<Event>) -> DataStream<Bid> {
    events.flat_map(|event| event.bid().copied())
}
