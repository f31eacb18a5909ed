use super::model::{KMeansModel, nearest_of};
use super::seeding::{plus_plus, sample};
use crate::learner::BulkLearner;
use crate::parameters::{Parameters, at_least, choice, not_below, parameters};
use crate::random::Random;
use crate::vector::{Nearest, Row};
use crate::{Error, Model, Result, TrainingData};
use serde::{Deserialize, Serialize};

choice! {
    /// Where [`KMeans`] begins.
    Seeding {
        /// Rounds of oversampling, whose result is reduced by k-means++ (Bahmani et al. 2012).
        Parallel = "parallel",
        /// k-means++ over a sample of the records.
        PlusPlus = "plus-plus",
        /// Records drawn at random.
        Random = "random",
    }
}

parameters! {
    /// How [`KMeans`] learns.
    KMeansParams of "kmeans" {
        #[doc = " How many clusters."]
        k: usize = 8, at_least(1);
        #[doc = " Where it begins: `parallel` (k-means||), `plus-plus` or `random`."]
        seeding: Seeding = Seeding::Parallel, crate::parameters::any();
        #[doc = " Ends after so many rounds at the latest."]
        rounds: u64 = 100, at_least(1);
        #[doc = " Ends when no centre moves further; 0: when none moves at all."]
        tolerance: f64 = 1e-6, not_below(0.0);
        #[doc = " Seed of what is drawn at random."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// Rounds of oversampling of k-means||; the paper finds five enough.
const OVERSAMPLING: u64 = 5;
/// Records that a part contributes to a sample.
const SAMPLE: usize = 4096;

/// k-means after Lloyd (1982): each record goes to its nearest centre, each centre to the mean of its records.
///
/// A cluster that lost all records gets the record that is farthest from its centre. Begins with k-means|| or k-means++, or with
/// [given centres](KMeans::from_centres).
pub struct KMeans {
    params: KMeansParams,
    /// Centres given, and their width.
    given: Option<(usize, Vec<f64>)>,
}

/// What the parts of a [`KMeans`] share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KMeansShared {
    width: usize,
    phase: Phase,
    /// One after another. While centres are sought: candidates.
    centres: Vec<f64>,
    /// Sum of the squared distances to the nearest centre, of the last round.
    pub cost: f64,
    /// Rounds of Lloyd's algorithm so far.
    pub rounds: u64,
    random: Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Each part draws records.
    Sample,
    /// Costs of the candidates so far.
    Cost,
    /// Each part draws records by their share of the cost.
    Oversample(u64),
    /// How many records are nearest to each candidate.
    Weigh,
    Lloyd,
}

/// What a part keeps.
#[derive(Clone, Serialize, Deserialize)]
pub struct KMeansLocal {
    random: Random,
}

/// A part's share of a round.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct KMeansPartial {
    /// Records drawn, or sums of the records of each centre.
    values: Vec<f64>,
    /// Records of each centre.
    counts: Vec<f64>,
    cost: f64,
    records: u64,
    /// The record farthest from its centre, and how far (squared).
    farthest: (f64, Vec<f64>),
}

impl KMeans {
    /// # Errors
    /// A parameter out of range.
    pub fn new(params: KMeansParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params, given: None })
    }

    /// Begins with these centres of this width, which lie one after another.
    ///
    /// # Errors
    /// A parameter out of range, or values that are not `k` centres.
    pub fn from_centres(params: KMeansParams, width: usize, centres: Vec<f64>) -> Result<Self> {
        params.check()?;
        if width == 0 || centres.len() != params.k * width {
            return Err(Error::Data(format!("{} values are not {} centres of {width}", centres.len(), params.k)));
        }
        Ok(Self { params, given: Some((width, centres)) })
    }

    fn draw(&self, data: &TrainingData<'_>, random: &mut Random) -> KMeansPartial {
        let wanted = match self.params.seeding {
            Seeding::Parallel => 1,
            Seeding::PlusPlus => SAMPLE.max(self.params.k * 16),
            Seeding::Random => self.params.k,
        };
        let mut values = Vec::new();
        for place in sample(data.len(), wanted, random) {
            push(&mut values, data.row(place));
        }
        KMeansPartial { values, records: data.len() as u64, ..KMeansPartial::default() }
    }

    /// The centres out of what the parts have drawn.
    fn begin(&self, shared: &mut KMeansShared, drawn: &[f64], weights: &[f64]) -> Result<()> {
        let k = self.params.k;
        shared.centres = match self.params.seeding {
            Seeding::Random => {
                let mut places: Vec<usize> = (0..weights.len()).collect();
                shared.random.shuffle(&mut places);
                places.iter().take(k).flat_map(|i| drawn[i * shared.width..(i + 1) * shared.width].to_vec()).collect()
            }
            _ => plus_plus(drawn, weights, shared.width, k, &mut shared.random),
        };
        let found = shared.centres.len() / shared.width;
        if found < k {
            return Err(Error::Data(format!("kmeans: only {found} different records for {k} clusters")));
        }
        shared.phase = Phase::Lloyd;
        Ok(())
    }

    fn round(&self, data: &TrainingData<'_>, centres: &Nearest, width: usize) -> KMeansPartial {
        let mut round = KMeansPartial {
            values: vec![0.0; self.params.k * width],
            counts: vec![0.0; self.params.k],
            records: data.len() as u64,
            farthest: (-1.0, Vec::new()),
            ..KMeansPartial::default()
        };
        let mut farthest = (-1.0, 0);
        for_each_nearest(data, centres, width, |i, row, centre, distance| {
            row.add_to(1.0, &mut round.values[centre * width..(centre + 1) * width]);
            round.counts[centre] += 1.0;
            round.cost += distance;
            if distance > farthest.0 {
                farthest = (distance, i);
            }
        });
        if farthest.0 >= 0.0 {
            push(&mut round.farthest.1, data.row(farthest.1));
            round.farthest.0 = farthest.0;
        }
        round
    }

    fn move_centres(&self, shared: &mut KMeansShared, partials: &[KMeansPartial]) -> Result<bool> {
        let width = shared.width;
        let (mut sums, mut counts) = (vec![0.0; self.params.k * width], vec![0.0; self.params.k]);
        for partial in partials {
            sums.iter_mut().zip(&partial.values).for_each(|(a, b)| *a += b);
            counts.iter_mut().zip(&partial.counts).for_each(|(a, b)| *a += b);
        }
        shared.cost = partials.iter().map(|p| p.cost).sum();
        shared.rounds += 1;
        let mut far: Vec<&(f64, Vec<f64>)> = partials.iter().map(|p| &p.farthest).filter(|f| f.0 > 0.0).collect();
        far.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut furthest_move = 0.0f64;
        for centre in 0..self.params.k {
            let old = &mut shared.centres[centre * width..(centre + 1) * width];
            let new: Vec<f64> = if counts[centre] > 0.0 {
                sums[centre * width..(centre + 1) * width].iter().map(|s| s / counts[centre]).collect()
            } else if let Some((_, record)) = far.pop() {
                record.clone()
            } else {
                old.to_vec()
            };
            furthest_move = furthest_move.max(crate::vector::squared_distance(old, &new).sqrt());
            old.copy_from_slice(&new);
        }
        if !shared.cost.is_finite() {
            return Err(Error::Data("kmeans: the sum of the squared distances is not a finite number".into()));
        }
        Ok(furthest_move > self.params.tolerance && shared.rounds < self.params.rounds)
    }
}

/// Records that are looked at together: few enough to be near when they are added up.
const TOGETHER: usize = 64;

/// Each record with its number, its nearest centre and the squared distance from that.
#[inline]
fn for_each_nearest(data: &TrainingData<'_>, centres: &Nearest, width: usize, mut each: impl FnMut(usize, Row<'_>, usize, f64)) {
    let Some(pieces) = data.dense() else {
        for (i, row) in data.rows().enumerate() {
            let (centre, distance) = nearest_of(centres, row, width);
            each(i, row, centre, distance);
        }
        return;
    };
    let (mut found, mut i) = ([(0, 0.0); TOGETHER], 0);
    for rows in pieces.flat_map(|piece| piece.chunks(TOGETHER * width)) {
        centres.find_all(rows, &mut found[..rows.len() / width]);
        for (row, (centre, distance)) in rows.chunks_exact(width).zip(&found) {
            each(i, Row::Dense(row), *centre as usize, *distance);
            i += 1;
        }
    }
}

fn push(values: &mut Vec<f64>, row: Row<'_>) {
    let start = values.len();
    values.resize(start + row.width(), 0.0);
    row.write_to(&mut values[start..]);
}

impl BulkLearner for KMeans {
    type Shared = KMeansShared;
    type Local = KMeansLocal;
    type Partial = KMeansPartial;

    fn start(&self, width: usize, _parts: usize) -> Result<KMeansShared> {
        let (phase, centres) = match &self.given {
            Some((given, _)) if *given != width => {
                return Err(Error::Data(format!("kmeans: centres of {given} values, but records of {width}")));
            }
            Some((_, centres)) => (Phase::Lloyd, centres.clone()),
            None => (Phase::Sample, Vec::new()),
        };
        let random = Random::new(self.params.seed);
        Ok(KMeansShared { width, phase, centres, cost: f64::INFINITY, rounds: 0, random })
    }

    fn local(&self, _data: &TrainingData<'_>, part: usize) -> Result<KMeansLocal> {
        Ok(KMeansLocal { random: Random::new(self.params.seed.wrapping_add(1 + part as u64)) })
    }

    fn step(
        &self,
        data: &TrainingData<'_>,
        local: &mut KMeansLocal,
        shared: &KMeansShared,
        _superstep: u64,
    ) -> Result<KMeansPartial> {
        let random = &mut local.random;
        if data.is_empty() {
            return Ok(KMeansPartial::default());
        }
        let width = shared.width;
        let centres = Nearest::new(&shared.centres, width);
        let records = data.len() as u64;
        let mut partial = KMeansPartial { records, ..KMeansPartial::default() };
        match shared.phase {
            Phase::Sample => partial = self.draw(data, random),
            Phase::Cost => for_each_nearest(data, &centres, width, |_, _, _, distance| partial.cost += distance),
            Phase::Oversample(_) => {
                let wanted = 2.0 * self.params.k as f64;
                for_each_nearest(data, &centres, width, |_, row, _, distance| {
                    partial.cost += distance;
                    if random.unit() * shared.cost < wanted * distance {
                        push(&mut partial.values, row);
                    }
                });
            }
            Phase::Weigh => {
                partial.counts = vec![0.0; shared.centres.len() / width];
                for_each_nearest(data, &centres, width, |_, _, centre, _| partial.counts[centre] += 1.0);
            }
            Phase::Lloyd => partial = self.round(data, &centres, width),
        }
        Ok(partial)
    }

    fn merge(&self, shared: &mut KMeansShared, partials: Vec<KMeansPartial>, _superstep: u64) -> Result<bool> {
        let drawn = || partials.iter().flat_map(|p| p.values.iter().copied()).collect::<Vec<f64>>();
        match shared.phase {
            Phase::Lloyd => return self.move_centres(shared, &partials),
            Phase::Sample if self.params.seeding == Seeding::Parallel => {
                // One record of all, each as likely as any other.
                let total: u64 = partials.iter().map(|p| p.records).sum();
                let mut at = shared.random.below(total.max(1) as usize) as u64;
                let first = partials.iter().find(|p| {
                    let here = at < p.records;
                    at = at.saturating_sub(p.records);
                    here
                });
                shared.centres = first.map(|p| p.values.clone()).unwrap_or_default();
                shared.phase = Phase::Cost;
            }
            Phase::Sample => {
                let (drawn, width) = (drawn(), shared.width);
                // A part with more records than another stands for more of them.
                let weights = partials.iter().flat_map(|p| {
                    let taken = p.values.len() / width;
                    std::iter::repeat_n(p.records as f64 / taken.max(1) as f64, taken)
                });
                self.begin(shared, &drawn, &weights.collect::<Vec<_>>())?;
            }
            Phase::Cost => {
                shared.cost = partials.iter().map(|p| p.cost).sum();
                shared.phase = Phase::Oversample(0);
            }
            Phase::Oversample(round) => {
                shared.centres.extend(drawn());
                shared.cost = partials.iter().map(|p| p.cost).sum();
                let more = round + 1 < OVERSAMPLING && shared.cost > 0.0;
                shared.phase = if more { Phase::Oversample(round + 1) } else { Phase::Weigh };
            }
            Phase::Weigh => {
                let mut weights = vec![0.0; shared.centres.len() / shared.width];
                partials.iter().for_each(|p| weights.iter_mut().zip(&p.counts).for_each(|(a, b)| *a += b));
                let candidates = std::mem::take(&mut shared.centres);
                self.begin(shared, &candidates, &weights)?;
            }
        }
        Ok(true)
    }

    fn figures(&self, shared: &KMeansShared) -> Vec<(&'static str, f64)> {
        vec![("cost", shared.cost), ("rounds", shared.rounds as f64)]
    }

    fn model(&self, shared: &KMeansShared) -> Result<Model> {
        Ok(Model::KMeans(KMeansModel::new(shared.width, shared.centres.clone())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::{fit, fit_shared};
    use crate::vector::{Block, DenseRows, Rows, argmin, squared_distance};

    fn clouds(records: usize, width: usize, clusters: usize) -> Block {
        let mut random = Random::new(9);
        let middles: Vec<f64> = (0..clusters * width).map(|_| random.between(-10.0, 10.0)).collect();
        let mut values = Vec::new();
        for i in 0..records {
            values.extend((0..width).map(|j| middles[i % clusters * width + j] + random.normal()));
        }
        Block::new(Rows::Dense(DenseRows::from_values(width, values).unwrap()), Vec::new()).unwrap()
    }

    #[test]
    fn from_given_centres_it_is_the_plain_algorithm() {
        let (data, width, k) = (clouds(2000, 5, 7), 5, 7);
        let mut centres: Vec<f64> = (0..k).flat_map(|i| data.rows.row(i).to_vector().row().stored().to_vec()).collect();
        let params = KMeansParams { k, rounds: 12, tolerance: 0.0, ..KMeansParams::default() };
        let learner = KMeans::from_centres(params, width, centres.clone()).unwrap();
        for _ in 0..12 {
            let (mut sums, mut counts) = (vec![0.0; k * width], vec![0.0; k]);
            for row in data.rows.iter() {
                let distances: Vec<f64> = centres.chunks(width).map(|c| squared_distance(row.stored(), c)).collect();
                let nearest = argmin(&distances);
                (0..width).for_each(|j| sums[nearest * width + j] += row.get(j));
                counts[nearest] += 1.0;
            }
            centres = sums.iter().enumerate().map(|(i, s)| s / counts[i / width]).collect();
        }
        for parts in [1, 2, 3] {
            let Model::KMeans(model) = fit(&learner, &data.deal(parts)).unwrap() else { unreachable!() };
            for (a, b) in model.centres().iter().zip(&centres) {
                assert!((a - b).abs() < 1e-9, "{parts} parts");
            }
        }
    }

    #[test]
    fn every_seeding_finds_the_clouds() {
        let data = clouds(3000, 3, 5);
        let best = fit_shared(
            &KMeans::new(KMeansParams { k: 5, seeding: Seeding::PlusPlus, ..KMeansParams::default() }).unwrap(),
            &data.deal(1),
        )
        .unwrap()
        .cost;
        for seeding in [Seeding::Parallel, Seeding::PlusPlus] {
            for parts in [1, 3] {
                for seed in 0..5 {
                    let params = KMeansParams { k: 5, seeding, seed, ..KMeansParams::default() };
                    let cost = fit_shared(&KMeans::new(params).unwrap(), &data.deal(parts)).unwrap().cost;
                    assert!(cost < best * 1.001, "{seeding}, {parts} parts, seed {seed}: {cost} {best}");
                }
            }
        }
        let random = KMeansParams { k: 5, seeding: Seeding::Random, ..KMeansParams::default() };
        assert!(fit_shared(&KMeans::new(random).unwrap(), &data.deal(2)).unwrap().cost >= best * 0.999);
    }

    #[test]
    fn a_cluster_without_records_gets_the_farthest_one() {
        let rows = DenseRows::from_values(1, vec![0.0, 0.1, 0.2, 10.0, 10.1, 99.0]).unwrap();
        let data = Block::new(Rows::Dense(rows), Vec::new()).unwrap();
        let params = KMeansParams { k: 3, ..KMeansParams::default() };
        let learner = KMeans::from_centres(params, 1, vec![0.0, 10.0, -1000.0]).unwrap();
        let Model::KMeans(model) = fit(&learner, &[data]).unwrap() else { unreachable!() };
        let mut centres = model.centres().to_vec();
        centres.sort_by(f64::total_cmp);
        assert!((centres[0] - 0.1).abs() < 1e-9 && (centres[1] - 10.05).abs() < 1e-9 && centres[2] == 99.0, "{centres:?}");
    }

    #[test]
    fn fewer_records_than_clusters_are_an_error() {
        let rows = Rows::Dense(DenseRows::from_values(1, vec![1.0, 1.0, 2.0]).unwrap());
        let data = Block::new(rows, Vec::new()).unwrap();
        for seeding in [Seeding::Parallel, Seeding::PlusPlus] {
            let learner = KMeans::new(KMeansParams { k: 3, seeding, ..KMeansParams::default() }).unwrap();
            let error = fit(&learner, std::slice::from_ref(&data)).unwrap_err().to_string();
            assert!(error.contains("different records for 3 clusters"), "{error}");
        }
    }
}
