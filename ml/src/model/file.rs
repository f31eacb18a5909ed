use super::bytes;
use super::stage::Stage;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a model takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// The columns that it takes, in this order.
    pub features: Vec<String>,
    /// The column that it was trained on.
    pub label: Option<String>,
    /// What its classes -1 and 1 stand for, or the names of more than two.
    pub classes: Vec<String>,
}

/// What a model was trained by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The learner.
    pub algorithm: String,
    /// Records that were learned.
    pub records: u64,
    /// How long it took.
    pub seconds: f64,
    /// The learner's parameters.
    pub settings: BTreeMap<String, String>,
    /// Figures about the model.
    pub metrics: BTreeMap<String, f64>,
    /// When it was made, milliseconds UTC.
    pub created: i64,
}

/// A model file: stages, what they take and give, and where they come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// What it takes and gives.
    pub schema: Schema,
    /// Where it comes from.
    pub training: Training,
    /// What prepares the columns, in order, and the model.
    pub stages: Vec<Stage>,
}

impl ModelFile {
    /// As the bytes of a file.
    ///
    /// # Errors
    /// Parameters that are no JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        bytes::encode(&self.schema, &self.training, &self.stages).map_err(Error::Data)
    }

    /// From the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(file: &[u8]) -> Result<Self> {
        let (schema, training, stages) = bytes::decode(file).map_err(Error::Data)?;
        Ok(Self { schema, training, stages })
    }

    /// Writes the file. Under its name there is the old one or the new one, never half of it.
    ///
    /// # Errors
    /// [`Error::Model`]: it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |e: std::io::Error| Error::Model { path: path.to_owned(), message: e.to_string() };
        let bytes = self.to_bytes()?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = Part(path.with_file_name(name));
        let mut file = File::create(&part.0).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&part.0, path).map_err(failed)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Model`]: it cannot be read, is no model file, was altered or cut off.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |message: String| Error::Model { path: path.to_owned(), message };
        let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        Self::from_bytes(&bytes).map_err(|e| failed(e.to_string()))
    }
}

/// A file under way; gone where it did not come to its name.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed, most of the time.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> ModelFile {
        let mut stage = Stage::new("linear", &"margin");
        stage.numbers("weights", vec![0.1, -2.5e300, f64::MIN_POSITIVE]);
        stage.counts("counts", vec![7]);
        stage.texts("words", vec!["grün".into(), String::new(), "x".into()]);
        let schema = Schema { features: vec!["a".into(), "b".into()], label: Some("y".into()), classes: Vec::new() };
        let training = Training { algorithm: "svm".into(), records: 10, seconds: 0.25, ..Training::default() };
        ModelFile { schema, training, stages: vec![stage, Stage::new("empty", &())] }
    }

    #[test]
    fn files_come_back_as_they_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.model");
        for _ in 0..2 {
            small().write(&path).unwrap();
            assert_eq!(ModelFile::read(&path).unwrap(), small());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
        let error = ModelFile::read(folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none: ") && error.contains("No such file"), "{error}");
        assert!(small().write(folder.path().join("no/such/folder")).is_err());
    }

    #[test]
    fn whatever_is_cut_off_or_altered_is_refused() {
        let bytes = small().to_bytes().unwrap();
        for length in 0..bytes.len() {
            ModelFile::from_bytes(&bytes[..length]).unwrap_err();
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            ModelFile::from_bytes(&altered).unwrap_err();
        }
        let mut later = bytes.clone();
        later[8] = 2;
        assert!(ModelFile::from_bytes(&later).unwrap_err().to_string().contains("version 2, expected 1"));
    }

    proptest! {
        /// Also with a checksum that fits: lengths of a header that was made up are no reason to panic.
        #[test]
        fn decoding_never_panics(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
        ) {
            let mut bytes = small().to_bytes().unwrap();
            let at = at.index(bytes.len() - 8);
            bytes[at] = byte;
            let end = if byte % 2 == 0 { bytes.len() - 8 } else { cut.index(bytes.len() - 8) };
            bytes.truncate(end);
            let checksum = xxhash_rust::xxh3::xxh3_64(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            let _ = ModelFile::from_bytes(&bytes);
        }
    }
}
