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
    Ok(StateSection { name: name.to_owned(), key_group: key_group.into(), schema: schema(codec), keys: String::new(), bytes })
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
        let (name, schema) = (name.to_owned(), schema.clone());
        sink(StateSection { name, key_group: Some(group), schema, keys: String::new(), bytes })?;
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

/// The text by which a codec's schema is compared.
pub(crate) fn schema<V: Data>(codec: &RecordCodec<V>) -> String {
    codec.schema().map(Schema::to_json).unwrap_or_default()
}

/// A stored schema for people.
fn shown(schema: &str) -> String {
    Schema::from_json(schema).map_or_else(|_| schema.to_owned(), |schema| schema.to_string())
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

/// Hands each entry of a section to `each`.
///
/// # Errors
/// A schema that is not the codec's, and bytes that are not entries: both name the state.
pub(crate) fn decode<V: Data>(
    section: &StateSection,
    codec: &RecordCodec<V>,
    mut each: impl FnMut(&[u8], V) -> Result<()>,
) -> Result<()> {
    let expected = schema(codec);
    if section.schema != expected {
        return Err(Error::Plan(format!(
            "state `{}` was stored as {}, the program now expects {}",
            section.name,
            shown(&section.schema),
            shown(&expected)
        )));
    }
    let mut rest = section.bytes.as_slice();
    while !rest.is_empty() {
        let at = section.bytes.len() - rest.len();
        let cut = || Error::Plan(format!("state `{}`: the entry at byte {at} of its section is cut off", section.name));
        let key = part(&mut rest).ok_or_else(cut)?;
        let value = part(&mut rest).ok_or_else(cut)?;
        each(key, codec.decode(value)?)?;
    }
    Ok(())
}

/// A length and as many bytes.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = after;
    Some(part)
}
