//! Columns of ids and weights, as they are in tables of edges.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrowPrimitiveType, RecordBatch, StringArray};
use arrow_schema::{DataType, SchemaRef};
use fluvial_core::{Error, Result};
use std::borrow::Cow;

/// Where ids and weights stand in a table.
pub(super) struct Columns {
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) weight: Option<usize>,
}

/// Whether a column of this type can be ids.
fn is_id(data_type: &DataType, text: bool) -> bool {
    match data_type {
        DataType::UInt64 | DataType::UInt32 | DataType::Int64 | DataType::Int32 => !text,
        DataType::Utf8 => text,
        _ => false,
    }
}

fn is_number(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Float64 | DataType::Float32 | DataType::Int64 | DataType::Int32 | DataType::UInt64 | DataType::UInt32
    )
}

/// # Errors
/// The column is not of ids.
pub(super) fn check_id(schema: &SchemaRef, column: usize, text: bool) -> Result<()> {
    let wanted = if text { "texts" } else { "integers" };
    let Some(field) = schema.fields().get(column) else {
        return Err(Error::Plan(format!(
            "a table of edges or vertices has a column of {wanted} at place {}, this has none",
            column + 1
        )));
    };
    if is_id(field.data_type(), text) {
        return Ok(());
    }
    Err(Error::Plan(format!("column `{}`: vertices here are {wanted}, these are {}", field.name(), field.data_type())))
}

/// `src`, `dst` and `weight`, or else the first columns.
///
/// # Errors
/// There are not two columns of ids, or the weight is not a number.
pub(super) fn edge_columns(schema: &SchemaRef, text: bool) -> Result<Columns> {
    let place = |name: &str| schema.fields().iter().position(|field| field.name() == name);
    let (source, target, weight) = match (place("src"), place("dst")) {
        (Some(source), Some(target)) => (source, target, place("weight")),
        _ => (0, 1, Some(2).filter(|third| schema.fields().get(*third).is_some_and(|field| is_number(field.data_type())))),
    };
    check_id(schema, source, text)?;
    check_id(schema, target, text)?;
    if let Some(field) = weight.map(|weight| schema.field(weight)).filter(|field| !is_number(field.data_type())) {
        return Err(Error::Plan(format!("column `{}`: weights are numbers, these are {}", field.name(), field.data_type())));
    }
    Ok(Columns { source, target, weight })
}

fn name(table: &RecordBatch, column: usize) -> String {
    table.schema_ref().field(column).name().clone()
}

/// # Errors
/// A value is missing.
fn check_nulls(table: &RecordBatch, column: usize) -> Result<()> {
    let array = table.column(column);
    match (0..array.len()).find(|row| array.is_null(*row)) {
        Some(row) => {
            Err(Error::User(format!("column `{}`, row {row} of a batch: an id or weight is missing", name(table, column))))
        }
        None => Ok(()),
    }
}

/// The integers of a column, as ids.
///
/// # Errors
/// One is missing or negative.
pub(super) fn integers(table: &RecordBatch, column: usize) -> Result<Cow<'_, [u64]>> {
    if table.column(column).null_count() > 0 {
        check_nulls(table, column)?;
    }
    let array = table.column(column);
    let negative = |value: i64| {
        Error::User(format!("column `{}`: the id {value} is negative; ids are integers from 0 on, or texts", name(table, column)))
    };
    let id = |value: i64| u64::try_from(value).map_err(|_| negative(value));
    match array.data_type() {
        DataType::UInt64 => Ok(array.as_primitive::<UInt64Type>().values().as_ref().into()),
        DataType::UInt32 => Ok(array.as_primitive::<UInt32Type>().values().iter().map(|&v| v.into()).collect()),
        DataType::Int64 => array.as_primitive::<Int64Type>().values().iter().map(|&v| id(v)).collect(),
        DataType::Int32 => array.as_primitive::<Int32Type>().values().iter().map(|&v| id(v.into())).collect(),
        other => Err(Error::Plan(format!("column `{}`: expected integers, found {other}", name(table, column)))),
    }
}

/// The numbers of a column.
///
/// # Errors
/// One is missing.
pub(super) fn weights(table: &RecordBatch, column: usize) -> Result<Cow<'_, [f64]>> {
    if table.num_columns() <= column {
        return Err(Error::Plan("the edges have no weights".into()));
    }
    if table.column(column).null_count() > 0 {
        check_nulls(table, column)?;
    }
    fn cast<T: ArrowPrimitiveType>(array: &dyn Array, to: impl Fn(T::Native) -> f64) -> Cow<'static, [f64]> {
        array.as_primitive::<T>().values().iter().map(|&v| to(v)).collect()
    }
    let array = table.column(column);
    Ok(match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().values().as_ref().into(),
        DataType::Float32 => cast::<Float32Type>(array, f64::from),
        DataType::Int64 => cast::<Int64Type>(array, |v| v as f64),
        DataType::Int32 => cast::<Int32Type>(array, f64::from),
        DataType::UInt64 => cast::<UInt64Type>(array, |v| v as f64),
        DataType::UInt32 => cast::<UInt32Type>(array, f64::from),
        other => return Err(Error::Plan(format!("column `{}`: expected numbers, found {other}", name(table, column)))),
    })
}

/// The texts of a column.
///
/// # Errors
/// One is missing.
pub(super) fn texts(table: &RecordBatch, column: usize) -> Result<&StringArray> {
    if table.column(column).null_count() > 0 {
        check_nulls(table, column)?;
    }
    let array = table.column(column);
    array
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::Plan(format!("column `{}`: expected texts, found {}", name(table, column), array.data_type())))
}
