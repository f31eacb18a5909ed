#![allow(missing_docs)]
use fluvial_memory::{Error, Result};
pub struct Codec<T>(std::marker::PhantomData<fn() -> T>);
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> {
    pub fn new() -> Self {
        Self(std::marker::PhantomData)
    }
    pub fn width(&self) -> Option<usize> {
        None
    }
    pub fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        bincode::serde::encode_into_std_write(value, out, bincode::config::legacy())
            .map(|_| ())
            .map_err(|e| Error::Codec { type_name: String::new(), what: e.to_string() })
    }
    pub fn decode(&self, bytes: &[u8]) -> Result<T> {
        bincode::serde::decode_from_slice(bytes, bincode::config::legacy())
            .map(|r| r.0)
            .map_err(|e| Error::Codec { type_name: String::new(), what: e.to_string() })
    }
}
