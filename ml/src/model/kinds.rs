use super::stage::{Persist, Stage};
use crate::anomaly::{HalfSpaceTrees, MovingStatistics};
use crate::cluster::KMeansModel;
use crate::learner::{Prediction, Predictor};
use crate::linear::LinearModel;
use crate::vector::Row;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A model of any kind that predicts from rows of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// Weights: two classes, their probability, or a number.
    Linear(LinearModel),
    /// Centres of clusters.
    KMeans(KMeansModel),
    /// Trees that say how much of an anomaly a record is.
    HalfSpaceTrees(HalfSpaceTrees),
    /// Statistics that say it.
    MovingStatistics(MovingStatistics),
}

impl Model {
    /// As a stage of a file.
    pub fn to_stage(&self) -> Stage {
        match self {
            Self::Linear(model) => model.to_stage(),
            Self::KMeans(model) => model.to_stage(),
            Self::HalfSpaceTrees(model) => model.to_stage(),
            Self::MovingStatistics(model) => model.to_stage(),
        }
    }

    /// From a stage of a file.
    ///
    /// # Errors
    /// A kind or version that is not known; a stage that is no model of its kind.
    pub fn from_stage(stage: &Stage) -> Result<Self> {
        if stage.version != 1 {
            return Err(stage.wrong(format!("version {}, expected 1", stage.version)));
        }
        Ok(match stage.kind.as_str() {
            LinearModel::KIND => Self::Linear(LinearModel::from_stage(stage)?),
            KMeansModel::KIND => Self::KMeans(KMeansModel::from_stage(stage)?),
            HalfSpaceTrees::KIND => Self::HalfSpaceTrees(HalfSpaceTrees::from_stage(stage)?),
            MovingStatistics::KIND => Self::MovingStatistics(MovingStatistics::from_stage(stage)?),
            other => return Err(Error::Data(format!("`{other}` is no kind of model that predicts from rows"))),
        })
    }

    /// What it is, as files call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Linear(_) => LinearModel::KIND,
            Self::KMeans(_) => KMeansModel::KIND,
            Self::HalfSpaceTrees(_) => HalfSpaceTrees::KIND,
            Self::MovingStatistics(_) => MovingStatistics::KIND,
        }
    }
}

impl Predictor for Model {
    fn width(&self) -> usize {
        match self {
            Self::Linear(model) => model.width(),
            Self::KMeans(model) => model.width(),
            Self::HalfSpaceTrees(model) => model.width(),
            Self::MovingStatistics(model) => model.width(),
        }
    }

    #[inline]
    fn predict(&self, row: Row<'_>) -> Prediction {
        match self {
            Self::Linear(model) => model.predict(row),
            Self::KMeans(model) => model.predict(row),
            Self::HalfSpaceTrees(model) => model.predict(row),
            Self::MovingStatistics(model) => model.predict(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::{HalfSpaceParams, MovingParams};
    use crate::linear::LinearTask;
    use crate::{ModelFile, OnlineLearner};

    #[test]
    fn every_model_comes_back_as_it_went() {
        let mut trees = HalfSpaceTrees::new(2, HalfSpaceParams { window: 20, ..HalfSpaceParams::default() }).unwrap();
        let mut moving = MovingStatistics::new(2, MovingParams { window: 30, step: 4, ..MovingParams::default() }).unwrap();
        for i in 0..77 {
            let row = [f64::from(i % 7), f64::from(i % 5) / 3.0];
            trees.learn(Row::Dense(&row), f64::NAN);
            moving.learn(Row::Dense(&row), f64::NAN);
        }
        let linear = LinearModel { task: LinearTask::Logistic, weights: vec![0.1, 0.2], intercept: -1.0 / 3.0 };
        for model in [
            Model::Linear(linear),
            Model::KMeans(KMeansModel::new(2, vec![1.0, 2.0, 3.0, 1e-300]).unwrap()),
            Model::HalfSpaceTrees(trees),
            Model::MovingStatistics(moving),
        ] {
            let file = ModelFile { stages: vec![model.to_stage()], ..ModelFile::default() };
            let read = ModelFile::from_bytes(&file.to_bytes().unwrap()).unwrap();
            let back = Model::from_stage(&read.stages[0]).unwrap();
            assert_eq!(back, model);
            let row = Row::Dense(&[9.0, 0.1]);
            assert_eq!((back.predict(row), back.width()), (model.predict(row), 2));
            let mut other = read.stages[0].clone();
            other.version = 2;
            assert!(Model::from_stage(&other).unwrap_err().to_string().contains("version 2, expected 1"));
        }
        assert!(Model::from_stage(&Stage::new("oracle", &())).is_err());
        assert!(Model::from_stage(&Stage::new("linear", &"margin")).unwrap_err().to_string().contains("`weights` is missing"));
    }
}
