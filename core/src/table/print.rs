use super::{Table, table_batch};
use crate::graph::{Body, OperatorFactory, Timing};
use crate::io::print::{PrintTarget, Printer, standard_output};
use crate::{Batch, Operator, Output, Position, Progress, Result};
use arrow_array::RecordBatch;
use arrow_cast::pretty::pretty_format_batches;
use arrow_schema::SchemaRef;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Rows that [`Table::print`] shows.
const PRINTED_ROWS: usize = 100;

impl Table {
    /// Adds a sink that prints the table on the standard output of the first process, aligned in columns: its first 100 rows
    /// and, if there are more, how many there are. Where the table is ordered (behind a sort) the rows are too. Not for
    /// streaming jobs with checkpoints, whose end may be another run's than their beginning.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// env.sequence(1..=3).map(|n| (n, n * n)).to_table()?.sort("column_1")?.print();
    /// env.execute("squares")?;
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn print(&self) {
        self.print_first(PRINTED_ROWS);
    }

    /// Like [`Table::print`], with the number of rows said.
    pub fn print_first(&self, rows: usize) {
        self.print_to(rows, standard_output());
    }

    fn print_to(&self, limit: usize, target: PrintTarget) {
        let (schema, folder) = (self.schema.clone(), self.env.config().spill_dir.clone());
        let make: OperatorFactory = Arc::new(move |context| {
            let first = context.shared(|| Mutex::new(FirstRows::new(limit, context.local_workers)));
            let printer = context.shared(|| Printer::new(&target, &folder, 1));
            Ok(Box::new(PrintTable { schema: schema.clone(), first, printer, prints: context.process == 0 }))
        });
        let mut node = self.after("print", format!("{limit} rows"), Body::Operator(make)).timing(Timing::Whole);
        node.outputs = 0;
        node.inputs[0].distribution = self.to_one_place();
        self.env.add_sink(node);
    }
}

/// Shows the first rows of a table once all are there.
struct PrintTable {
    schema: SchemaRef,
    first: Arc<Mutex<FirstRows>>,
    printer: Arc<Printer>,
    prints: bool,
}

/// The first rows of those that have come, and how many came.
struct FirstRows {
    limit: usize,
    /// Workers that may still bring some.
    workers: usize,
    /// By range and sequence, where rows have a position, and arrival.
    kept: BTreeMap<(Option<(u64, u64)>, u64), RecordBatch>,
    /// Rows in `kept`.
    rows: usize,
    seen: u64,
    arrivals: u64,
}

impl FirstRows {
    fn new(limit: usize, workers: usize) -> Self {
        Self { limit, workers, kept: BTreeMap::new(), rows: 0, seen: 0, arrivals: 0 }
    }

    fn add(&mut self, position: Option<Position>, batch: &RecordBatch) {
        self.seen += batch.num_rows() as u64;
        self.arrivals += 1;
        let place = (position.map(|p| (p.range, p.sequence)), self.arrivals);
        let late = self.kept.last_key_value().is_some_and(|(last, _)| *last < place);
        if batch.num_rows() == 0 || (late && self.rows >= self.limit) {
            return;
        }
        let batch = batch.slice(0, batch.num_rows().min(self.limit));
        self.rows += batch.num_rows();
        self.kept.insert(place, batch);
        while let Some(last) = self.kept.last_entry().filter(|last| self.rows - last.get().num_rows() >= self.limit) {
            self.rows -= last.remove().num_rows();
        }
    }

    fn text(&self, schema: &SchemaRef) -> Result<String> {
        let mut left = self.limit;
        // An empty batch stands for the columns, if there is no row.
        let mut batches = vec![RecordBatch::new_empty(schema.clone())];
        for batch in self.kept.values() {
            batches.push(batch.slice(0, batch.num_rows().min(left)));
            left -= batch.num_rows().min(left);
        }
        let mut text = format!("{}\n", pretty_format_batches(&batches)?);
        if self.seen > self.limit as u64 {
            text.push_str(&format!("the first {} of {} rows\n", self.limit, self.seen));
        }
        Ok(text)
    }
}

impl Operator for PrintTable {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        let position = batch.position;
        let batch = table_batch(batch)?;
        self.first.lock().unwrap_or_else(|e| e.into_inner()).add(position, &batch);
        Ok(Progress::Done)
    }

    fn finish(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        let mut first = self.first.lock().unwrap_or_else(|e| e.into_inner());
        first.workers -= 1;
        if first.workers == 0 && self.prints {
            self.printer.print(None, first.text(&self.schema)?.as_bytes())?;
            self.printer.close()?;
        }
        Ok(Progress::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::io::print::testing::Shown;
    use crate::{Config, Env};

    #[test]
    fn a_table_is_printed_in_columns() {
        let env = Env::default();
        let shown = Shown::default();
        let table = env.sequence(0..2).map(|n| (n, format!("row {n}"))).to_table().unwrap();
        table.sort("column_1 desc").unwrap().print_to(100, shown.target());
        table.filter(|batch| Ok(vec![false; batch.num_rows()].into())).select("column_2").unwrap().print_to(1, shown.target());
        env.execute("print").unwrap();
        let rows = "| column_1 | column_2 |\n+----------+----------+\n| 1        | row 1    |\n| 0        | row 0    |\n";
        let text = shown.text();
        assert!(text.contains(rows), "{text}");
        assert!(text.contains("+----------+\n| column_2 |\n+----------+\n"), "{text}");
        assert!(!text.contains("rows\n"), "{text}");
    }

    #[test]
    fn of_a_long_table_the_first_rows_are_printed_and_all_are_counted() {
        for threads in [1, 3] {
            let env = Env::new(Config { threads, memory: 8 << 20, ..Config::default() });
            let shown = Shown::default();
            let count = 200_000u64;
            let shuffled =
                env.sequence(0..count).map(move |n| (n * 7919 % count, "so that there are several ranges".to_string()));
            shuffled.to_table().unwrap().sort("column_1").unwrap().print_to(3, shown.target());
            env.execute("print").unwrap();
            let text = shown.text();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!((lines.len(), lines[lines.len() - 1]), (8, "the first 3 of 200000 rows"), "{text}");
            assert!(lines[3].starts_with("| 0 ") && lines[4].starts_with("| 1 ") && lines[5].starts_with("| 2 "), "{text}");
        }
    }
}
