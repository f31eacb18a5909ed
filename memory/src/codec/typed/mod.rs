//! Records of Rust types: any type with serde's traits, in a compact binary form, with a schema that describes it.
//!
//! All numbers are little endian. Nothing is aligned, nothing is self-describing:
//!
//! | serde's data model | bytes |
//! |---|---|
//! | `bool` | one, 0 or 1 |
//! | integers, floats | as wide as the type; `usize` and `isize` as 64 bits |
//! | `char` | its scalar value, u32 |
//! | strings, bytes | length (u32), then the bytes |
//! | option | 0, or 1 and the value |
//! | unit, unit struct | nothing |
//! | sequence | number of elements (u32), then the elements |
//! | map | number of entries (u32), then key and value of each |
//! | tuple, array, struct | the fields in order |
//! | enum | the variant's number (one byte; from 255 on, 255 and a u32), then its fields |
//!
//! This table is part of the format of checkpoints and savepoints: state is stored in these bytes, beside the JSON of its
//! [`Schema`], and has to be read for as long as they are kept. So the bytes of a schema never change; tests hold them.
//! [`Codec::reading`] reads values of an earlier schema of a type, [`Schema::reader`] reads them without the type.
//!
//! A type whose schema has only fields of fixed width has values of fixed width: [`Codec::width`]. Serializer and
//! deserializer are monomorphized for the type, so that `(u64, u64)` is two stores of 8 bytes. The trade-off: types that
//! ask for self-describing data (`#[serde(untagged)]`, `#[serde(flatten)]`, `#[serde(tag = ..)]`) have no codec, and
//! `#[serde(skip_serializing_if = ..)]` must not be used.

mod compare;
mod decode;
mod encode;
mod evolution;
mod layout;
mod reader;
mod rows;
mod samples;
mod schema;
mod stored;
mod trace;

pub use evolution::StoredCodec;
pub use reader::SchemaReader;
pub use rows::TypedRows;
pub use schema::Schema;

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Serializes and deserializes values of one type.
///
/// ```
/// use fluvial_memory::Codec;
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Visit {
///     page: String,
///     seconds: Option<f64>,
/// }
///
/// let codec = Codec::<Visit>::new()?;
/// assert_eq!(codec.schema().to_string(), "Visit { page: str, seconds: option<f64> }");
/// let visit = Visit { page: "/".to_owned(), seconds: Some(2.5) };
/// let mut bytes = Vec::new();
/// codec.encode(&visit, &mut bytes)?;
/// assert_eq!(codec.decode(&bytes)?, visit);
///
/// assert_eq!(Codec::<(u64, [f32; 2])>::new()?.width(), Some(16));
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct Codec<T> {
    schema: Arc<Schema>,
    width: Option<usize>,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        Self { schema: self.schema.clone(), width: self.width, of: PhantomData }
    }
}

impl<T> fmt::Debug for Codec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("schema", &self.schema).field("width", &self.width).finish()
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// A codec for the type, whose schema is traced here, once.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the type asks for self-describing data.
    pub fn new() -> Result<Self> {
        let schema = trace::trace::<T>()?;
        Ok(Self { width: schema.width(), schema: Arc::new(schema), of: PhantomData })
    }

    /// The type's description.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The number of bytes of every value, if they all have the same.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Appends the bytes of a value.
    ///
    /// # Errors
    /// If a length is beyond 32 bits, or the type's own `Serialize` fails; `out` is then as before.
    #[inline]
    pub fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.reserve(self.width.unwrap_or(0));
        let result = value.serialize(&mut encode::Writer { out });
        let found = out.len() - start;
        match result {
            Ok(()) if self.width.is_none_or(|width| width == found) => Ok(()),
            Ok(()) => {
                out.truncate(start);
                Err(Failure(format!("expected {} bytes from its `Serialize`, found {found}", self.width.unwrap_or(0))).of::<T>())
            }
            Err(failure) => {
                out.truncate(start);
                Err(failure.of::<T>())
            }
        }
    }

    /// The value that has these bytes.
    ///
    /// # Errors
    /// If the bytes are no value of the type, or more than one.
    #[inline]
    pub fn decode(&self, bytes: &[u8]) -> Result<T> {
        let mut rest = bytes;
        let value = self.decode_from(&mut rest)?;
        if !rest.is_empty() {
            return Err(
                Failure(format!("expected a value of {} bytes, found {}", bytes.len() - rest.len(), bytes.len())).of::<T>()
            );
        }
        Ok(value)
    }

    /// The value at the front of `input`, which is moved behind it.
    ///
    /// # Errors
    /// If there is no value of the type.
    #[inline]
    pub fn decode_from(&self, input: &mut &[u8]) -> Result<T> {
        let mut reader = decode::Reader { input };
        match T::deserialize(&mut reader) {
            Ok(value) => {
                *input = reader.input;
                Ok(value)
            }
            Err(failure) => Err(failure.of::<T>()),
        }
    }
}

/// What went wrong in serde; the codec adds the type.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    #[cold]
    fn of<T>(self) -> Error {
        Error::Codec { type_name: std::any::type_name::<T>().to_owned(), what: self.0 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl serde::ser::Error for Failure {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for Failure {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod evolution_tests;
#[cfg(test)]
mod tests;
