use crate::data::{Column, Frame, Labels};
use crate::error::data;
use crate::learner::{BulkLearner, Prediction, Predictor, fit_shared};
use crate::model::{Model, ModelFile, Persist, Schema, Training};
use crate::prepare::{Estimator, Transform, Transformer, VectorAssembler};
use crate::vector::{Block, Row};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The column of vectors that a pipeline's model predicts from.
pub const FEATURES: &str = "features";

/// Stages that prepare columns, and a model behind them: fitted as one, saved as one.
///
/// ```
/// use fluvial_ml::*;
/// let mut data = Frame::new(4);
/// data.set("x", Column::Numbers(vec![0.0, 1.0, 20.0, 30.0]))?;
/// data.set("big", Column::Texts(["no", "no", "yes", "yes"].map(|t| Some(t.to_owned())).to_vec()))?;
/// let steps = Steps::new(&["x".to_owned()]).then(StandardScaler::of("features"));
/// let pipeline = steps.fit_classes(&DualSvm::new(DualSvmParams::default())?, &[data], "big")?;
///
/// let file = pipeline.to_file().to_bytes()?;
/// let pipeline = Pipeline::from_file(&ModelFile::from_bytes(&file)?)?;
/// let mut new = Frame::new(2);
/// new.set("x", Column::Numbers(vec![25.0, f64::NAN]))?;
/// let predictions = pipeline.predict(&mut new)?;
/// assert_eq!(pipeline.class(predictions[0].as_ref().unwrap().value), Some("yes"));
/// assert_eq!(predictions[1].as_ref().unwrap_err(), "feature 0 is missing");
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// What it takes and gives.
    pub schema: Schema,
    /// Where it comes from.
    pub training: Training,
    transforms: Vec<Transform>,
    model: Model,
}

impl Pipeline {
    /// Of stages that give a column called [`FEATURES`], and a model that predicts from it.
    pub fn new(schema: Schema, training: Training, transforms: Vec<Transform>, model: Model) -> Self {
        Self { schema, training, transforms, model }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What prepares the columns, in order.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// Predicts all rows: for each the prediction, or what is wrong with it.
    ///
    /// # Errors
    /// A column that is not there, or of the wrong kind.
    pub fn predict(&self, frame: &mut Frame) -> Result<Vec<std::result::Result<Prediction, String>>> {
        self.transforms.iter().try_for_each(|t| t.transform(frame))?;
        let width = self.model.width();
        let predict = |row: Row<'_>| match row.fault(width) {
            None => Ok(self.model.predict(row)),
            Some(fault) => Err(fault),
        };
        Ok(frame.vectors(FEATURES)?.iter().map(predict).collect())
    }

    /// The name of a predicted class, where there are names.
    pub fn class(&self, value: f64) -> Option<&str> {
        let place = match self.schema.classes.len() {
            2 => usize::from(value > 0.0),
            _ => value as usize,
        };
        self.schema.classes.get(place).map(String::as_str)
    }

    /// As a file.
    pub fn to_file(&self) -> ModelFile {
        let stages = self.transforms.iter().map(Transform::to_stage).chain([self.model.to_stage()]).collect();
        ModelFile { schema: self.schema.clone(), training: self.training.clone(), stages }
    }

    /// From a file.
    ///
    /// # Errors
    /// Stages that are not known, or no model behind them.
    pub fn from_file(file: &ModelFile) -> Result<Self> {
        let Some((model, transforms)) = file.stages.split_last() else { return data("a model file without stages") };
        let transforms = transforms.iter().map(Transform::from_stage).collect::<Result<_>>()?;
        Ok(Self::new(file.schema.clone(), file.training.clone(), transforms, Model::from_stage(model)?))
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// [`Error::Model`]: the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_file().write(path)
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// [`Error::Model`]: the file cannot be read, or is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = ModelFile::read(path)?;
        Self::from_file(&file).map_err(|e| Error::Model { path: path.to_owned(), message: e.to_string() })
    }
}

/// Stages that are still to be fitted.
pub struct Steps {
    columns: Vec<String>,
    before: Vec<Box<dyn Estimator + Send + Sync>>,
    /// Columns that are put side by side behind the first steps.
    inputs: Vec<String>,
    after: Vec<Box<dyn Estimator + Send + Sync>>,
    parts: usize,
}

impl Steps {
    /// From these columns of numbers and vectors, which are put side by side as the column [`FEATURES`].
    pub fn new(columns: &[String]) -> Self {
        Self { columns: columns.to_vec(), before: Vec::new(), inputs: columns.to_vec(), after: Vec::new(), parts: 1 }
    }

    /// From these columns, where steps come before columns can be put side by side: see [`Steps::first`].
    pub fn of(columns: &[String], inputs: &[String]) -> Self {
        Self { columns: columns.to_vec(), before: Vec::new(), inputs: inputs.to_vec(), after: Vec::new(), parts: 1 }
    }

    /// The learner has its records in so many parts, each on a thread of its own.
    #[must_use]
    pub fn parts(mut self, parts: usize) -> Self {
        self.parts = parts.max(1);
        self
    }

    /// A step before columns are put side by side: encoding texts, say.
    #[must_use]
    pub fn first(mut self, step: impl Estimator + Send + Sync + 'static) -> Self {
        self.before.push(Box::new(step));
        self
    }

    /// A step on the column [`FEATURES`].
    #[must_use]
    pub fn then(mut self, step: impl Estimator + Send + Sync + 'static) -> Self {
        self.after.push(Box::new(step));
        self
    }

    /// Fits the stages one after another, each on what those before it give; the parts have all columns then.
    ///
    /// # Errors
    /// What a stage says.
    pub fn fit_transforms(&self, parts: &mut [Frame]) -> Result<Vec<Transform>> {
        let assembler: Box<dyn Estimator + Send + Sync> = Box::new(VectorAssembler::of(&self.inputs, FEATURES));
        let mut fitted = Vec::new();
        for step in self.before.iter().chain([&assembler]).chain(&self.after) {
            let transform = step.fit(parts)?;
            parts.iter_mut().try_for_each(|part| transform.transform(part))?;
            fitted.push(transform);
        }
        Ok(fitted)
    }

    /// Fits stages and a learner of two classes, by a column of numbers or texts that has two different ones. Records with a fault
    /// are left out.
    ///
    /// # Errors
    /// What a stage or the learner says; not two classes.
    pub fn fit_classes(&self, learner: &impl BulkLearner, parts: &[Frame], label: &str) -> Result<Pipeline> {
        let labels = Labels::two_classes(parts, label)?;
        self.fit_with(learner, parts, Some((label, &labels)))
    }

    /// Fits stages and a learner of numbers.
    ///
    /// # Errors
    /// What a stage or the learner says.
    pub fn fit_numbers(&self, learner: &impl BulkLearner, parts: &[Frame], label: &str) -> Result<Pipeline> {
        self.fit_with(learner, parts, Some((label, &Labels::Numbers)))
    }

    /// Fits stages and a learner that needs no labels.
    ///
    /// # Errors
    /// What a stage or the learner says.
    pub fn fit_unlabelled(&self, learner: &impl BulkLearner, parts: &[Frame]) -> Result<Pipeline> {
        self.fit_with(learner, parts, None)
    }

    /// Fits the stages and gives them, with what they make of the data for a learner: records with a fault are left out.
    ///
    /// # Errors
    /// What a stage says; a label column that is not there.
    pub fn prepare(&self, parts: &[Frame], label: Option<(&str, &Labels)>) -> Result<(Vec<Transform>, Vec<Block>)> {
        let mut frames = parts.to_vec();
        let transforms = self.fit_transforms(&mut frames)?;
        let blocks = frames.iter().map(|frame| clean_block(frame, label)).collect::<Result<_>>()?;
        Ok((transforms, blocks))
    }

    /// What a pipeline of these steps takes and gives.
    pub fn schema(&self, label: Option<(&str, &Labels)>) -> Schema {
        Schema {
            features: self.columns.clone(),
            label: label.map(|(column, _)| column.to_owned()),
            classes: label.map(|(_, labels)| labels.classes().to_vec()).unwrap_or_default(),
        }
    }

    fn fit_with(&self, learner: &impl BulkLearner, parts: &[Frame], label: Option<(&str, &Labels)>) -> Result<Pipeline> {
        let (transforms, blocks) = self.prepare(parts, label)?;
        let mut blocks = blocks.into_iter();
        let mut all = blocks.next().map_or_else(|| data("no records to learn from"), Ok)?;
        for block in blocks {
            all.rows.append(&block.rows)?;
            all.labels.extend(block.labels);
        }
        let records = all.len() as u64;
        let parts = if self.parts > 1 { all.deal(self.parts) } else { vec![all] };
        let shared = fit_shared(learner, &parts)?;
        let metrics = learner.figures(&shared).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let training = Training { records, metrics, ..Training::default() };
        Ok(Pipeline::new(self.schema(label), training, transforms, learner.model(&shared)?))
    }
}

/// The column [`FEATURES`] and the labels, without the records that are not whole.
///
/// # Errors
/// A column that is not there or of the wrong kind.
pub fn clean_block(frame: &Frame, label: Option<(&str, &Labels)>) -> Result<Block> {
    let rows = frame.vectors(FEATURES)?;
    let labels = label.map(|(column, labels)| labels.read(frame, column)).transpose()?.unwrap_or_default();
    let whole = |i: &usize| rows.row(*i).fault(rows.width()).is_none() && labels.get(*i).is_none_or(|l| l.is_finite());
    let places: Vec<usize> = (0..rows.len()).filter(whole).collect();
    let block = Block::new(rows.clone(), labels)?;
    Ok(if places.len() == block.len() { block } else { block.pick(&places) })
}

/// Adds what a pipeline says of each row of a frame: the columns `prediction` (a class's name where classes have names, else a
/// number), `score`, and `error` where there is none.
///
/// # Errors
/// As [`Pipeline::predict`].
pub fn add_predictions(pipeline: &Pipeline, frame: &mut Frame) -> Result<()> {
    let mut prepared = frame.clone();
    let predictions = pipeline.predict(&mut prepared)?;
    let value = |p: &std::result::Result<Prediction, String>| p.as_ref().ok().map(|p| p.value);
    let column = match pipeline.schema.classes.is_empty() {
        true => Column::Numbers(predictions.iter().map(|p| value(p).unwrap_or(f64::NAN)).collect()),
        false => Column::Texts(predictions.iter().map(|p| value(p).and_then(|v| pipeline.class(v)).map(str::to_owned)).collect()),
    };
    frame.set("prediction", column)?;
    let scores = predictions.iter().map(|p| p.as_ref().map_or(f64::NAN, |p| p.score)).collect();
    frame.set("score", Column::Numbers(scores))?;
    frame.set("error", Column::Texts(predictions.into_iter().map(std::result::Result::err).collect()))
}

/// What is stored as one stage can be stored as a file of it alone.
pub(crate) fn single_stage(stage: &impl Persist) -> ModelFile {
    ModelFile { stages: vec![stage.to_stage()], ..ModelFile::default() }
}
