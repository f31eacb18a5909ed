use super::{auctions, bids};
use crate::nexmark::{Auction, Bid, CategoryAverage, Event, SellerAverage};
use fluvial_core::{DataStream, KeyedCoProcessFunction, KeyedContext, ListState, Result, Timer, ValueState};
use serde::{Deserialize, Serialize};

/// By category, the average of its auctions' closing prices so far.
pub fn q4(events: &DataStream<Event>) -> DataStream<CategoryAverage> {
    let sums = closed(events).key_by(|sale| sale.category).rolling_fold((0u64, 0u64), |sum, sale| {
        sum.0 += 1;
        sum.1 += sale.price;
    });
    sums.map(|(category, (auctions, total))| CategoryAverage { category, auctions, average: total / auctions })
}

/// By seller, the average closing price of the last ten auctions that closed with a price.
pub fn q6(events: &DataStream<Event>) -> DataStream<SellerAverage> {
    let last = closed(events).key_by(|sale| sale.seller).rolling_fold(Vec::new(), |last: &mut Vec<(i64, u64, u64)>, sale| {
        // Sales that close together come in any order.
        let sale = (sale.closed, sale.auction, sale.price);
        let place = last.partition_point(|other| *other < sale);
        last.insert(place, sale);
        if last.len() > 10 {
            last.remove(0);
        }
    });
    last.map(|(seller, last)| {
        let total: u64 = last.iter().map(|sale| sale.2).sum();
        SellerAverage { seller, auctions: last.len() as u64, average: total / last.len() as u64 }
    })
}

/// An auction that has closed with a price.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Sale {
    auction: u64,
    seller: u64,
    category: u32,
    price: u64,
    /// When it closed.
    closed: i64,
}

fn closed(events: &DataStream<Event>) -> DataStream<Sale> {
    let bids = bids(events).map(|bid: Bid| (bid.auction, bid.price, bid.time));
    auctions(events)
        .key_by(|a| a.id)
        .connect(&bids.key_by(|b| b.0))
        .process(|state| Ok(Closing { open: state.value("open auction")?, early: state.list("bids without an auction")? }))
}

/// Finds the highest bid of each auction between its opening and its expiry.
struct Closing {
    /// The auction, and its highest bid so far.
    open: ValueState<(Auction, u64)>,
    /// Bids (price, time) for an auction that has not come, and never comes once event time has passed them.
    early: ListState<(u64, i64)>,
}

/// The highest price after another bid.
fn raised(auction: &Auction, price: u64, (bid, time): (u64, i64)) -> u64 {
    if (auction.time..=auction.expires()).contains(&time) { price.max(bid) } else { price }
}

impl KeyedCoProcessFunction<u64, Auction, (u64, u64, i64)> for Closing {
    type Output = Sale;

    fn process_first(&mut self, auction: Auction, context: &mut KeyedContext<'_, u64, Sale>) -> Result<()> {
        let price = self.early.take().into_iter().fold(0, |price, bid| raised(&auction, price, bid));
        self.open.set((auction, price));
        context.set_event_timer(auction.expires());
        Ok(())
    }

    fn process_second(&mut self, (_, price, time): (u64, u64, i64), context: &mut KeyedContext<'_, u64, Sale>) -> Result<()> {
        let bid = (price, time);
        match self.open.get() {
            Some((auction, price)) => {
                let after = raised(&auction, price, bid);
                if after > price {
                    self.open.set((auction, after));
                }
            }
            None => {
                self.early.add(bid);
                context.set_event_timer(time);
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, u64, Sale>) -> Result<()> {
        // Of an auction that opens no later than a bid everything has come by the bid's time.
        self.early.update(|early| early.retain(|bid| bid.1 > timer.time));
        if self.early.is_empty() {
            self.early.clear();
        }
        if let Some((auction, price)) = self.open.get().filter(|open| open.0.expires() == timer.time) {
            self.open.clear();
            if price > 0 {
                let (seller, category) = (auction.seller, auction.category);
                context.emit(Sale { auction: auction.id, seller, category, price, closed: timer.time });
            }
        }
        Ok(())
    }
}
