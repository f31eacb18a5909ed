use super::ValueError;
use crate::stream::short_type_name;
use crate::{Error, Result};
use arrow_array::builder::*;
use arrow_array::types::*;
use arrow_array::{ArrayRef, ListArray, MapArray, NullArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType, FieldRef, Fields, SchemaRef};
use serde::Serialize;
use std::sync::Arc;

/// Rows in the making.
pub(crate) struct Rows {
    schema: SchemaRef,
    /// A struct of all columns; or the only column, where a record is one value.
    root: Column,
    single: bool,
    rows: usize,
}

impl Rows {
    /// `single`: a record is the value of the only column, rather than a row of columns.
    pub(crate) fn new(schema: SchemaRef, single: bool) -> Result<Self> {
        let root = match schema.fields().first() {
            Some(only) if single => Column::new(only.data_type())?,
            _ => Column::Struct(StructColumn::new(schema.fields())?),
        };
        Ok(Self { schema, root, single, rows: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// # Errors
    /// A value that is serialized in another form than it is deserialized in.
    #[inline]
    pub(crate) fn append<T: Serialize>(&mut self, value: &T) -> Result<()> {
        self.rows += 1;
        value
            .serialize(&mut self.root)
            .map_err(|e| Error::User(format!("a `{}` does not fit its columns: {e}", short_type_name::<T>())))
    }

    /// What was appended since the last call.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        let columns = match &mut self.root {
            Column::Struct(columns) if !self.single => columns.finish_parts()?.0,
            only => vec![only.finish()?],
        };
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Builds a column out of values that serde hands over.
pub(super) enum Column {
    Null(usize),
    Bool(BooleanBuilder),
    I8(Int8Builder),
    I16(Int16Builder),
    I32(Int32Builder),
    I64(Int64Builder),
    U8(UInt8Builder),
    U16(UInt16Builder),
    U32(UInt32Builder),
    U64(UInt64Builder),
    F32(Float32Builder),
    F64(Float64Builder),
    Decimal(PrimitiveBuilder<Decimal128Type>),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    List(ListColumn),
    Map(Box<MapColumn>),
    Struct(StructColumn),
}

/// The fields of a struct or tuple.
pub(super) struct StructColumn {
    pub(super) fields: Fields,
    pub(super) children: Vec<Column>,
    pub(super) nulls: NullBufferBuilder,
}

/// Lists, by where each ends.
pub(super) struct ListColumn {
    field: FieldRef,
    pub(super) item: Box<Column>,
    pub(super) ends: Ends,
}

/// Maps, by where each ends.
pub(super) struct MapColumn {
    entries: FieldRef,
    pub(super) keys: Column,
    pub(super) values: Column,
    pub(super) ends: Ends,
}

/// Where lists end, and which are null.
pub(super) struct Ends {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Ends {
    fn new() -> Self {
        Self { offsets: vec![0], nulls: NullBufferBuilder::new(0) }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn append(&mut self, end: usize) -> std::result::Result<(), ValueError> {
        let end = i32::try_from(end).map_err(|_| too_long())?;
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    fn append_null(&mut self) {
        self.offsets.extend(self.offsets.last().copied());
        self.nulls.append_null();
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Option<arrow_buffer::NullBuffer>) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), self.nulls.finish())
    }
}

fn too_long() -> ValueError {
    serde::ser::Error::custom("a batch holds at most 2,147,483,647 elements of lists")
}

impl Column {
    fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int8 => Self::I8(Int8Builder::new()),
            DataType::Int16 => Self::I16(Int16Builder::new()),
            DataType::Int32 => Self::I32(Int32Builder::new()),
            DataType::Int64 => Self::I64(Int64Builder::new()),
            DataType::UInt8 => Self::U8(UInt8Builder::new()),
            DataType::UInt16 => Self::U16(UInt16Builder::new()),
            DataType::UInt32 => Self::U32(UInt32Builder::new()),
            DataType::UInt64 => Self::U64(UInt64Builder::new()),
            DataType::Float32 => Self::F32(Float32Builder::new()),
            DataType::Float64 => Self::F64(Float64Builder::new()),
            DataType::Decimal128(_, _) => Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone())),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::List(field) => {
                let item = Box::new(Self::new(field.data_type())?);
                Self::List(ListColumn { field: field.clone(), item, ends: Ends::new() })
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => {
                    let (keys, values) = (Self::new(pair[0].data_type())?, Self::new(pair[1].data_type())?);
                    Self::Map(Box::new(MapColumn { entries: entries.clone(), keys, values, ends: Ends::new() }))
                }
                other => return Err(Error::Plan(format!("a map of {other}"))),
            },
            DataType::Struct(fields) => Self::Struct(StructColumn::new(fields)?),
            other => return Err(Error::Plan(format!("no serde type is held by a column of {other}"))),
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Null(len) => *len,
            Self::Bool(b) => b.len(),
            Self::I8(b) => b.len(),
            Self::I16(b) => b.len(),
            Self::I32(b) => b.len(),
            Self::I64(b) => b.len(),
            Self::U8(b) => b.len(),
            Self::U16(b) => b.len(),
            Self::U32(b) => b.len(),
            Self::U64(b) => b.len(),
            Self::F32(b) => b.len(),
            Self::F64(b) => b.len(),
            Self::Decimal(b) => b.len(),
            Self::Text(b) => b.len(),
            Self::Bytes(b) => b.len(),
            Self::List(list) => list.ends.len(),
            Self::Map(map) => map.ends.len(),
            Self::Struct(fields) => fields.nulls.len(),
        }
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Null(len) => *len += 1,
            Self::Bool(b) => b.append_null(),
            Self::I8(b) => b.append_null(),
            Self::I16(b) => b.append_null(),
            Self::I32(b) => b.append_null(),
            Self::I64(b) => b.append_null(),
            Self::U8(b) => b.append_null(),
            Self::U16(b) => b.append_null(),
            Self::U32(b) => b.append_null(),
            Self::U64(b) => b.append_null(),
            Self::F32(b) => b.append_null(),
            Self::F64(b) => b.append_null(),
            Self::Decimal(b) => b.append_null(),
            Self::Text(b) => b.append_null(),
            Self::Bytes(b) => b.append_null(),
            Self::List(list) => list.ends.append_null(),
            Self::Map(map) => map.ends.append_null(),
            Self::Struct(fields) => {
                fields.children.iter_mut().for_each(Column::append_null);
                fields.nulls.append_null();
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Null(len) => Arc::new(NullArray::new(std::mem::take(len))),
            Self::Bool(b) => Arc::new(b.finish()),
            Self::I8(b) => Arc::new(b.finish()),
            Self::I16(b) => Arc::new(b.finish()),
            Self::I32(b) => Arc::new(b.finish()),
            Self::I64(b) => Arc::new(b.finish()),
            Self::U8(b) => Arc::new(b.finish()),
            Self::U16(b) => Arc::new(b.finish()),
            Self::U32(b) => Arc::new(b.finish()),
            Self::U64(b) => Arc::new(b.finish()),
            Self::F32(b) => Arc::new(b.finish()),
            Self::F64(b) => Arc::new(b.finish()),
            Self::Decimal(b) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Bytes(b) => Arc::new(b.finish()),
            Self::List(list) => {
                let (offsets, nulls) = list.ends.finish();
                Arc::new(ListArray::try_new(list.field.clone(), offsets, list.item.finish()?, nulls)?)
            }
            Self::Map(map) => {
                let (offsets, nulls) = map.ends.finish();
                let DataType::Struct(pair) = map.entries.data_type() else { unreachable!("checked when it was made") };
                let entries = StructArray::try_new(pair.clone(), vec![map.keys.finish()?, map.values.finish()?], None)?;
                Arc::new(MapArray::try_new(map.entries.clone(), offsets, entries, nulls, false)?)
            }
            Self::Struct(fields) => {
                let len = fields.nulls.len();
                let (children, nulls) = fields.finish_parts()?;
                Arc::new(StructArray::try_new_with_length(fields.fields.clone(), children, nulls, len)?)
            }
        })
    }
}

impl StructColumn {
    fn new(fields: &Fields) -> Result<Self> {
        let children = fields.iter().map(|f| Column::new(f.data_type())).collect::<Result<_>>()?;
        Ok(Self { fields: fields.clone(), children, nulls: NullBufferBuilder::new(0) })
    }

    fn finish_parts(&mut self) -> Result<(Vec<ArrayRef>, Option<arrow_buffer::NullBuffer>)> {
        let children = self.children.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        Ok((children, self.nulls.finish()))
    }
}
