use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use fluvial_core::{Error, Result, Table};
use std::io::Write;
use std::sync::Arc;

/// Bytes of a value, about.
const VALUE: usize = 8;

/// The rows of a table of edges, or of vertices and their values, as lines of text with blanks between the columns, which are numbers
/// or text. Infinity is written as LDBC Graphalytics has it: `Infinity`. The result is a table of one column, in the same order; it is
/// written with [`Table::write`] to a file that ends in `.txt`.
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::files::to_lines;
/// use fluvial_iterate::graph::generate::{EdgeGenerator, Path};
/// let env = Env::default();
/// let lines = to_lines(&Path::new(3).table(&env)?)?.rows::<String>()?.collect()?;
/// assert_eq!(lines, ["0 1", "1 2"]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Plan`] for a column of another type than `UInt64`, `Float64` and `Utf8`.
pub fn to_lines(table: &Table) -> Result<Table> {
    let known = [DataType::UInt64, DataType::Float64, DataType::Utf8];
    if let Some(other) = table.schema().fields().iter().find(|field| !known.contains(field.data_type())) {
        let (name, found) = (other.name(), other.data_type());
        return Err(Error::Plan(format!("lines of text: column `{name}`: expected UInt64, Float64 or Utf8, found {found}")));
    }
    let schema = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, false)]));
    let made = schema.clone();
    Ok(table.map_batches(schema, move |batch| Ok(RecordBatch::try_new(made.clone(), vec![lines(&batch)?])?)))
}

fn lines(batch: &RecordBatch) -> Result<ArrayRef> {
    let mut text: Vec<u8> = Vec::with_capacity(batch.num_rows() * batch.num_columns() * VALUE);
    let mut lengths = Vec::with_capacity(batch.num_rows());
    let mut numbers = itoa::Buffer::new();
    for row in 0..batch.num_rows() {
        let start = text.len();
        for (at, column) in batch.columns().iter().enumerate() {
            if at > 0 {
                text.push(b' ');
            }
            match column.data_type() {
                DataType::UInt64 => {
                    text.extend_from_slice(numbers.format(column.as_primitive::<UInt64Type>().value(row)).as_bytes());
                }
                DataType::Float64 => match column.as_primitive::<Float64Type>().value(row) {
                    f64::INFINITY => text.extend_from_slice(b"Infinity"),
                    value => write!(text, "{value}").map_err(|e| Error::User(e.to_string()))?,
                },
                _ => text.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
            }
        }
        lengths.push(text.len() - start);
    }
    let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(StringArray::try_new(offsets, text.into(), None)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Float64Array;
    use fluvial_core::Env;

    #[test]
    fn values_of_all_types() {
        let values = vec![0.5, f64::INFINITY, 1e-9, 3.0];
        let numbers: ArrayRef = Arc::new(Float64Array::from(values));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["ann", "боб", "", "日本"]));
        let batch = RecordBatch::try_from_iter([("id", texts), ("value", numbers)]).unwrap();
        let table = Env::default().from_batches(batch.schema(), vec![batch]).unwrap();
        let lines = to_lines(&table).unwrap().rows::<String>().unwrap().collect().unwrap();
        assert_eq!(lines, ["ann 0.5", "боб Infinity", " 0.000000001", "日本 3"]);
        let flags = table.with_column("flag", DataType::Boolean, |batch| {
            Ok(Arc::new(arrow_array::BooleanArray::from(vec![true; batch.num_rows()])))
        });
        let error = to_lines(&flags).err().unwrap().to_string();
        assert!(error.contains("column `flag`: expected UInt64"), "{error}");
    }
}
