use super::frame::{Column, Frame};
use crate::error::data;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the numbers of a label column stand for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Labels {
    /// Numbers to be predicted.
    Numbers,
    /// Two classes: the first is -1, the second 1.
    Classes(Vec<String>),
}

impl Labels {
    /// The two classes of a column over parts of the data: the smaller number, or the text that comes first, is -1.
    ///
    /// # Errors
    /// Not two classes.
    pub fn two_classes(parts: &[Frame], column: &str) -> Result<Self> {
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        let mut numbers = true;
        for part in parts {
            match part.column(column)? {
                Column::Numbers(values) => {
                    for value in values.iter().filter(|v| !v.is_nan()) {
                        if seen.len() <= 20 {
                            seen.insert(value.to_string(), *value);
                        }
                    }
                }
                Column::Texts(texts) => {
                    numbers = false;
                    for text in texts.iter().flatten() {
                        if seen.len() <= 20 {
                            seen.insert(text.clone(), 0.0);
                        }
                    }
                }
                Column::Vectors(_) => return data(format!("label column `{column}` holds vectors")),
            }
        }
        let mut classes: Vec<(String, f64)> = seen.into_iter().collect();
        if numbers {
            classes.sort_by(|a, b| a.1.total_cmp(&b.1));
        }
        let names: Vec<String> = classes.into_iter().map(|c| c.0).collect();
        if names.len() != 2 {
            let seen = names.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
            return data(format!("label column `{column}` has {} classes ({seen}), expected two", names.len()));
        }
        Ok(Self::Classes(names))
    }

    /// The labels of a column, as learners take them; what is missing, or of neither class, is not a number.
    ///
    /// # Errors
    /// There is no such column, or it holds vectors; texts where numbers are to be predicted.
    pub fn read(&self, frame: &Frame, column: &str) -> Result<Vec<f64>> {
        let class = |name: &str, classes: &[String]| match classes.iter().position(|c| c == name) {
            Some(0) => -1.0,
            Some(_) => 1.0,
            None => f64::NAN,
        };
        match (self, frame.column(column)?) {
            (Self::Numbers, Column::Numbers(values)) => Ok(values.clone()),
            (Self::Classes(classes), Column::Numbers(values)) => {
                let bounds: Vec<f64> = classes.iter().map(|c| c.parse().unwrap_or(f64::NAN)).collect();
                Ok(values
                    .iter()
                    .map(|v| {
                        if *v == bounds[0] {
                            -1.0
                        } else if *v == bounds[1] {
                            1.0
                        } else {
                            f64::NAN
                        }
                    })
                    .collect())
            }
            (Self::Classes(classes), Column::Texts(texts)) => {
                Ok(texts.iter().map(|t| t.as_deref().map_or(f64::NAN, |t| class(t, classes))).collect())
            }
            _ => Err(Error::Data(format!("label column `{column}`: expected numbers"))),
        }
    }

    /// The names of the classes; none where numbers are predicted.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Numbers => &[],
            Self::Classes(classes) => classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(column: Column) -> Frame {
        let mut frame = Frame::new(column.len());
        frame.set("y", column).unwrap();
        frame
    }

    #[test]
    fn two_classes_are_minus_one_and_one() {
        let numbers = column(Column::Numbers(vec![10.0, 9.0, f64::NAN, 10.0]));
        let labels = Labels::two_classes(std::slice::from_ref(&numbers), "y").unwrap();
        assert_eq!(labels.classes(), ["9", "10"]);
        let read = labels.read(&numbers, "y").unwrap();
        assert_eq!((&read[..2], read[2].is_nan(), read[3]), (&[1.0, -1.0][..], true, 1.0));
        let texts = column(Column::Texts(vec![Some("no".into()), None, Some("yes".into())]));
        let labels = Labels::two_classes(std::slice::from_ref(&texts), "y").unwrap();
        assert_eq!(labels.read(&texts, "y").unwrap()[2], 1.0);
        let three = column(Column::Numbers(vec![1.0, 2.0, 3.0]));
        let error = Labels::two_classes(&[three], "y").unwrap_err().to_string();
        assert_eq!(error, "label column `y` has 3 classes (1, 2, 3), expected two");
    }
}
