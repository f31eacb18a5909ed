use super::transform::{Estimator, Transform, Transformer};
use crate::Result;
use crate::data::{Column, Frame};
use crate::error::data;
use crate::model::{Persist, Stage};
use crate::parameters::choice;
use crate::vector::{Rows, SparseRows};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

choice! {
    /// What becomes of a text that was not there in training.
    UnknownText {
        /// It is missing: a model refuses the record.
        Missing = "missing",
        /// It gets a number of its own, after all others.
        Keep = "keep",
        /// It is an error.
        Error = "error",
    }
}

/// Numbers for texts, from 0: the most frequent one first, of equals the one that comes first in the alphabet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringIndexer {
    column: String,
    output: String,
    unknown: UnknownText,
}

impl StringIndexer {
    /// Of a column of texts, into a column of numbers.
    pub fn of(column: &str, output: &str, unknown: UnknownText) -> Self {
        Self { column: column.to_owned(), output: output.to_owned(), unknown }
    }
}

/// A fitted [`StringIndexer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StringIndexerModel {
    column: String,
    output: String,
    unknown: UnknownText,
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl StringIndexerModel {
    fn new((column, output, unknown): (String, String, UnknownText), texts: Vec<String>) -> Self {
        let numbers = texts.iter().enumerate().map(|(i, t)| (t.clone(), i)).collect();
        Self { column, output, unknown, texts, numbers }
    }

    /// The texts, by their numbers.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl Estimator for StringIndexer {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for part in parts {
            part.texts(&self.column)?.iter().flatten().for_each(|t| *counts.entry(t).or_default() += 1);
        }
        let mut texts: Vec<(&str, u64)> = counts.into_iter().collect();
        texts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let texts = texts.into_iter().map(|(t, _)| t.to_owned()).collect();
        let settings = (self.column.clone(), self.output.clone(), self.unknown);
        Ok(Transform::StringIndexer(StringIndexerModel::new(settings, texts)))
    }
}

impl Transformer for StringIndexerModel {
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        let number = |text: &Option<String>| match (text, self.unknown) {
            (None, _) => Ok(f64::NAN),
            (Some(text), unknown) => match (self.numbers.get(text), unknown) {
                (Some(number), _) => Ok(*number as f64),
                (None, UnknownText::Keep) => Ok(self.texts.len() as f64),
                (None, UnknownText::Missing) => Ok(f64::NAN),
                (None, UnknownText::Error) => {
                    data(format!("column `{}`: the text `{text}` was not there in training", self.column))
                }
            },
        };
        let numbers = frame.texts(&self.column)?.iter().map(number).collect::<Result<_>>()?;
        frame.set(&self.output, Column::Numbers(numbers))
    }
}

impl Persist for StringIndexerModel {
    const KIND: &'static str = "string-indexer";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &(&self.column, &self.output, self.unknown));
        stage.texts("texts", self.texts.clone());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        Ok(Self::new(stage.parameters()?, stage.get_texts("texts")?.to_vec()))
    }
}

/// A feature for each number of a column: 1 at the number's place, 0 elsewhere. Sparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneHot {
    column: String,
    output: String,
    drop_last: bool,
}

impl OneHot {
    /// Of a column of whole numbers from 0, into a column of vectors. With `drop_last` the greatest number has no place: its vector
    /// is zero, and features do not depend on each other.
    pub fn of(column: &str, output: &str, drop_last: bool) -> Self {
        Self { column: column.to_owned(), output: output.to_owned(), drop_last }
    }
}

/// A fitted [`OneHot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneHotModel {
    column: String,
    output: String,
    categories: usize,
    drop_last: bool,
}

impl Estimator for OneHot {
    fn fit(&self, parts: &[Frame]) -> Result<Transform> {
        let mut categories = 0;
        for part in parts {
            for number in part.numbers(&self.column)?.iter().filter(|n| !n.is_nan()) {
                categories = categories.max(place(*number, &self.column)? + 1);
            }
        }
        let OneHot { column, output, drop_last } = self.clone();
        Ok(Transform::OneHot(OneHotModel { column, output, categories, drop_last }))
    }
}

fn place(number: f64, column: &str) -> Result<usize> {
    if number >= 0.0 && number.fract() == 0.0 && number < f64::from(u32::MAX) {
        return Ok(number as usize);
    }
    data(format!("column `{column}`: {number}, expected whole numbers from 0"))
}

impl Transformer for OneHotModel {
    /// A missing number, or one that was not there in training, gives a row whose first value is missing.
    fn transform(&self, frame: &mut Frame) -> Result<()> {
        let width = self.categories - usize::from(self.drop_last && self.categories > 0);
        let mut rows = SparseRows::new(width);
        for number in frame.numbers(&self.column)? {
            let known = if number.is_nan() { None } else { Some(place(*number, &self.column)?).filter(|p| *p < self.categories) };
            match known {
                Some(place) if place < width => rows.push(&[place as u32], &[1.0])?,
                Some(_) => rows.push(&[], &[])?,
                None if width > 0 => rows.push(&[0], &[f64::NAN])?,
                None => rows.push(&[], &[])?,
            }
        }
        frame.set(&self.output, Column::Vectors(Rows::Sparse(rows)))
    }
}

impl Persist for OneHotModel {
    const KIND: &'static str = "one-hot";

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

    #[test]
    fn texts_become_numbers_and_numbers_features() {
        let texts = ["b", "a", "c", "a", "c", "a"].map(|t| Some(t.to_owned()));
        let mut frame = Frame::new(6);
        frame.set("t", Column::Texts(texts.to_vec())).unwrap();
        let parts = [frame.slice(0, 2), frame.slice(2, 6)];
        let indexer = StringIndexer::of("t", "n", UnknownText::Missing).fit(&parts).unwrap();
        indexer.transform(&mut frame).unwrap();
        assert_eq!(frame.numbers("n").unwrap(), [2.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let one_hot = OneHot::of("n", "v", true).fit(std::slice::from_ref(&frame)).unwrap();
        one_hot.transform(&mut frame).unwrap();
        let rows = frame.vectors("v").unwrap();
        assert_eq!((rows.width(), rows.row(0).squared_norm(), rows.row(1).get(0), rows.row(2).get(1)), (2, 0.0, 1.0, 1.0));

        let mut other = Frame::new(2);
        other.set("t", Column::Texts(vec![Some("z".into()), None])).unwrap();
        for stage in [&indexer, &one_hot] {
            let back = Transform::from_stage(&stage.to_stage()).unwrap();
            assert_eq!(&back, stage);
            back.transform(&mut other).unwrap();
        }
        assert!(other.vectors("v").unwrap().row(0).fault(2).unwrap().contains("missing"));
        let strict = StringIndexer::of("t", "n", UnknownText::Error).fit(&parts).unwrap();
        assert!(strict.transform(&mut other).unwrap_err().to_string().contains("`z` was not there"));
        let keeping = StringIndexer::of("t", "n", UnknownText::Keep).fit(&parts).unwrap();
        keeping.transform(&mut other).unwrap();
        assert_eq!(other.numbers("n").unwrap()[0], 3.0);
    }
}
