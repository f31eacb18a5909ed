use super::args::Data;
use fluvial_core::io::{CsvOptions, Format};
use fluvial_core::{Env, Error, Result, Table, parse_columns};
use fluvial_ml::{FEATURES, Frame, LibSvm, read_libsvm};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A file of records to learn from.
pub enum Input {
    /// A table of the job.
    Table(Table),
    /// A LIBSVM file, read whole: vectors in the column [`FEATURES`], labels in the column `label`.
    LibSvm(Frame),
}

/// The label column of LIBSVM files.
const LIBSVM_LABEL: &str = "label";

impl Input {
    /// Opens a file; of LIBSVM files the rows have this width, where one is given.
    pub fn open(env: &Env, path: &str, width: Option<usize>) -> Result<Self> {
        let extension = Path::new(path).extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("libsvm" | "svm") => Ok(Self::LibSvm(Frame::of_block(read_libsvm(path, LibSvm { width })?, FEATURES))),
            Some("csv") if !has_header(path)? => {
                let format = Format::Csv(CsvOptions { header: false, ..CsvOptions::default() });
                Ok(Self::Table(env.read_as(&[path], &format)?))
            }
            _ => Ok(Self::Table(env.read(&[path])?)),
        }
    }

    /// The names of the columns.
    pub fn columns(&self) -> Vec<String> {
        match self {
            Self::Table(table) => table.schema().fields().iter().map(|f| f.name().clone()).collect(),
            Self::LibSvm(frame) => frame.names().map(str::to_owned).collect(),
        }
    }

    /// The columns to learn from and the one to predict, where there is one.
    pub fn choose(&self, data: &Data) -> Result<(Vec<String>, Option<String>)> {
        let columns = self.columns();
        let label = match (&data.label, self) {
            (Some(label), _) => Some(label.clone()),
            (None, Self::LibSvm(_)) => Some(LIBSVM_LABEL.to_owned()),
            (None, Self::Table(_)) => None,
        };
        let features = match &data.features {
            Some(features) => parse_columns(features)?,
            None => columns.iter().filter(|c| Some(*c) != label.as_ref()).cloned().collect(),
        };
        for name in features.iter().chain(&label) {
            if !columns.contains(name) {
                return Err(Error::Plan(format!("column `{name}` not found; there are {}", columns.join(", "))));
            }
        }
        if features.is_empty() {
            return Err(Error::Plan("no columns to learn from".into()));
        }
        Ok((features, label))
    }

    /// These columns of all rows, part by part.
    pub fn frames(&self, columns: &[String]) -> Result<Vec<Frame>> {
        use fluvial_ml::FeatureBlocks;
        match self {
            Self::Table(table) => table.frames(Some(columns.to_vec())).collect(),
            Self::LibSvm(frame) => Ok(vec![frame.clone()]),
        }
    }
}

/// A first line of numbers alone is no header.
fn has_header(path: &str) -> Result<bool> {
    let failed = |e: std::io::Error| Error::File { path: path.into(), message: e.to_string() };
    let mut line = Vec::new();
    BufReader::new(std::fs::File::open(path).map_err(failed)?).read_until(b'\n', &mut line).map_err(failed)?;
    let line = String::from_utf8_lossy(&line);
    let number = |field: &str| field.trim().is_empty() || field.trim().trim_matches('"').parse::<f64>().is_ok();
    Ok(!line.trim().split(',').all(number))
}
