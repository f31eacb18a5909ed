//! Sections of snapshots: the entries of one state and key group, or of one state of an instance, as bytes.
//!
//! An entry is the key's length (4 bytes, little-endian), the key, the value's length (4 bytes), the value by its codec.

use crate::codec::RecordCodec;
use crate::stream::Data;
use crate::{Error, Result, SectionSink, StateSection};
use fluvial_memory::Schema;
use fluvial_memory::hash::{KEY_GROUPS, hash_bytes, key_group};
use std::borrow::Borrow;

/// One section of the given entries, of a key group or, with empty keys, of an instance.
pub(crate) fn encode<V: Data>(
    name: &str,
    key_group: impl Into<Option<u16>>,
    codec: &RecordCodec<V>,
    entries: impl Iterator<Item = (impl AsRef<[u8]>, impl Borrow<V>)>,
) -> Result<StateSection> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        append(codec, key.as_ref(), value.borrow(), &mut bytes)?;
    }
    let keys = codec.keys().as_str().to_owned();
    Ok(StateSection { name: name.to_owned(), key_group: key_group.into(), schema: schema(codec), keys, bytes })
}

/// Sections of entries of any key groups, one a group.
pub(crate) fn encode_groups<'a, V: Data>(
    name: &str,
    codec: &RecordCodec<V>,
    entries: impl Iterator<Item = (&'a [u8], V)>,
    sink: &mut SectionSink<'_>,
) -> Result<()> {
    let mut groups: Vec<Vec<u8>> = vec![Vec::new(); usize::from(KEY_GROUPS)];
    for (key, value) in entries {
        append(codec, key, &value, &mut groups[usize::from(key_group(hash_bytes(key)))])?;
    }
    let schema = schema(codec);
    for (group, bytes) in (0..KEY_GROUPS).zip(groups).filter(|(_, bytes)| !bytes.is_empty()) {
        let (name, schema, keys) = (name.to_owned(), schema.clone(), codec.keys().as_str().to_owned());
        sink(StateSection { name, key_group: Some(group), schema, keys, bytes })?;
    }
    Ok(())
}

#[inline]
fn append<V: Data>(codec: &RecordCodec<V>, key: &[u8], value: &V, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.extend((key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(key);
    let at = bytes.len();
    bytes.extend([0; 4]);
    codec.encode(value, bytes)?;
    let len = (bytes.len() - at - 4) as u32;
    bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// A codec's schema as it is stored.
fn schema<V: Data>(codec: &RecordCodec<V>) -> String {
    codec.schema().map(Schema::to_json).unwrap_or_default()
}

/// Of a section whose name no state of the operator has.
///
/// # Errors
/// The section holds something, which would be lost.
pub(crate) fn unclaimed(section: &StateSection) -> Result<()> {
    if section.bytes.is_empty() {
        return Ok(());
    }
    let of = section.key_group.map_or_else(|| "of an instance".to_owned(), |group| format!("of key group {group}"));
    Err(Error::Plan(format!(
        "state `{}` was stored ({} bytes {of}), but the operator now has no state of this name",
        section.name,
        section.bytes.len()
    )))
}

/// Hands each entry of a section to `each`. The values may have been stored by an earlier state of their type.
///
/// # Errors
/// A schema that cannot be read as the codec's, which is found before the first entry; bytes that are not entries. All name the
/// state.
pub(crate) fn decode<V: Data>(
    section: &StateSection,
    codec: &RecordCodec<V>,
    mut each: impl FnMut(&[u8], V) -> Result<()>,
) -> Result<()> {
    let values = codec.reading(section)?;
    for entry in entries(section) {
        let (key, value) = entry?;
        each(key, values.decode(value)?)?;
    }
    Ok(())
}

/// The entries of a section: keys and encoded values, for whoever has no types for them. Nothing follows an error.
pub(crate) fn entries(section: &StateSection) -> Entries<'_> {
    Entries { name: &section.name, len: section.bytes.len(), rest: &section.bytes }
}

/// See [`entries`].
pub(crate) struct Entries<'a> {
    name: &'a str,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.len - self.rest.len();
        match part(&mut self.rest).zip(part(&mut self.rest)) {
            Some(entry) => Some(Ok(entry)),
            None => {
                self.rest = &[];
                Some(Err(Error::Plan(format!("state `{}`: the entry at byte {at} of its section is cut off", self.name))))
            }
        }
    }
}

/// A length and as many bytes.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = after;
    Some(part)
}
