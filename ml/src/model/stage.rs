use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// One part of a model file: a model, or something that prepares columns for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What it is.
    pub kind: String,
    /// Version of the kind's parameters and arrays.
    pub version: u32,
    /// As JSON.
    parameters: Json,
    /// By name.
    arrays: Vec<(String, Values)>,
}

/// JSON as text, so that any codec can carry it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Json(String);

/// An array of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Whole numbers.
    Counts(Vec<u64>),
    /// Texts.
    Texts(Vec<String>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Counts(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What can be stored as a [`Stage`].
pub trait Persist: Sized {
    /// What files call it.
    const KIND: &'static str;

    /// As a stage.
    fn to_stage(&self) -> Stage;

    /// From a stage of its kind.
    ///
    /// # Errors
    /// Parameters or arrays that are not there, out of range, or do not fit each other.
    fn from_stage(stage: &Stage) -> Result<Self>;
}

impl Stage {
    /// Version 1 of a kind, without arrays.
    pub fn new(kind: &str, parameters: &impl Serialize) -> Self {
        // Plain structs of numbers and texts; what JSON cannot hold would be a bug of the kind, and its reader says so.
        let parameters = Json(serde_json::to_string(parameters).unwrap_or_else(|_| "null".into()));
        Self { kind: kind.to_owned(), version: 1, parameters, arrays: Vec::new() }
    }

    pub(super) fn from_parts(kind: String, version: u32, parameters: String, arrays: Vec<(String, Values)>) -> Self {
        Self { kind, version, parameters: Json(parameters), arrays }
    }

    /// Adds an array of numbers.
    pub fn numbers(&mut self, name: &str, values: Vec<f64>) {
        self.arrays.push((name.to_owned(), Values::Numbers(values)));
    }

    /// Adds an array of whole numbers.
    pub fn counts(&mut self, name: &str, values: Vec<u64>) {
        self.arrays.push((name.to_owned(), Values::Counts(values)));
    }

    /// Adds an array of texts.
    pub fn texts(&mut self, name: &str, values: Vec<String>) {
        self.arrays.push((name.to_owned(), Values::Texts(values)));
    }

    /// All arrays.
    pub fn arrays(&self) -> &[(String, Values)] {
        &self.arrays
    }

    /// The parameters, as JSON.
    pub fn json(&self) -> &str {
        &self.parameters.0
    }

    /// The parameters.
    ///
    /// # Errors
    /// They are not what the kind has.
    pub fn parameters<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.parameters.0).map_err(|e| self.wrong(format!("parameters {}: {e}", self.parameters.0)))
    }

    /// An array of numbers.
    ///
    /// # Errors
    /// There is none of that name and type, as for the others.
    pub fn get_numbers(&self, name: &str) -> Result<&[f64]> {
        match self.find(name)? {
            Values::Numbers(values) => Ok(values),
            _ => Err(self.wrong(format!("`{name}` is no array of numbers"))),
        }
    }

    /// An array of whole numbers.
    ///
    /// # Errors
    /// As [`Stage::get_numbers`].
    pub fn get_counts(&self, name: &str) -> Result<&[u64]> {
        match self.find(name)? {
            Values::Counts(values) => Ok(values),
            _ => Err(self.wrong(format!("`{name}` is no array of whole numbers"))),
        }
    }

    /// An array of texts.
    ///
    /// # Errors
    /// As [`Stage::get_numbers`].
    pub fn get_texts(&self, name: &str) -> Result<&[String]> {
        match self.find(name)? {
            Values::Texts(values) => Ok(values),
            _ => Err(self.wrong(format!("`{name}` is no array of texts"))),
        }
    }

    fn find(&self, name: &str) -> Result<&Values> {
        let found = self.arrays.iter().find(|(n, _)| n == name);
        found.map(|(_, values)| values).ok_or_else(|| self.wrong(format!("the array `{name}` is missing")))
    }

    /// What is wrong with this stage, as an error.
    pub fn wrong(&self, what: impl Display) -> Error {
        Error::Data(format!("stage `{}`: {what}", self.kind))
    }
}
