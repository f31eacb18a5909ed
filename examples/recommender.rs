//! Recommendations, first from a batch of purchases and page views, then kept up to date as purchases come.
//!
//!     cargo run --release --example recommender
//!     cargo run --release --example recommender -- --small

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::OperatorList;
use fluvial::ml::{Interactions, OnlineCoOccurrence, Recommendation, Recommender, RecommenderParams, train};
use fluvial::prelude::*;

/// What a shop sells, in groups that are bought together.
pub const GROUPS: [[&str; 4]; 3] =
    [["tea", "pot", "cup", "honey"], ["coffee", "mill", "filter", "milk"], ["flour", "yeast", "salt", "oil"]];

/// Purchase `n` of the shop: its user buys of one group, now and then of another.
pub fn purchase(n: u64) -> (u64, &'static str) {
    let user = n % 500;
    let mixed = (n ^ (n << 21)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let draw = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
    let group = if draw.is_multiple_of(9) { draw / 9 % 3 } else { user % 3 };
    (user, GROUPS[group as usize][(draw / 27 % 4) as usize])
}

/// Trained on purchases and on which group's page each user looked at.
pub fn batch(purchases: u64) -> Result<Recommender> {
    let (mut bought, mut viewed) = (Interactions::default(), Interactions::default());
    (0..purchases).map(purchase).for_each(|(user, item)| bought.add(user as u32, item));
    (0..500).for_each(|user| viewed.add(user, GROUPS[user as usize % 3][0]));
    Ok(train(vec![("bought".into(), bought), ("viewed".into(), viewed)], 500, &RecommenderParams::default(), 2)?)
}

/// After each purchase by which something changed: what its user should see.
struct Live {
    counts: OperatorList<OnlineCoOccurrence>,
}

impl ProcessFunction<(u64, String)> for Live {
    type Output = (u64, Vec<Recommendation>);

    fn process(&mut self, (user, item): (u64, String), context: &mut ProcessContext<'_, Self::Output>) -> Result<()> {
        if self.counts.is_empty() {
            self.counts.add(OnlineCoOccurrence::new(RecommenderParams::default())?);
        }
        let user_name = user.to_string();
        let seen = self
            .counts
            .update(|counts| (!counts[0].add(&user_name, &item).is_empty()).then(|| counts[0].recommend(&user_name, 3)));
        if let Some(recommendations) = seen {
            context.emit((user, recommendations));
        }
        Ok(())
    }
}

pub fn live(env: &Env, purchases: u64) -> DataStream<(u64, Vec<Recommendation>)> {
    let stream = env.generate(purchases, |n| {
        let (user, item) = purchase(n);
        (user, item.to_owned())
    });
    stream.process(|state| Ok(Live { counts: state.list("co-occurrences")? }))
}

fn main() -> Result<()> {
    let purchases = if std::env::args().any(|a| a == "--small") { 3000 } else { 30_000 };
    let recommender = batch(purchases)?;
    for history in [["tea", "pot"], ["coffee", "mill"]] {
        println!("{}: {}", history.join(", "), names(&recommender.recommend(&[&history], 3)));
    }
    let none: &[&str] = &[];
    println!("a new user who looked at flour: {}", names(&recommender.recommend(&[none, &["flour"]], 3)));
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let updates = live(&env, purchases).collect()?;
    println!("live, {} updates; the last ones:", updates.len());
    for (user, recommendations) in updates.iter().rev().filter(|(_, r)| !r.is_empty()).take(3) {
        println!("  user {user}: {}", names(recommendations));
    }
    Ok(())
}

fn names(recommendations: &[Recommendation]) -> String {
    recommendations.iter().map(|r| format!("{} ({:.0})", r.item, r.score)).collect::<Vec<_>>().join(", ")
}
