use super::batch::RecommenderParams;
use super::llr::of_counts;
use super::model::Recommendation;
use crate::Result;
use crate::parameters::Parameters;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Co-occurrence counts of one kind of interaction that are kept up to date as interactions come.
///
/// Ratios are computed of the counts of the moment when they are asked for, so they equal those of the batch computation over all
/// interactions so far. A user's interactions beyond the maximum do not count: which would make a sample is not known before all
/// have come.
///
/// ```
/// use fluvial_ml::{OnlineCoOccurrence, RecommenderParams};
/// let mut counts = OnlineCoOccurrence::new(RecommenderParams::default())?;
/// for user in 0..20 {
///     counts.add(&format!("u{user}"), if user % 2 == 0 { "tea" } else { "coffee" });
///     counts.add(&format!("u{user}"), if user % 2 == 0 { "pot" } else { "mill" });
/// }
/// assert_eq!(counts.indicators("tea")[0].item, "pot");
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineCoOccurrence {
    params: RecommenderParams,
    /// Items of each user.
    users: BTreeMap<String, BTreeSet<String>>,
    /// Users of each item.
    items: BTreeMap<String, u64>,
    /// Of each item, how many users have another one too.
    together: BTreeMap<String, BTreeMap<String, u64>>,
}

impl OnlineCoOccurrence {
    /// Nothing counted.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(params: RecommenderParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params, users: BTreeMap::new(), items: BTreeMap::new(), together: BTreeMap::new() })
    }

    /// Counts an interaction; gives the items whose counts have changed: none if the user had it already, or has too many.
    pub fn add(&mut self, user: &str, item: &str) -> Vec<String> {
        let history = self.users.entry(user.to_owned()).or_default();
        if history.len() >= self.params.max_per_user || !history.insert(item.to_owned()) {
            return Vec::new();
        }
        *self.items.entry(item.to_owned()).or_default() += 1;
        let others: Vec<String> = history.iter().filter(|other| *other != item).cloned().collect();
        for other in &others {
            for (a, b) in [(item, other.as_str()), (other.as_str(), item)] {
                *self.together.entry(a.to_owned()).or_default().entry(b.to_owned()).or_default() += 1;
            }
        }
        std::iter::once(item.to_owned()).chain(others).collect()
    }

    /// What points to an item, the strongest first.
    pub fn indicators(&self, item: &str) -> Vec<Recommendation> {
        let Some(row) = self.together.get(item) else { return Vec::new() };
        let count = |item: &str| self.items.get(item).copied().unwrap_or(0);
        let ratio = |other: &str, together: u64| of_counts(together, count(item), count(other), self.users.len() as u64);
        let mut ranked: Vec<Recommendation> =
            row.iter().map(|(other, n)| Recommendation { item: other.clone(), score: ratio(other, *n) }).collect();
        ranked.retain(|r| r.score > 0.0 && r.score >= self.params.min_llr);
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.item.cmp(&b.item)));
        ranked.truncate(self.params.top);
        ranked
    }

    /// The `top` items for a user, by the user's history; nothing that is in it.
    pub fn recommend(&self, user: &str, top: usize) -> Vec<Recommendation> {
        let Some(history) = self.users.get(user) else { return Vec::new() };
        let mut candidates: BTreeSet<&String> =
            history.iter().filter_map(|i| self.together.get(i)).flat_map(BTreeMap::keys).collect();
        candidates.retain(|item| !history.contains(*item));
        let score =
            |item: &String| -> f64 { self.indicators(item).iter().filter(|r| history.contains(&r.item)).map(|r| r.score).sum() };
        let mut ranked: Vec<Recommendation> =
            candidates.into_iter().map(|item| Recommendation { item: item.clone(), score: score(item) }).collect();
        ranked.retain(|r| r.score > 0.0);
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.item.cmp(&b.item)));
        ranked.truncate(top);
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Interactions, train};
    use super::*;
    use crate::random::Random;

    #[test]
    fn counted_one_by_one_they_give_what_the_batch_gives() {
        let params = RecommenderParams { top: 1000, ..RecommenderParams::default() };
        let mut online = OnlineCoOccurrence::new(params.clone()).unwrap();
        let mut all = Interactions::default();
        let mut random = Random::new(7);
        for _ in 0..2000 {
            let (user, item) = (random.below(40), random.below(25));
            let item = format!("i{}", (item + user) % 25 / (1 + user % 2));
            online.add(&format!("u{user}"), &item);
            all.add(user as u32, &item);
        }
        let batch = train(vec![("p".into(), all)], 40, &params, 1).unwrap();
        for (number, item) in batch.items().iter().enumerate() {
            let expected: BTreeMap<&str, f64> =
                batch.indicators()[0].of(number).map(|(o, r)| (batch.items()[o as usize].as_str(), r)).collect();
            let found = online.indicators(item);
            assert_eq!(found.len(), expected.len(), "{item}");
            found.iter().for_each(|r| assert!((r.score - expected[r.item.as_str()]).abs() < 1e-9));
        }
    }

    #[test]
    fn what_changes_is_named() {
        let mut online = OnlineCoOccurrence::new(RecommenderParams { max_per_user: 2, ..RecommenderParams::default() }).unwrap();
        assert_eq!(online.add("u", "a"), ["a"]);
        assert_eq!(online.add("u", "b"), ["b", "a"]);
        assert!(online.add("u", "a").is_empty(), "it was there");
        assert!(online.add("u", "c").is_empty(), "the user has enough");
        assert!(online.recommend("nobody", 3).is_empty());
    }
}
