use super::scale::quantile;
use super::transform::{Estimator, Transform, Transformer};
use crate::Result;
use crate::data::{Column, Frame};
use crate::error::data;
use crate::model::{Persist, Stage};
use crate::vector::Rows;
use serde::{Deserialize, Serialize};

/// What stands in for a missing number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fill {
    /// The mean of the others.
    Mean,
    /// Their median.
    Median,
    /// The one that is there most often; the smallest of several.
    MostFrequent,
    /// Always this number.
    Constant(f64),
}

/// Fills in missing numbers of columns of numbers or dense vectors, feature by feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Imputer {
    columns: Vec<String>,
    fill: Fill,
}

impl Imputer {
    /// Of these columns.
    pub fn of(columns: &[String], fill: Fill) -> Self {
        Self { columns: columns.to_vec(), fill }
    }
}

/// A fitted [`Imputer`]: a number a column, or one a feature of a column of vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImputerModel {
    columns: Vec<String>,
    values: Vec<f64>,
    /// How many of the values each column has.
    widths: Vec<u64>,
}

impl Estimator for Imputer {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let (mut values, mut widths) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let mut features: Vec<Vec<f64>> = Vec::new();
            for part in parts {
                let rows = part.assemble(std::slice::from_ref(column))?;
                features.resize(rows.width(), Vec::new());
                for row in rows.iter() {
                    features.iter_mut().enumerate().for_each(|(i, f)| f.extend(Some(row.get(i)).filter(|x| x.is_finite())));
                }
            }
            widths.push(features.len() as u64);
            values.extend(features.into_iter().map(|f| self.value(f)));
        }
        Ok(Transform::Imputer(ImputerModel { columns: self.columns.clone(), values, widths }))
    }
}

impl Imputer {
    fn value(&self, mut known: Vec<f64>) -> f64 {
        known.sort_unstable_by(f64::total_cmp);
        match self.fill {
            Fill::Constant(value) => value,
            _ if known.is_empty() => 0.0,
            Fill::Mean => known.iter().sum::<f64>() / known.len() as f64,
            Fill::Median => quantile(&known, 0.5),
            // Runs of equals, the smallest first: of several longest ones it stays.
            Fill::MostFrequent => known.chunk_by(|a, b| a == b).rev().max_by_key(|run| run.len()).map_or(0.0, |run| run[0]),
        }
    }
}

impl Transformer for ImputerModel {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        let mut rest = self.values.as_slice();
        for (column, width) in self.columns.iter().zip(&self.widths) {
            let width = (*width as usize).min(rest.len());
            let (values, after) = rest.split_at(width);
            rest = after;
            let fill = |x: &mut f64, value: f64| {
                if !x.is_finite() {
                    *x = value;
                }
            };
            match frame.column_mut(column)? {
                Column::Numbers(numbers) if width == 1 => numbers.iter_mut().for_each(|x| fill(x, values[0])),
                Column::Vectors(Rows::Dense(rows)) if width > 0 => {
                    for row in rows.values_mut().chunks_exact_mut(width) {
                        row.iter_mut().zip(values).for_each(|(x, value)| fill(x, *value));
                    }
                }
                Column::Vectors(Rows::Sparse(rows)) if width > 0 => rows.for_each_mut(|place, x| fill(x, values[place])),
                _ => return data(format!("column `{column}`: expected numbers or vectors of {width} features")),
            }
        }
        Ok(())
    }
}

impl Persist for ImputerModel {
    const KIND: &'static str = "imputer";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &());
        stage.texts("columns", self.columns.clone());
        stage.counts("widths", self.widths.clone());
        stage.numbers("values", self.values.clone());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let columns = stage.get_texts("columns")?.to_vec();
        let (widths, values) = (stage.get_counts("widths")?.to_vec(), stage.get_numbers("values")?.to_vec());
        if columns.len() != widths.len() || widths.iter().sum::<u64>() != values.len() as u64 {
            return Err(stage.wrong("not as many values as its columns have features"));
        }
        Ok(Self { columns, values, widths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::DenseRows;

    #[test]
    fn missing_numbers_are_filled_in() {
        let nan = f64::NAN;
        for (fill, expected) in [(Fill::Mean, 3.25), (Fill::Median, 2.5), (Fill::MostFrequent, 1.0), (Fill::Constant(-1.0), -1.0)]
        {
            let mut frame = Frame::new(5);
            frame.set("a", Column::Numbers(vec![1.0, nan, 4.0, 7.0, 1.0])).unwrap();
            let rows = DenseRows::from_values(2, vec![nan, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, f64::INFINITY]).unwrap();
            frame.set("v", Column::Vectors(Rows::Dense(rows))).unwrap();
            let imputer = Imputer::of(&["a".to_owned(), "v".to_owned()], fill).fit(std::slice::from_ref(&frame)).unwrap();
            imputer.transform(&mut frame).unwrap();
            assert_eq!(frame.numbers("a").unwrap()[1], expected);
            let filled = if let Fill::Constant(c) = fill { [c, c] } else { [0.0, 1.0] };
            assert_eq!([frame.vectors("v").unwrap().row(0).get(0), frame.vectors("v").unwrap().row(4).get(1)], filled);
            assert_eq!(Transform::from_stage(&imputer.to_stage()).unwrap(), imputer);
        }
    }
}
