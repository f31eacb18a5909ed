use super::encode::{OneHotModel, StringIndexerModel};
use super::impute::ImputerModel;
use super::normalize::{Normalizer, VectorAssembler};
use super::scale::Scaler;
use super::text::{HashingTrick, TfIdfModel};
use crate::data::Frame;
use crate::model::{Persist, Stage};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Changes a frame: adds columns or replaces them.
pub trait Transformer {
    /// Does it.
    ///
    /// # Errors
    /// A column that is not there or of another kind.
    fn transform(&self, frame: &mut Frame) -> Result<()>;
}

/// Learns, from all parts of the data, how to change a frame.
///
/// ```
/// use fluvial_ml::{Block, DenseRows, Estimator, Frame, Rows, StandardScaler, Transformer};
/// let rows = Rows::Dense(DenseRows::from_values(1, vec![1.0, 3.0])?);
/// let mut frame = Frame::of_block(Block::new(rows, Vec::new())?, "features");
/// let scaler = StandardScaler::of("features").fit(std::slice::from_ref(&frame))?;
/// scaler.transform(&mut frame)?;
/// assert_eq!(frame.vectors("features")?.row(1).stored(), [1.0]);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
pub trait Estimator {
    /// Learns.
    ///
    /// # Errors
    /// A column that is not there or of another kind; parameters out of range.
    fn fit(&self, parts: &[Frame]) -> Result<Transform>;
}

/// A fitted stage of any kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Transform {
    /// Shifts and scales each feature.
    Scaler(Scaler),
    /// Gives each row a norm of 1.
    Normalizer(Normalizer),
    /// Fills in what is missing.
    Imputer(ImputerModel),
    /// Numbers for texts.
    StringIndexer(StringIndexerModel),
    /// A feature for each number.
    OneHot(OneHotModel),
    /// Counts of words by their hash.
    Hashing(HashingTrick),
    /// Words weighted by how rare they are.
    TfIdf(TfIdfModel),
    /// Columns side by side.
    Assembler(VectorAssembler),
}

macro_rules! each {
    ($value:expr, $stage:ident => $body:expr) => {
        match $value {
            Transform::Scaler($stage) => $body,
            Transform::Normalizer($stage) => $body,
            Transform::Imputer($stage) => $body,
            Transform::StringIndexer($stage) => $body,
            Transform::OneHot($stage) => $body,
            Transform::Hashing($stage) => $body,
            Transform::TfIdf($stage) => $body,
            Transform::Assembler($stage) => $body,
        }
    };
}

impl Transform {
    /// As a stage of a file.
    pub fn to_stage(&self) -> Stage {
        each!(self, stage => stage.to_stage())
    }

    /// From a stage of a file.
    ///
    /// # Errors
    /// A kind or version that is not known; a stage that is not as its kind should be.
    pub fn from_stage(stage: &Stage) -> Result<Self> {
        if stage.version != 1 {
            return Err(stage.wrong(format!("version {}, expected 1", stage.version)));
        }
        Ok(match stage.kind.as_str() {
            Scaler::KIND => Self::Scaler(Scaler::from_stage(stage)?),
            Normalizer::KIND => Self::Normalizer(Normalizer::from_stage(stage)?),
            ImputerModel::KIND => Self::Imputer(ImputerModel::from_stage(stage)?),
            StringIndexerModel::KIND => Self::StringIndexer(StringIndexerModel::from_stage(stage)?),
            OneHotModel::KIND => Self::OneHot(OneHotModel::from_stage(stage)?),
            HashingTrick::KIND => Self::Hashing(HashingTrick::from_stage(stage)?),
            TfIdfModel::KIND => Self::TfIdf(TfIdfModel::from_stage(stage)?),
            VectorAssembler::KIND => Self::Assembler(VectorAssembler::from_stage(stage)?),
            other => return Err(Error::Data(format!("`{other}` is no kind of stage that prepares columns"))),
        })
    }
}

impl Transformer for Transform {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        each!(self, stage => stage.transform(frame))
    }
}

/// A stage that has nothing to learn is its own estimator.
macro_rules! fixed {
    ($($stage:ident as $variant:ident),*) => { $(
        impl Estimator for $stage {
            fn fit(&self, _parts: &[Frame]) -> Result<Transform> {
                Ok(Transform::$variant(self.clone()))
            }
        }
    )* };
}
fixed!(Normalizer as Normalizer, HashingTrick as Hashing, VectorAssembler as Assembler);
