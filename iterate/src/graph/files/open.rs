use super::columns::{Casting, choose};
use super::file_error;
use super::head::{CsvHead, TextHead, with_hint};
use super::schema::{EDGES, IdType, Role, VERTICES, WEIGHTED_EDGES, edge_schema, vertex_schema};
use super::text::Lines;
use crate::graph::{Graph, VertexId};
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use fluvial_core::io::{BatchReader, CsvOptions, Format, LineReader, RecordInput, Scan, ScanOptions, Split, TableInput};
use fluvial_core::io::{fingerprint, resolve};
use fluvial_core::{Batches, Env, Error, Result, Table, TableParts};
use fluvial_memory::Reservation;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file of edges or vertices is read, where it does not speak for itself.
#[derive(Clone, Debug, Default)]
pub struct GraphFileOptions {
    weighted: bool,
    ids: Option<IdType>,
    columns: Option<Vec<String>>,
}

impl GraphFileOptions {
    /// Edges have weights: the third field of a line, the column `weight`.
    #[must_use]
    pub fn weighted(self, weighted: bool) -> Self {
        Self { weighted, ..self }
    }

    /// What ids are. By default columns of integers are numbers, of strings text; of text files the first record says it.
    #[must_use]
    pub fn ids(self, ids: IdType) -> Self {
        Self { ids: Some(ids), ..self }
    }

    /// Names of the columns of source, target and, with weights, weight (of vertices: of the id), where they are not called `src`,
    /// `dst`, `weight`, `id` or the like.
    #[must_use]
    pub fn columns(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { columns: Some(names.into_iter().map(Into::into).collect()), ..self }
    }
}

/// Files of edges, opened: what ids are is known, the edges are read by a job.
///
/// By extension: `.parquet`, `.csv`, `.tsv` and `.jsonl` have columns `src`, `dst` and `weight`, by these names or usual others, else by
/// position; CSV may have a header or not. All others are lines of text: fields between blanks, source, target and, with
/// weights, weight first; empty lines and those that begin with `#` or `%` are passed over, and so is a header.
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::files::{EdgeFiles, GraphFileOptions, IdType};
/// # let folder = tempfile::tempdir().map_err(|e| fluvial_core::Error::User(e.to_string()))?;
/// # let path = folder.path().join("edges.txt").display().to_string();
/// # std::fs::write(&path, "# two edges\n1 2 0.5\n2 7 0.25\n").unwrap();
/// let env = Env::default();
/// let files = EdgeFiles::open(&[&path], &GraphFileOptions::default().weighted(true))?;
/// assert_eq!(files.ids(), IdType::Number);
/// let edges = files.table(&env).rows::<(u64, u64, f64)>()?;
/// assert_eq!(edges.collect()?, [(1, 2, 0.5), (2, 7, 0.25)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone)]
pub struct EdgeFiles(Files);

impl EdgeFiles {
    /// Opens files, folders or globs of one format. Their beginnings and metadata are read.
    ///
    /// # Errors
    /// [`Error::File`] for what is not there, and for columns or first lines that are not of edges.
    pub fn open(inputs: &[impl AsRef<str>], options: &GraphFileOptions) -> Result<Self> {
        Files::open(inputs, if options.weighted { &WEIGHTED_EDGES } else { &EDGES }, options).map(Self)
    }

    /// What ids are.
    pub fn ids(&self) -> IdType {
        self.0.ids
    }

    /// Whether edges are read with weights.
    pub fn weighted(&self) -> bool {
        self.0.roles.contains(&Role::Weight)
    }

    /// The graph of the edges.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::files::{EdgeFiles, GraphFileOptions};
    /// # let folder = tempfile::tempdir().map_err(|e| fluvial_core::Error::User(e.to_string()))?;
    /// # let path = folder.path().join("friends.txt").display().to_string();
    /// # std::fs::write(&path, "ann bob\nbob eve\n").unwrap();
    /// let env = Env::default();
    /// let friends = EdgeFiles::open(&[&path], &GraphFileOptions::default())?.graph::<String>(&env, false)?;
    /// assert!(friends.wcc().collect()?.iter().all(|(_, component)| component == "ann"));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Plan`] where ids are of the [other type](EdgeFiles::ids).
    pub fn graph<I: VertexId>(&self, env: &Env, directed: bool) -> Result<Graph<I>> {
        Graph::from_table(&self.table(env), directed)
    }

    /// The edges, with the columns of [`edge_schema`].
    pub fn table(&self, env: &Env) -> Table {
        self.0.table(env, "edges", edge_schema(self.ids(), self.weighted()))
    }
}

/// Files of vertices, opened: one id a line, or a column `id`. What is said of [`EdgeFiles`] holds for them.
#[derive(Clone)]
pub struct VertexFiles(Files);

impl VertexFiles {
    /// Opens files, folders or globs of one format.
    ///
    /// # Errors
    /// As [`EdgeFiles::open`].
    pub fn open(inputs: &[impl AsRef<str>], options: &GraphFileOptions) -> Result<Self> {
        Files::open(inputs, &VERTICES, options).map(Self)
    }

    /// What ids are.
    pub fn ids(&self) -> IdType {
        self.0.ids
    }

    /// The vertices, with the column of [`vertex_schema`].
    pub fn table(&self, env: &Env) -> Table {
        self.0.table(env, "vertices", vertex_schema(self.ids()))
    }
}

#[derive(Clone)]
struct Files {
    files: Arc<[PathBuf]>,
    roles: &'static [Role],
    ids: IdType,
    splits: Vec<Split>,
    fingerprint: u64,
    bytes: u64,
    kind: Arc<Kind>,
}

enum Kind {
    /// Lines of text; how those of each file are read.
    Text(RecordInput, Vec<Lines>),
    /// Everything that the engine has a reader for.
    Columns(Scan, Format),
}

impl Files {
    fn open(inputs: &[impl AsRef<str>], roles: &'static [Role], options: &GraphFileOptions) -> Result<Self> {
        if let Some(names) = &options.columns
            && names.len() != roles.len()
        {
            let expected = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Plan(format!("{} columns named, expected those of {expected}", names.len())));
        }
        let inputs: Vec<String> = inputs.iter().map(|input| input.as_ref().to_owned()).collect();
        let files: Arc<[PathBuf]> = resolve(&inputs)?.into();
        let text = Format::Text(Default::default());
        // Edge lists go by many extensions.
        let format = if files.iter().all(|file| Format::of(file).is_none()) { text } else { Format::detect(&files)? };
        let (ids, splits, bytes, kind) = match &format {
            Format::Text(_) if options.columns.is_some() => {
                return Err(Error::Plan(format!("{}: lines of text have no names of columns", files[0].display())));
            }
            Format::Text(_) => open_text(&files, roles, options.ids)?,
            _ => open_columns(&files, format, roles, options)?,
        };
        let fingerprint = fingerprint(&files, &splits)?;
        Ok(Self { files, roles, ids, splits, fingerprint, bytes, kind: Arc::new(kind) })
    }

    fn table(&self, env: &Env, kind: &'static str, schema: SchemaRef) -> Table {
        let first = self.files[0].display();
        let more = if self.files.len() > 1 { format!(" and {} more", self.files.len() - 1) } else { String::new() };
        let detail = format!("{first}{more}, {} splits", self.splits.len());
        env.table_of(kind, detail, schema, self.clone())
    }

    /// The batches of a part of a text file.
    fn lines(&self, input: &RecordInput, lines: &Lines, split: &Split, memory: &Reservation) -> Result<Batches> {
        let mut reader = input.lines(split, memory)?;
        let (schema, lines, path) = (super::schema::schema(self.roles, self.ids), lines.clone(), self.files[split.file].clone());
        let mut next = move || -> Result<Option<RecordBatch>> {
            let parsed = match reader.next_block()? {
                Some(block) => lines.columns(block).map_err(|at| (at, malformed(&lines, block, at))),
                None => return Ok(None),
            };
            let columns = parsed.map_err(|(at, message)| placed(&reader, at, &path, &message))?;
            Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
        };
        Ok(Box::new(std::iter::from_fn(move || next().transpose())))
    }

    /// The batches of a part of a file that the engine reads.
    fn columns(&self, scan: &Scan, format: &Format, split: &Split, memory: &Reservation) -> Result<Batches> {
        let mut reader: Box<dyn BatchReader> = scan.open(split, memory)?;
        let (casting, path) = (Casting::new(self.roles, self.ids), self.files[split.file].clone());
        let (split, parquet) = (split.clone(), matches!(format, Format::Parquet));
        let mut next = move || -> Result<Option<RecordBatch>> {
            let before = reader.position();
            let batch = reader.next().map_err(|error| match error {
                Error::File { path, message } => Error::File { path, message: with_hint(&message) },
                other => other,
            })?;
            let place = |row: usize| {
                let row = before + row as u64;
                match parquet {
                    true => format!("row group {}, row {}", split.row_group, split.range.start + row),
                    false => format!("record {} after byte {}", row + 1, split.range.start),
                }
            };
            batch.map(|batch| casting.cast(&batch, place, &path)).transpose()
        };
        Ok(Box::new(std::iter::from_fn(move || next().transpose())))
    }
}

/// What is wrong with the line of a block that begins at byte `at`.
fn malformed(lines: &Lines, block: &str, at: usize) -> String {
    lines.diagnose(block[at..].lines().next().unwrap_or_default())
}

fn placed(reader: &LineReader, at: usize, path: &Path, message: &str) -> Error {
    file_error(path, format!("line {}: {message}", reader.line_number(at)))
}

/// What is known of files once they are open: ids, splits, bytes.
type Opened = (IdType, Vec<Split>, u64, Kind);

fn open_text(files: &Arc<[PathBuf]>, roles: &'static [Role], wanted: Option<IdType>) -> Result<Opened> {
    let heads = files.iter().map(|path| TextHead::read(path, roles, wanted)).collect::<Result<Vec<_>>>()?;
    // Files without records have no say in what ids are; where one has text, all have.
    let text = heads.iter().flatten().any(|head| head.ids == IdType::Text);
    let ids = wanted.unwrap_or(if text { IdType::Text } else { IdType::Number });
    let input = RecordInput::open(files, &Format::Text(Default::default()))?;
    let mut splits = Vec::new();
    for mut split in input.splits()? {
        // A split that begins behind the header does so with a line, which the reader sees by the byte before.
        let Some(head) = &heads[split.file] else { continue };
        split.range.start = split.range.start.max(head.body);
        if !split.range.is_empty() {
            splits.push(split);
        }
    }
    let lines = |head: Option<TextHead>| {
        let (fields, first) = head.map_or((roles.len(), 1), |head| (head.fields, head.line));
        Lines { roles, fields, ids, first }
    };
    let bytes = input.bytes();
    Ok((ids, splits, bytes, Kind::Text(input, heads.into_iter().map(lines).collect())))
}

fn open_columns(files: &Arc<[PathBuf]>, format: Format, roles: &'static [Role], options: &GraphFileOptions) -> Result<Opened> {
    let named = options.columns.as_deref();
    let (format, projection, ids) = match format {
        Format::Csv(csv) => match CsvHead::read(&files[0], csv.delimiter, roles, named, options.ids)? {
            Some(head) => {
                let csv = CsvOptions { header: head.header, schema: Some(csv_schema(&head, roles)), ..csv };
                // With a header, the schema names only what is read.
                let projection = if head.header { (0..roles.len()).collect() } else { head.columns };
                (Format::Csv(csv), Some(projection), head.ids)
            }
            None => {
                let csv = CsvOptions { header: false, schema: Some(Arc::new(Schema::empty())), ..csv };
                (Format::Csv(csv), Some(Vec::new()), options.ids.unwrap_or(IdType::Number))
            }
        },
        other => (other, None, IdType::Number),
    };
    let input = TableInput::open(files, &format)?;
    let (projection, ids) = match projection {
        Some(projection) => (projection, ids),
        None => choose(&files[0], input.schema(), roles, named, options.ids)?,
    };
    let scan = input.plan(&ScanOptions { projection: Some(projection), ..ScanOptions::default() })?;
    Ok((ids, scan.splits(), input.bytes(), Kind::Columns(scan, format)))
}

/// The columns of a CSV file: with a header those that are read, else all, since they go by position.
fn csv_schema(head: &CsvHead, roles: &[Role]) -> SchemaRef {
    if head.header {
        let named = |(role, column): (&Role, &usize)| Field::new(&head.names[*column], role.data_type(head.ids), true);
        return Arc::new(Schema::new(roles.iter().zip(&head.columns).map(named).collect::<Vec<_>>()));
    }
    let mut fields: Vec<Field> = head.names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    for (role, column) in roles.iter().zip(&head.columns) {
        fields[*column] = Field::new(&head.names[*column], role.data_type(head.ids), true);
    }
    Arc::new(Schema::new(fields))
}

impl TableParts for Files {
    fn count(&self) -> usize {
        self.splits.len()
    }

    fn open(&self, part: usize, memory: &Reservation) -> Result<Batches> {
        let split = &self.splits[part];
        match &*self.kind {
            Kind::Text(input, lines) => self.lines(input, &lines[split.file], split, memory),
            Kind::Columns(scan, format) => self.columns(scan, format, split, memory),
        }
    }

    fn bytes(&self, part: usize) -> u64 {
        self.splits[part].bytes
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn estimate(&self) -> Option<u64> {
        Some(self.bytes)
    }
}
