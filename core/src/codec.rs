use crate::StateSection;
use fluvial_memory::{Codec, Error, Result, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The codec of a record type. Types that cannot be traced (they ask for self-describing data) fail when a record is
/// encoded or decoded, with the reason, so that building a graph cannot fail on them.
pub(crate) struct RecordCodec<T> {
    codec: std::result::Result<Codec<T>, String>,
}

impl<T> Clone for RecordCodec<T> {
    fn clone(&self) -> Self {
        Self { codec: self.codec.clone() }
    }
}

impl<T: Serialize + DeserializeOwned> RecordCodec<T> {
    pub(crate) fn new() -> Self {
        Self { codec: Codec::new().map_err(|e| e.to_string()) }
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

    #[inline]
    pub(crate) fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        self.get()?.encode(value, out)
    }

    #[inline]
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<T> {
        self.get()?.decode(bytes)
    }
}

impl<T: Serialize + DeserializeOwned> RecordCodec<T> {
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
    /// [`crate::Error::Plan`] for state of another type; it names the state and both schemas.
    pub(crate) fn read_section(&self, section: &StateSection) -> crate::Result<T> {
        let expected = self.schema().map(Schema::to_json).unwrap_or_default();
        if section.schema != expected {
            let StateSection { name, schema: found, .. } = section;
            return Err(crate::Error::Plan(format!("the restored state `{name}` has the schema {found}, expected {expected}")));
        }
        Ok(self.decode(&section.bytes)?)
    }
}
