//! Where k-means begins.

use crate::random::Random;
use crate::vector::squared_distance;

/// k-means++ over weighted points (Arthur and Vassilvitskii 2007), the better of several candidates at each step, as the paper's
/// experiments have it: each next centre is drawn with a probability by its weight times the squared distance from the centres so
/// far. Fewer centres where there are not that many different points.
pub(super) fn plus_plus(points: &[f64], weights: &[f64], width: usize, clusters: usize, random: &mut Random) -> Vec<f64> {
    let count = weights.len();
    let point = |i: usize| &points[i * width..(i + 1) * width];
    if count == 0 {
        return Vec::new();
    }
    let mut centres = point(draw(weights, random)).to_vec();
    let mut distances: Vec<f64> = (0..count).map(|i| squared_distance(point(i), &centres)).collect();
    let candidates = 2 + clusters.max(1).ilog2();
    while centres.len() < clusters * width {
        let shares: Vec<f64> = distances.iter().zip(weights).map(|(d, w)| d * w).collect();
        if shares.iter().sum::<f64>() <= 0.0 {
            break;
        }
        let mut best: Option<(f64, Vec<f64>, usize)> = None;
        for _ in 0..candidates {
            let candidate = draw(&shares, random);
            let nearer: Vec<f64> =
                distances.iter().enumerate().map(|(i, d)| d.min(squared_distance(point(i), point(candidate)))).collect();
            let cost = nearer.iter().zip(weights).map(|(d, w)| d * w).sum();
            if best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, nearer, candidate));
            }
        }
        let Some((_, nearer, candidate)) = best else { break };
        centres.extend_from_slice(point(candidate));
        distances = nearer;
    }
    centres
}

/// A place, with a probability by its share.
fn draw(shares: &[f64], random: &mut Random) -> usize {
    let mut at = random.unit() * shares.iter().sum::<f64>();
    for (i, share) in shares.iter().enumerate() {
        at -= share;
        if at < 0.0 {
            return i;
        }
    }
    shares.iter().rposition(|s| *s > 0.0).unwrap_or(0)
}

/// Of a stream of points a sample of so many, each as likely as any other (Vitter's algorithm R).
pub(super) fn sample(count: usize, size: usize, random: &mut Random) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..count.min(size)).collect();
    for i in size..count {
        let place = random.below(i + 1);
        if place < size {
            chosen[place] = i;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_clouds_all_get_a_centre() {
        let points: Vec<f64> = (0..300).map(|i| f64::from(i % 3) * 1000.0 + f64::from(i % 7)).collect();
        for seed in 0..20 {
            let mut centres = plus_plus(&points, &vec![1.0; 300], 1, 3, &mut Random::new(seed));
            centres.sort_by(f64::total_cmp);
            let clouds: Vec<f64> = centres.iter().map(|c| (c / 1000.0).floor()).collect();
            assert_eq!(clouds, [0.0, 1.0, 2.0], "seed {seed}");
        }
        let same = plus_plus(&[5.0; 10], &[1.0; 10], 1, 3, &mut Random::new(1));
        assert_eq!(same, [5.0], "no more centres than different points");
    }

    #[test]
    fn what_weighs_nothing_is_not_drawn() {
        let mut random = Random::new(2);
        assert!((0..1000).all(|_| draw(&[0.0, 1.0, 0.0, 2.0, 0.0], &mut random) % 2 == 1));
        let mut seen: Vec<usize> = (0..200).flat_map(|_| sample(10, 3, &mut random)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}
