//! NEXMark: an online auction as a stream of persons, auctions and bids, and queries on it.
//!
//! The benchmark of Tucker, Tufte, Papadimos and Maier ("NEXMark: a benchmark for queries over data streams", 2002), in
//! the lean form in which stream engines are compared: of 50 events one is a new person, three are new auctions and 46 are
//! bids, 10 events a millisecond of event time; half of the bids are for one hot auction in a hundred. An event is a
//! function of its number alone, so sources can start anywhere, share the numbers among them, and repeat themselves.
//!
//! | file | what |
//! |---|---|
//! | `event`, `name` | the events, 48 bytes each and without heap memory; [`WideEvent`] in `wide` has the full-width ones |
//! | `generator`, `disorder` | the event of a number, and the order in which events come: at most so late, and no later |
//! | `rows` | what the queries give, one type a query |
//! | `queries` | the queries as typed jobs |
//! | `model` | the queries as plain loops over a slice: what any engine's answer must equal |
//!
//! # The queries
//!
//! Times are milliseconds of event time from 0. A window `[start, end)` begins at a multiple of its slide.
//!
//! | query | rows |
//! |---|---|
//! | q0 | every [`Event`] as it is |
//! | q1 | [`ConvertedBid`]: every bid, its price times 908 / 1000, rounded down |
//! | q2 | [`AuctionPrice`]: the bids for auctions whose number is a multiple of 123 |
//! | q3 | [`LocalAuction`]: the auctions of category 10, with the name and the state of a seller from OR, ID or CA, whichever of the two comes first |
//! | q4 | [`CategoryAverage`]: by category, the average of its auctions' closing prices |
//! | q5 | [`HotAuction`]: of each window of 10 s, sliding by 2 s, the auction with the most bids; of equals the lowest number |
//! | q6 | [`SellerAverage`]: by seller, the average closing price of the last ten auctions that closed with a price |
//! | q7 | [`HighestBid`]: of each window of 10 s, the bid with the highest price; of equals the earliest, then the lowest auction and bidder |
//! | q8 | [`NewSeller`]: persons with each auction that they opened in the same window of 10 s in which they joined |
//! | q11 | [`BidderSession`]: bids by bidder and session: a bid 10 s after the one before, or later, begins another |
//! | q12 | [`BidderWindow`]: bids by bidder and window of 10 s of processing time |
//!
//! An auction is open from its own time to [`Auction::expires`], both included; the highest bid of that time is its closing
//! price, and one without a bid has none. Closing prices are known when event time has passed the expiry. q4 and q6 are
//! running answers: a new row replaces the key's earlier one, how many there are depends on how auctions that close
//! together are taken, and the last row of a key is the answer. Averages are rounded down. "Last" in q6 is by expiry, then
//! by the auction's number.

mod disorder;
mod event;
mod generator;
pub mod model;
mod name;
pub mod queries;
mod rows;
mod wide;

pub use event::{Auction, Bid, Channel, Event, Person, State};
pub use generator::{EVENTS_PER_MILLISECOND, Generator, SimpleBid, mix};
pub use name::{Name, TooLong};
pub use rows::{
    AuctionPrice, BidderSession, BidderWindow, CategoryAverage, ConvertedBid, EventRow, HighestBid, HotAuction, Kind,
    LocalAuction, NewSeller, SellerAverage,
};
pub use wide::{Details, WideEvent};
