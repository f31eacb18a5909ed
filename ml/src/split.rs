//! Parts of data to learn from and to judge by, and cross-validation.

use crate::Result;
use crate::error::data;
use crate::random::Random;
use crate::vector::Block;

/// A part to learn from, and one to judge by.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Records to learn from.
    pub train: Block,
    /// Records to judge by.
    pub test: Block,
}

/// Puts this share of the records, drawn at random, aside to judge by.
///
/// # Errors
/// A share that is not between 0 and 1, both excluded, or that leaves one part empty.
pub fn random_split(block: &Block, test_share: f64, seed: u64) -> Result<Split> {
    let mut places: Vec<usize> = (0..block.len()).collect();
    Random::new(seed).shuffle(&mut places);
    let first = test_size(block, test_share)?;
    Ok(Split { test: block.pick(&places[..first]), train: block.pick(&places[first..]) })
}

/// Puts the last share of the records aside: what came later is judged by what came before.
///
/// # Errors
/// As [`random_split`].
pub fn chronological_split(block: &Block, test_share: f64) -> Result<Split> {
    let first = block.len() - test_size(block, test_share)?;
    Ok(Split { train: block.slice(0, first), test: block.slice(first, block.len()) })
}

fn test_size(block: &Block, share: f64) -> Result<usize> {
    if !(share > 0.0 && share < 1.0) {
        return data(format!("a test share of {share}, expected one between 0 and 1"));
    }
    let size = (block.len() as f64 * share).round() as usize;
    if size == 0 || size == block.len() {
        return data(format!("a test share of {share} leaves one part of {} records empty", block.len()));
    }
    Ok(size)
}

/// Deals the records, in random order, into `folds` parts of nearly equal size; each is the one to judge by once.
///
/// # Errors
/// Fewer than 2 folds, or fewer records than folds.
pub fn k_fold(block: &Block, folds: usize, seed: u64) -> Result<Vec<Split>> {
    if folds < 2 || block.len() < folds {
        return data(format!("{} records in {folds} folds, expected 2 folds or more and as many records", block.len()));
    }
    let mut places: Vec<usize> = (0..block.len()).collect();
    Random::new(seed).shuffle(&mut places);
    let fold = |fold: usize| {
        let of = |test: bool| {
            let chosen = places.iter().enumerate().filter(|(i, _)| (i % folds == fold) == test);
            block.pick(&chosen.map(|(_, place)| *place).collect::<Vec<_>>())
        };
        Split { train: of(false), test: of(true) }
    };
    Ok((0..folds).map(fold).collect())
}

/// Judges something on each fold: `judge` learns from one part and gives a figure about the other.
///
/// # Errors
/// As [`k_fold`], and what `judge` says.
pub fn cross_validate(block: &Block, folds: usize, seed: u64, judge: impl Fn(&Block, &Block) -> Result<f64>) -> Result<Vec<f64>> {
    k_fold(block, folds, seed)?.iter().map(|split| judge(&split.train, &split.test)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::{DenseRows, Rows};

    fn numbers(count: u32) -> Block {
        let values: Vec<f64> = (0..count).map(f64::from).collect();
        Block::new(Rows::Dense(DenseRows::from_values(1, values.clone()).unwrap()), values).unwrap()
    }

    #[test]
    fn every_record_is_judged_by_once() {
        let folds = k_fold(&numbers(23), 5, 7).unwrap();
        let mut judged: Vec<f64> = folds.iter().flat_map(|f| f.test.labels.clone()).collect();
        judged.sort_by(f64::total_cmp);
        assert_eq!(judged, numbers(23).labels);
        for fold in &folds {
            assert_eq!(fold.train.len() + fold.test.len(), 23);
            assert!(fold.test.labels.iter().all(|l| !fold.train.labels.contains(l)));
        }
        assert!(k_fold(&numbers(3), 4, 7).is_err());
        assert_eq!(cross_validate(&numbers(10), 5, 1, |_, test| Ok(test.len() as f64)).unwrap(), [2.0; 5]);
    }

    #[test]
    fn splits_are_of_the_size_asked_for_and_repeat() {
        let split = random_split(&numbers(10), 0.3, 1).unwrap();
        assert_eq!((split.test.len(), split.train.len()), (3, 7));
        assert_eq!(split, random_split(&numbers(10), 0.3, 1).unwrap());
        assert_ne!(split, random_split(&numbers(10), 0.3, 2).unwrap());
        let later = chronological_split(&numbers(10), 0.2).unwrap();
        assert_eq!(later.test.labels, [8.0, 9.0]);
        assert!(random_split(&numbers(10), 1.0, 1).is_err());
        assert!(chronological_split(&numbers(2), 0.1).is_err());
    }
}
