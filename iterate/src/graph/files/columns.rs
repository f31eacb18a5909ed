//! Columns of record batches to ids and weights: which they are, and their types.

use super::file_error;
use super::schema::{IdType, Role};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Schema, SchemaRef};
use fluvial_core::{Error, Result};
use std::path::Path;

/// The columns of a file with a schema that play the roles: by name, or, where no names are known, by position if there are no
/// other columns. Also what ids are.
pub(super) fn choose(
    path: &Path,
    schema: &Schema,
    roles: &[Role],
    named: Option<&[String]>,
    wanted: Option<IdType>,
) -> Result<(Vec<usize>, IdType)> {
    let by_name: Vec<Option<usize>> = roles
        .iter()
        .enumerate()
        .map(|(at, role)| {
            let fields = schema.fields();
            match named {
                Some(names) => fields.iter().position(|field| *field.name() == names[at]),
                // The name of our own first: there may be others that could be meant.
                None => {
                    let own = fields.iter().position(|field| field.name() == role.column());
                    own.or_else(|| fields.iter().position(|field| role.is_called(field.name())))
                }
            }
        })
        .collect();
    let columns: Vec<usize> = if by_name.iter().all(Option::is_none) && named.is_none() && schema.fields().len() == roles.len() {
        (0..roles.len()).collect()
    } else {
        let found = roles.iter().zip(&by_name).enumerate().map(|(at, (role, found))| {
            let name = named.map_or(role.column(), |names| &names[at]);
            let there =
                || schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ");
            found.ok_or_else(|| file_error(path, format!("column `{name}` not found; there are {}", there())))
        });
        found.collect::<Result<_>>()?
    };
    let mut ids = None;
    for (role, column) in roles.iter().zip(&columns) {
        let field = schema.field(*column);
        let (name, found) = (field.name(), field.data_type());
        let unfit = |expected: &str| Err(file_error(path, format!("column `{name}`: expected {expected}, found {found}")));
        if *role == Role::Weight {
            if !(found.is_numeric() || *found == DataType::Null) {
                return unfit("numbers");
            }
            continue;
        }
        let is = match value_type(found) {
            integer if integer.is_integer() => IdType::Number,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => IdType::Text,
            _ => return unfit("integers or text"),
        };
        match ids {
            Some(before) if before != is && wanted != Some(IdType::Text) => {
                let other = schema.field(columns[0]);
                let (name, found) = (other.name(), other.data_type());
                return unfit(&format!("{} as in column `{name}`", if found.is_integer() { "integers" } else { "text" }));
            }
            _ => ids = Some(is),
        }
    }
    Ok((columns, wanted.or(ids).unwrap_or(IdType::Number)))
}

fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

/// A batch's columns, which are those of the roles, in the types of the table.
pub(super) struct Casting {
    roles: &'static [Role],
    schema: SchemaRef,
}

impl Casting {
    pub(super) fn new(roles: &'static [Role], ids: IdType) -> Self {
        Self { roles, schema: super::schema::schema(roles, ids) }
    }

    /// # Errors
    /// A null, or a value that is none in the table; `place` says where the row of an index is.
    pub(super) fn cast(&self, batch: &RecordBatch, place: impl Fn(usize) -> String, path: &Path) -> Result<RecordBatch> {
        let columns = self.roles.iter().zip(batch.columns()).zip(self.schema.fields());
        let columns = columns.map(|((role, column), field)| {
            // What cannot be cast becomes null, and nothing else may be.
            let options = CastOptions { safe: true, ..CastOptions::default() };
            let cast = match column.data_type() == field.data_type() {
                true => column.clone(),
                false => cast_with_options(column, field.data_type(), &options)?,
            };
            match first_null(&cast) {
                None => Ok(cast),
                Some(row) => {
                    let found = shown(column, row)?;
                    let expected = match field.data_type() {
                        DataType::UInt64 => format!("a number from 0 to {}", u64::MAX),
                        DataType::Float64 => "a number".to_owned(),
                        _ => "text".to_owned(),
                    };
                    Err(file_error(path, format!("{}: expected {expected} as the {role}, found {found}", place(row))))
                }
            }
        });
        Ok(RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_>>()?)?)
    }
}

fn first_null(column: &ArrayRef) -> Option<usize> {
    if column.null_count() == 0 {
        return None;
    }
    (0..column.len()).find(|row| column.is_null(*row))
}

fn shown(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok("null".into());
    }
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(column, &options)?.value(row).try_to_string().map_err(Error::from)?;
    Ok(format!("{:?}", text.chars().take(60).collect::<String>()))
}
