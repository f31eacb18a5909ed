//! Co-occurrences counted over a stream by several workers, and recommendations by what they say while they are counted.
//!
//! ```text
//!   interactions --by user--> history --pairs, by item--> row of counts --> indicators
//!                                |                            ^
//!                                +--counts of items, to all---+
//! ```
//!
//! Histories and rows are keyed state. How many users each item has, and how many users there are, is broadcast state: ratios need
//! both. A row is scored again shortly after it has changed, not with each pair; at the end of the input all rows that have changed are
//! scored with the last counts, so that the result is that of the batch computation.

use super::batch::RecommenderParams;
use super::llr::of_counts;
use super::model::Recommendation;
use crate::parameters::Parameters;
use fluvial_core::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, DataStream, KeyedBroadcastContext, KeyedBroadcastProcessFunction,
    KeyedContext, KeyedProcessFunction, MapState, OutputTag, ProcessContext, Result, Timer,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// An item, and what points to it now, the strongest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemIndicators {
    /// The item.
    pub item: String,
    /// What points to it.
    pub indicators: Vec<Recommendation>,
}

/// Streams of interactions, of users and items, that are counted.
pub trait CoOccurrences {
    /// Counts which items users have together and gives the indicators of an item whenever they have changed: at most once in
    /// `pause` milliseconds for an item, and at the end.
    ///
    /// Interactions of a user beyond the maximum do not count.
    ///
    /// ```
    /// use fluvial_ml::{CoOccurrences, RecommenderParams};
    /// let env = fluvial_core::Env::default();
    /// let interactions = env.generate(80, |n| {
    ///     let (user, second) = (n / 2, n % 2);
    ///     let items = if user % 2 == 0 { ["tea", "pot"] } else { ["coffee", "mill"] };
    ///     (format!("u{user}"), items[second as usize].to_owned())
    /// });
    /// let indicators = interactions.co_occurrences(RecommenderParams::default(), 100)?.collect()?;
    /// let tea = indicators.iter().rfind(|i| i.item == "tea").unwrap();
    /// assert_eq!(tea.indicators[0].item, "pot");
    /// # Ok::<(), fluvial_ml::Error>(())
    /// ```
    ///
    /// # Errors
    /// A parameter out of range.
    fn co_occurrences(&self, params: RecommenderParams, pause: i64) -> crate::Result<DataStream<ItemIndicators>>;
}

impl CoOccurrences for DataStream<(String, String)> {
    fn co_occurrences(&self, params: RecommenderParams, pause: i64) -> crate::Result<DataStream<ItemIndicators>> {
        params.check()?;
        let counts = OutputTag::<Count>::new("counts");
        let (tag, most) = (counts.clone(), params.max_per_user);
        let pairs = self
            .key_by_ref(|(user, _)| user.as_str())
            .process(move |state| Ok(History { items: state.map("history")?, most, counts: tag.clone() }));
        let pairs = pairs.name("histories");
        let indicators = pairs.key_by_ref(|pair| pair.item.as_str()).connect_broadcast(&pairs.side_output(&counts)).process(
            move |keyed, state| {
                Ok(Row { row: keyed.map("together")?, counts: state.broadcast("counts")?, params: params.clone(), pause })
            },
        );
        Ok(indicators.name("indicators"))
    }
}

/// A user has both.
#[derive(Clone, Serialize, Deserialize)]
struct Pair {
    item: String,
    other: String,
}

/// A user has come, or has an item.
#[derive(Clone, Serialize, Deserialize)]
enum Count {
    User,
    Item(String),
}

struct History {
    items: MapState<String, ()>,
    most: usize,
    counts: OutputTag<Count>,
}

impl KeyedProcessFunction<String, (String, String)> for History {
    type Output = Pair;

    fn process(&mut self, (_, item): (String, String), context: &mut KeyedContext<'_, String, Pair>) -> Result<()> {
        if self.items.len() >= self.most || self.items.contains(&item) {
            return Ok(());
        }
        if self.items.is_empty() {
            context.side(&self.counts, Count::User);
        }
        context.side(&self.counts, Count::Item(item.clone()));
        let others: Vec<String> = self.items.with(|items| items.keys().cloned().collect());
        for other in others {
            context.emit(Pair { item: item.clone(), other: other.clone() });
            context.emit(Pair { item: other, other: item.clone() });
        }
        self.items.insert(item, ());
        Ok(())
    }
}

struct Row {
    /// How many users have the key's item and this one.
    row: MapState<String, u64>,
    /// How many users have each item; of all users under the empty name, which no item has in this map: items are behind a letter.
    counts: BroadcastState<String, u64>,
    params: RecommenderParams,
    pause: i64,
}

/// The place of an item's count.
fn place(item: &str) -> String {
    format!("i{item}")
}

impl KeyedBroadcastProcessFunction<String, Pair, Count> for Row {
    type Output = ItemIndicators;

    fn process(&mut self, pair: Pair, context: &mut KeyedContext<'_, String, ItemIndicators>) -> Result<()> {
        self.row.update_or(pair.other, || 0, |count| *count += 1);
        // Timers of the same time are one.
        let pause = self.pause.max(1);
        let next = (context.processing_time() / pause + 1) * pause;
        context.set_processing_timer(next);
        Ok(())
    }

    fn process_broadcast(&mut self, count: Count, context: &mut KeyedBroadcastContext<'_, String, ItemIndicators>) -> Result<()> {
        let place = match count {
            Count::User => String::new(),
            Count::Item(item) => place(&item),
        };
        context.write(&self.counts).update(|counts| *counts.entry(place).or_default() += 1);
        Ok(())
    }

    fn on_timer(&mut self, _timer: Timer, context: &mut KeyedContext<'_, String, ItemIndicators>) -> Result<()> {
        let item = context.key();
        let indicators = self.counts.with(|counts| {
            let count = |item: &str| counts.get(&place(item)).copied().unwrap_or(0);
            let (own, users) = (count(&item), counts.get("").copied().unwrap_or(0));
            self.row.with(|row| {
                // A pair may have come before the counts of its items: they are at least what is known of both.
                let ratio = |other: &str, together: u64| {
                    of_counts(together, own.max(together), count(other).max(together), users.max(together))
                };
                ranked(row.iter().map(|(other, n)| (other.clone(), ratio(other, *n))), &self.params)
            })
        });
        context.emit(ItemIndicators { item, indicators });
        Ok(())
    }
}

fn ranked(scores: impl Iterator<Item = (String, f64)>, params: &RecommenderParams) -> Vec<Recommendation> {
    let mut ranked: Vec<Recommendation> = scores.map(|(item, score)| Recommendation { item, score }).collect();
    ranked.retain(|r| r.score > 0.0 && r.score >= params.min_llr);
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.item.cmp(&b.item)));
    ranked.truncate(params.top);
    ranked
}

/// A user's history, to recommend items for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecommendationRequest {
    /// Who asks.
    pub user: String,
    /// What the user has.
    pub history: Vec<String>,
}

/// Streams of requests that are answered by indicators.
pub trait Recommend {
    /// Answers each request with the `top` items that its history points to, by the indicators as they are then: they change while
    /// the job runs. They are state.
    fn recommend(&self, indicators: &DataStream<ItemIndicators>, top: usize) -> DataStream<(String, Vec<Recommendation>)>;
}

impl Recommend for DataStream<RecommendationRequest> {
    fn recommend(&self, indicators: &DataStream<ItemIndicators>, top: usize) -> DataStream<(String, Vec<Recommendation>)> {
        let answers = self
            .connect_broadcast(indicators)
            .process(move |state| Ok(Recommending { indicators: state.broadcast("indicators")?, points_to: None, top }));
        answers.name("recommend")
    }
}

struct Recommending {
    indicators: BroadcastState<String, Vec<Recommendation>>,
    /// The other way round: of each item those that it points to. Made of the state when it is needed: also after a restore.
    points_to: Option<HashMap<String, BTreeSet<String>>>,
    top: usize,
}

impl Recommending {
    fn answer(&mut self, history: &[String]) -> Vec<Recommendation> {
        let Self { indicators, points_to, top } = self;
        indicators.with(|indicators| {
            let points_to = points_to.get_or_insert_with(|| {
                let mut points_to: HashMap<String, BTreeSet<String>> = HashMap::new();
                for (item, others) in indicators {
                    for other in others {
                        points_to.entry(other.item.clone()).or_default().insert(item.clone());
                    }
                }
                points_to
            });
            let own: HashSet<&String> = history.iter().collect();
            let candidates: BTreeSet<&String> = own.iter().filter_map(|item| points_to.get(*item)).flatten().collect();
            let score = |item: &String| -> f64 {
                indicators[item].iter().filter(|other| own.contains(&other.item)).map(|other| other.score).sum()
            };
            let scores: BTreeMap<&String, f64> =
                candidates.into_iter().filter(|item| !own.contains(item)).map(|item| (item, score(item))).collect();
            let all = RecommenderParams { top: *top, ..RecommenderParams::default() };
            ranked(scores.into_iter().map(|(item, score)| (item.clone(), score)), &all)
        })
    }
}

impl BroadcastProcessFunction<RecommendationRequest, ItemIndicators> for Recommending {
    type Output = (String, Vec<Recommendation>);

    fn process(&mut self, request: RecommendationRequest, context: &mut ProcessContext<'_, Self::Output>) -> Result<()> {
        let answer = self.answer(&request.history);
        context.emit((request.user, answer));
        Ok(())
    }

    fn process_broadcast(&mut self, update: ItemIndicators, context: &mut BroadcastContext<'_, Self::Output>) -> Result<()> {
        let ItemIndicators { item, indicators } = update;
        let news: Vec<String> = indicators.iter().map(|other| other.item.clone()).collect();
        let before = context.write(&self.indicators).insert(item.clone(), indicators);
        if let Some(points_to) = &mut self.points_to {
            for other in before.iter().flatten() {
                if let Some(items) = points_to.get_mut(&other.item) {
                    items.remove(&item);
                }
            }
            for other in news {
                points_to.entry(other).or_default().insert(item.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Interactions, train};
    use super::*;
    use fluvial_core::{Config, Env};

    fn interaction(n: u64) -> (u64, u64) {
        let draw = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let user = draw % 50;
        (user, (draw / 50 % 7 * (user % 3 + 1)) % 20)
    }

    #[test]
    fn at_the_end_indicators_are_those_of_the_batch() {
        let params = RecommenderParams { top: 100, ..RecommenderParams::default() };
        let mut all = Interactions::default();
        (0..3000).map(interaction).for_each(|(user, item)| all.add(user as u32, &item.to_string()));
        let batch = train(vec![("p".into(), all)], 50, &params, 1).unwrap();
        for threads in [1, 3] {
            let env = Env::new(Config { threads, ..Config::default() });
            let stream = env.generate(3000, |n| {
                let (user, item) = interaction(n);
                (user.to_string(), item.to_string())
            });
            let updates = stream.co_occurrences(params.clone(), 5).unwrap().collect().unwrap();
            let last: HashMap<String, Vec<Recommendation>> = updates.into_iter().map(|u| (u.item, u.indicators)).collect();
            for (number, item) in batch.items().iter().enumerate() {
                let expected: BTreeMap<&str, f64> =
                    batch.indicators()[0].of(number).map(|(o, r)| (batch.items()[o as usize].as_str(), r)).collect();
                let found = last.get(item).cloned().unwrap_or_default();
                let found: BTreeMap<&str, f64> = found.iter().map(|r| (r.item.as_str(), r.score)).collect();
                assert!(found.keys().eq(expected.keys()), "{item}, {threads} workers: {found:?} {expected:?}");
                found.iter().for_each(|(other, ratio)| assert!((ratio - expected[other]).abs() < 1e-9, "{item} {other}"));
            }
        }
    }

    #[test]
    fn requests_are_answered_by_what_is_known_at_the_end() {
        let env = Env::new(Config { threads: 1, ..Config::default() });
        let (ask, asked) = env.channel::<RecommendationRequest>(4);
        let (tell_all, told) = env.channel::<ItemIndicators>(4);
        let (to, mut answers) = tokio::sync::mpsc::channel(4);
        asked.recommend(&told, 5).send_to(to);
        let job = std::thread::spawn(move || env.execute("recommend"));
        let mut until = |expected: &[&str]| {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            loop {
                let request = RecommendationRequest { user: "u".into(), history: vec!["a".into()] };
                ask.send_blocking(request).unwrap_or_else(|_| panic!("the job has ended"));
                let (user, found) = answers.blocking_recv().unwrap();
                let items: Vec<&str> = found.iter().map(|r| r.item.as_str()).collect();
                assert_eq!(user, "u");
                if items == expected {
                    return;
                }
                assert!(std::time::Instant::now() < deadline, "{items:?}, expected {expected:?}");
            }
        };
        let indicators = |item: &str, others: &[(&str, f64)]| ItemIndicators {
            item: item.into(),
            indicators: others.iter().map(|(o, score)| Recommendation { item: (*o).into(), score: *score }).collect(),
        };
        let tell = |update| tell_all.send_blocking(update).unwrap_or_else(|_| panic!("the job has ended"));
        until(&[]);
        tell(indicators("b", &[("a", 2.0)]));
        tell(indicators("c", &[("a", 3.0), ("b", 1.0)]));
        tell(indicators("a", &[("a", 9.0)]));
        until(&["c", "b"]);
        tell(indicators("c", &[("b", 1.0)]));
        until(&["b"]);
        drop((ask, tell_all));
        job.join().unwrap().unwrap();
    }
}
