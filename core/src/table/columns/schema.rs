use crate::table::rows::Shape;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use std::sync::Arc;

/// The columns that hold values of this shape, and whether a value is that of the only column rather than a row.
///
/// # Errors
/// What has no column type; says where.
pub(super) fn of(shape: &Shape) -> Result<(SchemaRef, bool), String> {
    let (fields, single) = match shape {
        Shape::Struct { .. } | Shape::Tuple(_) => (fields(shape)?, false),
        value => (Fields::from(vec![field("value", value)?]), true),
    };
    Ok((Arc::new(Schema::new(fields)), single))
}

fn fields(shape: &Shape) -> Result<Fields, String> {
    match shape {
        Shape::Struct { names, fields } if names.len() != fields.len() => {
            Err(format!("some of the names {} are aliases", names.join(", ")))
        }
        Shape::Struct { names, fields } => names.iter().zip(fields).map(|(name, shape)| field(name, shape)).collect(),
        Shape::Tuple(fields) => fields.iter().enumerate().map(|(i, shape)| field(&format!("column_{}", i + 1), shape)).collect(),
        _ => Ok(Fields::empty()),
    }
}

fn field(name: &str, shape: &Shape) -> Result<Field, String> {
    let (mut inner, mut nullable) = (shape, false);
    while let Shape::Option(some) = inner {
        (inner, nullable) = (some, true);
    }
    let data_type = match inner {
        Shape::Scalar(data_type) => data_type.clone(),
        Shape::List(item) => DataType::List(Arc::new(field("item", item).map_err(|e| within(name, &e))?)),
        Shape::Map(key, value) => {
            let key = field("keys", key).map_err(|e| within(name, &e))?.with_nullable(false);
            let value = field("values", value).map_err(|e| within(name, &e))?;
            let entries = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
        Shape::Struct { .. } | Shape::Tuple(_) => DataType::Struct(fields(inner).map_err(|e| within(name, &e))?),
        Shape::Unknown | Shape::Option(_) => return Err(format!("field `{name}` can be anything")),
    };
    let nullable = nullable || data_type == DataType::Null;
    Ok(Field::new(name, data_type, nullable))
}

fn within(name: &str, error: &str) -> String {
    format!("in `{name}`: {error}")
}
