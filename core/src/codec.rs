use crate::StateSection;
use fluvial_memory::{Codec, Error, KeySchema, NormalizedKey, Result, Schema, StoredCodec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The codec of a record type. Types that cannot be traced (they ask for self-describing data) fail when a record is
/// encoded or decoded, with the reason, so that building a graph cannot fail on them.
pub(crate) struct RecordCodec<T> {
    codec: std::result::Result<Codec<T>, String>,
    keys: KeyType,
}

impl<T> Clone for RecordCodec<T> {
    fn clone(&self) -> Self {
        Self { codec: self.codec.clone(), keys: self.keys.clone() }
    }
}

impl<T: Serialize + DeserializeOwned> RecordCodec<T> {
    pub(crate) fn new() -> Self {
        Self { codec: Codec::new().map_err(|e| e.to_string()), keys: KeyType::default() }
    }

    /// The codec of values that are stored under keys.
    #[must_use]
    pub(crate) fn keyed(self, keys: &KeyType) -> Self {
        Self { keys: keys.clone(), ..self }
    }

    fn get(&self) -> Result<&Codec<T>> {
        self.codec.as_ref().map_err(|reason| Error::Unsupported(reason.clone()))
    }

    pub(crate) fn width(&self) -> Option<usize> {
        self.codec.as_ref().ok().and_then(Codec::width)
    }

    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.codec.as_ref().ok().map(Codec::schema)
    }

    /// What the keys of the values are.
    pub(crate) fn keys(&self) -> &KeyType {
        &self.keys
    }

    #[inline]
    pub(crate) fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        self.get()?.encode(value, out)
    }

    #[inline]
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<T> {
        self.get()?.decode(bytes)
    }

    /// A value as state that belongs to an instance, not to keys.
    pub(crate) fn section(&self, name: &str, value: &T) -> crate::Result<StateSection> {
        let mut bytes = Vec::new();
        self.encode(value, &mut bytes)?;
        let schema = self.schema().map(Schema::to_json).unwrap_or_default();
        Ok(StateSection { name: name.to_owned(), schema, bytes, ..StateSection::default() })
    }

    /// The value that [`RecordCodec::section`] made a section of.
    ///
    /// # Errors
    /// As for [`RecordCodec::reading`]; bytes that are no such value.
    pub(crate) fn from_section(&self, section: &StateSection) -> crate::Result<T> {
        Ok(self.reading(section)?.decode(&section.bytes)?)
    }

    /// A reader of the values of a section, which may have been stored when the type was less than it is now: what may have
    /// changed is said at [`Codec::reading`].
    ///
    /// # Errors
    /// [`crate::Error::Plan`] for values of another type, or of other keys; it names the state, both schemas and the difference.
    pub(crate) fn reading(&self, section: &StateSection) -> crate::Result<StoredCodec<T>> {
        let codec = self.get()?;
        let refused = |what: String| crate::Error::Plan(format!("state `{}` {what}", section.name));
        self.keys.check(&section.keys).map_err(refused)?;
        if section.schema == codec.schema().to_json() {
            return Ok(codec.reading(codec.schema())?);
        }
        let stored = Schema::from_json(&section.schema)
            .map_err(|error| refused(format!("was stored as `{}`, which is no schema: {error}", section.schema)))?;
        codec.reading(&stored).map_err(|error| match error {
            Error::SchemaChanged { stored, expected, what } => {
                refused(format!("was stored as {stored}, the program now expects {expected}: {what}"))
            }
            other => other.into(),
        })
    }
}

/// What the keys of an operator's state are: the JSON of a [`KeySchema`], empty where there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyType(Arc<str>);

impl KeyType {
    pub(crate) fn of<K: NormalizedKey>() -> Self {
        Self(K::schema().to_json().into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether keys of this type have the bytes of those that were stored. Where one side does not say what they are, they may.
    fn check(&self, stored: &str) -> std::result::Result<(), String> {
        if stored == self.as_str() || stored.is_empty() || self.as_str().is_empty() {
            return Ok(());
        }
        let no_schema = |error| format!("was stored under keys `{stored}`, which is no schema: {error}");
        let former = KeySchema::from_json(stored).map_err(no_schema)?;
        let now = KeySchema::from_json(self.as_str()).map_err(no_schema)?;
        if former.is_read_as(&now) {
            return Ok(());
        }
        Err(format!("was stored under keys {former}, the program now has keys {now}"))
    }
}
