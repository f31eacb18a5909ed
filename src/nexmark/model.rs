//! The queries as plain loops over a slice of events: nothing of an engine, only what the answer is.
//!
//! Events may be in any order. Rows come in the order of the events in q0 to q2, else sorted. For q4 and q6 they are the
//! last row of each key.

use super::event::{Auction, Bid, Event, Person, State};
use super::rows::{
    AuctionPrice, BidderSession, BidderWindow, CategoryAverage, ConvertedBid, HighestBid, HotAuction, LocalAuction, NewSeller,
    SellerAverage,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

const SECOND: i64 = 1000;
const TEN_SECONDS: i64 = 10 * SECOND;

fn persons(events: &[Event]) -> impl Iterator<Item = &Person> {
    events.iter().filter_map(Event::person)
}

fn auctions(events: &[Event]) -> impl Iterator<Item = &Auction> {
    events.iter().filter_map(Event::auction)
}

fn bids(events: &[Event]) -> impl Iterator<Item = &Bid> {
    events.iter().filter_map(Event::bid)
}

/// Where the tumbling window that holds a time starts.
fn window_start(time: i64, size: i64) -> i64 {
    time.div_euclid(size) * size
}

/// Every event as it is.
pub fn q0(events: &[Event]) -> Vec<Event> {
    events.to_vec()
}

/// All bids, in another currency.
pub fn q1(events: &[Event]) -> Vec<ConvertedBid> {
    let convert =
        |bid: &Bid| ConvertedBid { auction: bid.auction, bidder: bid.bidder, price: bid.price * 908 / 1000, time: bid.time };
    bids(events).map(convert).collect()
}

/// The bids for auctions whose number is a multiple of 123.
pub fn q2(events: &[Event]) -> Vec<AuctionPrice> {
    let selected = bids(events).filter(|bid| bid.auction % 123 == 0);
    selected.map(|bid| AuctionPrice { auction: bid.auction, price: bid.price }).collect()
}

/// The auctions of category 10 whose sellers live in OR, ID or CA.
pub fn q3(events: &[Event]) -> Vec<LocalAuction> {
    let nearby = |person: &&Person| matches!(person.state, State::Oregon | State::Idaho | State::California);
    let sellers: BTreeMap<u64, &Person> = persons(events).filter(nearby).map(|person| (person.id, person)).collect();
    let mut rows = Vec::new();
    for auction in auctions(events).filter(|auction| auction.category == 10) {
        if let Some(person) = sellers.get(&auction.seller) {
            rows.push(LocalAuction { name: person.name, state: person.state, auction: auction.id });
        }
    }
    rows.sort();
    rows
}

/// The auctions that somebody bid for in time, by number, each with its highest such bid's price.
fn closing_prices(events: &[Event]) -> BTreeMap<u64, (&Auction, u64)> {
    let opened: BTreeMap<u64, &Auction> = auctions(events).map(|auction| (auction.id, auction)).collect();
    let mut closed = BTreeMap::new();
    for bid in bids(events) {
        if let Some(&auction) = opened.get(&bid.auction)
            && (auction.time..=auction.expires()).contains(&bid.time)
        {
            let (_, price) = closed.entry(auction.id).or_insert((auction, 0));
            *price = bid.price.max(*price);
        }
    }
    closed
}

/// By category, the average closing price.
pub fn q4(events: &[Event]) -> Vec<CategoryAverage> {
    let mut prices: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (auction, price) in closing_prices(events).into_values() {
        prices.entry(auction.category).or_default().push(price);
    }
    let average = |(category, prices): (u32, Vec<u64>)| CategoryAverage {
        category,
        auctions: prices.len() as u64,
        average: prices.iter().sum::<u64>() / prices.len() as u64,
    };
    prices.into_iter().map(average).collect()
}

/// Of each window of 10 s, sliding by 2 s, the auction with the most bids; of equals the lowest number.
pub fn q5(events: &[Event]) -> Vec<HotAuction> {
    let mut windows: BTreeMap<i64, BTreeMap<u64, u64>> = BTreeMap::new();
    for bid in bids(events) {
        for slide in 0..5 {
            let end = window_start(bid.time, 2 * SECOND) + TEN_SECONDS - slide * 2 * SECOND;
            *windows.entry(end).or_default().entry(bid.auction).or_default() += 1;
        }
    }
    let hottest = |(window_end, counts): (i64, BTreeMap<u64, u64>)| {
        let (auction, bids) = counts.into_iter().max_by_key(|&(auction, bids)| (bids, Reverse(auction)))?;
        Some(HotAuction { window_end, auction, bids })
    };
    windows.into_iter().filter_map(hottest).collect()
}

/// By seller, the average closing price of the last ten auctions that closed with a price.
pub fn q6(events: &[Event]) -> Vec<SellerAverage> {
    let mut sales: BTreeMap<u64, BTreeSet<(i64, u64, u64)>> = BTreeMap::new();
    for (auction, price) in closing_prices(events).into_values() {
        sales.entry(auction.seller).or_default().insert((auction.expires(), auction.id, price));
    }
    let average = |(seller, sales): (u64, BTreeSet<(i64, u64, u64)>)| {
        let last: Vec<u64> = sales.into_iter().rev().take(10).map(|(_, _, price)| price).collect();
        SellerAverage { seller, auctions: last.len() as u64, average: last.iter().sum::<u64>() / last.len() as u64 }
    };
    sales.into_iter().map(average).collect()
}

/// Of each window of 10 s, the bid with the highest price; of equals the earliest, then the lowest auction and bidder.
pub fn q7(events: &[Event]) -> Vec<HighestBid> {
    let rank = |bid: &Bid| (bid.price, Reverse((bid.time, bid.auction, bid.bidder)));
    let mut windows: BTreeMap<i64, Bid> = BTreeMap::new();
    for bid in bids(events) {
        let highest = windows.entry(window_start(bid.time, TEN_SECONDS)).or_insert(*bid);
        if rank(bid) > rank(highest) {
            *highest = *bid;
        }
    }
    let row = |bid: Bid| HighestBid { auction: bid.auction, bidder: bid.bidder, price: bid.price, time: bid.time };
    let mut rows: Vec<HighestBid> = windows.into_values().map(row).collect();
    rows.sort();
    rows
}

/// Persons with each auction that they opened in the same window of 10 s in which they joined.
pub fn q8(events: &[Event]) -> Vec<NewSeller> {
    let joined: BTreeMap<u64, i64> = persons(events).map(|person| (person.id, person.time)).collect();
    let mut rows = Vec::new();
    for auction in auctions(events) {
        if let Some(&time) = joined.get(&auction.seller)
            && window_start(time, TEN_SECONDS) == window_start(auction.time, TEN_SECONDS)
        {
            rows.push(NewSeller { person: auction.seller, auction: auction.id, time });
        }
    }
    rows.sort();
    rows
}

/// Bids by bidder and session: a bid 10 s after the one before, or later, begins another.
pub fn q11(events: &[Event]) -> Vec<BidderSession> {
    let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for bid in bids(events) {
        times.entry(bid.bidder).or_default().push(bid.time);
    }
    let mut rows = Vec::new();
    for (bidder, mut times) in times {
        times.sort();
        for session in times.chunk_by(|before, time| time - before < TEN_SECONDS) {
            let (start, end) = (session[0], session[session.len() - 1] + TEN_SECONDS);
            rows.push(BidderSession { bidder, start, end, bids: session.len() as u64 });
        }
    }
    rows
}

/// Bids by bidder and window of 10 s of processing time: `processed` gives the time at which each event, by its index in
/// the slice, is processed, in milliseconds.
pub fn q12(events: &[Event], processed: impl Fn(usize) -> i64) -> Vec<BidderWindow> {
    let mut windows: BTreeMap<(u64, i64), u64> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if let Event::Bid(bid) = event {
            *windows.entry((bid.bidder, window_start(processed(index), TEN_SECONDS))).or_default() += 1;
        }
    }
    let row = |((bidder, start), bids)| BidderWindow { bidder, start, end: start + TEN_SECONDS, bids };
    windows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, Generator, Name};
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn person(id: u64, state: State, time: i64) -> Event {
        Event::Person(Person { id, name: Name::numbered(b"person-", id as u32), state, time })
    }

    fn auction(id: u64, seller: u64, category: u32, time: i64) -> Event {
        Event::Auction(Auction { id, seller, category, item: Name::default(), time })
    }

    fn bid(auction: u64, bidder: u64, price: u64, time: i64) -> Event {
        Event::Bid(Bid { auction, bidder, price, channel: Channel::Apple, time })
    }

    fn expires(event: Event) -> i64 {
        event.auction().unwrap().expires()
    }

    #[test]
    fn bids_are_converted_and_selected() {
        let events = [person(1, State::Idaho, 0), bid(246, 1, 1001, 5), bid(122, 1, 100, 6), bid(0, 2, 7, 7)];
        let converted = |auction, bidder, price, time| ConvertedBid { auction, bidder, price, time };
        // 1001 * 0.908 = 908.908, 100 * 0.908 = 90.8, 7 * 0.908 = 6.356.
        assert_eq!(q1(&events), [converted(246, 1, 908, 5), converted(122, 1, 90, 6), converted(0, 2, 6, 7)]);
        assert_eq!(q2(&events), [AuctionPrice { auction: 246, price: 1001 }, AuctionPrice { auction: 0, price: 7 }]);
        assert_eq!(q0(&events), events);
    }

    #[test]
    fn local_auctions_are_those_of_three_states_and_one_category() {
        let events = [
            auction(9, 1, 10, 0),
            person(1, State::Oregon, 1),
            person(2, State::Washington, 2),
            auction(3, 2, 10, 3),
            auction(4, 1, 11, 4),
            auction(5, 1, 10, 99_999),
        ];
        let row = |auction| LocalAuction { name: "person-1".parse().unwrap(), state: State::Oregon, auction };
        assert_eq!(q3(&events), [row(5), row(9)]);
    }

    #[test]
    fn an_auction_closes_at_its_highest_bid_in_time() {
        let (first, second, unsold) = (auction(1, 7, 10, 1000), auction(2, 7, 10, 1000), auction(3, 7, 10, 1000));
        let events = [
            first,
            second,
            unsold,
            bid(1, 5, 300, 1000),
            bid(1, 5, 200, 1001),
            bid(2, 5, 401, expires(second)),
            bid(2, 5, 9999, expires(second) + 1),
            bid(3, 5, 9999, 999),
            bid(4, 5, 9999, 1000),
        ];
        assert_eq!(q4(&events), [CategoryAverage { category: 10, auctions: 2, average: 350 }]);
        assert_eq!(q6(&events), [SellerAverage { seller: 7, auctions: 2, average: 350 }]);
    }

    #[test]
    fn the_last_ten_sales_are_averaged() {
        // Ten seconds apart, so that they close in this order.
        let mut events = Vec::new();
        for id in 0..12 {
            let time = id as i64 * TEN_SECONDS;
            events.extend([auction(id, 7, 10 + id as u32 % 2, time), bid(id, 1, 100 * id, time + 1)]);
        }
        // 200 to 1100.
        assert_eq!(q6(&events), [SellerAverage { seller: 7, auctions: 10, average: 650 }]);
        let row = |category, average| CategoryAverage { category, auctions: 6, average };
        assert_eq!(q4(&events), [row(10, 500), row(11, 600)]);
    }

    #[test]
    fn the_hottest_auction_of_each_sliding_window() {
        let events = [bid(4, 1, 1, 0), bid(3, 1, 1, 1999), bid(4, 1, 1, 2000), bid(3, 1, 1, 10_000)];
        let row = |window_end, auction, bids| HotAuction { window_end, auction, bids };
        let expected = [
            row(2000, 3, 1), // [-8, 2) s: one bid each, the lower number
            row(4000, 4, 2),
            row(6000, 4, 2),
            row(8000, 4, 2),
            row(10_000, 4, 2),
            row(12_000, 3, 1), // [2, 12) s: without the first two
            row(14_000, 3, 1),
            row(16_000, 3, 1),
            row(18_000, 3, 1),
            row(20_000, 3, 1),
        ];
        assert_eq!(q5(&events), expected);
    }

    #[test]
    fn the_highest_bid_of_each_window() {
        let events = [bid(1, 1, 50, 9_999), bid(2, 9, 50, 3), bid(2, 2, 50, 3), bid(3, 3, 49, 0), bid(4, 4, 7, 10_000)];
        let row = |auction, bidder, price, time| HighestBid { auction, bidder, price, time };
        assert_eq!(q7(&events), [row(2, 2, 50, 3), row(4, 4, 7, 10_000)]);
    }

    #[test]
    fn new_sellers_open_an_auction_in_the_window_in_which_they_join() {
        let events = [
            auction(1, 5, 10, 0),
            person(5, State::Arizona, 9_999),
            auction(2, 5, 11, 9_999),
            auction(3, 5, 10, 10_000),
            auction(4, 6, 10, 10_000),
        ];
        let row = |auction| NewSeller { person: 5, auction, time: 9_999 };
        assert_eq!(q8(&events), [row(1), row(2)]);
    }

    #[test]
    fn sessions_end_with_a_gap() {
        let events = [bid(1, 5, 1, 20_000), bid(1, 5, 1, 0), bid(1, 6, 1, 3), bid(1, 5, 1, 9_999), bid(1, 5, 1, 19_999)];
        let row = |bidder, start, end, bids| BidderSession { bidder, start, end, bids };
        // 19,999 is a whole gap after 9,999: another session.
        assert_eq!(q11(&events), [row(5, 0, 19_999, 2), row(5, 19_999, 30_000, 2), row(6, 3, 10_003, 1)]);
    }

    #[test]
    fn windows_of_processing_time_are_of_when_events_are_processed() {
        let events = [bid(1, 5, 1, 0), person(5, State::Idaho, 0), bid(1, 5, 1, 99_999), bid(1, 6, 1, 0), bid(1, 5, 1, 0)];
        let row = |bidder, start, bids| BidderWindow { bidder, start, end: start + TEN_SECONDS, bids };
        let rows = q12(&events, |index| index as i64 * 4000);
        assert_eq!(rows, [row(5, 0, 2), row(5, 10_000, 1), row(6, 10_000, 1)]);
    }

    #[test]
    fn every_query_has_rows_of_generated_events() {
        let events: Vec<Event> = Generator::new(200_000).events(0, 1).collect();
        assert_eq!(q0(&events).len(), 200_000);
        assert_eq!(q1(&events).len(), 184_000);
        assert_eq!(q4(&events).len(), 5);
        // 20 s in steps of 2, and the windows that began before.
        assert_eq!(q5(&events).len(), 14);
        assert_eq!(q7(&events).len(), 2);
        assert!(q4(&events).iter().map(|row| row.auctions).sum::<u64>() < 12_000, "some auctions close without a bid");
        assert!(q6(&events).iter().any(|row| row.auctions == 10));
        assert_eq!(q11(&events).iter().map(|row| row.bids).sum::<u64>(), 184_000);
        let sizes = [q2(&events).len(), q3(&events).len(), q8(&events).len()];
        assert_eq!(sizes, FLINK, "q2, q3 and q8 have as many rows as Flink finds");
    }

    const FLINK: [usize; 3] = [5_276, 1_360, 10_514];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn disorder_changes_no_answer(seed: u64, bound in 1u64..5000, events in 0u64..20_000) {
            let ordered: Vec<Event> = Generator::new(events).with_seed(seed).events(0, 1).collect();
            let shuffled = Generator::new(events).with_seed(seed).with_disorder(Duration::from_millis(bound));
            let shuffled: Vec<Event> = shuffled.events(0, 1).collect();
            prop_assert_eq!(q3(&ordered), q3(&shuffled));
            prop_assert_eq!(q4(&ordered), q4(&shuffled));
            prop_assert_eq!(q5(&ordered), q5(&shuffled));
            prop_assert_eq!(q6(&ordered), q6(&shuffled));
            prop_assert_eq!(q7(&ordered), q7(&shuffled));
            prop_assert_eq!(q8(&ordered), q8(&shuffled));
            prop_assert_eq!(q11(&ordered), q11(&shuffled));
        }
    }
}
