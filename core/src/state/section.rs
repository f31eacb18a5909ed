//! Sections of snapshots: the entries of one state and key group, or of one state of an instance, as bytes.
//!
//! An entry is the key's length (4 bytes, little-endian), the key, the value's length (4 bytes), the value by its codec.

use crate::codec::RecordCodec;
use crate::stream::Data;
use crate::{Error, Result, StateSection};
use fluvial_memory::hash::{hash_bytes, key_group};
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// One section of the given entries, of a key group or, with empty keys, of an instance.
pub(crate) fn encode<V: Data>(
    name: &str,
    key_group: impl Into<Option<u16>>,
    codec: &RecordCodec<V>,
    entries: impl Iterator<Item = (impl AsRef<[u8]>, impl Borrow<V>)>,
) -> Result<StateSection> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        let (key, value) = (key.as_ref(), value.borrow());
        bytes.extend((key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
        let at = bytes.len();
        bytes.extend([0; 4]);
        codec.encode(value, &mut bytes)?;
        let len = (bytes.len() - at - 4) as u32;
        bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
    Ok(StateSection { name: name.to_owned(), key_group: key_group.into(), schema: schema(codec), bytes })
}

/// Sections of entries of any key groups, one a group.
pub(crate) fn encode_groups<'a, V: Data>(
    name: &str,
    codec: &RecordCodec<V>,
    entries: impl Iterator<Item = (&'a [u8], V)>,
) -> Result<Vec<StateSection>> {
    let mut groups: BTreeMap<u16, Vec<(&[u8], V)>> = BTreeMap::new();
    for (key, value) in entries {
        groups.entry(key_group(hash_bytes(key))).or_default().push((key, value));
    }
    let groups = groups.iter();
    groups.map(|(group, entries)| encode(name, *group, codec, entries.iter().map(|(key, value)| (*key, value)))).collect()
}

/// The text by which a codec's schema is compared.
pub(crate) fn schema<V: Data>(codec: &RecordCodec<V>) -> String {
    codec.schema().map(ToString::to_string).unwrap_or_default()
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
            "state `{}` was stored as {}, the program now expects {expected}",
            section.name, section.schema
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
