use crate::{Error, Result};
use std::collections::HashSet;
use std::hash::Hash;

/// Area under the receiver operating characteristic: the probability that a positive record has a higher score than a negative
/// one, ties counting half (Hanley and McNeil 1982). Labels above 0 are positive.
///
/// ```
/// let auc = fluvial_ml::roc_auc(&[0.0, 0.0, 1.0, 1.0], &[0.1, 0.4, 0.35, 0.8])?;
/// assert_eq!(auc, 0.75);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
///
/// # Errors
/// Not as many labels as scores, scores that are not numbers, or only one class.
pub fn roc_auc(labels: &[f64], scores: &[f64]) -> Result<f64> {
    if labels.len() != scores.len() || scores.iter().any(|s| s.is_nan()) {
        return Err(Error::Data(format!(
            "ROC AUC of {} labels and {} scores, or scores that are no numbers",
            labels.len(),
            scores.len()
        )));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut positives, mut negatives, mut below) = (0.0, 0.0, 0.0);
    for ties in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let up = ties.iter().filter(|i| labels[**i] > 0.0).count() as f64;
        let down = ties.len() as f64 - up;
        below += up * (negatives + down / 2.0);
        positives += up;
        negatives += down;
    }
    if positives == 0.0 || negatives == 0.0 {
        return Err(Error::Data("ROC AUC needs records of both classes".into()));
    }
    Ok(below / (positives * negatives))
}

/// Share of the users for whom at least one of the first `k` recommendations is among what they went on to take.
///
/// # Errors
/// Not as many lists of recommendations as of truths, or none.
pub fn hit_rate<T: Eq + Hash>(recommended: &[Vec<T>], taken: &[Vec<T>], k: usize) -> Result<f64> {
    if recommended.is_empty() || recommended.len() != taken.len() {
        return Err(Error::Data(format!(
            "hit rate of {} lists of recommendations and {} of truths",
            recommended.len(),
            taken.len()
        )));
    }
    let hit = |(recommended, taken): &(&Vec<T>, &Vec<T>)| {
        let taken: HashSet<&T> = taken.iter().collect();
        recommended.iter().take(k).any(|item| taken.contains(item))
    };
    Ok(recommended.iter().zip(taken).filter(hit).count() as f64 / recommended.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_area_counts_pairs(records in prop::collection::vec((any::<bool>(), 0u8..6), 2..40)) {
            let labels: Vec<f64> = records.iter().map(|r| f64::from(u8::from(r.0))).collect();
            let scores: Vec<f64> = records.iter().map(|r| f64::from(r.1)).collect();
            let (mut pairs, mut won) = (0.0, 0.0);
            for (a, x) in labels.iter().zip(&scores) {
                for (b, y) in labels.iter().zip(&scores) {
                    if *a > 0.0 && *b == 0.0 {
                        pairs += 1.0;
                        won += if x > y { 1.0 } else if x == y { 0.5 } else { 0.0 };
                    }
                }
            }
            match roc_auc(&labels, &scores) {
                Ok(area) => prop_assert!((area - won / pairs).abs() < 1e-12),
                Err(_) => prop_assert!(pairs == 0.0),
            }
        }
    }

    #[test]
    fn hits_are_among_the_first() {
        let recommended = [vec![1, 2, 3], vec![4, 5, 6]];
        let taken = [vec![3], vec![4]];
        assert_eq!(hit_rate(&recommended, &taken, 3).unwrap(), 1.0);
        assert_eq!(hit_rate(&recommended, &taken, 2).unwrap(), 0.5);
        assert!(hit_rate(&recommended, &taken[..1], 2).is_err());
    }
}
