//! Codecs: records to row bytes and back.

pub mod arrow;
pub mod typed;

#[cfg(test)]
pub(crate) mod testing;
