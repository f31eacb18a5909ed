//! Sections of snapshots: the entries of one state and key group as bytes.
//!
//! An entry is the key's length (4 bytes, little-endian), the key, the value's length (4 bytes), the value by its codec.

use crate::codec::RecordCodec;
use crate::stream::Data;
use crate::{Error, Result, StateSection};

/// One section of the given entries.
pub(crate) fn encode<'a, V: Data>(
    name: &str,
    group: u16,
    codec: &RecordCodec<V>,
    entries: impl Iterator<Item = (&'a [u8], &'a V)>,
) -> Result<StateSection> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        bytes.extend((key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
        let at = bytes.len();
        bytes.extend([0; 4]);
        codec.encode(value, &mut bytes)?;
        let len = (bytes.len() - at - 4) as u32;
        bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
    Ok(StateSection { name: name.to_owned(), key_group: Some(group), schema: schema(codec), bytes })
}

/// The text by which a codec's schema is compared.
pub(crate) fn schema<V: Data>(codec: &RecordCodec<V>) -> String {
    codec.schema().map(ToString::to_string).unwrap_or_default()
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
