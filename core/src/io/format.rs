//! File formats and their options.

use crate::{Error, Result};
use arrow_schema::SchemaRef;
use std::path::{Path, PathBuf};

/// The format of a file, with its options.
#[derive(Clone, Debug)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Separated values after RFC 4180.
    Csv(CsvOptions),
    /// One JSON object a line.
    JsonLines(JsonOptions),
    /// Lines of text: a table of one column `line`.
    Text(TextOptions),
}

/// How separated values are read and written.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// Whether the first record of every file names the columns. Without it they are `column_1`, `column_2`, ...
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that contain delimiters, quotes or newlines; doubled inside.
    pub quote: u8,
    /// Escapes a quote inside a quoted field, beside doubling it.
    pub escape: Option<u8>,
    /// Fields that stand for null; the empty field if there are none.
    pub nulls: Vec<String>,
    /// Columns and types, instead of inferring them.
    pub schema: Option<SchemaRef>,
    /// Records at the start of each file that types are inferred from.
    pub infer_records: usize,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { header: true, delimiter: b',', quote: b'"', escape: None, nulls: Vec::new(), schema: None, infer_records: 1000 }
    }
}

/// How JSON lines are read.
#[derive(Clone, Debug)]
pub struct JsonOptions {
    /// Columns and types, instead of inferring them.
    pub schema: Option<SchemaRef>,
    /// Records at the start of each file that types are inferred from.
    pub infer_records: usize,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { schema: None, infer_records: 1000 }
    }
}

/// How text is read.
#[derive(Clone, Debug, Default)]
pub struct TextOptions {
    /// Replace invalid UTF-8 by U+FFFD instead of failing.
    pub lossy: bool,
}

impl Format {
    /// The format that a file's extension stands for: `.parquet` and `.pq`; `.csv` and `.tsv` (tabs); `.jsonl`, `.ndjson`
    /// and `.json`; `.txt`. Case does not matter.
    ///
    /// ```
    /// use fluvial_core::io::Format;
    /// assert!(matches!(Format::of("a/b.PARQUET".as_ref()), Some(Format::Parquet)));
    /// assert!(matches!(Format::of("b.tsv".as_ref()), Some(Format::Csv(o)) if o.delimiter == b'\t'));
    /// assert!(Format::of("b.docx".as_ref()).is_none());
    /// ```
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "parquet" | "pq" => Self::Parquet,
            "csv" => Self::Csv(CsvOptions::default()),
            "tsv" => Self::Csv(CsvOptions { delimiter: b'\t', ..CsvOptions::default() }),
            "jsonl" | "ndjson" | "json" => Self::JsonLines(JsonOptions::default()),
            "txt" => Self::Text(TextOptions::default()),
            _ => return None,
        })
    }

    /// The one format of all `paths`, by their extensions.
    ///
    /// # Errors
    /// [`Error::File`] if an extension is unknown; [`Error::Plan`] if two files differ, or if there are no files.
    pub fn detect(paths: &[PathBuf]) -> Result<Self> {
        let mut found: Option<(Self, &Path)> = None;
        for path in paths {
            let format = Self::of(path).ok_or_else(|| {
                super::file_error(path, "unknown format; expected .parquet, .csv, .tsv, .jsonl, .ndjson, .json or .txt")
            })?;
            match &found {
                Some((first, at)) if !first.same(&format) => {
                    return Err(Error::Plan(format!(
                        "inputs of different formats: {} is {}, {} is {}",
                        at.display(),
                        first.name(),
                        path.display(),
                        format.name()
                    )));
                }
                Some(_) => {}
                None => found = Some((format, path)),
            }
        }
        found.map(|(format, _)| format).ok_or_else(|| Error::Plan("no input files".into()))
    }

    /// The format's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Csv(options) if options.delimiter == b'\t' => "TSV",
            Self::Csv(_) => "CSV",
            Self::JsonLines(_) => "JSON lines",
            Self::Text(_) => "text",
        }
    }

    fn same(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
