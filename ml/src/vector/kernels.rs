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

/// Points of a tile, and centres that it is compared with at a time: as many sums as the registers hold.
const TILE: usize = 8;
const SIDE: usize = 4;

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

    /// [`Nearest::find`] for points that lie one after another: the place of point `i` among the `found` is `i`.
    ///
    /// Side by side are points instead of centres: each centre that is loaded serves all points of a tile, and no lanes are to be
    /// compared with each other in the end.
    pub fn find_all(&self, points: &[f64], found: &mut [(u32, f64)]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just asked.
            return unsafe { self.find_all_avx2(points, found) };
        }
        self.find_all_any(points, found);
    }

    /// [`Nearest::find_all`], compiled for wider registers; see [`Nearest::find_avx2`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn find_all_avx2(&self, points: &[f64], found: &mut [(u32, f64)]) {
        self.find_all_any(points, found);
    }

    #[inline(always)]
    fn find_all_any(&self, points: &[f64], found: &mut [(u32, f64)]) {
        let mut tile = vec![[0.0; TILE]; self.width];
        for (points, found) in points.chunks((TILE * self.width).max(1)).zip(found.chunks_mut(TILE)) {
            if let Ok(found) = <&mut [_; TILE]>::try_from(&mut *found) {
                for (i, point) in points.chunks_exact(self.width).enumerate() {
                    tile.iter_mut().zip(point).for_each(|(column, value)| column[i % TILE] = *value);
                }
                self.find_tile(&tile, found);
            } else {
                let rest = points.chunks(self.width.max(1)).zip(found);
                rest.for_each(|(point, found)| {
                    let (centre, distance) = self.find_any(point);
                    *found = (centre as u32, distance);
                });
            }
        }
    }

    /// Of a tile of points, dimension by dimension.
    #[inline(always)]
    fn find_tile(&self, tile: &[[f64; TILE]], found: &mut [(u32, f64); TILE]) {
        let (mut least, mut centres) = ([f64::INFINITY; TILE], [0u64; TILE]);
        for (g, group) in self.groups.chunks_exact((self.width * LANES).max(1)).enumerate() {
            for first in (0..LANES).step_by(SIDE) {
                let mut sums = [[0.0; TILE]; SIDE];
                for (column, centres) in tile.iter().zip(group.as_chunks::<LANES>().0) {
                    for c in 0..SIDE {
                        for i in 0..TILE {
                            let difference = column[i] - centres[first + c];
                            sums[c][i] += difference * difference;
                        }
                    }
                }
                // In the order of the centres: of equals the first one stays.
                for (c, sums) in sums.iter().enumerate() {
                    for i in 0..TILE {
                        let nearer = sums[i] < least[i];
                        least[i] = if nearer { sums[i] } else { least[i] };
                        centres[i] = if nearer { (g * LANES + first + c) as u64 } else { centres[i] };
                    }
                }
            }
        }
        for i in 0..TILE {
            found[i] = (centres[i] as u32, least[i]);
        }
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

        /// Of points in tiles and beside them, of values among which some are equal and some not finite: bit for bit what the plain loop
        /// gives, compiled for this processor and for any.
        #[test]
        fn the_nearest_centres_of_many_points_are_those_of_the_plain_loop(
            width in 1usize..12, count in 1usize..21, points in 0usize..30,
            values in prop::collection::vec(prop_oneof![
                4 => -3.0..3.0f64, 4 => (-2..3i32).prop_map(f64::from),
                1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200])
            ], 51 * 12)
        ) {
            let (centres, points) = (&values[..count * width], &values[21 * 12..][..points * width]);
            let nearest = Nearest::new(centres, width);
            let expected: Vec<(u32, u64)> = points.chunks(width).map(|point| {
                let distances: Vec<f64> = centres.chunks(width).map(|c| squared_distance(point, c)).collect();
                let place = argmin(&distances);
                let least = if distances[place] < f64::INFINITY { distances[place] } else { f64::INFINITY };
                (place as u32, least.to_bits())
            }).collect();
            let one_by_one = points.chunks(width).map(|p| nearest.find(p)).map(|(c, d)| (c as u32, d.to_bits()));
            prop_assert_eq!(&one_by_one.collect::<Vec<_>>(), &expected);
            for find in [Nearest::find_all, Nearest::find_all_any] {
                let mut found = vec![(u32::MAX, f64::NAN); points.len() / width];
                find(&nearest, points, &mut found);
                let found: Vec<(u32, u64)> = found.into_iter().map(|(c, d)| (c, d.to_bits())).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
