//! What comes before learning: columns are put on a scale, filled in, encoded, and put side by side.
//!
//! An [`Estimator`] learns from parts of the data and gives a [`Transformer`], which changes a frame in place, adding or replacing
//! columns. What is missing stays missing (not a number) unless an [`Imputer`] fills it in: a model refuses such a row by itself and
//! says which feature it was. Fitted stages are values that model files hold ([`Transform`]).

mod encode;
mod impute;
mod normalize;
mod scale;
mod text;
mod transform;

pub use encode::{OneHot, OneHotModel, StringIndexer, StringIndexerModel, UnknownText};
pub use impute::{Fill, Imputer, ImputerModel};
pub use normalize::{Norm, Normalizer, VectorAssembler};
pub use scale::{MinMaxScaler, OnlineScaler, RobustScaler, Scaler, StandardScaler};
pub use text::{HashingTrick, OnlineTfIdf, TfIdf, TfIdfModel, words};
pub use transform::{Estimator, Transform, Transformer};
