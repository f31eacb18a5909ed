use super::{TEN_SECONDS, bids};
use crate::nexmark::{Bid, BidderSession, BidderWindow, Event, HighestBid, HotAuction};
use fluvial_core::{Aggregator, DataStream, Session, Sliding, Tumbling};
use std::cmp::Reverse;
use std::time::Duration;

/// How many records.
#[derive(Clone)]
struct Count;

impl<T> Aggregator<T> for Count {
    type Accumulator = u64;
    type Output = u64;
    fn create(&self) -> u64 {
        0
    }
    fn add(&self, count: &mut u64, _: T) {
        *count += 1;
    }
    fn merge(&self, count: &mut u64, other: u64) {
        *count += other;
    }
    fn finish(&self, count: u64) -> u64 {
        count
    }
}

/// Of each window of 10 s, sliding by 2 s, the auction with the most bids.
pub fn q5(events: &DataStream<Event>) -> DataStream<HotAuction> {
    let slide = Duration::from_secs(2);
    let counts = bids(events).map(|bid| bid.auction).key_by(|auction| *auction).window(Sliding::of(TEN_SECONDS, slide));
    let counts = counts.aggregate(Count).map(|w| HotAuction { window_end: w.window.end, auction: w.key, bids: w.value });
    hottest(&counts, slide)
}

/// Of the counts of each window the largest: on each worker first, then of all.
fn hottest(counts: &DataStream<HotAuction>, slide: Duration) -> DataStream<HotAuction> {
    let hotter = |a: HotAuction, b: HotAuction| {
        if (a.bids, Reverse(a.auction)) >= (b.bids, Reverse(b.auction)) { a } else { b }
    };
    counts.window_all(Tumbling::of(slide)).reduce(hotter).map(|w| w.value)
}

/// Of each window of 10 s the bid with the highest price.
pub fn q7(events: &DataStream<Event>) -> DataStream<HighestBid> {
    let higher = |a: Bid, b: Bid| {
        let rank = |bid: &Bid| (bid.price, Reverse((bid.time, bid.auction, bid.bidder)));
        if rank(&a) >= rank(&b) { a } else { b }
    };
    let by_bidder = bids(events).key_by(|bid| (bid.bidder % 64) as u8).window(Tumbling::of(TEN_SECONDS)).reduce(higher);
    let highest = by_bidder.map(|w| w.value).window_all(Tumbling::of(TEN_SECONDS)).reduce(higher);
    highest.map(|w| HighestBid { auction: w.value.auction, bidder: w.value.bidder, price: w.value.price, time: w.value.time })
}

/// Bids by bidder and session.
pub fn q11(events: &DataStream<Event>) -> DataStream<BidderSession> {
    let sessions = bids(events).map(|bid| bid.bidder).key_by(|bidder| *bidder).window(Session::with_gap(TEN_SECONDS));
    let row = |w: fluvial_core::Windowed<u64, fluvial_core::TimeWindow, u64>| BidderSession {
        bidder: w.key,
        start: w.window.start,
        end: w.window.end,
        bids: w.value,
    };
    sessions.aggregate(Count).map(row)
}

/// Bids by bidder and window of 10 s of processing time.
pub fn q12(events: &DataStream<Event>) -> DataStream<BidderWindow> {
    let by_clock = Tumbling::of(TEN_SECONDS).processing_time();
    let windows = bids(events).map(|bid| bid.bidder).key_by(|bidder| *bidder).window(by_clock).aggregate(Count);
    windows.map(|w| BidderWindow { bidder: w.key, start: w.window.start, end: w.window.end, bids: w.value })
}
