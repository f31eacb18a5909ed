use super::kernels::{all_finite, axpy, dot};
use serde::{Deserialize, Serialize};

/// The features of one record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// Every value.
    Dense(&'a [f64]),
    /// The values that are not zero.
    Sparse(SparseRow<'a>),
}

/// Places, strictly ascending, and the values there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseRow<'a> {
    /// How many values there are with the zeros.
    pub width: usize,
    /// Where the values are.
    pub indices: &'a [u32],
    /// The values.
    pub values: &'a [f64],
}

impl Row<'_> {
    /// How many values there are, with zeros.
    pub fn width(&self) -> usize {
        match self {
            Row::Dense(values) => values.len(),
            Row::Sparse(row) => row.width,
        }
    }

    /// Sum of products with weights; features beyond the weights count nothing.
    #[inline]
    pub fn dot(&self, weights: &[f64]) -> f64 {
        match self {
            Row::Dense(values) => dot(&values[..values.len().min(weights.len())], weights),
            Row::Sparse(row) => {
                row.indices.iter().zip(row.values).map(|(i, x)| weights.get(*i as usize).map_or(0.0, |w| w * x)).sum()
            }
        }
    }

    /// Adds `scale` times this row to `to`.
    #[inline]
    pub fn add_to(&self, scale: f64, to: &mut [f64]) {
        match self {
            Row::Dense(values) => axpy(scale, values, to),
            Row::Sparse(row) => {
                for (i, x) in row.indices.iter().zip(row.values) {
                    if let Some(y) = to.get_mut(*i as usize) {
                        *y += scale * x;
                    }
                }
            }
        }
    }

    /// Sum of squares.
    #[inline]
    pub fn squared_norm(&self) -> f64 {
        let values = self.stored();
        dot(values, values)
    }

    /// The values that are stored: all of a dense row.
    #[inline]
    pub fn stored(&self) -> &[f64] {
        match self {
            Row::Dense(values) => values,
            Row::Sparse(row) => row.values,
        }
    }

    /// Calls `f` with place and value of everything stored.
    #[inline]
    pub fn for_each(&self, mut f: impl FnMut(usize, f64)) {
        match self {
            Row::Dense(values) => values.iter().enumerate().for_each(|(i, x)| f(i, *x)),
            Row::Sparse(row) => row.indices.iter().zip(row.values).for_each(|(i, x)| f(*i as usize, *x)),
        }
    }

    /// The value at a place.
    pub fn get(&self, place: usize) -> f64 {
        match self {
            Row::Dense(values) => values.get(place).copied().unwrap_or(0.0),
            Row::Sparse(row) => u32::try_from(place)
                .ok()
                .and_then(|place| row.indices.binary_search(&place).ok())
                .map_or(0.0, |at| row.values[at]),
        }
    }

    /// Writes the row, zeros included, to a slice of its width.
    pub fn write_to(&self, to: &mut [f64]) {
        match self {
            Row::Dense(values) => to[..values.len()].copy_from_slice(values),
            Row::Sparse(_) => {
                to.fill(0.0);
                self.for_each(|i, x| to[i] = x);
            }
        }
    }

    /// An owned copy.
    pub fn to_vector(&self) -> Vector {
        match self {
            Row::Dense(values) => Vector::Dense(values.to_vec()),
            Row::Sparse(row) => Vector::Sparse { width: row.width, indices: row.indices.to_vec(), values: row.values.to_vec() },
        }
    }

    /// What is wrong with this row for a learner of `width` features; nothing if it has that width and all values are finite.
    #[inline]
    pub fn fault(&self, width: usize) -> Option<String> {
        if self.width() == width && all_finite(self.stored()) {
            return None;
        }
        self.describe_fault(width)
    }

    #[cold]
    fn describe_fault(&self, width: usize) -> Option<String> {
        if self.width() != width {
            return Some(format!("{} features, expected {width}", self.width()));
        }
        let mut fault = None;
        self.for_each(|i, x| {
            if !x.is_finite() && fault.is_none() {
                fault = Some(if x.is_nan() { format!("feature {i} is missing") } else { format!("feature {i} is {x}") });
            }
        });
        fault
    }
}

/// The features of one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Vector {
    /// Every value.
    Dense(Vec<f64>),
    /// The values that are not zero, at places that ascend strictly.
    Sparse {
        /// How many values there are with the zeros.
        width: usize,
        /// Where the values are.
        indices: Vec<u32>,
        /// The values.
        values: Vec<f64>,
    },
}

impl Vector {
    /// The vector as a row.
    #[inline]
    pub fn row(&self) -> Row<'_> {
        match self {
            Self::Dense(values) => Row::Dense(values),
            Self::Sparse { width, indices, values } => Row::Sparse(SparseRow { width: *width, indices, values }),
        }
    }
}

impl From<Vec<f64>> for Vector {
    fn from(values: Vec<f64>) -> Self {
        Self::Dense(values)
    }
}

/// A record to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What is known of it.
    pub features: Vector,
    /// What is to be predicted: the number, or the class (1 or -1 where there are two).
    pub label: f64,
}

impl Example {
    /// A record with these features and label.
    pub fn new(features: impl Into<Vector>, label: f64) -> Self {
        Self { features: features.into(), label }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_rows_compute_the_same() {
        let dense = Vector::from(vec![0.0, 2.0, 0.0, -1.5]);
        let sparse = Vector::Sparse { width: 4, indices: vec![1, 3], values: vec![2.0, -1.5] };
        let weights = [1.0, 0.5, 7.0, 2.0];
        for row in [dense.row(), sparse.row()] {
            assert_eq!(row.dot(&weights), -2.0);
            assert_eq!(row.squared_norm(), 6.25);
            assert_eq!((row.width(), row.get(3), row.get(2)), (4, -1.5, 0.0));
            let mut sum = [1.0; 4];
            row.add_to(2.0, &mut sum);
            assert_eq!(sum, [1.0, 5.0, 1.0, -2.0]);
            let mut copy = [9.0; 4];
            row.write_to(&mut copy);
            assert_eq!(copy, [0.0, 2.0, 0.0, -1.5]);
        }
    }

    #[test]
    fn faults_are_named() {
        let fault = |values: Vec<f64>| Vector::from(values).row().fault(2);
        assert_eq!(fault(vec![1.0, f64::MAX]), None);
        assert_eq!(fault(vec![1.0]).as_deref(), Some("1 features, expected 2"));
        assert_eq!(fault(vec![1.0, f64::NAN]).as_deref(), Some("feature 1 is missing"));
        assert_eq!(fault(vec![f64::NEG_INFINITY, 1.0]).as_deref(), Some("feature 0 is -inf"));
    }
}
