//! Codecs: records to row bytes and back.

pub mod arrow;

#[cfg(test)]
pub(crate) mod testing;
