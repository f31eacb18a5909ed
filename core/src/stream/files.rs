use super::{Data, DataStream, typed_port};
use crate::chain::{AnyCollector, BoxCollector, Context};
use crate::graph::{Body, Estimate, Node, NodeMetrics, TaskContext, Timing};
use crate::io::{Format, LineReader, RecordInput, RecordReader, Split, fingerprint, lines, resolve};
use crate::queue::PartCursor;
use crate::{Env, Output, Progress, Restored, Result, Snapshot, Source};
use fluvial_memory::Reservation;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Records read in one call of a source.
const POLL_RECORDS: usize = 1024;

impl Env {
    /// The lines of text files, without their ends. Files, folders or globs; read in parallel, also within a file.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) for what is not there. While the job runs: a file that cannot be read or is not UTF-8.
    pub fn read_text<P: AsRef<str>>(&self, inputs: &[P]) -> Result<DataStream<String>> {
        self.read_files(inputs, Some(Format::Text(Default::default())), |input, split, memory| {
            Ok(Box::new(LinePart(input.lines(split, memory)?)))
        })
    }

    /// The records of Parquet, CSV or JSON lines files as values of a type: columns go to fields of the same name. The format
    /// goes by extension; files, folders or globs. Of Parquet only the columns that have a field are read.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct City {
    ///     name: String,
    ///     people: Option<u64>,
    /// }
    /// # let env = fluvial_core::Env::default();
    /// # let folder = tempfile::tempdir().map_err(|e| fluvial_core::Error::User(e.to_string()))?;
    /// # let path = folder.path().join("cities.parquet").display().to_string();
    /// # env.from_collection([City { name: "Berlin".into(), people: Some(3_700_000) }]).write(&path)?;
    /// # env.execute("write")?;
    /// let cities = env.read_records::<City>(&[&path])?;
    /// let large = cities.filter(|city| city.people > Some(1_000_000)).map(|city| city.name);
    /// assert_eq!(large.collect()?, ["Berlin"]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) for what is not there; of Parquet also as [`Table::rows`](crate::Table::rows). While the
    /// job runs: a record that is not a `T`; it names the file, the line or row and the column.
    pub fn read_records<T: Data>(&self, inputs: &[impl AsRef<str>]) -> Result<DataStream<T>> {
        let named: Vec<String> = inputs.iter().map(|p| p.as_ref().to_owned()).collect();
        if let Format::Parquet = Format::detect(&resolve(&named)?)? {
            return self.read_parquet(inputs);
        }
        self.read_files(inputs, None, |input, split, memory| {
            Ok(Box::new(RecordPart { reader: input.records::<T>(split, memory)?, records: Vec::new() }))
        })
    }

    fn read_files<T: Data, P: AsRef<str>>(
        &self,
        inputs: &[P],
        format: Option<Format>,
        open: impl Fn(&RecordInput, &Split, &Reservation) -> Result<Box<dyn PartReader<T>>> + Send + Sync + 'static,
    ) -> Result<DataStream<T>> {
        let inputs: Vec<String> = inputs.iter().map(|p| p.as_ref().to_owned()).collect();
        let files = resolve(&inputs)?;
        let format = format.map_or_else(|| Format::detect(&files), Ok)?;
        let input = RecordInput::open(&files, &format)?;
        let splits = input.splits()?;
        let bytes = input.bytes() as f64;
        let detail = format!("{}, {} files, {} splits", inputs.join(", "), files.len(), splits.len());
        let fingerprint = fingerprint(&files, &splits)?;
        let shared = Arc::new(FileParts { input, splits, open });
        let make = move |context: &TaskContext, next: AnyCollector| -> Result<Box<dyn Source>> {
            let parts = shared.clone();
            let cursor = PartCursor::new(context, parts.splits.len(), fingerprint);
            let metrics = context.metrics.clone();
            metrics.parts.store(parts.splits.len().div_ceil(context.processes) as u64, Relaxed);
            let memory = context.reserve(0)?;
            Ok(Box::new(FileSource { parts, cursor, memory, metrics, next: next.into::<T>()?, current: None, ended: false }))
        };
        let node = Node {
            kind: "read",
            name: None,
            uid: None,
            detail,
            inputs: Vec::new(),
            build_input: None,
            body: Body::Source { make: Arc::new(make), port: typed_port::<T>() },
            memory: 0,
            outputs: 1,
            sides: Vec::new(),
            feedback: Vec::new(),
            aware: false,
            piecewise: crate::graph::Piecewise::Never,
            timing: Timing::AsTheyCome,
            bounded: true,
            estimate: Some(Estimate { bytes }),
        };
        Ok(DataStream::new(self, self.add(node)))
    }
}

/// Reads the records of one split.
trait PartReader<T> {
    /// Hands some records to `each`; false at the end.
    fn read(&mut self, each: &mut dyn FnMut(T)) -> Result<bool>;
}

struct LinePart(LineReader);

impl PartReader<String> for LinePart {
    fn read(&mut self, each: &mut dyn FnMut(String)) -> Result<bool> {
        let Some(block) = self.0.next_block()? else { return Ok(false) };
        lines(block).for_each(|line| each(line.to_owned()));
        Ok(true)
    }
}

struct RecordPart<T> {
    reader: RecordReader<T>,
    records: Vec<T>,
}

impl<T: Data> PartReader<T> for RecordPart<T> {
    fn read(&mut self, each: &mut dyn FnMut(T)) -> Result<bool> {
        let read = self.reader.read(&mut self.records, POLL_RECORDS)?;
        self.records.drain(..).for_each(each);
        Ok(read > 0)
    }
}

struct FileParts<F> {
    input: RecordInput,
    splits: Vec<Split>,
    open: F,
}

/// The split being read.
struct Current<T> {
    reader: Box<dyn PartReader<T>>,
    part: usize,
    /// Records that were emitted before the job was restored.
    skip: u64,
}

struct FileSource<T, F> {
    parts: Arc<FileParts<F>>,
    cursor: PartCursor,
    memory: Reservation,
    metrics: Arc<NodeMetrics>,
    next: BoxCollector<T>,
    current: Option<Current<T>>,
    ended: bool,
}

impl<T, F> FileSource<T, F>
where
    T: Data,
    F: Fn(&RecordInput, &Split, &Reservation) -> Result<Box<dyn PartReader<T>>>,
{
    /// Pushes some records; false when there are no more splits.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool> {
        let current = match &mut self.current {
            Some(current) => current,
            empty => {
                let Some((part, skip)) = self.cursor.take() else { return Ok(false) };
                let reader = (self.parts.open)(&self.parts.input, &self.parts.splits[part], &self.memory)?;
                empty.insert(Current { reader, part, skip })
            }
        };
        let mut rows = 0;
        let (next, skip) = (&mut self.next, &mut current.skip);
        let more = current.reader.read(&mut |record| {
            if *skip > 0 {
                *skip -= 1;
                return;
            }
            rows += 1;
            next.push(record, context);
        })?;
        self.metrics.rows_read.fetch_add(rows, Relaxed);
        self.cursor.emitted(rows);
        if !more {
            self.metrics.part_read(self.parts.splits[current.part].bytes);
            self.cursor.end();
            self.current = None;
        }
        self.next.end_batch(None, context);
        Ok(true)
    }
}

impl<T, F> Source for FileSource<T, F>
where
    T: Data,
    F: Fn(&RecordInput, &Split, &Reservation) -> Result<Box<dyn PartReader<T>>>,
{
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let mut progress = Progress::More;
        if self.ended {
            progress = self.next.finish(&mut context);
        } else if !self.read(&mut context)? {
            self.ended = true;
        }
        context.check()?;
        Ok(progress)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        self.cursor.snapshot()
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        self.cursor.restore(&state)
    }

    fn stop(&mut self) {
        self.ended = true;
    }

    fn abort(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use crate::source::testing::{Driven, NoOutput};
    use crate::{DataStream, Env, Progress, StateSection, Table};
    use arrow_array::RecordBatch;
    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt64Type;
    use std::path::Path;

    const FILES: u64 = 20;
    const RECORDS: u64 = 20_000;

    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Numbered {
        number: u64,
    }

    /// Files of consecutive numbers.
    fn write(folder: &Path, format: &str) {
        for file in 0..FILES {
            let env = Env::default();
            let numbers = env.sequence(file * RECORDS..(file + 1) * RECORDS);
            let path = folder.join(format!("{file}.{format}"));
            match format {
                "txt" => numbers.map(|n| n.to_string()).write(path).unwrap(),
                _ => numbers.map(|number| Numbered { number }).write(path).unwrap(),
            }
            env.execute("write").unwrap();
        }
    }

    /// Runs the instances of a source for so many polls each, and again in other numbers; then to the end.
    fn check<T: Clone + Send + Sync + 'static>(env: &Env, node: usize, numbers: impl Fn(&T) -> Vec<u64>, what: &str) {
        for workers in [[1, 2, 3], [2, 1, 1], [3, 3, 2]] {
            let mut seen = Vec::new();
            let mut sections: Vec<StateSection> = Vec::new();
            for (round, instances) in workers.into_iter().enumerate() {
                let mut now = Vec::new();
                for (worker, mut driven) in Driven::<T>::all_of(env, node, instances, &sections).into_iter().enumerate() {
                    for _ in 0..=(2 * worker + round) {
                        assert_eq!(driven.source.poll(&mut NoOutput).unwrap(), Progress::More);
                    }
                    now.extend(driven.snapshot());
                    seen.extend(driven.records.lock().unwrap().iter().flat_map(&numbers));
                }
                sections = now;
            }
            assert!(!seen.is_empty() && seen.len() < (FILES * RECORDS) as usize, "{what}: {} seen", seen.len());
            for mut driven in Driven::<T>::all_of(env, node, 2, &sections) {
                seen.extend(driven.run_to_end().iter().flat_map(&numbers));
            }
            seen.sort();
            assert!(seen.into_iter().eq(0..FILES * RECORDS), "{what} {workers:?}");
        }
    }

    #[test]
    fn files_are_read_on_from_where_they_were_with_another_number_of_workers() {
        for format in ["txt", "csv", "jsonl", "parquet"] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), format);
            let inputs = [folder.path().to_str().unwrap()];
            let env = Env::default();
            let table: Table = env.read(&inputs).unwrap();
            check::<RecordBatch>(&env, table.node, of_column, format);
            if format == "txt" {
                let lines: DataStream<String> = env.read_text(&inputs).unwrap();
                check::<String>(&env, lines.node, |line| vec![line.parse().unwrap()], "lines");
            } else if format != "parquet" {
                let records: DataStream<Numbered> = env.read_records(&inputs).unwrap();
                check::<Numbered>(&env, records.node, |record| vec![record.number], "records");
            }
        }
    }

    fn of_column(batch: &RecordBatch) -> Vec<u64> {
        let column = batch.column(0);
        match column.as_string_opt::<i32>() {
            Some(lines) => lines.iter().map(|line| line.unwrap().parse().unwrap()).collect(),
            None => {
                let numbers = arrow_cast::cast(column, &arrow_schema::DataType::UInt64).unwrap();
                numbers.as_primitive::<UInt64Type>().values().to_vec()
            }
        }
    }

    #[test]
    fn files_that_have_changed_are_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "csv");
        let inputs = [folder.path().to_str().unwrap()];
        let sections = Driven::new(&Env::default().read_text(&inputs).unwrap(), 0, 1).snapshot();
        std::fs::write(folder.path().join("99.csv"), "1\n").unwrap();
        let error = Driven::try_restored(&Env::default().read_text(&inputs).unwrap(), sections).err().unwrap().to_string();
        assert!(error.contains("another input"), "{error}");
    }
}
