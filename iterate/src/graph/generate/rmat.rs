//! R-MAT graphs (Chakrabarti, Zhan, Faloutsos, "R-MAT: A Recursive Model for Graph Mining", SDM 2004), as Graph500 has them.
//!
//! The adjacency matrix is cut into four quadrants, one is drawn, and so on down to a cell. Four levels are drawn at a time from
//! an alias table of their 256 outcomes, as in Hübschle-Schneider and Sanders, "Linear Work Generation of R-MAT Graphs"
//! (Network Science 8, 2020): with probabilities to 2^-32, a draw costs one 32-bit number and one look into 2 KiB.
//!
//! Edge `n` takes its numbers from a fixed place of one sequence (a permuted congruential generator, which jumps anywhere in a
//! few steps), so it does not depend on who makes it. Vertices are then renamed by a permutation, as Graph500 does: their
//! numbers say nothing of their degrees.

use super::{EdgeColumns, EdgeGenerator};
use fluvial_core::{Error, Result};
use rand_pcg::Pcg64Dxsm;
use rand_pcg::rand_core::{Rng, SeedableRng};
use std::ops::Range;
use std::sync::Arc;

/// Levels that one draw decides.
const LEVELS: u32 = 4;

/// Outcomes of a draw.
const OUTCOMES: usize = 1 << (2 * LEVELS);

/// Largest scale.
const MOST_SCALE: u32 = 40;

/// A graph with few vertices of many edges and many of few: 2^scale vertices, `edge_factor` times as many directed edges.
/// Duplicates and loops are kept, and some vertices have no edge, as in Graph500.
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::generate::{EdgeGenerator, Rmat};
/// let env = Env::default();
/// let rmat = Rmat::new(10, 16).seed(1);
/// assert_eq!((rmat.vertices(), rmat.edges()), (1024, 16384));
/// assert_eq!(rmat.table(&env)?.count()?, 16384);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rmat {
    scale: u32,
    edge_factor: u64,
    seed: u64,
    quadrants: [f64; 4],
    renamed: bool,
    weighted: bool,
    table: Arc<AliasTable>,
}

impl Rmat {
    /// 2^scale vertices and `edge_factor` times as many edges, with the quadrants of Graph500: 0.57, 0.19, 0.19, 0.05.
    pub fn new(scale: u32, edge_factor: u64) -> Self {
        let quadrants = [0.57, 0.19, 0.19, 0.05];
        let table = Arc::new(AliasTable::new(&quadrants));
        Self { scale, edge_factor, seed: 0, quadrants, renamed: true, weighted: false, table }
    }

    /// Another seed gives another graph.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Probabilities of the quadrants: both vertices in the lower halves of their ranges, the target in the upper, the source in
    /// the upper, both.
    #[must_use]
    pub fn quadrants(self, quadrants: [f64; 4]) -> Self {
        Self { quadrants, table: Arc::new(AliasTable::new(&quadrants)), ..self }
    }

    /// Vertices keep their numbers in the recursion: small numbers have many edges.
    #[must_use]
    pub fn without_renaming(self) -> Self {
        Self { renamed: false, ..self }
    }

    /// Edges have weights, even between 0 and 1 (1 excluded), as Graph500 has them for shortest paths. The edges are the same as
    /// without.
    #[must_use]
    pub fn with_weights(self) -> Self {
        Self { weighted: true, ..self }
    }

    /// The sequence of random words of one kind, from the first of edge `edge` on, of which each has so many.
    fn random(&self, kind: Kind, edge: u64, words: u64) -> Pcg64Dxsm {
        // The first two words are the state, the others select one of 2^127 sequences; the golden ratio keeps the states of
        // neighbouring seeds apart.
        let words_of_seed = [self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), kind as u64, (kind as u64) << 1, self.seed];
        let mut seed = [0; 32];
        seed.chunks_exact_mut(8).zip(words_of_seed).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        let mut random = Pcg64Dxsm::from_seed(seed);
        random.advance(u128::from(edge) * u128::from(words));
        random
    }

    fn places(&self, range: Range<u64>, out: &mut EdgeColumns) {
        let draws = self.scale.div_ceil(LEVELS);
        let words = draws.div_ceil(2);
        // Of the last draw only so many levels are of use.
        let last = self.scale - (draws.saturating_sub(1)) * LEVELS;
        let mut random = self.random(Kind::Places, range.start, words.into());
        let names = Names::new(self.scale, self.random(Kind::Names, 0, 1).next_u64());
        for _ in range {
            let (mut source, mut target, mut bits) = (0, 0, 0);
            for draw in 0..draws {
                bits = if draw % 2 == 0 { random.next_u64() } else { bits >> 32 };
                let (down, right) = self.table.draw(bits as u32);
                let levels = if draw + 1 == draws { last } else { LEVELS };
                source = source << levels | u64::from(down >> (LEVELS - levels));
                target = target << levels | u64::from(right >> (LEVELS - levels));
            }
            if self.renamed {
                (source, target) = (names.of(source), names.of(target));
            }
            out.push(source, target);
        }
    }
}

impl EdgeGenerator for Rmat {
    fn name(&self) -> &'static str {
        "rmat"
    }

    fn detail(&self) -> String {
        format!("scale {}, edge factor {}, seed {}", self.scale, self.edge_factor, self.seed)
    }

    fn vertices(&self) -> u64 {
        1u64.checked_shl(self.scale).unwrap_or(u64::MAX)
    }

    fn edges(&self) -> u64 {
        self.vertices().saturating_mul(self.edge_factor)
    }

    fn weighted(&self) -> bool {
        self.weighted
    }

    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns) {
        self.places(range.clone(), out);
        if self.weighted {
            let mut random = self.random(Kind::Weights, range.start, 1);
            // The 53 bits that an f64 holds exactly.
            out.weights.extend(range.map(|_| (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64));
        }
    }

    fn check(&self) -> Result<()> {
        if self.scale > MOST_SCALE {
            return Err(Error::Plan(format!("rmat: a scale of {}, at most {MOST_SCALE} can be made", self.scale)));
        }
        let (sum, most) = (self.quadrants.iter().sum::<f64>(), super::MOST);
        if self.quadrants.iter().any(|p| !(0.0..=1.0).contains(p)) || (sum - 1.0).abs() > 1e-9 {
            let [a, b, c, d] = self.quadrants;
            return Err(Error::Plan(format!("rmat: quadrants {a}, {b}, {c}, {d}: expected probabilities whose sum is 1")));
        }
        if self.edges() > most {
            return Err(Error::Plan(format!("rmat: {} edges, at most {most} can be made", self.edges())));
        }
        Ok(())
    }
}

/// What random words are for: each kind has its own sequence.
#[derive(Clone, Copy)]
enum Kind {
    Places,
    Weights,
    Names,
}

/// Draws one of the outcomes of four levels in constant time (Walker's alias method, by Vose's construction).
#[derive(Debug)]
struct AliasTable {
    slots: [Slot; OUTCOMES],
}

/// An outcome, its alias, and what part of the slot is its own.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The outcome itself for the numbers below this, of 2^24.
    own: u32,
    /// The levels of the source (upper four bits) and of the target.
    levels: u8,
    alias: u8,
}

impl AliasTable {
    fn new(quadrants: &[f64; 4]) -> Self {
        // Outcome `o`: its upper four bits are the source's levels, its lower four the target's.
        let probability = |outcome: usize| -> f64 {
            (0..LEVELS).map(|level| quadrants[(outcome >> (LEVELS + level) & 1) << 1 | outcome >> level & 1]).product()
        };
        let mut share: Vec<f64> = (0..OUTCOMES).map(|outcome| probability(outcome) * OUTCOMES as f64).collect();
        let mut slots = [Slot { own: 1 << 24, levels: 0, alias: 0 }; OUTCOMES];
        for (outcome, slot) in slots.iter_mut().enumerate() {
            (slot.levels, slot.alias) = (outcome as u8, outcome as u8);
        }
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..OUTCOMES).partition(|outcome| share[*outcome] < 1.0);
        while let (Some(less), Some(more)) = (small.pop(), large.pop()) {
            slots[less].own = (share[less] * f64::from(1 << 24)) as u32;
            slots[less].alias = more as u8;
            share[more] -= 1.0 - share[less];
            if share[more] < 1.0 { small.push(more) } else { large.push(more) }
        }
        Self { slots }
    }

    /// The levels of source and target.
    #[inline]
    fn draw(&self, bits: u32) -> (u8, u8) {
        let slot = self.slots[(bits & 0xff) as usize];
        let outcome = if bits >> 8 < slot.own { slot.levels } else { slot.alias };
        (outcome >> LEVELS, outcome & 0xf)
    }
}

/// A permutation of the numbers below 2^scale: each step can be undone.
struct Names {
    mask: u64,
    shift: u32,
    add: u64,
}

impl Names {
    fn new(scale: u32, add: u64) -> Self {
        let mask = 1u64.checked_shl(scale).unwrap_or(0).wrapping_sub(1);
        Self { mask, shift: scale.div_ceil(2).max(1), add }
    }

    #[inline]
    fn of(&self, vertex: u64) -> u64 {
        // Odd factors and shifts to the right by half the bits or more are one-to-one; the constants are those of splitmix64.
        let mixed = vertex.wrapping_add(self.add) & self.mask;
        let mixed = (mixed ^ mixed >> self.shift).wrapping_mul(0xbf58_476d_1ce4_e5b9) & self.mask;
        let mixed = (mixed ^ mixed >> self.shift).wrapping_mul(0x94d0_49bb_1331_11eb) & self.mask;
        mixed ^ mixed >> self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edges(rmat: &Rmat) -> Vec<(u64, u64)> {
        let mut columns = EdgeColumns::default();
        rmat.fill(0..rmat.edges(), &mut columns);
        columns.sources.into_iter().zip(columns.targets).collect()
    }

    proptest! {
        #[test]
        fn names_are_a_permutation(scale in 0u32..12, add in any::<u64>()) {
            let names = Names::new(scale, add);
            let mut all: Vec<u64> = (0..1 << scale).map(|v| names.of(v)).collect();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..1 << scale));
        }
    }

    /// The share of edges in each quadrant of each level is what was asked for.
    #[test]
    fn levels_have_their_probabilities() {
        for (scale, quadrants) in
            [(10, [0.57, 0.19, 0.19, 0.05]), (7, [0.1, 0.2, 0.3, 0.4]), (3, [0.25; 4]), (5, [1.0, 0.0, 0.0, 0.0])]
        {
            let rmat = Rmat::new(scale, 1 << (18 - scale)).quadrants(quadrants).seed(7).without_renaming();
            let edges = edges(&rmat);
            for level in 0..scale {
                let mut counts = [0.0; 4];
                for (source, target) in &edges {
                    counts[((source >> level & 1) << 1 | target >> level & 1) as usize] += 1.0;
                }
                for (count, expected) in counts.iter().zip(quadrants) {
                    // Six standard deviations of a quarter of a million draws.
                    let share = count / edges.len() as f64;
                    assert!((share - expected).abs() < 6.0 * (0.25f64 / edges.len() as f64).sqrt(), "{level}: {counts:?}");
                }
            }
        }
    }

    #[test]
    fn seeds_tell_graphs_apart_and_keep_them() {
        let graph = |seed| edges(&Rmat::new(6, 4).seed(seed));
        assert_eq!(graph(1), graph(1));
        assert_ne!(graph(1), graph(2));
        // A seed gives the same graph in every version.
        assert_eq!(graph(1)[..4], [(47, 33), (9, 4), (45, 11), (52, 52)]);
    }

    #[test]
    fn few_vertices_have_many_edges() {
        let mut degrees = vec![0u64; 1 << 14];
        edges(&Rmat::new(14, 16).seed(1)).iter().for_each(|(source, _)| degrees[*source as usize] += 1);
        degrees.sort_unstable_by(|a, b| b.cmp(a));
        let hundredth: u64 = degrees[..degrees.len() / 100].iter().sum();
        assert!(hundredth > 16 * (1 << 14) / 5, "{hundredth} edges of a hundredth of the vertices");
        assert!(degrees.iter().filter(|d| **d == 0).count() > 1 << 11);
    }

    #[test]
    fn weights_do_not_change_the_edges() {
        let plain = Rmat::new(8, 8).seed(5);
        let mut weighted = EdgeColumns::default();
        plain.clone().with_weights().fill(0..plain.edges(), &mut weighted);
        assert!(weighted.weights.iter().all(|w| (0.0..1.0).contains(w)));
        let mean = weighted.weights.iter().sum::<f64>() / weighted.weights.len() as f64;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        assert_eq!(edges(&plain), weighted.sources.into_iter().zip(weighted.targets).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let error = |rmat: Rmat| rmat.check().unwrap_err().to_string();
        assert!(error(Rmat::new(41, 1)).contains("a scale of 41, at most 40"));
        assert!(error(Rmat::new(4, 1).quadrants([0.5; 4])).contains("whose sum is 1"));
        assert!(error(Rmat::new(4, 1).quadrants([1.5, -0.5, 0.0, 0.0])).contains("probabilities"));
        assert!(error(Rmat::new(40, 1 << 20)).contains("edges, at most"));
    }
}
