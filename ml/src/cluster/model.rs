use crate::learner::{Prediction, Predictor};
use crate::model::{Persist, Stage};
use crate::vector::{Nearest, Row};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Centres of clusters.
///
/// ```
/// use fluvial_ml::{KMeansModel, Predictor, Row};
/// let model = KMeansModel::new(2, vec![0.0, 0.0, 4.0, 4.0])?;
/// let prediction = model.predict(Row::Dense(&[3.0, 4.0]));
/// assert_eq!((prediction.value, prediction.score), (1.0, 1.0));
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct KMeansModel {
    width: usize,
    centres: Vec<f64>,
    nearest: Nearest,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    width: usize,
    centres: Vec<f64>,
}

impl From<KMeansModel> for Stored {
    fn from(model: KMeansModel) -> Self {
        Self { width: model.width, centres: model.centres }
    }
}

/// Of what was a model. Codecs also try it on values that are none, to learn the type.
impl From<Stored> for KMeansModel {
    fn from(Stored { width, centres }: Stored) -> Self {
        let nearest = Nearest::new(&centres, width);
        Self { width, centres, nearest }
    }
}

impl PartialEq for KMeansModel {
    fn eq(&self, other: &Self) -> bool {
        (self.width, &self.centres) == (other.width, &other.centres)
    }
}

impl KMeansModel {
    /// Centres of this width that lie one after another.
    ///
    /// # Errors
    /// No centres, or values that are no whole centres.
    pub fn new(width: usize, centres: Vec<f64>) -> Result<Self> {
        if width == 0 || centres.is_empty() || !centres.len().is_multiple_of(width) {
            return Err(Error::Data(format!("{} values are no centres of {width}", centres.len())));
        }
        let nearest = Nearest::new(&centres, width);
        Ok(Self { width, centres, nearest })
    }

    /// The centres, one after another.
    pub fn centres(&self) -> &[f64] {
        &self.centres
    }

    /// How many there are.
    pub fn clusters(&self) -> usize {
        self.centres.len() / self.width
    }

    /// The cluster of a row, and the squared distance to its centre.
    pub fn assign(&self, row: Row<'_>) -> (usize, f64) {
        nearest_of(&self.nearest, row, self.width)
    }
}

/// As [`Nearest::find`], of any row.
#[inline]
pub(super) fn nearest_of(nearest: &Nearest, row: Row<'_>, width: usize) -> (usize, f64) {
    match row {
        Row::Dense(values) => nearest.find(values),
        row => {
            let mut values = vec![0.0; width.max(row.width())];
            row.write_to(&mut values);
            nearest.find(&values)
        }
    }
}

impl Predictor for KMeansModel {
    fn width(&self) -> usize {
        self.width
    }

    fn predict(&self, row: Row<'_>) -> Prediction {
        let (cluster, squared) = self.assign(row);
        Prediction { value: cluster as f64, score: squared.sqrt() }
    }
}

impl Persist for KMeansModel {
    const KIND: &'static str = "kmeans";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &self.width);
        stage.numbers("centres", self.centres.clone());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        Self::new(stage.parameters()?, stage.get_numbers("centres")?.to_vec()).map_err(|e| stage.wrong(e))
    }
}
