//! Files that roll: a worker writes its records to files of its own, one a bucket at a time, and begins the next one when a
//! file is large or old enough.
//!
//! | file | what |
//! |---|---|
//! | `bucket` | which folder a record belongs to |
//! | `part` | one file in the making, in its format |
//! | `parts` | a worker's files: open, complete, visible |
//! | `journal` | what a run has left behind that was killed |
//! | `operator` | drives them by records, timers and barriers |
//!
//! Invariant: a file is called `.part-<worker>-<n>.inprogress` until it is complete and is then renamed; nothing that is
//! visible is ever written to, replaced or removed. Readers skip hidden files, so they may look at any time.
//!
//! Trade-off: a file belongs to one worker, so nobody waits for anybody and there is no order between files. More workers
//! and more buckets mean more and smaller files.

mod bucket;
mod journal;
mod operator;
mod part;
mod parts;

use crate::graph::{Body, OperatorFactory};
use crate::io::{CsvOptions, WriteOptions};
use crate::table::type_columns;
use crate::{Data, DataStream, Error, Result};
use bucket::{BucketFn, Level, TimePattern};
use journal::{Lineage, unique};
use operator::WriteFiles;
use part::{Columns, Form, LineFn};
use parts::PartFiles;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

impl<T: Data> DataStream<T> {
    /// A sink that writes the records to files in `folder`, which roll: `part-<worker>-<n>.<extension>`. Say what else it
    /// should be like, then [`add`](FileSink::add) it.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// # let folder = tempfile::tempdir().map_err(|e| fluvial_core::Error::User(e.to_string()))?;
    /// # let folder = folder.path().join("numbers");
    /// let numbers = env.sequence(0..1000).map(|n| (n % 3, n));
    /// numbers.write_files(&folder).csv().bucket_by(|n| format!("rest={}", n.0)).roll_at_bytes(1 << 20).add()?;
    /// env.execute("numbers")?;
    ///
    /// let ones = folder.join("rest=1").display().to_string();
    /// assert_eq!(env.read_records::<(u64, u64)>(&[&ones])?.count()?, 333);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn write_files(&self, folder: impl AsRef<Path>) -> FileSink<T> {
        FileSink {
            stream: self.clone(),
            folder: folder.as_ref().to_owned(),
            format: Format::Lines(json_line::<T>, "jsonl"),
            levels: Vec::new(),
            roll_bytes: 128 << 20,
            roll_after: Some(Duration::from_secs(60)),
            open_buckets: 64,
            transactional: false,
            sync: false,
            name: None,
            uid: None,
            wrong: None,
        }
    }
}

/// Files that roll, before they are added to the job; made by [`DataStream::write_files`].
///
/// Every worker writes files of its own, one a bucket at a time. A file is hidden, `.part-<worker>-<n>.inprogress`, until it
/// is *rolled*: because it has its size, because it has been open for its time, because too many others are open, or because
/// the stream has ended. Then it gets its name at once, or with the next checkpoint
/// ([`transactional`](FileSink::transactional)). So readers never see half a file. Numbers that earlier jobs used are passed
/// over; nothing is replaced. A job that fails removes what is hidden.
///
/// In a job with checkpoints a transactional sink is exactly-once: files of a checkpoint that is complete are visible, or become
/// so when the job goes on from it, with any number of workers; what else a killed process has left hidden is removed then. A
/// sink that is not transactional rolls its files at each checkpoint and is at-least-once: what was written after the last one
/// stays visible, and is written again. Of a job that is killed and never goes on, hidden files stay. A file must not be moved
/// away before a checkpoint is complete that is later than the one it became visible with, and two jobs that go on from one
/// savepoint must not write to one folder.
///
/// In a program of several processes each writes to the folder of this name on its own host.
#[must_use = "`add` adds the sink to the job"]
pub struct FileSink<T> {
    stream: DataStream<T>,
    folder: PathBuf,
    format: Format<T>,
    levels: Vec<Level<T>>,
    roll_bytes: u64,
    roll_after: Option<Duration>,
    open_buckets: usize,
    transactional: bool,
    sync: bool,
    name: Option<String>,
    uid: Option<String>,
    /// The first thing that was wrong.
    wrong: Option<Error>,
}

/// The format, before it is known whether the record type fits it.
enum Format<T> {
    Lines(LineFn<T>, &'static str),
    Csv(CsvOptions),
    Parquet(WriteOptions),
}

/// What the instances of a sink share.
struct Settings<T> {
    folder: PathBuf,
    form: Form<T>,
    levels: Vec<Level<T>>,
    roll_bytes: u64,
    /// In milliseconds.
    roll_after: Option<i64>,
    open_buckets: usize,
    transactional: bool,
    sync: bool,
    /// What the runs of this sink have in common, in this process.
    lineage: Lineage,
}

fn json_line<T: Data>(record: &T, out: &mut Vec<u8>) -> std::result::Result<(), String> {
    serde_json::to_writer(&mut *out, record).map_err(|e| e.to_string())?;
    out.push(b'\n');
    Ok(())
}

fn display_line<T: Display>(record: &T, out: &mut Vec<u8>) -> std::result::Result<(), String> {
    writeln!(out, "{record}").map_err(|e| e.to_string())
}

impl<T: Data + Display> FileSink<T> {
    /// Text: a record a line, as `Display` shows it; `.txt`.
    pub fn text(mut self) -> Self {
        self.format = Format::Lines(display_line::<T>, "txt");
        self
    }
}

impl<T: Data> FileSink<T> {
    /// JSON lines: a record a line, as serde has it, with nulls; `.jsonl`. The default.
    pub fn json_lines(mut self) -> Self {
        self.format = Format::Lines(json_line::<T>, "jsonl");
        self
    }

    /// Comma-separated values with a header; `.csv`. The columns are those of [`DataStream::to_table`].
    pub fn csv(self) -> Self {
        self.csv_with(CsvOptions::default())
    }

    /// Like [`FileSink::csv`], with options; `.tsv` where the delimiter is a tab.
    pub fn csv_with(mut self, options: CsvOptions) -> Self {
        self.format = Format::Csv(options);
        self
    }

    /// Parquet; `.parquet`. The columns are those of [`DataStream::to_table`].
    pub fn parquet(self) -> Self {
        self.parquet_with(WriteOptions::default())
    }

    /// Like [`FileSink::parquet`], with options. A row group is in memory until it is closed, one an open bucket and worker.
    pub fn parquet_with(mut self, options: WriteOptions) -> Self {
        self.sync |= options.sync;
        self.format = Format::Parquet(options);
        self
    }

    /// A file of at least so many bytes is rolled. Default: 128 MiB. Of CSV and Parquet the size is looked at every 1024
    /// records; that of a Parquet file is an estimate until its row groups are closed.
    pub fn roll_at_bytes(mut self, bytes: u64) -> Self {
        self.roll_bytes = bytes.max(1);
        self
    }

    /// A file that has been open for so long, in processing time, is rolled. Default: 60 seconds.
    pub fn roll_after(mut self, time: Duration) -> Self {
        self.roll_after = Some(time);
        self
    }

    /// Files are not rolled for their age.
    pub fn roll_by_bytes_only(mut self) -> Self {
        self.roll_after = None;
        self
    }

    /// A folder within that of the sink for each value of a function. The value's `Display` is the folder's name, with more
    /// levels where it has slashes. Further calls add further levels.
    pub fn bucket_by<K: Display>(mut self, bucket: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        let write: BucketFn<T> = Arc::new(move |record, name| {
            // A string takes everything; a `Display` that fails has given what it gives.
            let _ = write!(name, "{}", bucket(record));
        });
        self.levels.push(Level::Function(write));
        self
    }

    /// A folder for each span of event time, in UTC, as a pattern of `strftime` has it: `%Y-%m-%d/%H` for the hours of a
    /// day, a folder a day. A record without an event time fails the job. Further calls add further levels.
    ///
    /// # Errors
    /// From [`FileSink::add`]: [`Error::Plan`] for a pattern that is not one.
    pub fn bucket_by_time(mut self, pattern: &str) -> Self {
        match TimePattern::new(pattern) {
            Ok(pattern) => self.levels.push(Level::Time(pattern)),
            Err(error) => drop(self.wrong.get_or_insert(error)),
        }
        self
    }

    /// Buckets of which a worker has a file open at a time. For one more, the file that has been without records for longest is
    /// rolled. Default: 64.
    pub fn open_buckets(mut self, buckets: usize) -> Self {
        self.open_buckets = buckets.max(1);
        self
    }

    /// Exactly-once: files get their names when a checkpoint that covers them is complete, and at the end of a job that ended well, all at
    /// once: what is visible is exactly what was processed up to then. Without this, each gets its name when it is rolled. A
    /// job without checkpoints shows nothing before its end then, and nothing at all if it fails.
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// A file, and its name, are on the disk before the sink goes on, so that they survive a crash of the machine.
    pub fn sync(mut self) -> Self {
        self.sync = true;
        self
    }

    /// Names the sink, for messages, metrics and `explain`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Gives the sink a stable id, by which its state is found again in a changed program.
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }

    /// Adds the sink to the next [`Env::execute`](crate::Env::execute).
    ///
    /// # Errors
    /// [`Error::Plan`] for a pattern that is not one, or a type that the format has no columns for.
    pub fn add(mut self) -> Result<()> {
        let (name, uid) = (self.name.take(), self.uid.take());
        let (stream, settings) = self.settings()?;
        let settings = Arc::new(settings);
        let detail = format!("{}, {}", settings.folder.display(), settings.form.extension());
        let make: OperatorFactory = Arc::new(move |context| {
            let files = PartFiles::new(settings.clone(), context.worker, context.reserve(0)?)?;
            let clock = context.clock().clone();
            Ok(Box::new(WriteFiles::new(settings.clone(), files, Box::new(move || clock.now()))))
        });
        let mut node = stream.after("write_files", detail, Body::Operator(make));
        node.outputs = 0;
        (node.name, node.uid) = (name, uid);
        stream.env.add_sink(node);
        Ok(())
    }

    fn settings(self) -> Result<(DataStream<T>, Settings<T>)> {
        if let Some(error) = self.wrong {
            return Err(error);
        }
        let form = match self.format {
            Format::Lines(line, extension) => Form::Lines(line, extension),
            Format::Csv(options) => Form::Csv(options, flat_columns::<T>(&self.folder)?),
            Format::Parquet(options) => {
                let (schema, single) = type_columns::<T>()?;
                Form::Parquet(options, Columns { schema, single })
            }
        };
        let settings = Settings {
            folder: self.folder,
            form,
            levels: self.levels,
            roll_bytes: self.roll_bytes,
            roll_after: self.roll_after.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            open_buckets: self.open_buckets,
            transactional: self.transactional,
            // What a checkpoint counts on must survive what the checkpoint survives.
            sync: self.sync || self.transactional,
            lineage: unique(),
        };
        Ok((self.stream, settings))
    }
}

/// Columns of single values.
fn flat_columns<T: Data>(folder: &Path) -> Result<Columns> {
    let (schema, single) = type_columns::<T>()?;
    match schema.fields().iter().find(|field| field.data_type().is_nested()) {
        Some(field) => {
            let (folder, name, data_type) = (folder.display(), field.name(), field.data_type());
            Err(Error::Plan(format!("writing {folder}: CSV has no form for column `{name}` ({data_type})")))
        }
        None => Ok(Columns { schema, single }),
    }
}

#[cfg(test)]
mod tests;
