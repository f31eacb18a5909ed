//! The loops that everything spends its time in, written so that they vectorize.

/// Sum of products, in four interleaved sums: floating-point additions are not reordered by the compiler, so one sum would be
/// one chain of additions.
#[inline]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b[..a.len()].as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (x, y) in a4.iter().zip(b4) {
        for i in 0..4 {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// Whether no value is infinite or not a number.
#[inline]
pub(crate) fn all_finite(values: &[f64]) -> bool {
    // Zero times anything finite is zero, times anything else is not a number; in interleaved sums, as in `dot`.
    let (chunks, rest) = values.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for chunk in chunks {
        for i in 0..4 {
            sums[i] += chunk[i] * 0.0;
        }
    }
    let rest: f64 = rest.iter().map(|x| x * 0.0).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest == 0.0
}

/// Adds `scale * x` to `y`.
#[inline]
pub(crate) fn axpy(scale: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

/// Squared Euclidean distance, in the order of the dimensions.
#[inline]
pub fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (x, y) in a.iter().zip(b) {
        let difference = x - y;
        sum += difference * difference;
    }
    sum
}

/// The place of the smallest value; the first one of equals. 0 for an empty slice.
#[inline]
pub fn argmin(values: &[f64]) -> usize {
    let (mut place, mut least) = (0, f64::INFINITY);
    for (i, value) in values.iter().enumerate() {
        if *value < least {
            (place, least) = (i, *value);
        }
    }
    place
}

/// Centres in groups, each laid out dimension by dimension, so that the distances of a point to a group are computed side by side.
///
/// Each distance is summed in the order of the dimensions, as [`squared_distance`] does: the same bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nearest {
    centres: usize,
    width: usize,
    /// Value `j` of lane `i` of group `g` at `(g * width + j) * LANES + i`. What fills up the last group is infinitely far away.
    groups: Vec<f64>,
}

/// Centres of a group.
const LANES: usize = 8;

impl Nearest {
    /// Of centres of this width that lie one after another.
    pub fn new(centres: &[f64], width: usize) -> Self {
        let count = centres.len().checked_div(width).unwrap_or(0);
        let groups = vec![f64::INFINITY; count.next_multiple_of(LANES) * width];
        let mut nearest = Self { centres: count, width, groups };
        for c in 0..count {
            nearest.set(c, &centres[c * width..][..width]);
        }
        nearest
    }

    /// Moves a centre.
    #[inline]
    pub fn set(&mut self, centre: usize, to: &[f64]) {
        let first = centre / LANES * self.width * LANES;
        let group = &mut self.groups[first..first + self.width * LANES];
        for (values, value) in group.as_chunks_mut::<LANES>().0.iter_mut().zip(to) {
            values[centre % LANES] = *value;
        }
    }

    /// Number of the nearest centre and the squared distance to it.
    #[inline]
    pub fn find(&self, point: &[f64]) -> (usize, f64) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just asked.
            return unsafe { self.find_avx2(point) };
        }
        self.find_any(point)
    }

    /// [`Nearest::find`], compiled for wider registers. Without fused multiplication: the bits do not depend on the processor.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn find_avx2(&self, point: &[f64]) -> (usize, f64) {
        self.find_any(point)
    }

    /// Without branches on distances, which nobody could predict.
    #[inline(always)]
    fn find_any(&self, point: &[f64]) -> (usize, f64) {
        // Of each lane: the least distance so far, and the centre at it.
        let (mut least, mut centres) = ([f64::INFINITY; LANES], [0u64; LANES]);
        for (g, group) in self.groups.chunks_exact((self.width * LANES).max(1)).enumerate() {
            let mut sums = [0.0; LANES];
            for (value, column) in point.iter().zip(group.as_chunks::<LANES>().0) {
                for i in 0..LANES {
                    let difference = value - column[i];
                    sums[i] += difference * difference;
                }
            }
            for i in 0..LANES {
                let nearer = sums[i] < least[i];
                least[i] = if nearer { sums[i] } else { least[i] };
                centres[i] = if nearer { (g * LANES + i) as u64 } else { centres[i] };
            }
        }
        for half in [4, 2, 1] {
            for i in 0..half {
                let (other, centre) = (least[i + half], centres[i + half]);
                // Of equals the first one.
                let nearer = (other < least[i]) | ((other == least[i]) & (centre < centres[i]));
                least[i] = if nearer { other } else { least[i] };
                centres[i] = if nearer { centre } else { centres[i] };
            }
        }
        ((centres[0] as usize).min(self.centres.saturating_sub(1)), least[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_of_products_are_those_of_the_plain_loop(pairs in prop::collection::vec((-9.0..9.0f64, -9.0..9.0f64), 0..40)) {
            let (a, b): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let plain: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            prop_assert!((dot(&a, &b) - plain).abs() < 1e-11);
        }

        #[test]
        fn values_that_are_not_finite_are_found(
            mut values in prop::collection::vec(-1e308..1e308f64, 0..40), wrong in 0usize..3, at in 0usize..40
        ) {
            prop_assert!(all_finite(&values));
            if let Some(value) = values.get_mut(at) {
                *value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][wrong];
                prop_assert!(!all_finite(&values));
            }
        }

        #[test]
        fn the_nearest_centre_is_that_of_the_plain_loop(
            width in 1usize..9, count in 1usize..20, values in prop::collection::vec(-3.0..3.0f64, 29 * 9)
        ) {
            let (point, rest) = values.split_at(width);
            let centres = &rest[..width * count];
            let distances: Vec<f64> = centres.chunks(width).map(|c| squared_distance(point, c)).collect();
            let expected = argmin(&distances);
            let nearest = Nearest::new(centres, width);
            prop_assert_eq!(nearest.find(point), (expected, distances[expected]));
            prop_assert_eq!(nearest.find_any(point), (expected, distances[expected]));
        }
    }
}
