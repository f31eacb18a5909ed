use super::llr::of_counts;
use super::model::{Indicators, Recommender};
use crate::Result;
use crate::error::data;
use crate::parameters::{Parameters, at_least, not_below, parameters};
use hashbrown::HashMap;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_64_with_seed;

parameters! {
    /// How a [`Recommender`] is made.
    RecommenderParams of "recommender" {
        #[doc = " Indicators that are kept of each item, the strongest."]
        top: usize = 50, at_least(1);
        #[doc = " Least log-likelihood ratio of an indicator."]
        min_llr: f64 = 0.0, not_below(0.0);
        #[doc = " Interactions of a user that count, of each kind; of more, a sample."]
        max_per_user: usize = 500, at_least(1);
        #[doc = " Users of an item that count for its co-occurrences; of more, a sample. 0: all."]
        max_per_item: usize = 0, at_least(0);
        #[doc = " Seed of the samples."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// Interactions of one kind: which user had to do with which item. Names are kept once; a pair takes eight bytes.
#[derive(Clone, Debug, Default)]
pub struct Interactions {
    items: Names,
    /// User and item, as they came.
    pairs: Vec<(u32, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    numbers: HashMap<Box<str>, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        let next = self.numbers.len() as u32;
        match self.numbers.get(name) {
            Some(number) => *number,
            None => *self.numbers.entry(name.into()).insert(next).get(),
        }
    }

    fn into_vec(self) -> Vec<String> {
        let mut names = vec![String::new(); self.numbers.len()];
        self.numbers.into_iter().for_each(|(name, number)| names[number as usize] = name.into());
        names
    }
}

/// Rows of numbers, one after another.
struct Grouped {
    offsets: Vec<usize>,
    values: Vec<u32>,
}

impl Grouped {
    /// Values by key, of keys below `keys`.
    fn new(keys: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut offsets = vec![0; keys + 1];
        pairs.clone().for_each(|(key, _)| offsets[key as usize + 1] += 1);
        (0..keys).for_each(|i| offsets[i + 1] += offsets[i]);
        let mut next = offsets.clone();
        let mut values = vec![0; offsets[keys]];
        for (key, value) in pairs {
            values[next[key as usize]] = value;
            next[key as usize] += 1;
        }
        Self { offsets, values }
    }

    fn get(&self, key: usize) -> &[u32] {
        &self.values[self.offsets[key]..self.offsets[key + 1]]
    }

    fn keys(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Keys by value.
    fn transposed(&self, values: usize) -> Self {
        Self::new(values, (0..self.keys()).flat_map(|key| self.get(key).iter().map(move |value| (*value, key as u32))))
    }

    /// Distinct values, no more than so many a key: those of which a hash with the seed is smallest, which is a random sample that
    /// does not depend on the order.
    fn distinct(self, most: usize, seed: u64) -> Self {
        let (mut offsets, mut values) = (vec![0], Vec::with_capacity(self.values.len()));
        let mut row = Vec::new();
        for key in 0..self.keys() {
            row.clear();
            row.extend_from_slice(self.get(key));
            row.sort_unstable();
            row.dedup();
            if most > 0 && row.len() > most {
                row.select_nth_unstable_by_key(most, |value| draw(key as u32, *value, seed));
                row.truncate(most);
                row.sort_unstable();
            }
            values.extend_from_slice(&row);
            offsets.push(values.len());
        }
        values.shrink_to_fit();
        Self { offsets, values }
    }
}

fn draw(a: u32, b: u32, seed: u64) -> u64 {
    xxh3_64_with_seed(&(u64::from(a) << 32 | u64::from(b)).to_le_bytes(), seed)
}

impl Interactions {
    /// Adds one, by the number of the user: users have the same number in all kinds of interactions.
    pub fn add(&mut self, user: u32, item: &str) {
        let item = self.items.number(item);
        self.pairs.push((user, item));
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// By user, distinct and sampled; and the names of the items.
    fn group(self, users: usize, params: &RecommenderParams) -> (Grouped, Vec<String>) {
        let by_user = Grouped::new(users, self.pairs.iter().copied());
        drop(self.pairs);
        (by_user.distinct(params.max_per_user, params.seed), self.items.into_vec())
    }
}

/// Makes a recommender of interactions, the first kind of which is the primary one, with so many threads.
///
/// ```
/// use fluvial_ml::{Interactions, RecommenderParams, train};
/// let mut bought = Interactions::default();
/// for user in 0..100 {
///     bought.add(user, if user % 2 == 0 { "tea" } else { "coffee" });
///     bought.add(user, if user % 2 == 0 { "pot" } else { "mill" });
/// }
/// let recommender = train(vec![("bought".into(), bought)], 100, &RecommenderParams::default(), 2)?;
/// assert_eq!(recommender.recommend(&[&["tea"]], 5)[0].item, "pot");
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
///
/// # Errors
/// No interactions of the primary kind; a parameter out of range.
pub fn train(
    kinds: Vec<(String, Interactions)>,
    users: usize,
    params: &RecommenderParams,
    threads: usize,
) -> Result<Recommender> {
    params.check()?;
    if kinds.first().is_none_or(|(_, primary)| primary.is_empty()) {
        return data("recommender: no interactions of the primary kind");
    }
    let mut kinds = kinds.into_iter();
    let Some((name, primary)) = kinds.next() else { return data("recommender: no interactions") };
    let (by_user, items) = primary.group(users, params);
    let by_item = by_user.transposed(items.len());
    let counts: Vec<u64> = (0..items.len()).map(|item| by_item.get(item).len() as u64).collect();
    let sampled = by_item.distinct(params.max_per_item, params.seed ^ 1);
    // Of the matrices of chance: those who had to do with something.
    let active = (0..users).filter(|u| !by_user.get(*u).is_empty()).count() as u64;
    let job = Job { users_of: &sampled, counts: &counts, users: active, params };
    let own = job.indicators(&by_user, &counts, true, threads);
    let mut indicators = vec![Indicators::new(name, items.clone(), own)];
    for (name, others) in kinds {
        let (others, other_items) = others.group(users, params);
        let by_other = others.transposed(other_items.len());
        let other_counts: Vec<u64> = (0..other_items.len()).map(|item| by_other.get(item).len() as u64).collect();
        drop(by_other);
        indicators.push(Indicators::new(name, other_items, job.indicators(&others, &other_counts, false, threads)));
    }
    Recommender::new(items, counts, indicators, params.clone())
}

/// What the rows of a co-occurrence matrix are made of.
struct Job<'a> {
    users_of: &'a Grouped,
    counts: &'a [u64],
    users: u64,
    params: &'a RecommenderParams,
}

/// Rows that a thread takes at once.
const ROWS: usize = 64;

impl Job<'_> {
    /// Of each primary item the strongest of the other items: number and ratio.
    fn indicators(&self, others: &Grouped, other_counts: &[u64], same: bool, threads: usize) -> Vec<Vec<(u32, f64)>> {
        let next = AtomicUsize::new(0);
        let rows = Mutex::new(vec![Vec::new(); self.counts.len()]);
        let work = || {
            let (mut together, mut touched) = (vec![0u32; other_counts.len()], Vec::new());
            loop {
                let first = next.fetch_add(ROWS, Relaxed);
                if first >= self.counts.len() {
                    return;
                }
                let range = first..(first + ROWS).min(self.counts.len());
                let made: Vec<_> =
                    range.clone().map(|item| self.row(item, others, other_counts, same, &mut together, &mut touched)).collect();
                let mut rows = rows.lock().unwrap_or_else(|e| e.into_inner());
                range.zip(made).for_each(|(item, row)| rows[item] = row);
            }
        };
        std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
        rows.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    fn row(
        &self,
        item: usize,
        others: &Grouped,
        other_counts: &[u64],
        same: bool,
        together: &mut [u32],
        touched: &mut Vec<u32>,
    ) -> Vec<(u32, f64)> {
        for user in self.users_of.get(item) {
            for other in others.get(*user as usize) {
                let count = &mut together[*other as usize];
                if *count == 0 {
                    touched.push(*other);
                }
                *count += 1;
            }
        }
        // A sampled item stands for all of its users.
        let sampled = self.users_of.get(item).len() as u64;
        let mut strongest: BinaryHeap<std::cmp::Reverse<Ranked>> = BinaryHeap::with_capacity(self.params.top + 1);
        for other in touched.drain(..) {
            let count = u64::from(std::mem::take(&mut together[other as usize]));
            if same && other as usize == item {
                continue;
            }
            let count = if sampled < self.counts[item] { count * self.counts[item] / sampled } else { count };
            let other_count = other_counts[other as usize];
            let ratio = of_counts(count.min(other_count), self.counts[item], other_count, self.users);
            if ratio > 0.0 && ratio >= self.params.min_llr {
                strongest.push(std::cmp::Reverse(Ranked(ratio, other)));
                if strongest.len() > self.params.top {
                    strongest.pop();
                }
            }
        }
        strongest.into_sorted_vec().into_iter().map(|r| (r.0.1, r.0.0)).collect()
    }
}

/// By ratio; of equals the item that came first is stronger.
#[derive(PartialEq)]
struct Ranked(f64, u32);

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The matrices by their definition.
    fn naive(p: &[Vec<bool>], a: &[Vec<bool>], same: bool) -> Vec<Vec<f64>> {
        let users = p.iter().filter(|row| row.contains(&true)).count() as u64;
        let count = |m: &[Vec<bool>], item: usize| m.iter().filter(|row| row[item]).count() as u64;
        let ratio = |i: usize, j: usize| {
            let k11 = p.iter().zip(a).filter(|(x, y)| x[i] && y[j]).count() as u64;
            // Only what comes together more often than by chance.
            if (same && i == j) || k11 * users <= count(p, i) * count(a, j) {
                return 0.0;
            }
            let (k12, k21) = (count(p, i) - k11, count(a, j) - k11);
            super::super::llr::log_likelihood_ratio(k11, k12, k21, (users + k11).saturating_sub(count(p, i) + count(a, j)))
        };
        (0..p[0].len()).map(|i| (0..a[0].len()).map(|j| ratio(i, j)).collect()).collect()
    }

    #[test]
    fn indicators_equal_a_naive_matrix_computation() {
        let mut random = Random::new(2);
        let (users, items) = (60, 12);
        let mut matrix = |share: f64| -> Vec<Vec<bool>> {
            (0..users)
                .map(|u| (0..items).map(|i| random.unit() < share * if (u + i) % 3 == 0 { 2.0 } else { 0.5 }).collect())
                .collect()
        };
        let (p, a) = (matrix(0.3), matrix(0.2));
        let interactions = |m: &[Vec<bool>]| {
            let mut interactions = Interactions::default();
            (0..items).for_each(|i| {
                interactions.items.number(&format!("i{i}"));
            });
            for (u, row) in m.iter().enumerate() {
                // Twice: they count once.
                for _ in 0..2 {
                    row.iter()
                        .enumerate()
                        .filter(|(_, has)| **has)
                        .for_each(|(i, _)| interactions.add(u as u32, &format!("i{i}")));
                }
            }
            interactions
        };
        let kinds = vec![("p".to_owned(), interactions(&p)), ("a".to_owned(), interactions(&a))];
        let model = train(kinds, users, &RecommenderParams::default(), 2).unwrap();
        for (kind, expected) in [(0, naive(&p, &p, true)), (1, naive(&p, &a, false))] {
            for (item, row) in expected.iter().enumerate() {
                let mut found = vec![0.0; items];
                for (other, ratio) in model.indicators()[kind].of(item) {
                    found[other as usize] = ratio;
                }
                for (f, e) in found.iter().zip(row) {
                    assert!((f - e).abs() < 1e-9, "{kind} {item}: {found:?} {row:?}");
                }
            }
        }
    }

    #[test]
    fn active_users_are_sampled_and_not_dropped() {
        let mut all = Interactions::default();
        for item in 0..1000 {
            all.add(0, &format!("i{item}"));
            all.add(1 + item % 5, "x");
        }
        let params = RecommenderParams { max_per_user: 100, ..RecommenderParams::default() };
        let (grouped, _) = all.clone().group(6, &params);
        assert_eq!((grouped.get(0).len(), grouped.get(1).len()), (100, 1));
        let (again, _) = all.clone().group(6, &params);
        assert_eq!(grouped.values, again.values);
        let (other, _) = all.group(6, &RecommenderParams { seed: 2, ..params });
        assert_ne!(grouped.values, other.values);
    }
}
