use super::{auctions, persons};
use crate::nexmark::{Auction, Event, LocalAuction, Name, NewSeller, Person, State};
use fluvial_core::{DataStream, KeyedCoProcessFunction, KeyedContext, ListState, Result, Timer, ValueState};

/// Auctions of category 10 with their sellers from OR, ID or CA, whichever comes first.
pub fn q3(events: &DataStream<Event>) -> DataStream<LocalAuction> {
    let nearby = persons(events).filter(|p| matches!(p.state, State::Oregon | State::Idaho | State::California));
    let of_category = auctions(events).filter(|a| a.category == 10);
    of_category
        .key_by(|a| a.seller)
        .connect(&nearby.key_by(|p| p.id))
        .process(|state| Ok(LocalAuctions { seller: state.value("seller")?, waiting: state.list("waiting auctions")? }))
}

struct LocalAuctions {
    seller: ValueState<(Name, State)>,
    /// Auctions whose seller has not come yet.
    waiting: ListState<u64>,
}

impl KeyedCoProcessFunction<u64, Auction, Person> for LocalAuctions {
    type Output = LocalAuction;

    fn process_first(&mut self, auction: Auction, context: &mut KeyedContext<'_, u64, LocalAuction>) -> Result<()> {
        match self.seller.get() {
            Some((name, state)) => context.emit(LocalAuction { name, state, auction: auction.id }),
            None => self.waiting.add(auction.id),
        }
        Ok(())
    }

    fn process_second(&mut self, person: Person, context: &mut KeyedContext<'_, u64, LocalAuction>) -> Result<()> {
        let Person { name, state, .. } = person;
        self.seller.set((name, state));
        self.waiting.take().into_iter().for_each(|auction| context.emit(LocalAuction { name, state, auction }));
        Ok(())
    }
}

/// Persons with each auction that they opened in the window of 10 s in which they joined.
pub fn q8(events: &DataStream<Event>) -> DataStream<NewSeller> {
    persons(events)
        .key_by(|p| p.id)
        .connect(&auctions(events).key_by(|a| a.seller))
        .process(|state| Ok(NewSellers { joined: state.value("joined")?, opened: state.list("opened auctions")? }))
}

struct NewSellers {
    joined: ValueState<i64>,
    /// Number and time.
    opened: ListState<(u64, i64)>,
}

/// The end of the window of 10 s that holds a time.
fn window_end(time: i64) -> i64 {
    time - time.rem_euclid(10_000) + 10_000
}

impl NewSellers {
    fn close(time: i64, context: &mut KeyedContext<'_, u64, NewSeller>) {
        context.set_event_timer(window_end(time) - 1);
    }
}

impl KeyedCoProcessFunction<u64, Person, Auction> for NewSellers {
    type Output = NewSeller;

    fn process_first(&mut self, person: Person, context: &mut KeyedContext<'_, u64, NewSeller>) -> Result<()> {
        self.joined.set(person.time);
        Self::close(person.time, context);
        Ok(())
    }

    fn process_second(&mut self, auction: Auction, context: &mut KeyedContext<'_, u64, NewSeller>) -> Result<()> {
        self.opened.add((auction.id, auction.time));
        Self::close(auction.time, context);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, u64, NewSeller>) -> Result<()> {
        let ends = timer.time + 1;
        let joined = self.joined.get().filter(|time| window_end(*time) == ends);
        let person = context.key();
        self.opened.update(|opened| {
            opened.retain(|(auction, time)| {
                let now = window_end(*time) == ends;
                if let Some(time) = joined.filter(|_| now) {
                    context.emit(NewSeller { person, auction: *auction, time });
                }
                !now
            });
        });
        if self.opened.is_empty() {
            self.opened.clear();
        }
        if joined.is_some() {
            self.joined.clear();
        }
        Ok(())
    }
}
