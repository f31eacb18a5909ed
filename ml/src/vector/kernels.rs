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

/// Centres laid out dimension by dimension, so that the distances of a point to all of them are computed side by side.
///
/// Each distance is summed in the order of the dimensions, as [`squared_distance`] does: the same bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nearest {
    centres: usize,
    width: usize,
    /// `centres` rounded up to whole lanes; what is added is infinitely far away.
    stride: usize,
    /// Value `j` of centre `c` at `j * stride + c`.
    columns: Vec<f64>,
}

const LANES: usize = 8;

impl Nearest {
    /// Of centres of this width that lie one after another.
    pub fn new(centres: &[f64], width: usize) -> Self {
        let count = centres.len().checked_div(width).unwrap_or(0);
        let stride = count.next_multiple_of(LANES);
        let mut nearest = Self { centres: count, width, stride, columns: vec![f64::INFINITY; stride * width] };
        for c in 0..count {
            nearest.set(c, &centres[c * width..][..width]);
        }
        nearest
    }

    /// Moves a centre.
    #[inline]
    pub fn set(&mut self, centre: usize, to: &[f64]) {
        for (j, value) in to.iter().enumerate() {
            self.columns[j * self.stride + centre] = *value;
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

    #[inline(always)]
    fn find_any(&self, point: &[f64]) -> (usize, f64) {
        let (mut best, mut least) = (0, f64::INFINITY);
        for first in (0..self.stride).step_by(LANES) {
            let mut sums = [0.0; LANES];
            for (j, value) in point.iter().enumerate().take(self.width) {
                let Some(column) = self.columns[j * self.stride + first..].first_chunk::<LANES>() else { continue };
                for i in 0..LANES {
                    let difference = value - column[i];
                    sums[i] += difference * difference;
                }
            }
            // Most groups have nothing nearer: looked at whole, first.
            let lowest = sums.iter().fold(f64::INFINITY, |a, b| if *b < a { *b } else { a });
            if lowest < least {
                least = lowest;
                best = first + sums.iter().position(|s| *s == lowest).unwrap_or(0);
            }
        }
        (best.min(self.centres.saturating_sub(1)), least)
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
