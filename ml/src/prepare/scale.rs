use super::transform::{Estimator, Transform, Transformer};
use crate::data::{Column, Frame};
use crate::error::data;
use crate::model::{Persist, Stage};
use crate::vector::{Row, Rows};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Shifts each feature of a column of vectors, and then scales it. Missing values stay missing.
///
/// Sparse rows are scaled and must not be shifted: they would not be sparse any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    column: String,
    shift: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaler {
    /// Subtracts `shift` and multiplies by `scale`, feature by feature.
    ///
    /// # Errors
    /// Not as many shifts as scales.
    pub fn new(column: &str, shift: Vec<f64>, scale: Vec<f64>) -> Result<Self> {
        if shift.len() != scale.len() {
            return data(format!("{} shifts and {} scales", shift.len(), scale.len()));
        }
        Ok(Self { column: column.to_owned(), shift, scale })
    }

    /// What is subtracted of each feature.
    pub fn shift(&self) -> &[f64] {
        &self.shift
    }

    /// What each feature is multiplied by.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Scales the rows of a block in place.
    ///
    /// # Errors
    /// Rows of another width; sparse rows where there is something to subtract.
    pub fn apply(&self, rows: &mut Rows) -> Result<()> {
        let width = rows.width();
        if width != self.scale.len() {
            return data(format!("a scaler of {} features for rows of {width}", self.scale.len()));
        }
        match rows {
            Rows::Dense(rows) if width > 0 => {
                for row in rows.values_mut().chunks_exact_mut(width) {
                    for ((x, shift), scale) in row.iter_mut().zip(&self.shift).zip(&self.scale) {
                        *x = (*x - shift) * scale;
                    }
                }
            }
            Rows::Dense(_) => {}
            Rows::Sparse(rows) => {
                if self.shift.iter().any(|s| *s != 0.0) {
                    return data(format!("column `{}` is sparse: it can be scaled, but not shifted", self.column));
                }
                rows.for_each_mut(|place, x| *x *= self.scale[place]);
            }
        }
        Ok(())
    }
}

impl Transformer for Scaler {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        match frame.column_mut(&self.column)? {
            Column::Vectors(rows) => self.apply(rows),
            Column::Numbers(values) if self.scale.len() == 1 => {
                values.iter_mut().for_each(|x| *x = (*x - self.shift[0]) * self.scale[0]);
                Ok(())
            }
            _ => data(format!("column `{}`: expected vectors of {} features", self.column, self.scale.len())),
        }
    }
}

impl Persist for Scaler {
    const KIND: &'static str = "scaler";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &self.column);
        stage.numbers("shift", self.shift.clone());
        stage.numbers("scale", self.scale.clone());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let (shift, scale) = (stage.get_numbers("shift")?.to_vec(), stage.get_numbers("scale")?.to_vec());
        Self::new(&stage.parameters::<String>()?, shift, scale).map_err(|e| stage.wrong(e))
    }
}

/// The column of each part, as rows.
fn columns<'a>(parts: &'a [Frame], column: &str) -> Result<Vec<std::borrow::Cow<'a, Rows>>> {
    let part = |frame: &'a Frame| match frame.column(column)? {
        Column::Vectors(rows) => Ok(std::borrow::Cow::Borrowed(rows)),
        _ => Ok(std::borrow::Cow::Owned(frame.assemble(&[column.to_owned()])?)),
    };
    let rows = parts.iter().map(part).collect::<Result<Vec<_>>>()?;
    let mut widths = rows.iter().map(|r| r.width());
    let first = widths.next();
    match widths.find(|w| Some(*w) != first) {
        Some(other) => data(format!("column `{column}`: parts of {} and {other} features", first.unwrap_or(0))),
        None => Ok(rows),
    }
}

fn reciprocal(spread: f64) -> f64 {
    if spread > 0.0 && spread.is_finite() { 1.0 / spread } else { 1.0 }
}

/// Mean 0 and deviation 1 of each feature, of dense rows; of sparse rows the deviation alone. Features that do not vary are only
/// shifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandardScaler {
    column: String,
}

impl StandardScaler {
    /// Of this column.
    pub fn of(column: &str) -> Self {
        Self { column: column.to_owned() }
    }
}

impl Estimator for StandardScaler {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let mut statistics: Option<OnlineScaler> = None;
        let mut sparse = false;
        for rows in columns(parts, &self.column)? {
            let mut part = OnlineScaler::new(&self.column, rows.width());
            rows.iter().for_each(|row| part.learn(row));
            sparse |= matches!(*rows, Rows::Sparse(_));
            match &mut statistics {
                Some(statistics) => statistics.merge(&part),
                None => statistics = Some(part),
            }
        }
        let statistics = statistics.ok_or_else(|| Error::Data("no data to learn a scale from".into()))?;
        let mut scaler = statistics.scaler();
        if sparse {
            scaler.shift.fill(0.0);
        }
        Ok(Transform::Scaler(scaler))
    }
}

/// Learns means and deviations record by record (Welford 1962), so that a stream can be scaled by what came before.
///
/// ```
/// use fluvial_ml::{OnlineScaler, Row};
/// let mut statistics = OnlineScaler::new("features", 1);
/// [1.0, 3.0].iter().for_each(|x| statistics.learn(Row::Dense(&[*x])));
/// assert_eq!((statistics.scaler().shift(), statistics.scaler().scale()), (&[2.0][..], &[1.0][..]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineScaler {
    column: String,
    counts: Vec<f64>,
    means: Vec<f64>,
    spreads: Vec<f64>,
}

impl OnlineScaler {
    /// Has seen nothing, of so many features of this column.
    pub fn new(column: &str, width: usize) -> Self {
        let zeros = vec![0.0; width];
        Self { column: column.to_owned(), counts: zeros.clone(), means: zeros.clone(), spreads: zeros }
    }

    /// Learns from a row; missing values teach nothing.
    pub fn learn(&mut self, row: Row<'_>) {
        let mut add = |i: usize, x: f64| {
            if x.is_finite() {
                self.counts[i] += 1.0;
                let distance = x - self.means[i];
                self.means[i] += distance / self.counts[i];
                self.spreads[i] += distance * (x - self.means[i]);
            }
        };
        match row {
            Row::Dense(values) => values.iter().enumerate().for_each(|(i, x)| add(i, *x)),
            row => (0..row.width()).for_each(|i| add(i, row.get(i))),
        }
    }

    /// Adds what others have seen (Chan, Golub and LeVeque 1983).
    pub fn merge(&mut self, other: &Self) {
        for i in 0..self.counts.len().min(other.counts.len()) {
            let (a, b) = (self.counts[i], other.counts[i]);
            if b > 0.0 {
                let distance = other.means[i] - self.means[i];
                self.means[i] += distance * b / (a + b);
                self.spreads[i] += other.spreads[i] + distance * distance * a * b / (a + b);
                self.counts[i] += b;
            }
        }
    }

    /// Scales by what was seen so far.
    pub fn scaler(&self) -> Scaler {
        let scale = self.spreads.iter().zip(&self.counts).map(|(s, n)| reciprocal((s / n).sqrt())).collect();
        Scaler { column: self.column.clone(), shift: self.means.clone(), scale }
    }
}

/// The values of each feature, without missing ones.
fn features(parts: &[Frame], column: &str) -> Result<Vec<Vec<f64>>> {
    let rows = columns(parts, column)?;
    let width = rows.first().map_or(0, |r| r.width());
    let mut features = vec![Vec::new(); width];
    for row in rows.iter().flat_map(|rows| rows.iter()) {
        features.iter_mut().enumerate().for_each(|(i, f)| f.extend(Some(row.get(i)).filter(|x| x.is_finite())));
    }
    Ok(features)
}

/// From 0 (the smallest value) to 1 (the greatest) of each feature; one that does not vary is 0. Of dense rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinMaxScaler {
    column: String,
}

impl MinMaxScaler {
    /// Of this column.
    pub fn of(column: &str) -> Self {
        Self { column: column.to_owned() }
    }
}

impl Estimator for MinMaxScaler {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let features = features(parts, &self.column)?;
        let least = features.iter().map(|f| f.iter().copied().reduce(f64::min).unwrap_or(0.0));
        let least: Vec<f64> = least.collect();
        let most = features.iter().map(|f| f.iter().copied().reduce(f64::max).unwrap_or(0.0));
        let scale = most.zip(&least).map(|(most, least)| reciprocal(most - least)).collect();
        Ok(Transform::Scaler(Scaler::new(&self.column, least, scale)?))
    }
}

/// Median 0, and 1 between the quartiles, of each feature: outliers do not count. Of dense rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobustScaler {
    column: String,
}

impl RobustScaler {
    /// Of this column.
    pub fn of(column: &str) -> Self {
        Self { column: column.to_owned() }
    }
}

impl Estimator for RobustScaler {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let (mut shift, mut scale) = (Vec::new(), Vec::new());
        for mut feature in features(parts, &self.column)? {
            feature.sort_unstable_by(f64::total_cmp);
            shift.push(quantile(&feature, 0.5));
            scale.push(reciprocal(quantile(&feature, 0.75) - quantile(&feature, 0.25)));
        }
        Ok(Transform::Scaler(Scaler::new(&self.column, shift, scale)?))
    }
}

/// Of sorted values, linear between two of them; 0 of none.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::{Block, DenseRows, SparseRows};

    fn parts() -> Vec<Frame> {
        let frame = |values: &[f64]| {
            let rows = Rows::Dense(DenseRows::from_values(2, values.to_vec()).unwrap());
            Frame::of_block(Block::new(rows, Vec::new()).unwrap(), "x")
        };
        vec![frame(&[1.0, 10.0, 2.0, 10.0]), frame(&[3.0, 10.0, 10.0, f64::NAN])]
    }

    fn fitted(estimator: &impl Estimator) -> (Vec<f64>, Vec<f64>) {
        let Transform::Scaler(scaler) = estimator.fit(&parts()).unwrap() else { unreachable!() };
        assert_eq!(Scaler::from_stage(&scaler.to_stage()).unwrap(), scaler);
        (scaler.shift, scaler.scale)
    }

    #[test]
    fn scales_are_those_of_scikit_learn() {
        // sklearn.preprocessing on [[1], [2], [3], [10]].
        let (shift, scale) = fitted(&StandardScaler::of("x"));
        assert!((shift[0] - 4.0).abs() < 1e-12 && (scale[0] - 1.0 / 3.535_533_905_932_737_8).abs() < 1e-12);
        assert_eq!((shift[1], scale[1]), (10.0, 1.0));
        assert_eq!(fitted(&MinMaxScaler::of("x")), (vec![1.0, 10.0], vec![1.0 / 9.0, 1.0]));
        let (shift, scale) = fitted(&RobustScaler::of("x"));
        assert_eq!((shift[0], scale[0]), (2.5, 1.0 / 3.0));
    }

    #[test]
    fn sparse_rows_are_scaled_and_not_shifted() {
        let mut rows = SparseRows::new(2);
        rows.push(&[0], &[4.0]).unwrap();
        rows.push(&[], &[]).unwrap();
        let mut frame = Frame::of_block(Block::new(Rows::Sparse(rows), Vec::new()).unwrap(), "x");
        let scaler = StandardScaler::of("x").fit(std::slice::from_ref(&frame)).unwrap();
        scaler.transform(&mut frame).unwrap();
        assert_eq!(frame.vectors("x").unwrap().row(0).get(0), 2.0);
        let shifting = Scaler::new("x", vec![1.0, 0.0], vec![1.0, 1.0]).unwrap();
        assert!(shifting.transform(&mut frame).unwrap_err().to_string().contains("not shifted"));
    }
}
