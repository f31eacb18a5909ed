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
