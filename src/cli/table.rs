//! Tables as text, row by row: columns are as wide as the first rows need.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fluvial_core::Result;
use std::io::{self, Write};

/// Rows that are looked at before the first one is printed.
const SAMPLE: usize = 1000;

/// Prints a table of any length in bounded memory. Cells wider than those of the first rows shift what follows them.
pub struct TablePrinter<W> {
    out: W,
    header: Vec<String>,
    widths: Vec<usize>,
    /// The first rows, until they are printed.
    first: Option<Vec<Vec<String>>>,
}

impl<W: Write> TablePrinter<W> {
    pub fn new(out: W, schema: &Schema) -> Self {
        let header: Vec<String> = schema.fields().iter().map(|f| one_line(f.name())).collect();
        let widths = header.iter().map(|name| width(name)).collect();
        Self { out, header, widths, first: Some(Vec::new()) }
    }

    /// Prints rows. The outer error is of the data, the inner one of the output.
    pub fn print(&mut self, batch: &RecordBatch) -> Result<io::Result<()>> {
        let options = FormatOptions::default();
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let formatters = formatters.collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = formatters.iter().map(|f| Ok(one_line(&f.value(row).try_to_string()?)));
            let cells = cells.collect::<Result<Vec<String>>>()?;
            let printed = match &mut self.first {
                Some(first) => {
                    self.widths.iter_mut().zip(&cells).for_each(|(most, cell)| *most = width(cell).max(*most));
                    first.push(cells);
                    if first.len() == SAMPLE { self.begin() } else { Ok(()) }
                }
                None => line(&mut self.out, &self.widths, &cells),
            };
            if printed.is_err() {
                return Ok(printed);
            }
        }
        Ok(Ok(()))
    }

    /// Prints what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.begin()?;
        self.rule()?;
        self.out.flush()
    }

    fn begin(&mut self) -> io::Result<()> {
        let Some(first) = self.first.take() else { return Ok(()) };
        self.rule()?;
        line(&mut self.out, &self.widths, &self.header)?;
        self.rule()?;
        first.iter().try_for_each(|cells| line(&mut self.out, &self.widths, cells))
    }

    fn rule(&mut self) -> io::Result<()> {
        self.widths.iter().try_for_each(|width| write!(self.out, "+{:-<1$}", "", width + 2))?;
        writeln!(self.out, "+")
    }
}

fn line(out: &mut impl Write, widths: &[usize], cells: &[String]) -> io::Result<()> {
    widths.iter().zip(cells).try_for_each(|(width, cell)| write!(out, "| {cell:width$} "))?;
    writeln!(out, "|")
}

/// A cell is one line, whatever it holds.
fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn printed(batches: &[RecordBatch]) -> Vec<String> {
        let mut out = Vec::new();
        let mut printer = TablePrinter::new(&mut out, &batches[0].schema());
        batches.iter().for_each(|batch| printer.print(batch).unwrap().unwrap());
        printer.finish().unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone()));
        let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.map(|n| (n % 2 == 0).then(|| format!("a\n{n}")))));
        RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap()
    }

    #[test]
    fn few_rows_are_aligned() {
        let lines = printed(&[batch(8..9), batch(9..11)]);
        let expected = [
            "+----+-------+",
            "| n  | text  |",
            "+----+-------+",
            "| 8  | a\\n8  |",
            "| 9  |       |",
            "| 10 | a\\n10 |",
            "+----+-------+",
        ];
        assert_eq!(lines, expected);
        assert_eq!(printed(&[batch(0..0)]), ["+---+------+", "| n | text |", "+---+------+", "+---+------+"]);
    }

    #[test]
    fn many_rows_are_all_there() {
        let lines = printed(&(0..30).map(|n| batch(n * 100..(n + 1) * 100)).collect::<Vec<_>>());
        assert_eq!(lines.len(), 3000 + 4);
        assert!(lines[2002].starts_with("| 1999 |"), "{}", lines[2002]);
    }
}
