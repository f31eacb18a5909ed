//! Values of a schema, without the type that it is of.

use super::layout::Layout;
use super::{Failure, Schema, evolution, stored};
use crate::{Error, Result};
use serde::de::{DeserializeOwned, DeserializeSeed};
use std::marker::PhantomData;

/// Reads encoded values by their schema alone, into anything that takes what it is given: a [`serde_json::Value`], say.
///
/// Values are handed to serde as they are to a self-describing format: structs as maps of their fields' names, unit variants as
/// strings, other variants as maps of one entry, newtype structs as what is in them. For types of JSON's data model the result
/// is that of `serde_json::to_value`. What JSON does not have:
/// - integers of 128 bits are numbers as far as 64 bits go, beyond that strings of their digits;
/// - floats that are not finite become null in a [`serde_json::Value`];
/// - bytes are arrays of numbers;
/// - keys of maps that are not strings are their JSON text where the reader asks for strings, as [`serde_json::Value`] does;
/// - unit, unit structs and `None` are null, and a struct that was declared with braces but without fields is, too;
/// - types that serialize differently for people, as IP addresses do, have their compact form.
///
/// Values are at most 256 levels deep.
///
/// ```
/// use fluvial_memory::{Codec, Schema};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum Shape {
///     Point,
///     Circle { at: (i32, i32), radius: f64 },
/// }
///
/// let codec = Codec::<Vec<Shape>>::new()?;
/// let mut bytes = Vec::new();
/// codec.encode(&vec![Shape::Point, Shape::Circle { at: (1, -1), radius: 0.5 }], &mut bytes)?;
/// let schema = codec.schema().to_json();
///
/// // In another program:
/// let reader = Schema::from_json(&schema)?.reader()?;
/// let value: serde_json::Value = reader.read(&bytes)?;
/// assert_eq!(value.to_string(), r#"["Point",{"Circle":{"at":[1,-1],"radius":0.5}}]"#);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Debug)]
pub struct SchemaReader {
    schema: Schema,
    layout: Layout,
}

impl Schema {
    /// A reader of the schema's values.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for types that could not be described ([`Schema::Opaque`]), and for schemas that no type has.
    pub fn reader(&self) -> Result<SchemaReader> {
        let layout = Layout::new(self).map_err(|what| Error::Unsupported(format!("values of {self} cannot be read: {what}")))?;
        Ok(SchemaReader { schema: self.clone(), layout })
    }
}

impl SchemaReader {
    /// The value that has these bytes.
    ///
    /// # Errors
    /// If the bytes are no value of the schema, or more than one, or `V` does not take it.
    pub fn read<V: DeserializeOwned>(&self, bytes: &[u8]) -> Result<V> {
        self.read_seed(PhantomData, bytes)
    }

    /// As [`SchemaReader::read`], into what a seed makes of it: it is given the `Deserializer`.
    ///
    /// # Errors
    /// As for [`SchemaReader::read`].
    pub fn read_seed<'de, S: DeserializeSeed<'de>>(&self, seed: S, bytes: &'de [u8]) -> Result<S::Value> {
        let mut rest = bytes;
        let failure = match stored::read(&self.layout, seed, &mut rest) {
            Ok(value) if rest.is_empty() => return Ok(value),
            Ok(_) => evolution::longer(bytes, rest),
            Err(error) => Failure(error.to_string()),
        };
        Err(Error::Codec { type_name: self.schema.to_string(), what: failure.0 })
    }
}
