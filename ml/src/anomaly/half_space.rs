use crate::learner::{OnlineLearner, Prediction, Predictor};
use crate::model::{Persist, Stage};
use crate::parameters::{Parameters, at_least, between, parameters, within};
use crate::random::Random;
use crate::vector::Row;
use crate::{Model, Result};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

parameters! {
    /// How [`HalfSpaceTrees`] judge.
    HalfSpaceParams of "half-space" {
        #[doc = " How many trees."]
        trees: usize = 25, at_least(1);
        #[doc = " Depth of the trees."]
        depth: u32 = 15, between(1, 30);
        #[doc = " Records of a window: a record is judged by where those of the window before it lay."]
        window: u32 = 250, at_least(1);
        #[doc = " A node with no more than this share of the window is not looked into any deeper."]
        size_limit: f64 = 0.1, within(0.0, 1.0);
        #[doc = " Score from which a record counts as an anomaly. Where a tenth of the records or more do, it is too low."]
        threshold: f64 = 0.7, within(0.0, 1.0);
        #[doc = " Whether features are put on a scale of 0 to 1 by the ranges of the first window; without it they should be."]
        scale: bool = true, crate::parameters::any();
        #[doc = " Anomalies in a row after which they are learned from: what lasts is none. Until then they are not, or a burst of them would look like the rest. 0: learn from all."]
        patience: u64 = 2500, at_least(0);
        #[doc = " Seed of the trees."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// Half-space trees (Tan, Ting and Liu 2011): random trees over the space of the features, each node halving the range of a
/// feature, that count how many records of the last window lay in each half-space. Where few lay, a record is an anomaly.
///
/// Two rules differ from the paper's, which supposes that anomalies are rare in every window. Where they come in bursts longer than
/// a window (of KDD Cup 99's attacks on web servers a thousand lie in a row), its trees take the burst for the rule:
/// - Records that are anomalies are not learned from for a while ([`HalfSpaceParams::patience`]), as in MemStream's memory (Bhatia et
///   al. 2022).
/// - The trees' masses are averaged by their logarithms, as LODA does with densities (Pevný 2016). A sum is that of the tree with the
///   most mass, so one tree that cannot tell an anomaly apart would decide that it is learned.
///
/// Constant time and memory: a record walks down every tree once. Trees are made as they are walked: which feature a node halves
/// follows from the seed, and only nodes that records came through are kept.
///
/// The score is from 0 to 1, the logarithm of mass being from its greatest to 0; in the first window it is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfSpaceTrees {
    params: HalfSpaceParams,
    width: usize,
    /// Of each tree, one after another: the lower end of a feature's range and its length.
    ranges: Vec<(f64, f64)>,
    trees: Vec<Tree>,
    records: u64,
    /// Records that were not learned from, and how many of them came in a row just now.
    passed_over: u64,
    row: u64,
    /// Records of the first window, before the scale of the features is known; then smallest value and inverse length of each.
    first: Vec<f64>,
    scale: Vec<(f64, f64)>,
}

/// Nodes by number: 1 is the root, 2n and 2n + 1 are below n. Stored in the order of the numbers, so that equal trees have equal
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32, u32)>", into = "Vec<(u32, u32, u32)>")]
struct Tree {
    nodes: HashMap<u32, Mass>,
}

impl From<Vec<(u32, u32, u32)>> for Tree {
    fn from(stored: Vec<(u32, u32, u32)>) -> Self {
        Self { nodes: stored.into_iter().map(|(node, reference, latest)| (node, Mass { reference, latest })).collect() }
    }
}

impl From<Tree> for Vec<(u32, u32, u32)> {
    fn from(tree: Tree) -> Self {
        let mut nodes: Self = tree.nodes.into_iter().map(|(node, mass)| (node, mass.reference, mass.latest)).collect();
        nodes.sort_unstable();
        nodes
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mass {
    /// Records of the last window.
    reference: u32,
    /// Of this one.
    latest: u32,
}

impl HalfSpaceTrees {
    /// Have seen nothing, of so many features.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(width: usize, params: HalfSpaceParams) -> Result<Self> {
        params.check()?;
        let mut random = Random::new(params.seed);
        let ranges = (0..params.trees * width).map(|_| {
            let middle = random.unit();
            let half = 2.0 * middle.max(1.0 - middle);
            (middle - half, 2.0 * half)
        });
        let (ranges, trees) = (ranges.collect(), vec![Tree::default(); params.trees]);
        Ok(Self { params, width, ranges, trees, records: 0, passed_over: 0, row: 0, first: Vec::new(), scale: Vec::new() })
    }

    /// The feature that a node halves.
    #[inline]
    fn feature(&self, tree: usize, node: u32) -> usize {
        // A finalizer of MurmurHash3 over tree, node and seed.
        let mut x = (tree as u64) << 32 ^ u64::from(node) ^ self.params.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        ((x ^ x >> 33) % self.width as u64) as usize
    }

    fn scaled(&self, row: Row<'_>) -> Vec<f64> {
        let mut values = vec![0.0; self.width];
        row.for_each(|i, x| values[i] = x);
        for (value, (least, inverse)) in values.iter_mut().zip(&self.scale) {
            *value = (*value - least) * inverse;
        }
        values
    }

    /// The nodes of a tree that a record comes through, from the root on, for as long as `visit` wants more. `place` is room that
    /// walks share.
    #[inline]
    fn walk(&self, tree: usize, values: &[f64], place: &mut Vec<f64>, mut visit: impl FnMut(u32, u32) -> bool) {
        // Where in each feature's range the record is, as a fraction; halving it is doubling the fraction.
        let ranges = &self.ranges[tree * self.width..(tree + 1) * self.width];
        let fractions = values.iter().zip(ranges).map(|(x, (low, length))| (x - low) / length);
        place.clear();
        place.extend(fractions.map(|fraction| fraction.clamp(0.0, 1.0 - f64::EPSILON)));
        let mut node = 1u32;
        for depth in 0..=self.params.depth {
            if !visit(node, depth) {
                return;
            }
            if depth < self.params.depth {
                let feature = self.feature(tree, node);
                let doubled = place[feature] * 2.0;
                let upper = doubled >= 1.0;
                place[feature] = if upper { doubled - 1.0 } else { doubled };
                node = node * 2 + u32::from(upper);
            }
        }
    }

    /// The mean over the trees of the logarithm of 1 more than mass times 2^depth, where the walk ends.
    fn log_mass(&self, values: &[f64]) -> f64 {
        let limit = (self.params.size_limit * f64::from(self.params.window)) as u32;
        let (mut sum, mut place) = (0.0, Vec::with_capacity(self.width));
        for (t, tree) in self.trees.iter().enumerate() {
            self.walk(t, values, &mut place, |node, depth| {
                let mass = tree.nodes.get(&node).map_or(0, |m| m.reference);
                let ends = mass <= limit || depth == self.params.depth;
                if ends {
                    sum += (f64::from(mass) * f64::from(1u32 << depth)).ln_1p();
                }
                !ends
            });
        }
        sum / self.params.trees as f64
    }

    fn score(&self, values: &[f64]) -> f64 {
        if self.records < u64::from(self.params.window) {
            return 0.0;
        }
        let most = f64::from(self.params.window) * f64::from(1u32 << self.params.depth);
        1.0 - self.log_mass(values) / most.ln_1p()
    }

    fn count(&mut self, values: &[f64]) {
        let mut place = Vec::with_capacity(self.width);
        for t in 0..self.trees.len() {
            let mut nodes = std::mem::take(&mut self.trees[t].nodes);
            self.walk(t, values, &mut place, |node, _| {
                nodes.entry(node).or_default().latest += 1;
                true
            });
            self.trees[t].nodes = nodes;
        }
        self.records += 1;
        if self.records.is_multiple_of(u64::from(self.params.window)) {
            for tree in &mut self.trees {
                tree.nodes.retain(|_, mass| {
                    *mass = Mass { reference: mass.latest, latest: 0 };
                    mass.reference > 0
                });
            }
        }
    }

    /// Learns from a record whose score is known, unless it is an anomaly that is passed over.
    fn follow(&mut self, values: &[f64], score: f64) {
        let anomaly = self.params.patience > 0 && score >= self.params.threshold;
        if anomaly && self.row < self.params.patience {
            self.passed_over += 1;
            self.row += 1;
            return;
        }
        if !anomaly {
            self.row = 0;
        }
        self.count(values);
    }

    fn judge(&self, score: f64) -> Prediction {
        Prediction { value: if score >= self.params.threshold { 1.0 } else { -1.0 }, score }
    }

    fn learn_scale(&mut self) {
        let rows = std::mem::take(&mut self.first);
        self.scale = (0..self.width)
            .map(|j| {
                let column = || rows.iter().skip(j).step_by(self.width).copied();
                let (least, most) = (column().fold(f64::INFINITY, f64::min), column().fold(f64::NEG_INFINITY, f64::max));
                (least, if most > least { 1.0 / (most - least) } else { 1.0 })
            })
            .collect();
        for row in rows.chunks(self.width) {
            let values = self.scaled(Row::Dense(row));
            self.count(&values);
        }
    }
}

impl Predictor for HalfSpaceTrees {
    fn width(&self) -> usize {
        self.width
    }

    /// 1 where the score reaches the threshold, else -1.
    fn predict(&self, row: Row<'_>) -> Prediction {
        self.judge(self.score(&self.scaled(row)))
    }
}

impl OnlineLearner for HalfSpaceTrees {
    const NAME: &'static str = "half-space";
    const SUPERVISED: bool = false;

    fn learn(&mut self, row: Row<'_>, _label: f64) {
        if self.width == 0 {
            return;
        }
        if self.params.scale && self.scale.is_empty() {
            let start = self.first.len();
            self.first.resize(start + self.width, 0.0);
            row.write_to(&mut self.first[start..]);
            if self.first.len() >= self.width * self.params.window as usize {
                self.learn_scale();
            }
            return;
        }
        let values = self.scaled(row);
        let score = self.score(&values);
        self.follow(&values, score);
    }

    fn test_then_train(&mut self, row: Row<'_>, label: f64) -> Prediction {
        if self.width == 0 || (self.params.scale && self.scale.is_empty()) {
            let prediction = self.predict(row);
            self.learn(row, label);
            return prediction;
        }
        let values = self.scaled(row);
        let score = self.score(&values);
        self.follow(&values, score);
        self.judge(score)
    }

    /// Whether the prediction was wrong; 0 where nobody knows.
    fn loss(&self, prediction: Prediction, label: f64) -> f64 {
        f64::from(!label.is_nan() && (label > 0.0) != (prediction.value > 0.0))
    }

    fn records(&self) -> u64 {
        self.records + self.passed_over + (self.first.len() / self.width.max(1)) as u64
    }

    /// Masses of the last window are averaged; each local had a window of its own. The one with most records gives the scale.
    fn merge(&mut self, locals: &[(u64, Self)], decay: f64) {
        let Some((_, leader)) = locals.iter().max_by_key(|(_, l)| l.records) else { return };
        let window = u64::from(self.params.window);
        let records = self.records() + locals.iter().map(|(n, _)| n).sum::<u64>();
        let same: Vec<&Self> = locals.iter().map(|(_, l)| l).filter(|l| l.scale == leader.scale).collect();
        let own = std::mem::replace(&mut self.trees, leader.trees.clone());
        let own = if self.scale == leader.scale { own } else { Vec::new() };
        for (t, tree) in self.trees.iter_mut().enumerate() {
            let mut sums: HashMap<u32, f64> = HashMap::new();
            let others = (1.0 - if own.is_empty() { 0.0 } else { decay }) / same.len() as f64;
            for local in &same {
                local.trees[t].nodes.iter().for_each(|(n, m)| *sums.entry(*n).or_default() += others * f64::from(m.reference));
            }
            if let Some(own) = own.get(t) {
                own.nodes.iter().for_each(|(n, m)| *sums.entry(*n).or_default() += decay * f64::from(m.reference));
            }
            for (node, sum) in sums {
                tree.nodes.entry(node).or_default().reference = sum.round() as u32;
            }
        }
        (self.scale, self.first) = (leader.scale.clone(), leader.first.clone());
        // Where in its window the leader is goes with its counts.
        self.records = leader.records.max(records / window * window + leader.records % window);
        (self.passed_over, self.row) = (0, leader.row);
    }

    /// Counts cannot diverge.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn model(&self) -> Model {
        Model::HalfSpaceTrees(self.clone())
    }
}

impl Persist for HalfSpaceTrees {
    const KIND: &'static str = "half-space";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &(&self.params, self.width, self.records, self.passed_over, self.row));
        stage.numbers("lows", self.ranges.iter().map(|r| r.0).collect());
        stage.numbers("lengths", self.ranges.iter().map(|r| r.1).collect());
        stage.numbers("first", self.first.clone());
        stage.numbers("least", self.scale.iter().map(|s| s.0).collect());
        stage.numbers("inverse", self.scale.iter().map(|s| s.1).collect());
        let trees: Vec<Vec<(u32, u32, u32)>> = self.trees.iter().cloned().map(Into::into).collect();
        stage.counts("nodes", trees.iter().map(|t| t.len() as u64).collect());
        stage.counts("node", trees.iter().flatten().map(|n| n.0.into()).collect());
        stage.counts("reference", trees.iter().flatten().map(|n| n.1.into()).collect());
        stage.counts("latest", trees.iter().flatten().map(|n| n.2.into()).collect());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let (params, width, records, passed_over, row): (HalfSpaceParams, usize, u64, u64, u64) = stage.parameters()?;
        params.check()?;
        let pairs = |a: &str, b: &str| -> Result<Vec<(f64, f64)>> {
            Ok(stage.get_numbers(a)?.iter().copied().zip(stage.get_numbers(b)?.iter().copied()).collect())
        };
        let (ranges, scale) = (pairs("lows", "lengths")?, pairs("least", "inverse")?);
        let narrow = |name: &str| -> Result<Vec<u32>> {
            let counts = stage.get_counts(name)?;
            counts.iter().map(|c| u32::try_from(*c).map_err(|_| stage.wrong(format!("`{name}` has {c}")))).collect()
        };
        let (node, reference, latest) = (narrow("node")?, narrow("reference")?, narrow("latest")?);
        let sizes = stage.get_counts("nodes")?;
        let nodes = sizes.iter().sum::<u64>() as usize;
        let whole =
            ranges.len() == params.trees * width && sizes.len() == params.trees && (scale.is_empty() || scale.len() == width);
        if !whole || [node.len(), reference.len(), latest.len()] != [nodes; 3] {
            return Err(stage.wrong("its arrays are not as long as its parameters say"));
        }
        let mut rest = node.into_iter().zip(reference).zip(latest).map(|((n, r), l)| (n, r, l));
        let trees = sizes.iter().map(|size| Tree::from(rest.by_ref().take(*size as usize).collect::<Vec<_>>())).collect();
        Ok(Self { params, width, ranges, trees, records, passed_over, row, first: stage.get_numbers("first")?.to_vec(), scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roc_auc;

    #[test]
    fn what_lies_apart_has_a_higher_score() {
        for scale in [true, false] {
            let mut trees = HalfSpaceTrees::new(3, HalfSpaceParams { scale, ..HalfSpaceParams::default() }).unwrap();
            let mut random = Random::new(3);
            let (mut labels, mut scores) = (Vec::new(), Vec::new());
            for i in 0..5000 {
                let anomaly = i > 300 && random.unit() < 0.01;
                let middle = if anomaly { 0.9 } else { 0.4 };
                let row: Vec<f64> = (0..3).map(|_| middle + 0.05 * random.normal()).collect();
                let score = trees.test_then_train(Row::Dense(&row), f64::NAN).score;
                if i > 300 {
                    labels.push(f64::from(anomaly));
                    scores.push(score);
                }
            }
            let area = roc_auc(&labels, &scores).unwrap();
            assert!(area > 0.99, "scaled {scale}: {area}");
        }
    }

    #[test]
    fn counts_are_those_of_the_last_window() {
        let params = HalfSpaceParams { trees: 2, depth: 3, window: 10, scale: false, patience: 0, ..HalfSpaceParams::default() };
        let mut trees = HalfSpaceTrees::new(2, params).unwrap();
        (0..25).for_each(|i| trees.learn(Row::Dense(&[f64::from(i % 5) / 5.0, 0.5]), f64::NAN));
        for tree in &trees.trees {
            assert_eq!(tree.nodes[&1], Mass { reference: 10, latest: 5 });
            let leaves: u32 = tree.nodes.iter().filter(|(n, _)| **n >= 8).map(|(_, m)| m.reference).sum();
            assert_eq!(leaves, 10);
        }
    }
}
