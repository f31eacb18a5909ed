use crate::vector::Row;
use serde::{Deserialize, Serialize};

/// Weights times a common factor, so that shrinking all of them costs one multiplication, however sparse the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScaledWeights {
    values: Vec<f64>,
    scale: f64,
}

impl ScaledWeights {
    pub fn zeros(width: usize) -> Self {
        Self { values: vec![0.0; width], scale: 1.0 }
    }

    pub fn from_values(values: &[f64]) -> Self {
        Self { values: values.to_vec(), scale: 1.0 }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub fn dot(&self, row: Row<'_>) -> f64 {
        row.dot(&self.values) * self.scale
    }

    /// Multiplies all weights.
    #[inline]
    pub fn shrink(&mut self, factor: f64) {
        self.scale *= factor;
        if self.scale < 1e-9 {
            self.fold();
        }
    }

    #[inline]
    pub fn add(&mut self, amount: f64, row: Row<'_>) {
        row.add_to(amount / self.scale, &mut self.values);
    }

    #[inline]
    pub fn get(&self, place: usize) -> f64 {
        self.values[place] * self.scale
    }

    #[inline]
    pub fn set(&mut self, place: usize, weight: f64) {
        self.values[place] = weight / self.scale;
    }

    /// Puts the factor into the weights.
    pub fn fold(&mut self) {
        let scale = self.scale;
        self.values.iter_mut().for_each(|w| *w *= scale);
        self.scale = 1.0;
    }

    pub fn to_vec(&self) -> Vec<f64> {
        self.values.iter().map(|w| w * self.scale).collect()
    }

    /// The weights, with the factor put into them.
    pub fn plain_mut(&mut self) -> &mut [f64] {
        self.fold();
        &mut self.values
    }
}
