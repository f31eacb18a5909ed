//! Values of a type as it was when they were stored, read as the type is now.

use super::compare::compare;
use super::layout::Layout;
use super::samples::samples;
use super::{Codec, Failure, Schema, stored};
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Reads values of `T` that were stored when its schema may have been another: made by [`Codec::reading`].
///
/// Where the bytes are the same, as they are as long as nothing has changed but names of types, it reads as fast as the codec.
pub struct StoredCodec<T> {
    codec: Codec<T>,
    /// The schema that values were stored with, where their bytes are others now.
    stored: Option<Arc<(Schema, Layout)>>,
}

impl<T> Clone for StoredCodec<T> {
    fn clone(&self) -> Self {
        Self { codec: self.codec.clone(), stored: self.stored.clone() }
    }
}

impl<T> fmt::Debug for StoredCodec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredCodec").field("codec", &self.codec).field("stored", &self.stored).finish()
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// A reader of values that were encoded with the schema `stored`: of an earlier state of the type.
    ///
    /// What may have changed since then:
    /// - fields of structs were added, anywhere, that serde can do without: with `#[serde(default)]`, or of an `Option`;
    /// - fields were removed, unless the type denies unknown fields (`#[serde(deny_unknown_fields)]`);
    /// - fields and variants have another order, or were renamed and know their old names (`#[serde(alias = "..")]`);
    /// - enums have more variants; a variant without fields got named ones that have defaults;
    /// - a tuple struct has more fields at its end, with defaults;
    /// - the names of structs and enums.
    ///
    /// Anything else is an error: another type of a field, a field without a default, a variant that is gone, a type that could
    /// not be described ([`Schema::Opaque`]) and has another schema now. All of that is found here, before a value is read: the
    /// schemas are compared part by part, then made-up values of the stored schema, in which every variant occurs, are
    /// deserialized as `T`. Only if a type refuses values for what they are (an empty string, the number 1), so that serde does
    /// not come to the missing field behind it, or if its made-up values would have more than a MiB, is it found when a stored
    /// value is decoded.
    ///
    /// ```
    /// use fluvial_memory::Codec;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Visits {
    ///     count: u64,
    /// }
    ///
    /// mod later {
    ///     #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    ///     pub struct Visits {
    ///         #[serde(default)]
    ///         pub pages: Vec<String>,
    ///         pub count: u64,
    ///     }
    /// }
    ///
    /// let old = Codec::<Visits>::new()?;
    /// let mut bytes = Vec::new();
    /// old.encode(&Visits { count: 7 }, &mut bytes)?;
    ///
    /// let reader = Codec::<later::Visits>::new()?.reading(old.schema())?;
    /// assert_eq!(reader.decode(&bytes)?, later::Visits { pages: vec![], count: 7 });
    ///
    /// let error = Codec::<(u32, u32)>::new()?.reading(old.schema()).unwrap_err();
    /// assert_eq!(error.to_string(), "stored as Visits { count: u64 }, expected (u32, u32): stored as `Visits`, now (u32, u32)");
    /// # Ok::<(), fluvial_memory::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::SchemaChanged`], which names both schemas and the place where they differ.
    pub fn reading(&self, stored: &Schema) -> Result<StoredCodec<T>> {
        let codec = self.clone();
        if *stored == *codec.schema {
            return Ok(StoredCodec { codec, stored: None });
        }
        let refused = |what| changed(stored, &codec.schema, what);
        let layout = Layout::new(stored).map_err(refused)?;
        if let Schema::Opaque(name) = &*codec.schema {
            return Err(refused(format!("`{name}` cannot be described, so that no other schema can be read as it")));
        }
        if compare(&layout, &Layout::new(&codec.schema).map_err(refused)?).map_err(refused)? {
            return Ok(StoredCodec { codec, stored: None });
        }
        for sample in samples(&layout) {
            if let Err(error) = stored::read(&layout, PhantomData::<T>, &mut &sample[..])
                && error.of_the_type
            {
                return Err(refused(error.to_string()));
            }
        }
        Ok(StoredCodec { codec, stored: Some(Arc::new((stored.clone(), layout))) })
    }
}

impl<T: Serialize + DeserializeOwned> StoredCodec<T> {
    /// Whether the bytes of values are as the type's own codec writes them.
    pub fn is_current(&self) -> bool {
        self.stored.is_none()
    }

    /// The value that has these bytes.
    ///
    /// # Errors
    /// If the bytes are no value of the stored schema, or more than one, or one that the type refuses.
    #[inline]
    pub fn decode(&self, bytes: &[u8]) -> Result<T> {
        match &self.stored {
            None => self.codec.decode(bytes),
            Some(stored) => self.decode_stored(stored, bytes),
        }
    }

    fn decode_stored(&self, stored: &(Schema, Layout), bytes: &[u8]) -> Result<T> {
        let (schema, layout) = stored;
        let mut rest = bytes;
        match stored::read(layout, PhantomData::<T>, &mut rest) {
            Ok(value) if rest.is_empty() => Ok(value),
            Ok(_) => Err(longer(bytes, rest).of::<T>()),
            Err(error) if error.of_the_type => Err(changed(schema, &self.codec.schema, error.to_string())),
            Err(error) => Err(Failure(error.to_string()).of::<T>()),
        }
    }
}

#[cold]
fn changed(stored: &Schema, expected: &Schema, what: String) -> Error {
    Error::SchemaChanged { stored: stored.to_string(), expected: expected.to_string(), what }
}

#[cold]
pub(super) fn longer(bytes: &[u8], rest: &[u8]) -> Failure {
    Failure(format!("expected a value of {} bytes, found {}", bytes.len() - rest.len(), bytes.len()))
}
