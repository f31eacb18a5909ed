use crate::error::data;
use crate::vector::{Block, DenseRows, Rows, SparseRows};
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float64Array, ListArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields, Schema};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Columns of the same length, by name: numbers, texts, or vectors.
///
/// What is missing is a number that is not one, or no text. As Arrow columns: numbers are `Float64`, texts `Utf8`; dense vectors are
/// a fixed-size list of `Float64`, sparse ones a struct of two lists, `indices` (`UInt32`) and `values` (`Float64`), whose field says
/// the width in its metadata ([`Frame::WIDTH`]). Other numeric types are read as `Float64`, booleans as 0 and 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    rows: usize,
    columns: Vec<(String, Column)>,
}

/// A column of a [`Frame`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Column {
    /// Numbers; missing ones are not numbers.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<Option<String>>),
    /// Vectors of one width.
    Vectors(Rows),
}

impl Column {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Vectors(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Numbers(_) => "numbers",
            Self::Texts(_) => "texts",
            Self::Vectors(_) => "vectors",
        }
    }
}

impl Frame {
    /// Metadata of a field of sparse vectors: their width.
    pub const WIDTH: &'static str = "fluvial.vector.width";

    /// No columns, of so many rows.
    pub fn new(rows: usize) -> Self {
        Self { rows, columns: Vec::new() }
    }

    /// A frame of one column of vectors, and of one called `label` where there are labels.
    pub fn of_block(block: Block, features: &str) -> Self {
        let mut frame = Self::new(block.len());
        let Block { rows, labels } = block;
        frame.columns.push((features.to_owned(), Column::Vectors(rows)));
        if !labels.is_empty() {
            frame.columns.push(("label".to_owned(), Column::Numbers(labels)));
        }
        frame
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// A column.
    ///
    /// # Errors
    /// There is none of that name; the error says which there are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        match self.columns.iter().find(|(n, _)| n == name) {
            Some((_, column)) => Ok(column),
            None => data(format!("column `{name}` not found; there are {}", self.names().collect::<Vec<_>>().join(", "))),
        }
    }

    /// A column of numbers.
    ///
    /// # Errors
    /// There is none, or it is of another kind; as for the others.
    pub fn numbers(&self, name: &str) -> Result<&[f64]> {
        match self.column(name)? {
            Column::Numbers(values) => Ok(values),
            other => data(format!("column `{name}` holds {}, expected numbers", other.kind())),
        }
    }

    /// A column of texts.
    ///
    /// # Errors
    /// As [`Frame::numbers`].
    pub fn texts(&self, name: &str) -> Result<&[Option<String>]> {
        match self.column(name)? {
            Column::Texts(values) => Ok(values),
            other => data(format!("column `{name}` holds {}, expected texts", other.kind())),
        }
    }

    /// A column of vectors.
    ///
    /// # Errors
    /// As [`Frame::numbers`].
    pub fn vectors(&self, name: &str) -> Result<&Rows> {
        match self.column(name)? {
            Column::Vectors(rows) => Ok(rows),
            other => data(format!("column `{name}` holds {}, expected vectors", other.kind())),
        }
    }

    /// A column, to be changed in place.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn column_mut(&mut self, name: &str) -> Result<&mut Column> {
        self.column(name)?;
        let found = self.columns.iter_mut().find(|(n, _)| n == name);
        found.map(|(_, column)| column).ok_or_else(|| Error::Data(format!("column `{name}` not found")))
    }

    /// Adds a column, or replaces the one of that name.
    ///
    /// # Errors
    /// It has another number of rows.
    pub fn set(&mut self, name: &str, column: Column) -> Result<()> {
        if column.len() != self.rows {
            return data(format!("column `{name}` has {} rows, expected {}", column.len(), self.rows));
        }
        match self.columns.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = column,
            None => self.columns.push((name.to_owned(), column)),
        }
        Ok(())
    }

    /// The columns of a batch, or those of these names.
    ///
    /// # Errors
    /// A column that is not there, or of a type that is neither number nor text nor vector.
    pub fn from_batch(batch: &RecordBatch, names: Option<&[String]>) -> Result<Self> {
        let mut frame = Self::new(batch.num_rows());
        let schema = batch.schema();
        let all: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        for name in names.unwrap_or(&all) {
            let Some((index, field)) = schema.column_with_name(name) else {
                return data(format!("column `{name}` not found; there are {}", all.join(", ")));
            };
            frame.columns.push((name.clone(), from_array(batch.column(index), field)?));
        }
        Ok(frame)
    }

    /// As a batch.
    ///
    /// # Errors
    /// More stored values than an Arrow list can count.
    pub fn to_batch(&self) -> Result<RecordBatch> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for (name, column) in &self.columns {
            let (field, array) = to_array(name, column)?;
            fields.push(field);
            arrays.push(array);
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }

    /// Rows of the columns of these names side by side: numbers as they are, vectors with all their values. One column of vectors
    /// alone stays as it is.
    ///
    /// # Errors
    /// A column that is not there or holds texts.
    pub fn assemble(&self, names: &[String]) -> Result<Rows> {
        if let [name] = names
            && let Column::Vectors(rows) = self.column(name)?
        {
            return Ok(rows.clone());
        }
        let columns: Vec<&Column> = names.iter().map(|n| self.column(n)).collect::<Result<_>>()?;
        if let Some(place) = columns.iter().position(|c| matches!(c, Column::Texts(_))) {
            return data(format!("column `{}` holds texts, expected numbers or vectors", names[place]));
        }
        if columns.iter().any(|c| matches!(c, Column::Vectors(Rows::Sparse(_)))) {
            return self.assemble_sparse(&columns);
        }
        let widths = columns.iter().map(|c| if let Column::Vectors(rows) = c { rows.width() } else { 1 });
        let width: usize = widths.clone().sum();
        let mut values = vec![0.0; self.rows * width];
        let mut first = 0;
        for (column, wide) in columns.iter().zip(widths) {
            match column {
                Column::Numbers(numbers) => {
                    values.iter_mut().skip(first).step_by(width).zip(numbers).for_each(|(to, x)| *to = *x)
                }
                Column::Vectors(rows) => {
                    for (to, row) in values.chunks_mut(width).zip(rows.iter()) {
                        row.write_to(&mut to[first..first + wide]);
                    }
                }
                Column::Texts(_) => {}
            }
            first += wide;
        }
        Ok(Rows::Dense(DenseRows::from_values(width, values)?))
    }

    fn assemble_sparse(&self, columns: &[&Column]) -> Result<Rows> {
        let width = columns.iter().map(|c| if let Column::Vectors(rows) = c { rows.width() } else { 1 }).sum();
        let mut assembled = SparseRows::new(width);
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        for i in 0..self.rows {
            indices.clear();
            values.clear();
            let mut first = 0;
            let mut push = |place: usize, x: f64| {
                if x != 0.0 {
                    indices.push(place as u32);
                    values.push(x);
                }
            };
            for column in columns {
                match column {
                    Column::Numbers(numbers) => push(first, numbers[i]),
                    Column::Vectors(rows) => rows.row(i).for_each(|place, x| push(first + place, x)),
                    Column::Texts(_) => {}
                }
                first += if let Column::Vectors(rows) = column { rows.width() } else { 1 };
            }
            assembled.push(&indices, &values)?;
        }
        Ok(Rows::Sparse(assembled))
    }

    /// The rows from `start` to `end`.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let slice = |column: &Column| match column {
            Column::Numbers(values) => Column::Numbers(values[start..end].to_vec()),
            Column::Texts(values) => Column::Texts(values[start..end].to_vec()),
            Column::Vectors(rows) => Column::Vectors(rows.pick(&(start..end).collect::<Vec<_>>())),
        };
        Self { rows: end - start, columns: self.columns.iter().map(|(n, c)| (n.clone(), slice(c))).collect() }
    }
}

fn from_array(array: &ArrayRef, field: &Field) -> Result<Column> {
    let unknown =
        || Error::Data(format!("column `{}` is of type {}, expected numbers, texts or vectors", field.name(), field.data_type()));
    Ok(match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            let texts = arrow_cast::cast(array, &DataType::Utf8)?;
            let texts: &StringArray = texts.as_string();
            Column::Texts(texts.iter().map(|t| t.map(str::to_owned)).collect())
        }
        DataType::FixedSizeList(_, width) => {
            let list = array.as_fixed_size_list();
            let width = usize::try_from(*width).map_err(|_| unknown())?;
            let mut values = numbers(list.values())?;
            if list.null_count() > 0 {
                let missing = (0..list.len()).filter(|i| list.is_null(*i));
                missing.for_each(|i| values[i * width..(i + 1) * width].fill(f64::NAN));
            }
            Column::Vectors(Rows::Dense(DenseRows::from_values(width, values)?))
        }
        DataType::Struct(_) => {
            let parts = array.as_struct();
            let width = field.metadata().get(Frame::WIDTH).and_then(|w| w.parse().ok()).ok_or_else(unknown)?;
            let list = |name: &str| parts.column_by_name(name).and_then(|c| c.as_list_opt::<i32>().cloned()).ok_or_else(unknown);
            let (indices, values) = (list("indices")?, list("values")?);
            let mut rows = SparseRows::new(width);
            for i in 0..parts.len() {
                let (places, numbers) = (indices.value(i), values.value(i));
                let places = places.as_primitive_opt::<UInt32Type>().ok_or_else(unknown)?;
                let numbers = numbers.as_primitive_opt::<Float64Type>().ok_or_else(unknown)?;
                rows.push(places.values(), numbers.values())
                    .map_err(|e| Error::Data(format!("column `{}`: {e}", field.name())))?;
            }
            Column::Vectors(Rows::Sparse(rows))
        }
        DataType::Null => Column::Numbers(vec![f64::NAN; array.len()]),
        DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Column::Numbers(numbers(array)?),
        other if other.is_numeric() => Column::Numbers(numbers(array)?),
        _ => return Err(unknown()),
    })
}

/// As numbers; what is null is none.
fn numbers(array: &ArrayRef) -> Result<Vec<f64>> {
    // Times go by their whole number.
    let whole = match array.data_type() {
        DataType::Date32 => Some(arrow_cast::cast(array, &DataType::Int32)?),
        DataType::Date64 | DataType::Timestamp(..) => Some(arrow_cast::cast(array, &DataType::Int64)?),
        _ => None,
    };
    let cast = arrow_cast::cast(whole.as_ref().unwrap_or(array), &DataType::Float64)?;
    let cast = cast.as_primitive::<Float64Type>();
    let mut values = cast.values().to_vec();
    if cast.null_count() > 0 {
        (0..values.len()).filter(|i| cast.is_null(*i)).for_each(|i| values[i] = f64::NAN);
    }
    Ok(values)
}

fn to_array(name: &str, column: &Column) -> Result<(Field, ArrayRef)> {
    Ok(match column {
        Column::Numbers(values) => {
            let array = Float64Array::from_iter(values.iter().map(|v| Some(*v).filter(|v| !v.is_nan())));
            (Field::new(name, DataType::Float64, true), Arc::new(array))
        }
        Column::Texts(values) => (Field::new(name, DataType::Utf8, true), Arc::new(StringArray::from(values.clone()))),
        Column::Vectors(Rows::Dense(rows)) => {
            let count = column.len();
            let width = rows.values().len().checked_div(count).unwrap_or(0);
            let wide = i32::try_from(width).map_err(|_| Error::Data(format!("column `{name}`: vectors of {width} values")))?;
            let item = Arc::new(Field::new("item", DataType::Float64, false));
            let values: ArrayRef = Arc::new(Float64Array::from(rows.values().to_vec()));
            let list = FixedSizeListArray::try_new_with_length(item, wide, values, None, count)?;
            (Field::new(name, list.data_type().clone(), false), Arc::new(list))
        }
        Column::Vectors(rows) => {
            let (mut indices, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
            for row in rows.iter() {
                let before = indices.len();
                row.for_each(|i, x| {
                    indices.push(i as u32);
                    values.push(x);
                });
                lengths.push(indices.len() - before);
            }
            if i32::try_from(indices.len()).is_err() {
                return data(format!("column `{name}`: {} stored values in one batch", indices.len()));
            }
            let list = |item: DataType, values: ArrayRef| -> Result<ListArray> {
                let field = Arc::new(Field::new("item", item, false));
                Ok(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None)?)
            };
            let indices = list(DataType::UInt32, Arc::new(UInt32Array::from(indices)))?;
            let values = list(DataType::Float64, Arc::new(Float64Array::from(values)))?;
            let fields: Fields = vec![
                Field::new("indices", indices.data_type().clone(), false),
                Field::new("values", values.data_type().clone(), false),
            ]
            .into();
            let array = StructArray::try_new(fields.clone(), vec![Arc::new(indices), Arc::new(values)], None)?;
            let metadata = HashMap::from([(Frame::WIDTH.to_owned(), rows.width().to_string())]);
            (Field::new(name, DataType::Struct(fields), false).with_metadata(metadata), Arc::new(array))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{BooleanArray, Int32Array};

    fn frame() -> Frame {
        let mut frame = Frame::new(2);
        let mut sparse = SparseRows::new(3);
        sparse.push(&[1], &[5.0]).unwrap();
        sparse.push(&[], &[]).unwrap();
        frame.set("n", Column::Numbers(vec![1.5, 2.0])).unwrap();
        frame.set("t", Column::Texts(vec![None, Some("x".into())])).unwrap();
        frame.set("d", Column::Vectors(Rows::Dense(DenseRows::from_values(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap()))).unwrap();
        frame.set("s", Column::Vectors(Rows::Sparse(sparse))).unwrap();
        frame
    }

    #[test]
    fn frames_become_batches_and_come_back() {
        let frame = frame();
        let batch = frame.to_batch().unwrap();
        assert_eq!(Frame::from_batch(&batch, None).unwrap(), frame);
        let part = Frame::from_batch(&batch.slice(1, 1), Some(&["s".to_owned(), "d".to_owned()])).unwrap();
        assert_eq!(part.vectors("d").unwrap().row(0).stored(), [3.0, 4.0]);
        assert!(
            Frame::from_batch(&batch, Some(&["q".to_owned()])).unwrap_err().to_string().contains("`q` not found; there are n, t")
        );
    }

    #[test]
    fn other_types_are_read_as_numbers_and_nulls_are_none() {
        let batch = RecordBatch::try_from_iter([
            ("i", Arc::new(Int32Array::from(vec![Some(3), None])) as ArrayRef),
            ("b", Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef),
        ])
        .unwrap();
        let frame = Frame::from_batch(&batch, None).unwrap();
        assert_eq!(frame.numbers("b").unwrap(), [1.0, 0.0]);
        assert!(frame.numbers("i").unwrap()[1].is_nan());
        assert!(frame.to_batch().unwrap().column(0).is_null(1));
    }

    #[test]
    fn columns_stand_side_by_side_in_rows() {
        let frame = frame();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let dense = frame.assemble(&names(&["d", "n"])).unwrap();
        assert_eq!(dense.row(1).stored(), [3.0, 4.0, 2.0]);
        let sparse = frame.assemble(&names(&["n", "s", "d"])).unwrap();
        assert!(matches!(sparse, Rows::Sparse(_)));
        let mut row = [0.0; 6];
        sparse.row(0).write_to(&mut row);
        assert_eq!(row, [1.5, 0.0, 5.0, 0.0, 1.0, 2.0]);
        assert!(frame.assemble(&names(&["t", "n"])).unwrap_err().to_string().contains("`t` holds texts"));
    }
}
