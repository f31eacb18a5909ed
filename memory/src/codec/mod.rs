//! Codecs: records to row bytes and back.

#[cfg(test)]
pub(crate) mod testing;
