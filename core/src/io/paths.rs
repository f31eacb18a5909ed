//! From what a user wrote to the files that are meant.

use super::{Format, file_error};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The files that `inputs` name: each a file, a directory (all files of known formats in it, sorted by name) or a glob
/// pattern. Hidden files and those starting with `_` are skipped, as are subdirectories.
///
/// # Errors
/// [`Error::File`] that names the input which was not found, or the directory or pattern that holds no data file.
pub fn resolve(inputs: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        let path = Path::new(input);
        if path.is_dir() {
            files.extend(directory(path)?);
        } else if path.exists() {
            files.push(path.to_owned());
        } else if input.contains(['*', '?', '[']) {
            files.extend(pattern(input)?);
        } else {
            return Err(file_error(path, "no such file or directory"));
        }
    }
    if files.is_empty() {
        return Err(Error::Plan("no input files".into()));
    }
    Ok(files)
}

fn directory(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).map_err(|e| file_error(path, e))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|e| file_error(path, e))?.path();
        if file.is_file() && !skipped(&file) && Format::of(&file).is_some() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(file_error(path, "the directory holds no .parquet, .csv, .tsv, .jsonl, .ndjson, .json or .txt file"));
    }
    Format::detect(&files)?;
    Ok(files)
}

fn pattern(input: &str) -> Result<Vec<PathBuf>> {
    let matches = glob::glob(input).map_err(|e| file_error(Path::new(input), format!("not a valid pattern: {e}")))?;
    let mut files = Vec::new();
    for found in matches {
        let found = found.map_err(|e| file_error(e.path(), e.error()))?;
        if found.is_file() && !skipped(&found) {
            files.push(found);
        }
    }
    if files.is_empty() {
        return Err(file_error(Path::new(input), "no file matches this pattern"));
    }
    files.sort();
    Ok(files)
}

/// Whether a file is hidden, or not meant to be read: some write under such a name until a file is complete.
pub(crate) fn skipped(path: &Path) -> bool {
    path.file_name().is_some_and(|name| matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inputs: &[String]) -> Vec<String> {
        resolve(inputs).unwrap().iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn files_directories_and_patterns() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", ".hidden.csv", "_SUCCESS", "notes.md", "c.csv"] {
            std::fs::write(folder.path().join(name), "x\n1\n").unwrap();
        }
        std::fs::create_dir(folder.path().join("sub.csv")).unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(names(&[at("")]), ["a.csv", "b.csv", "c.csv"]);
        assert_eq!(names(&[at("[bc].csv"), at("a.csv")]), ["b.csv", "c.csv", "a.csv"]);
        assert_eq!(names(&[at("*")]), ["a.csv", "b.csv", "c.csv", "notes.md"]);
        for missing in ["d.csv", "d*.csv", "sub.csv"] {
            let error = resolve(&[at(missing)]).unwrap_err().to_string();
            assert!(error.starts_with(&at(missing)), "{error}");
        }
        std::fs::write(folder.path().join("d.parquet"), "").unwrap();
        assert!(matches!(resolve(&[at("")]), Err(Error::Plan(m)) if m.contains("d.parquet is Parquet")));
    }
}
