use super::transform::Transformer;
use crate::Result;
use crate::data::{Column, Frame};
use crate::error::data;
use crate::model::{Persist, Stage};
use crate::parameters::choice;
use crate::vector::Rows;
use serde::{Deserialize, Serialize};

choice! {
    /// How long a vector is.
    Norm {
        /// Sum of the absolute values.
        L1 = "l1",
        /// Square root of the sum of the squares.
        L2 = "l2",
        /// The largest absolute value.
        Max = "max",
    }
}

/// Divides each row of a column of vectors by its norm; rows of zeros stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalizer {
    column: String,
    norm: Norm,
}

impl Normalizer {
    /// Of this column, by this norm.
    pub fn of(column: &str, norm: Norm) -> Self {
        Self { column: column.to_owned(), norm }
    }
}

impl Transformer for Normalizer {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        let Column::Vectors(rows) = frame.column_mut(&self.column)? else {
            return data(format!("column `{}`: expected vectors", self.column));
        };
        let width = rows.width();
        let each = |values: &mut [f64]| {
            let norm = match self.norm {
                Norm::L1 => values.iter().map(|x| x.abs()).sum(),
                Norm::L2 => crate::vector::dot(values, values).sqrt(),
                Norm::Max => values.iter().fold(0.0, |most: f64, x| most.max(x.abs())),
            };
            if norm > 0.0 {
                values.iter_mut().for_each(|x| *x /= norm);
            }
        };
        match rows {
            Rows::Dense(rows) if width > 0 => rows.values_mut().chunks_exact_mut(width).for_each(each),
            Rows::Dense(_) => {}
            Rows::Sparse(rows) => rows.for_each_row_mut(each),
        }
        Ok(())
    }
}

impl Persist for Normalizer {
    const KIND: &'static str = "normalizer";

    fn to_stage(&self) -> Stage {
        Stage::new(Self::KIND, self)
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        stage.parameters()
    }
}

/// Puts columns of numbers and vectors side by side, as one column of vectors. One column of vectors alone stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorAssembler {
    columns: Vec<String>,
    output: String,
}

impl VectorAssembler {
    /// Of these columns, in this order.
    pub fn of(columns: &[String], output: &str) -> Self {
        Self { columns: columns.to_vec(), output: output.to_owned() }
    }
}

impl Transformer for VectorAssembler {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        let rows = frame.assemble(&self.columns)?;
        frame.set(&self.output, Column::Vectors(rows))
    }
}

impl Persist for VectorAssembler {
    const KIND: &'static str = "assembler";

    fn to_stage(&self) -> Stage {
        Stage::new(Self::KIND, self)
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        stage.parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::{Block, DenseRows};

    #[test]
    fn rows_get_a_norm_of_one() {
        for (norm, expected) in [(Norm::L1, [3.0 / 7.0, -4.0 / 7.0]), (Norm::L2, [0.6, -0.8]), (Norm::Max, [0.75, -1.0])] {
            let rows = Rows::Dense(DenseRows::from_values(2, vec![3.0, -4.0, 0.0, 0.0]).unwrap());
            let mut sparse = rows.clone();
            if let Rows::Dense(dense) = &rows {
                sparse = Rows::Sparse(crate::SparseRows::new(2));
                dense.values().chunks(2).for_each(|r| sparse.push(crate::Row::Dense(r)).unwrap());
            }
            for rows in [rows, sparse] {
                let mut frame = Frame::of_block(Block::new(rows, Vec::new()).unwrap(), "x");
                Normalizer::of("x", norm).transform(&mut frame).unwrap();
                let row = frame.vectors("x").unwrap().row(0);
                assert!((row.get(0) - expected[0]).abs() < 1e-15 && (row.get(1) - expected[1]).abs() < 1e-15);
                assert_eq!(frame.vectors("x").unwrap().row(1).get(0), 0.0);
            }
        }
    }
}
