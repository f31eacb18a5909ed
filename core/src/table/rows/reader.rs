use super::cell::{Cell, Cells, NamedCells};
use super::column::{Column, resolve, zero};
use super::error::ValueError;
use super::shape::{Shape, trace};
use crate::stream::short_type_name;
use crate::table::columns_of;
use crate::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

/// How values of a type come out of record batches.
#[derive(Clone)]
pub(super) struct RowReader {
    /// The columns that are read, in the order in which the type takes them.
    pub(super) columns: Vec<String>,
    layout: Layout,
    type_name: String,
}

/// How a row is given to a type.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// A sequence of the columns: structs in the order of their fields, tuples.
    Fields,
    /// Names and values: maps, and structs that do not take a sequence.
    Named,
    /// The value of the only column.
    Single,
}

impl RowReader {
    /// Finds the columns for the fields of `T`.
    ///
    /// # Errors
    /// [`Error::Plan`] if there are none; names them, the type, and the columns there are.
    pub(super) fn new<T: DeserializeOwned>(schema: &Schema) -> Result<Self> {
        let (shape, error) = trace::<T>();
        let mut shape = &shape;
        while let Shape::Option(inner) = shape {
            shape = inner;
        }
        let type_name = short_type_name::<T>();
        let all = || schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let there = |name: &str| schema.fields().iter().any(|f| f.name() == name);
        let (columns, layout) = match shape {
            Shape::Struct { names, fields } if error.is_some() || fields.len() == names.len() => {
                let missing: Vec<_> = names.iter().filter(|n| !there(n)).map(|n| format!("`{n}`")).collect();
                if !missing.is_empty() {
                    let (missing, plural) = (missing.join(", "), if missing.len() > 1 { "s" } else { "" });
                    return Err(Error::Plan(format!(
                        "no column{plural} {missing} for the field{plural} of `{type_name}`; there are {}",
                        columns_of(schema)
                    )));
                }
                (names.iter().map(|n| (*n).to_owned()).collect(), Layout::Fields)
            }
            // Some of the names are aliases of others; serde knows which.
            Shape::Struct { names, .. } => (names.iter().filter(|n| there(n)).map(|n| (*n).to_owned()).collect(), Layout::Named),
            Shape::Tuple(fields) if fields.len() != schema.fields().len() => {
                return Err(Error::Plan(format!(
                    "`{type_name}` takes {} columns by position, the table has {}: {}; select those that are meant",
                    fields.len(),
                    schema.fields().len(),
                    columns_of(schema)
                )));
            }
            Shape::Tuple(_) => (all(), Layout::Fields),
            Shape::List(_) if schema.fields().len() != 1 => (all(), Layout::Fields),
            Shape::Scalar(_) | Shape::List(_) if schema.fields().len() == 1 => (all(), Layout::Single),
            Shape::Scalar(_) => {
                return Err(Error::Plan(format!(
                    "`{type_name}` takes one column, the table has {}: {}; select the one that is meant",
                    schema.fields().len(),
                    columns_of(schema)
                )));
            }
            Shape::Unknown | Shape::Map(..) | Shape::List(_) | Shape::Option(_) => (all(), Layout::Named),
        };
        let reader = Self { columns, layout, type_name };
        reader.probe::<T>(schema)?;
        Ok(reader)
    }

    /// Makes a value of zeros and empty strings of the columns' types, to see whether these are the fields' types. That the
    /// type does not accept such a value says nothing.
    fn probe<T: DeserializeOwned>(&self, schema: &Schema) -> Result<()> {
        let fields = self.columns.iter().filter_map(|name| schema.field_with_name(name).ok());
        let Some(zeros) = fields.map(|f| Some((f, zero(f.data_type())?))).collect::<Option<Vec<_>>>() else { return Ok(()) };
        let columns: Vec<_> = zeros.iter().map(|(f, zero)| Column::new(f.name(), zero.as_ref())).collect();
        match T::deserialize(Row { columns: &columns, row: 0, layout: self.layout }).err().and_then(|e| e.of_type()) {
            Some(mismatch) => Err(Error::Plan(format!("rows are not values of `{}`: {mismatch}", self.type_name))),
            None => Ok(()),
        }
    }

    /// Hands the value of every row to `each`. The batch has the columns of [`RowReader::columns`], in this order.
    ///
    /// # Errors
    /// A row that is not a `T`: what `failed` makes of its number in the batch, and of a message that names the column, what
    /// was expected and what was found.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        batch: &RecordBatch,
        failed: impl FnOnce(usize, String) -> Error,
        mut each: impl FnMut(T),
    ) -> Result<()> {
        let (schema, arrays) = (batch.schema_ref(), resolve(batch)?);
        let columns = schema.fields().iter().zip(&arrays).map(|(f, a)| Column::new(f.name(), a.as_ref())).collect::<Vec<_>>();
        for row in 0..batch.num_rows() {
            match T::deserialize(Row { columns: &columns, row, layout: self.layout }) {
                Ok(value) => each(value),
                Err(error) => return Err(failed(row, format!("not a `{}`: {error}", self.type_name))),
            }
        }
        Ok(())
    }
}

/// A row of a batch, for serde.
struct Row<'c> {
    columns: &'c [Column<'c>],
    row: usize,
    layout: Layout,
}

impl Row<'_> {
    #[inline]
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, ValueError> {
        match self.layout {
            Layout::Fields => visitor.visit_seq(Cells::new(self.columns, self.row)),
            Layout::Named => visitor.visit_map(NamedCells::new(self.columns, self.row)),
            // The columns are one.
            Layout::Single => self.single(|cell| cell.deserialize_any(visitor)),
        }
    }

    #[inline]
    fn single<R>(&self, read: impl FnOnce(Cell<'_>) -> std::result::Result<R, ValueError>) -> std::result::Result<R, ValueError> {
        let Some(column) = self.columns.first() else {
            return Err(serde::de::Error::custom("expected a column, found none"));
        };
        read(Cell { column, row: self.row }).map_err(|e| e.at(column.name, column.data_type))
    }
}

macro_rules! single {
    ($($deserialize:ident)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, ValueError> {
            self.single(|cell| cell.$deserialize(visitor))
        }
    )*};
}

macro_rules! whole {
    ($($deserialize:ident($($argument:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> std::result::Result<V::Value, ValueError> {
            match self.layout {
                Layout::Single => self.single(|cell| cell.$deserialize($($argument,)* visitor)),
                _ => self.visit(visitor),
            }
        }
    )*};
}

type Names = &'static [&'static str];

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = ValueError;

    single! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    whole! {
        deserialize_any()
        deserialize_ignored_any()
        deserialize_seq()
        deserialize_map()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: Names)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, ValueError> {
        match self.layout {
            Layout::Single => self.single(|cell| cell.deserialize_option(visitor)),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: Names,
        visitor: V,
    ) -> std::result::Result<V::Value, ValueError> {
        self.single(|cell| cell.deserialize_enum(name, variants, visitor))
    }
}
